package bottlefile

import (
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
)

// displayed writes a value as HCL, on one line or over several. What is not known
// yet or sensitive, which has no form in HCL, is named in parentheses.
func displayed(v cty.Value, oneLine bool) string {
	var b strings.Builder
	displayTo(&b, v, oneLine, "")
	return b.String()
}

func displayTo(b *strings.Builder, v cty.Value, oneLine bool, indent string) {
	v, marks := v.Unmark()
	_, hidden := marks[sensitiveMark{}]
	ty := v.Type()
	switch {
	case hidden:
		b.WriteString(concealed)
	case !v.IsKnown():
		b.WriteString(displayUnknown(marks))
	case v.IsNull():
		b.WriteString("null")
	case ty.IsObjectType() || ty.IsMapType():
		var parts []string
		elements := v.AsValueMap()
		for _, k := range sortedKeys(elements) {
			if !elements[k].Type().IsCapsuleType() {
				parts = append(parts, displayKey(k)+" = "+displayInner(elements[k], oneLine, indent))
			}
		}
		displayParts(b, parts, "{", "}", oneLine, indent)
	case ty.IsListType() || ty.IsSetType() || ty.IsTupleType():
		var parts []string
		for it := v.ElementIterator(); it.Next(); {
			_, e := it.Element()
			parts = append(parts, displayInner(e, oneLine, indent))
		}
		displayParts(b, parts, "[", "]", oneLine, indent)
	case ty.IsCapsuleType():
		b.WriteString("(" + ty.FriendlyName() + ")")
	default:
		b.Write(hclwrite.TokensForValue(v).Bytes())
	}
}

func displayInner(v cty.Value, oneLine bool, indent string) string {
	var b strings.Builder
	displayTo(&b, v, oneLine, indent+"  ")
	return b.String()
}

func displayParts(b *strings.Builder, parts []string, open, end string, oneLine bool, indent string) {
	switch {
	case len(parts) == 0:
		b.WriteString(open + end)
	case oneLine && open == "{":
		b.WriteString("{ " + strings.Join(parts, ", ") + " }")
	case oneLine:
		b.WriteString(open + strings.Join(parts, ", ") + end)
	default:
		b.WriteString(open + "\n")
		for _, p := range parts {
			b.WriteString(indent + "  " + p)
			if open == "[" {
				b.WriteByte(',')
			}
			b.WriteByte('\n')
		}
		b.WriteString(indent + end)
	}
}

func displayKey(k string) string {
	if hclsyntax.ValidIdentifier(k) {
		return k
	}
	return string(hclwrite.TokensForValue(cty.StringVal(k)).Bytes())
}

func displayUnknown(marks cty.ValueMarks) string {
	refs := unmark(cty.DynamicVal.WithMarks(marks)).refs
	if len(refs) == 0 {
		return "(known later)"
	}
	return fmt.Sprintf("(known after %s)", strings.Join(refs, ", "))
}
