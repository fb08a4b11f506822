package bottlefile

import (
	"slices"
	"strconv"

	"github.com/zclconf/go-cty/cty"
)

// refMark is on every value that a node yields: whatever is made from it
// depends on the node.
type refMark struct{ address string }

// sensitiveMark is on values that may not be printed, and poisonMark on those of
// expressions that have failed, so that what uses them is not reported as well.
type (
	sensitiveMark struct{}
	poisonMark    struct{}
)

var poisoned = cty.DynamicVal.Mark(poisonMark{})

// markSensitive marks a value and all that is in it: HCL unmarks what it
// iterates over, and elements must stay marked.
func markSensitive(v cty.Value) cty.Value {
	marked, err := cty.Transform(v, func(_ cty.Path, v cty.Value) (cty.Value, error) {
		return v.Mark(sensitiveMark{}), nil
	})
	if err != nil {
		return cty.UnknownVal(v.Type()).Mark(sensitiveMark{})
	}
	return marked
}

func isSensitive(v cty.Value) bool { return v.HasMarkDeep(sensitiveMark{}) }

// unmarked is a value without its marks, and what they said.
type unmarked struct {
	cty.Value
	refs      []string // addresses of nodes, sorted
	sensitive bool
	poisoned  bool
}

func unmark(v cty.Value) unmarked {
	if !v.IsMarked() && (v.Type().IsPrimitiveType() || !v.ContainsMarked()) {
		return unmarked{Value: v}
	}
	v, marks := v.UnmarkDeep()
	u := unmarked{Value: v}
	for m := range marks {
		switch m := m.(type) {
		case refMark:
			u.refs = append(u.refs, m.address)
		case sensitiveMark:
			u.sensitive = true
		case poisonMark:
			u.poisoned = true
		}
	}
	slices.Sort(u.refs)
	return u
}

const concealed = "(sensitive value)"

// show returns a primitive value as it stands in messages, at most 80 bytes of it.
func show(v cty.Value, sensitive bool) string {
	switch {
	case sensitive:
		return concealed
	case !v.IsKnown():
		return "(known later)"
	case v.IsNull():
		return "null"
	case v.Type() == cty.String:
		s := v.AsString()
		if len(s) > 80 {
			s = s[:80] + "…"
		}
		return strconv.Quote(s)
	case v.Type() == cty.Number:
		return v.AsBigFloat().Text('g', 20)
	case v.Type() == cty.Bool:
		return strconv.FormatBool(v.True())
	}
	return "a value of type " + v.Type().FriendlyName()
}
