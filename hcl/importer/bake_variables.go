package importer

import (
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// variables writes what expressions refer to.
func (b *bake) variables() {
	var locals []pair
	for _, blk := range b.variableBlocks {
		name, at := blk.Labels[0], b.place(blk.DefRange())
		if strings.HasPrefix(b.roots[name], "local.") {
			d := blk.Body.Attributes["default"]
			text, err := b.text(d.Expr, nil)
			if err != nil {
				b.add("variable "+quote(name), b.warn(at, "the default of the variable %s is left out: %s", name, err))
				b.roots[name] = "var." + name
				continue
			}
			b.warn(at, "the variable %s has become local.%s, since its default refers to others: --var cannot set it", name, name)
			locals = append(locals, pair{name, text})
			continue
		}
		b.variable(blk, name)
	}
	for _, a := range b.attributes {
		text, err := b.text(a.Expr, nil)
		if err != nil {
			b.note(b.warn(b.place(a.SrcRange), "%s is left out: %s", a.Name, err) + "\n" + string(a.SrcRange.SliceBytes(b.src)))
			continue
		}
		locals = append(locals, pair{a.Name, text})
	}
	for _, p := range locals {
		b.localNames.pick(p.key)
	}
	if len(locals) > 0 {
		blk := b.add("locals")
		for _, p := range locals {
			blk.set(p.key, p.expr)
		}
	}
}

func (b *bake) variable(blk *hclsyntax.Block, name string) {
	v := b.add("variable " + quote(name))
	attrs := blk.Body.Attributes
	d := attrs["default"]
	switch ty := attrs["type"]; {
	case ty != nil:
		v.set("type", string(ty.Expr.Range().SliceBytes(b.src)))
	case d == nil:
		v.set("type", "string")
	default:
		if ty := literalType(d.Expr); ty != "" {
			v.set("type", ty)
		}
	}
	if d == nil {
		v.set("default", `""`) // as bake takes it
	} else if text, err := b.text(d.Expr, nil); err != nil {
		v.comment("default: " + b.warn(b.place(d.SrcRange), "the default of the variable %s is left out: %s", name, err))
	} else {
		v.set("default", text)
	}
	if a := attrs["description"]; a != nil {
		v.set("description", string(a.Expr.Range().SliceBytes(b.src)))
	}
	for _, check := range blk.Body.Blocks {
		cond, msg := check.Body.Attributes["condition"], check.Body.Attributes["error_message"]
		if check.Type != "validation" || cond == nil {
			continue
		}
		text, err := b.text(cond.Expr, nil)
		if err != nil {
			v.comment("validation: " + b.warn(b.place(check.DefRange()), "a validation of the variable %s is left out: %s", name, err))
			continue
		}
		n := v.block("validation")
		n.set("condition", text)
		n.set("error_message", quote("The value of "+name+" is not valid."))
		if msg != nil {
			if text, err := b.text(msg.Expr, nil); err == nil {
				n.items[1] = "error_message = " + text
			}
		}
	}
}
