package bottlefile

import (
	"fmt"
	"math/big"
	"slices"
)

// text returns a string attribute that is not empty.
func (d *decoder) text(name string) (value, bool) {
	v, ok := d.get(name)
	if ok && v.AsString() == "" {
		if v.attr.schema.Required {
			d.fault(v, "Empty value", "%s is empty, and required.", name)
		} else {
			d.fault(v, "Empty value", "%s is empty. Leave the attribute out instead, or set it to null.", name)
		}
		return v, false
	}
	return v, ok
}

// word returns a string attribute that is one of options.
func (d *decoder) word(name, fallback string, options []string) string {
	v, ok := d.text(name)
	if !ok {
		return fallback
	}
	s := v.AsString()
	if !slices.Contains(options, s) {
		hint := ""
		if m := suggest(s, options); m != "" && !v.sensitive {
			hint = fmt.Sprintf(" Did you mean %q?", m)
		}
		d.fault(v, fmt.Sprintf("Invalid %s", name), "%s is %s, not %s.%s", name, oneOf(options), v.quote(), hint)
		return fallback
	}
	return s
}

func (d *decoder) boolean(name string, fallback bool) (bool, value) {
	v, ok := d.get(name)
	if !ok {
		return fallback, value{}
	}
	return v.True(), v
}

// integer returns a whole number from 1 to high, or 0.
func (d *decoder) integer(name string, high int64) (int, bool) {
	return d.whole(name, 1, high)
}

// whole returns a whole number from low to high, or 0.
func (d *decoder) whole(name string, low, high int64) (int, bool) {
	v, ok := d.get(name)
	if !ok {
		return 0, false
	}
	n, accuracy := v.AsBigFloat().Int64()
	if accuracy != big.Exact || n < low || n > high {
		d.fault(v, fmt.Sprintf("Invalid %s", name), "%s is a whole number from %d to %d, not %s.", name, low, high, v.quote())
		return 0, false
	}
	return int(n), true
}

// unset reports whether an attribute is not written or null.
func (d *decoder) unset(name string) bool {
	if d.b.attrs[name] == nil {
		return true
	}
	before := len(d.res.diags)
	v, _ := d.get(name)
	d.res.diags = d.res.diags[:before] // whoever reads the value reports it
	return v.null
}

// list returns the elements of a list of strings.
func (d *decoder) list(name string) []value {
	v, ok := d.get(name)
	if !ok {
		return nil
	}
	all := v.AsValueSlice()
	elements := make([]value, 0, len(all))
	for i, e := range all {
		element := value{Value: e, attr: v.attr, sensitive: v.sensitive, number: i + 1}
		if e.IsNull() {
			d.fault(v, "Null value", "%s is null. Leave the element out.", element.name())
			continue
		}
		elements = append(elements, element)
	}
	return elements
}

// texts returns a list of strings.
func (d *decoder) texts(name string) []string {
	vs := d.list(name)
	if len(vs) == 0 {
		return nil
	}
	ss := make([]string, len(vs))
	for i, v := range vs {
		ss[i] = v.AsString()
	}
	return ss
}

// dict returns a map of strings. A null element is left out. check, if not nil,
// says what is wrong with a key.
func (d *decoder) dict(name string, check func(key string) string) map[string]string {
	v, ok := d.get(name)
	if !ok || v.LengthInt() == 0 {
		return nil
	}
	m := map[string]string{}
	for it := v.ElementIterator(); it.Next(); {
		k, e := it.Element()
		key := k.AsString()
		if check != nil {
			if why := check(key); why != "" {
				if v.sensitive {
					why = "the reason is not shown, since it could show the name"
				}
				d.fault(v, fmt.Sprintf("Invalid name in %s", name), "%s: %s.", show(k, v.sensitive), why)
			}
		}
		if !e.IsNull() {
			m[key] = e.AsString()
		}
	}
	return m
}
