package bottlefile

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// BlockSchema declares one kind of block of the language.
type BlockSchema struct {
	Name   string
	Labels []string // what each label is: "name"
	Doc    string
	Many   bool // may be written more than once where it is allowed
	// AnyAttrs makes every attribute name allowed, as in locals.
	AnyAttrs bool
	// Dynamic allows dynamic blocks, which make blocks of those in Blocks.
	Dynamic bool
	Attrs   []*AttrSchema
	Blocks  []*BlockSchema
}

// AttrSchema declares one attribute of a block.
type AttrSchema struct {
	Name string
	// Type is what a value is converted to. cty.DynamicPseudoType leaves it as
	// it is, for a reading of its own that TypeName names.
	Type     cty.Type
	TypeName string // of values whose type alone says too little: "size", "duration", "image"
	Doc      string
	Default  string // as a user would write it; empty: unset
	Required bool
	// InKey tells whether a change of the value can change the work of a node,
	// and so enters its key.
	InKey bool
	// Early values name things and shape the graph: they must be known before
	// anything runs, and they are printed, so they may not be sensitive.
	Early bool
	// Static attributes are read from their syntax and never evaluated: types
	// and lists of targets.
	Static bool
}

// Schema is the bottle file's language: its blocks at the top level.
var Schema = &BlockSchema{
	Name: "bottle file",
	Blocks: []*BlockSchema{
		settingsSchema, variableSchema, localsSchema, secretSchema, registrySchema, cacheSchema,
		imageSchema, bottleSchema, groupSchema, outputSchema,
	},
}

// forEachAttr is declared once for images and bottles.
var forEachAttr = &AttrSchema{
	Name: "for_each", Type: cty.DynamicPseudoType, TypeName: "map or set of strings", Early: true,
	Doc: "Makes one instance per element, with each.key and each.value in its expressions.",
}

func (s *BlockSchema) block(name string) *BlockSchema {
	for _, b := range s.Blocks {
		if b.Name == name {
			return b
		}
	}
	return nil
}

// body returns the schema in the form that HCL's parsers take.
func (s *BlockSchema) body() *hcl.BodySchema {
	b := &hcl.BodySchema{}
	for _, a := range s.Attrs {
		b.Attributes = append(b.Attributes, hcl.AttributeSchema{Name: a.Name})
	}
	for _, n := range s.Blocks {
		b.Blocks = append(b.Blocks, hcl.BlockHeaderSchema{Type: n.Name, LabelNames: n.Labels})
	}
	if s.Dynamic {
		b.Blocks = append(b.Blocks, hcl.BlockHeaderSchema{Type: dynamicSchema.Name, LabelNames: dynamicSchema.Labels})
	}
	return b
}
