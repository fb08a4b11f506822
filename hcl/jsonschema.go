package bottlefile

import (
	"encoding/json"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// schemaNode is a JSON schema, or a part of one.
type schemaNode = map[string]any

// anyValue is a pattern that strings with an expression in them match: they may
// stand for any value.
const anyValue = `\$\{|%\{`

// typePatterns are what strings of a TypeName look like.
var typePatterns = map[string]string{
	"size":         `^[0-9]+(\.[0-9]+)?(KiB|MiB|GiB|TiB)$`,
	"duration":     `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`,
	"octal string": `^0?[0-7]{3}$`,
}

// JSONSchema returns a JSON schema (draft 2020-12) of bottle files in HCL's JSON
// syntax, made from [Schema]. It accepts every valid file; it knows names and
// types, but nothing of references. The body of each kind of block stands once, in
// $defs, since dynamic blocks can make it too.
func JSONSchema() ([]byte, error) {
	w := &schemaWriter{defs: schemaNode{}}
	root := w.body(Schema, "")
	root["$defs"] = w.defs
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "bottle file"
	root["description"] = "A bottle file of bottlebuild, in HCL's JSON syntax."
	b, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(b, '\n'), nil
}

// schemaWriter collects the bodies of blocks by the way to them: "bottle.machine".
type schemaWriter struct{ defs schemaNode }

// ref refers to the body of a block.
func (w *schemaWriter) ref(s *BlockSchema, path string) schemaNode {
	name := strings.TrimSuffix(path, ".")
	if w.defs[name] == nil {
		w.defs[name] = w.body(s, path)
	}
	return schemaNode{"$ref": "#/$defs/" + name}
}

// body describes the object that the body of a block is. path leads to its
// attributes in attrDocs.
func (w *schemaWriter) body(s *BlockSchema, path string) schemaNode {
	n := schemaNode{"type": "object"}
	if s.Doc != "" {
		n["description"] = s.Doc
	}
	if s.AnyAttrs {
		return n
	}
	properties := schemaNode{"//": schemaNode{"description": "A comment."}}
	var required []string
	for _, a := range s.Attrs {
		properties[a.Name] = attrSchema(a, path+a.Name)
		if a.Required {
			required = append(required, a.Name)
		}
	}
	for _, b := range s.Blocks {
		properties[b.Name] = w.block(b, path+b.Name+".")
	}
	if s.Dynamic {
		properties[dynamicSchema.Name] = w.dynamic(s, path)
	}
	n["properties"] = properties
	n["additionalProperties"] = false
	if len(required) > 0 {
		n["required"] = required
	}
	return n
}

// block describes blocks of one kind: an object per label, by label, around
// the body, and for several an array in the place of any object.
func (w *schemaWriter) block(s *BlockSchema, path string) schemaNode {
	n := oneOrMore(w.ref(s, path))
	for _, label := range s.Labels {
		n = schemaNode{"type": "object", "additionalProperties": n}
		if label == "name" {
			n["propertyNames"] = schemaNode{"anyOf": []any{schemaNode{"const": "//"}, schemaNode{"pattern": nameRE.String(), "maxLength": maxDeclared}}}
		}
		n["properties"] = schemaNode{"//": schemaNode{"description": "A comment."}}
		n = oneOrMore(n)
	}
	return n
}

// dynamic describes the dynamic blocks in a block of a schema, by the kind of
// block that they make.
func (w *schemaWriter) dynamic(s *BlockSchema, path string) schemaNode {
	kinds := schemaNode{"//": schemaNode{"description": "A comment."}}
	for _, b := range s.Blocks {
		required := []string{"for_each", "content"}
		properties := schemaNode{
			"//":      schemaNode{"description": "A comment."},
			"content": oneOrMore(w.ref(b, path+b.Name+".")),
		}
		for _, a := range dynamicSchema.Attrs {
			switch {
			case a.Name != "labels":
				properties[a.Name] = attrSchema(a, "dynamic."+a.Name)
			case len(b.Labels) > 0:
				properties[a.Name] = attrSchema(a, "dynamic."+a.Name)
				required = append(required, a.Name)
			}
		}
		kinds[b.Name] = oneOrMore(schemaNode{
			"type": "object", "properties": properties, "required": required, "additionalProperties": false,
		})
	}
	return oneOrMore(schemaNode{
		"type": "object", "description": dynamicSchema.Doc, "properties": kinds, "additionalProperties": false,
	})
}

func oneOrMore(n schemaNode) schemaNode {
	return schemaNode{"anyOf": []any{n, schemaNode{"type": "array", "items": n}}}
}

func attrSchema(a *AttrSchema, path string) schemaNode {
	n := valueSchema(a)
	n["description"] = a.Doc
	if v, ok := literal(a.Default); ok {
		n["default"] = v
	}
	if v, ok := literal(attrDocs()[path].example); ok && !a.Static {
		n["examples"] = []any{v}
	}
	return n
}

func valueSchema(a *AttrSchema) schemaNode {
	switch {
	case a.Static && strings.HasPrefix(a.TypeName, "list"):
		return schemaNode{"type": "array", "items": schemaNode{"type": "string"}}
	case a.Static:
		return schemaNode{"type": "string"}
	case typePatterns[a.TypeName] != "":
		return nullable(schemaNode{"type": "string", "pattern": typePatterns[a.TypeName] + "|" + anyValue})
	}
	return typeSchema(a.Type)
}

// typeSchema describes values that can be converted to a type.
func typeSchema(ty cty.Type) schemaNode {
	switch {
	case ty == cty.String:
		return schemaNode{"type": []string{"string", "number", "boolean", "null"}}
	case ty == cty.Number:
		return nullable(schemaNode{"type": "number"}, expressionOr(`^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$`))
	case ty == cty.Bool:
		return nullable(schemaNode{"type": "boolean"}, expressionOr(`^(true|false|0|1)$`))
	case ty.IsListType() || ty.IsSetType():
		return nullable(schemaNode{"type": "array", "items": typeSchema(ty.ElementType())}, expressionOr(""))
	case ty.IsMapType():
		return nullable(schemaNode{"type": "object", "additionalProperties": typeSchema(ty.ElementType())}, expressionOr(""))
	}
	return schemaNode{}
}

func expressionOr(pattern string) schemaNode {
	if pattern != "" {
		pattern += "|"
	}
	return schemaNode{"type": "string", "pattern": pattern + anyValue}
}

func nullable(options ...schemaNode) schemaNode {
	all := []any{schemaNode{"type": "null"}}
	for _, o := range options {
		all = append(all, o)
	}
	return schemaNode{"anyOf": all}
}

// literal returns what an expression without references is in JSON.
func literal(source string) (json.RawMessage, bool) {
	e, diags := hclsyntax.ParseExpression([]byte(source), "", hcl.InitialPos)
	if diags.HasErrors() || len(e.Variables()) > 0 {
		return nil, false
	}
	v, diags := e.Value(nil)
	if diags.HasErrors() {
		return nil, false
	}
	b, err := ctyjson.Marshal(v, v.Type())
	return b, err == nil
}
