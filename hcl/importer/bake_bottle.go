package importer

import (
	"encoding/csv"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// bottle writes where a target's image goes: tags that are pushed, and archives.
func (w *imageWriter) bottle(tags []*hclsyntax.Attribute, output *hclsyntax.Attribute) {
	var blocks []*block
	push := false
	if output != nil {
		for _, e := range elements(output.Expr) {
			o, err := w.fields(e)
			switch {
			case err != nil:
				w.drop(output, err)
			case o["type"] == "registry" || o["type"] == "image" && o["push"] == "true":
				push = true
			case (o["type"] == "oci" || o["type"] == "docker") && o["dest"] != "":
				n := &block{header: "export"}
				n.set("path", template(o["dest"]))
				n.set("format", quote(o["type"]))
				blocks = append(blocks, n)
			case o["type"] == "image" || o["type"] == "cacheonly":
			default:
				w.drop(output, fmt.Errorf("there is no counterpart for an output of type %s", o["type"]))
			}
		}
	}
	if a := last(tags); a != nil {
		pushes, err := w.pushes(a)
		if err != nil {
			w.drop(a, err)
		} else if push {
			blocks = append(pushes, blocks...)
		} else if len(pushes) > 0 {
			w.block.comment("Its tags say where bake --push would put it. To push it, write:\n\n" + w.commented(pushes))
		}
	}
	if len(blocks) == 0 {
		return
	}
	w.t.bottle = w.t.here
	n := w.bottleBlock(blocks)
	w.blocks = append(w.blocks, n)
}

// bottleBlock returns a bottle of the image, or one for each of its instances.
func (w *imageWriter) bottleBlock(stages []*block) *block {
	n := &block{header: "bottle " + quote(w.t.here), blocks: stages}
	image := "image." + w.t.here
	if w.t.forEach != "" {
		n.set("for_each", w.t.forEach)
		image += "[each.key]"
	}
	n.set("image", image)
	return n
}

func (w *imageWriter) commented(pushes []*block) string {
	return written([]*block{w.bottleBlock(pushes)})
}

// fields reads "type=x,dest=y", or an object of that.
func (w *imageWriter) fields(e hclsyntax.Expression) (map[string]string, error) {
	m := map[string]string{}
	if is, ok := items(e); ok {
		for _, i := range is {
			inner, ok := w.inner(i.value)
			if !ok {
				if inner, ok = literalText(i.value); !ok {
					return nil, fmt.Errorf("it is no plain list")
				}
			}
			m[i.key] = inner
		}
		return m, nil
	}
	inner, ok := w.inner(e)
	if !ok {
		return nil, fmt.Errorf("it is no plain list")
	}
	record, err := csv.NewReader(strings.NewReader(inner)).Read()
	if err != nil {
		return nil, fmt.Errorf("it cannot be read: %w", err)
	}
	if len(record) == 1 && !strings.Contains(record[0], "=") { // a directory
		return map[string]string{"type": "local"}, nil
	}
	for _, f := range record {
		k, v, _ := strings.Cut(f, "=")
		m[strings.ToLower(k)] = v
	}
	return m, nil
}

// pushes writes tags as push blocks, one per repository, and declares their
// registries.
func (w *imageWriter) pushes(a *hclsyntax.Attribute) ([]*block, error) {
	es, isList := a.Expr.(*hclsyntax.TupleConsExpr)
	if !isList {
		return nil, fmt.Errorf("it is no list that is written as such")
	}
	var blocks []*block
	type place struct{ host, repository string }
	byPlace := map[place]*block{}
	tagsOf := map[*block][]string{}
	conditional := map[*block]bool{}
	for _, e := range es.Exprs {
		if literal(e) == "" && isEmptyText(e) {
			continue
		}
		inner, condition, ok := w.tag(e)
		if !ok {
			return nil, fmt.Errorf("a tag is an expression whose parts cannot be told apart")
		}
		host, repository, tag, err := splitTag(inner, w.isHost)
		if err != nil {
			return nil, err
		}
		at := place{host, repository}
		n := byPlace[at]
		if n == nil {
			n = &block{header: "push"}
			n.set("registry", "registry."+w.registry(host))
			n.set("repository", template(repository))
			byPlace[at] = n
			blocks = append(blocks, n)
		}
		if condition != "" {
			tagsOf[n] = append(tagsOf[n], fmt.Sprintf("%s ? %s : \"\"", condition, template(tag)))
			conditional[n] = true
			continue
		}
		tagsOf[n] = append(tagsOf[n], template(tag))
	}
	for _, n := range blocks {
		tags := list(tagsOf[n])
		if conditional[n] {
			tags = "compact(" + tags + ")"
		}
		n.set("tags", tags)
	}
	return blocks, nil
}

// isHost tells whether a template yields a host, unless it cannot be told.
func (b *bake) isHost(inner string) bool {
	values, ok := b.eval(`"` + inner + `"`)
	return !ok || len(values) != 1 || looksLikeHost(values[0])
}

// tag returns what stands between the quotes of a tag, and the condition that it
// is there at all: bake takes an empty text for no tag.
func (w *imageWriter) tag(e hclsyntax.Expression) (inner, condition string, ok bool) {
	c, isConditional := e.(*hclsyntax.ConditionalExpr)
	if !isConditional {
		inner, ok = w.inner(e)
		return inner, "", ok
	}
	condition, err := w.text(c.Condition, w.local)
	if err != nil {
		return "", "", false
	}
	switch {
	case isEmptyText(c.FalseResult):
		inner, ok = w.inner(c.TrueResult)
	case isEmptyText(c.TrueResult):
		inner, ok = w.inner(c.FalseResult)
		condition = "!(" + condition + ")"
	}
	return inner, condition, ok
}

func isEmptyText(e hclsyntax.Expression) bool {
	v, ok := constant(e)
	return ok && v.Type() == stringValue("").Type() && v.AsString() == ""
}

// secretMounts writes the secrets of a target and its parents, and declares them; a
// child's replaces one of the same id.
func (w *imageWriter) secretMounts(as []*hclsyntax.Attribute) error {
	var pairs []pair
	var es []hclsyntax.Expression
	for _, a := range as {
		if elements(a.Expr) == nil {
			return fmt.Errorf("it is no list that is written as such")
		}
		es = append(es, elements(a.Expr)...)
	}
	for _, e := range es {
		m, err := w.fields(e)
		if err != nil {
			return err
		}
		id := m["id"]
		if id == "" {
			return fmt.Errorf("a secret without an id")
		}
		attribute, source := "env", id
		switch {
		case m["env"] != "":
			source = m["env"]
		case m["src"] != "":
			attribute, source = "file", m["src"]
		case m["source"] != "":
			attribute, source = "file", m["source"]
		}
		if attribute == "env" && (m["type"] == "file") {
			return fmt.Errorf("the secret %s has no source", id)
		}
		if strings.HasPrefix(source, "~") {
			return fmt.Errorf("the source of the secret %s starts with ~, which is not expanded", id)
		}
		pairs = slices.DeleteFunc(pairs, func(p pair) bool { return p.key == id })
		pairs = append(pairs, pair{id, "secret." + w.secret(id, attribute, source)})
	}
	if len(pairs) > 0 {
		w.block.set("secrets", object(pairs))
	}
	return nil
}

// secret returns the name of a secret, and declares it if it is new.
func (b *bake) secret(id, attribute, source string) string {
	definition := id + "\x00" + attribute + "\x00" + source
	if name, ok := b.secrets[definition]; ok {
		return name
	}
	name := b.secretNames.pick(id)
	b.secrets[definition] = name
	s := b.add("secret " + quote(name))
	s.set(attribute, template(source))
	return name
}
