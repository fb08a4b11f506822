package bottlefile

import (
	"fmt"

	"github.com/zclconf/go-cty/cty"
)

// Bounds on a single value, so that a few lines cannot fill the memory.
const (
	maxElements = 1_000_000
	maxText     = 16 << 20 // bytes of all strings in it
	maxBits     = 4096     // of a number's binary exponent
)

// tooLarge says why a value exceeds the bounds, or returns "".
func tooLarge(v cty.Value) string {
	var m measure
	m.add(v)
	return m.why
}

// measure is what is in a value so far.
type measure struct {
	elements, text int
	why            string // it is too much
}

// add counts a value and all that is in it, and stops where it is too much.
func (m *measure) add(v cty.Value) {
	if m.why != "" {
		return
	}
	v, _ = v.Unmark()
	ty := v.Type()
	m.elements++
	if v.IsKnown() && !v.IsNull() {
		switch {
		case ty == cty.String:
			m.text += len(v.AsString())
		case ty == cty.Number:
			if v.AsBigFloat().IsInf() {
				m.why = "has a number that is infinite, such as one divided by zero"
			} else if e := v.AsBigFloat().MantExp(nil); e > maxBits || e < -maxBits {
				m.why = fmt.Sprintf("has a number beyond 2 to the power of %d", maxBits)
			}
		case ty.IsObjectType():
			for name := range ty.AttributeTypes() {
				m.add(v.GetAttr(name))
			}
		case v.CanIterateElements():
			for it := v.ElementIterator(); it.Next() && m.why == ""; {
				_, e := it.Element()
				m.add(e)
			}
		}
	}
	switch {
	case m.why != "":
	case m.elements > maxElements:
		m.why = fmt.Sprintf("has more than %d elements", maxElements)
	case m.text > maxText:
		m.why = fmt.Sprintf("has more than %d MiB of text", maxText>>20)
	}
}
