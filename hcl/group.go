package bottlefile

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

var groupSchema = &BlockSchema{
	Name: "group", Labels: []string{"name"}, Many: true,
	Doc: "A name for several targets. The group \"default\" is what runs if no target is named.",
	Attrs: []*AttrSchema{
		{Name: "targets", Static: true, Required: true, TypeName: "list of targets", Doc: "Images, bottles, their instances and stages, and groups: [bottle.agent, image.base]."},
	},
}

type group struct {
	*block
	targets []groupTarget
}

type groupTarget struct {
	text string // as on a command line
	at   hcl.Range
}

// readGroup reads the targets from their syntax: they name nodes, and have no
// values.
func readGroup(g *group) hcl.Diagnostics {
	a := g.attrs["targets"]
	if a == nil {
		return nil
	}
	exprs, diags := hcl.ExprList(a.Expr)
	if diags.HasErrors() {
		return hcl.Diagnostics{errorAt(a.Expr.Range(), "Invalid targets", "targets is a list of references: [bottle.agent, image.base].")}
	}
	for _, e := range exprs {
		text := ""
		if t, d := hcl.AbsTraversalForExpr(e); !d.HasErrors() {
			text = traversalText(t)
		} else if v, d := e.Value(nil); !d.HasErrors() && v.Type() == cty.String && v.IsKnown() && !v.IsNull() && !v.IsMarked() && isTemplate(e) {
			text = v.AsString()
		} else if vars := e.Variables(); len(vars) == 1 && isWhole(vars[0].SourceRange(), e.Range()) {
			text = traversalText(vars[0])
		}
		if text == "" {
			diags = append(diags, errorAt(e.Range(), "Invalid target", "A target is a reference such as bottle.agent, bottle.agent[\"claude\"] or image.base, or a pattern in quotes, such as \"bottle.*\". It is read before anything is evaluated."))
			continue
		}
		g.targets = append(g.targets, groupTarget{text, e.Range()})
	}
	return diags
}

func isTemplate(e hcl.Expression) bool {
	_, ok := e.(*hclsyntax.TemplateExpr)
	return ok
}

// isWhole tells whether a template is nothing but one reference: "${bottle.x}", as
// JSON has to write it.
func isWhole(reference, template hcl.Range) bool {
	return reference.Start.Byte == template.Start.Byte+len(`"${`) && reference.End.Byte == template.End.Byte-len(`}"`)
}
