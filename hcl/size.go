package bottlefile

import (
	"errors"
	"fmt"

	"github.com/zclconf/go-cty/cty"
)

// Bounds on a single value, so that a few lines cannot fill the memory.
const (
	maxElements = 1_000_000
	maxText     = 16 << 20 // bytes of all strings in it
	maxBits     = 4096     // of a number's binary exponent
)

var errTooLarge = errors.New("value too large")

// tooLarge says why a value exceeds the bounds, or returns "".
func tooLarge(v cty.Value) string {
	elements, text, why := 0, 0, ""
	err := cty.Walk(v, func(_ cty.Path, v cty.Value) (bool, error) {
		v, _ = v.Unmark()
		elements++
		if v.IsKnown() && !v.IsNull() {
			switch v.Type() {
			case cty.String:
				text += len(v.AsString())
			case cty.Number:
				if e := v.AsBigFloat().MantExp(nil); e > maxBits || e < -maxBits {
					why = fmt.Sprintf("has a number beyond 2 to the power of %d", maxBits)
				}
			}
		}
		switch {
		case elements > maxElements:
			why = fmt.Sprintf("has more than %d elements", maxElements)
		case text > maxText:
			why = fmt.Sprintf("has more than %d MiB of text", maxText>>20)
		}
		if why != "" {
			return false, errTooLarge
		}
		return true, nil
	})
	if err != nil {
		return why
	}
	return ""
}
