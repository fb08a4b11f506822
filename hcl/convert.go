package bottlefile

import (
	"errors"
	"fmt"
	"strings"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// maxUnified bounds how many elements of different types are made one type:
// convert compares each type with every other.
const maxUnified = 2000

// convertTo is convert.Convert. Elements of collections it converts one by one,
// where convert would compare the types of all with one another.
func convertTo(v cty.Value, ty cty.Type) (cty.Value, error) {
	if why := unwritable(v, ty); why != "" {
		return cty.NilVal, errors.New(why)
	}
	if v.IsMarked() || !v.IsKnown() || v.IsNull() || !ty.IsCollectionType() {
		return convert.Convert(v, ty)
	}
	from, want := v.Type(), ty.ElementType()
	if want.HasDynamicTypes() {
		if from.IsCollectionType() {
			return convert.Convert(v, ty)
		}
		if c, ok := uniform(v, ty); ok && want == cty.DynamicPseudoType {
			return c, nil
		}
		if (from.IsTupleType() || from.IsObjectType()) && v.LengthInt() > maxUnified {
			return cty.NilVal, fmt.Errorf("it has more than %d elements of different types; give it a type without any", maxUnified)
		}
		return convert.Convert(v, ty)
	}
	switch {
	case ty.IsMapType() && (from.IsObjectType() || from.IsMapType()):
		return convertMap(v, want)
	case (ty.IsListType() || ty.IsSetType()) && (from.IsTupleType() || from.IsListType() || from.IsSetType()):
		return convertList(v, ty)
	}
	return convert.Convert(v, ty)
}

// unwritable says why a number cannot be made a text or a text a number: it would
// have millions of digits.
func unwritable(v cty.Value, ty cty.Type) string {
	if v, _ = v.Unmark(); !v.IsKnown() || v.IsNull() || !ty.IsPrimitiveType() || v.Type() == ty {
		return ""
	}
	switch v.Type() {
	case cty.Number:
		if why := tooLarge(v); why != "" {
			return "it " + why
		}
	case cty.String:
		if s := strings.TrimSpace(v.AsString()); ty == cty.Number && exponent([]byte(s)) > maxExponent {
			return fmt.Sprintf("its exponent may be at most %d", maxExponent)
		}
	}
	return ""
}

func convertMap(v cty.Value, want cty.Type) (cty.Value, error) {
	elements := make(map[string]cty.Value, v.LengthInt())
	for it := v.ElementIterator(); it.Next(); {
		k, e := it.Element()
		e, err := convertTo(e, want)
		if err != nil {
			return cty.NilVal, below(k, err)
		}
		elements[k.AsString()] = e
	}
	if len(elements) == 0 {
		return cty.MapValEmpty(want.WithoutOptionalAttributesDeep()), nil
	}
	return cty.MapVal(elements), nil
}

func convertList(v cty.Value, ty cty.Type) (cty.Value, error) {
	want := ty.ElementType()
	var elements []cty.Value
	for it := v.ElementIterator(); it.Next(); {
		_, e := it.Element()
		e, err := convertTo(e, want)
		if err != nil {
			return cty.NilVal, below(cty.NumberIntVal(int64(len(elements))), err)
		}
		elements = append(elements, e)
	}
	want = want.WithoutOptionalAttributesDeep()
	switch {
	case len(elements) == 0 && ty.IsSetType():
		return cty.SetValEmpty(want), nil
	case len(elements) == 0:
		return cty.ListValEmpty(want), nil
	case ty.IsSetType():
		return cty.SetVal(elements), nil
	}
	return cty.ListVal(elements), nil
}

// below puts the key of an element before the path in an error.
func below(key cty.Value, err error) error {
	at := cty.Path{cty.IndexStep{Key: key}}
	if pe, ok := errors.AsType[cty.PathError](err); ok {
		return append(at, pe.Path...).NewErrorf("%s", pe.Error())
	}
	return at.NewError(err)
}

// uniform makes a list, set or map of a tuple or object whose elements are all
// of one type. It returns false if they are not.
func uniform(v cty.Value, ty cty.Type) (cty.Value, bool) {
	var elements []cty.Value
	switch from := v.Type(); {
	case from.IsTupleType() && (ty.IsListType() || ty.IsSetType()):
		elements = v.AsValueSlice()
	case from.IsObjectType() && ty.IsMapType():
		if m := v.AsValueMap(); len(m) > 0 && cty.CanMapVal(m) {
			return cty.MapVal(m), true
		}
	}
	switch {
	case len(elements) == 0 || elements[0].Type() == cty.DynamicPseudoType || !cty.CanListVal(elements):
		return v, false
	case ty.IsSetType():
		return cty.SetVal(elements), true
	}
	return cty.ListVal(elements), true
}

// toFunc is tolist, toset or tomap.
func toFunc(ty cty.Type) function.Function {
	slow := stdlib.MakeToFunc(ty)
	// fast returns the result if it can be had without comparing types.
	fast := func(v cty.Value) (cty.Value, bool, error) {
		u, marks := v.Unmark()
		if !u.IsKnown() || u.IsNull() {
			return v, false, nil
		}
		from := u.Type()
		if (from.IsTupleType() || from.IsObjectType() || from.IsCollectionType()) && u.LengthInt() > MaxInstances {
			return v, false, function.NewArgErrorf(0, "it has more than %d elements", MaxInstances)
		}
		if c, ok := uniform(u, ty); ok {
			return c.WithMarks(marks), true, nil
		}
		if (from.IsTupleType() || from.IsObjectType()) && u.LengthInt() > maxUnified {
			return v, false, function.NewArgErrorf(0, "it has more than %d elements of different types", maxUnified)
		}
		return v, false, nil
	}
	return function.New(&function.Spec{
		Description: slow.Description(),
		Params:      slow.Params(),
		Type: func(args []cty.Value) (cty.Type, error) {
			c, ok, err := fast(args[0])
			if ok || err != nil {
				return c.Type(), err
			}
			return slow.ReturnTypeForValues(args)
		},
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			if c, ok, err := fast(args[0]); ok || err != nil {
				return c, err
			}
			return slow.Call(args)
		},
	})
}

// collected wraps a function that takes lists or sets, and makes them of tuples
// as convertTo does. They may have up to limit elements.
func collected(f function.Function, limit int) function.Function {
	params := f.Params()
	variadic := f.VarParam()
	wanted := make([]cty.Type, len(params))
	for i := range params {
		wanted[i] = params[i].Type
		params[i].Type = cty.DynamicPseudoType
	}
	var rest cty.Type
	if variadic != nil {
		v := *variadic
		rest, v.Type = v.Type, cty.DynamicPseudoType
		variadic = &v
	}
	converted := func(args []cty.Value) ([]cty.Value, error) {
		out := make([]cty.Value, len(args))
		for i, a := range args {
			ty := rest
			if i < len(wanted) {
				ty = wanted[i]
			}
			u, marks := a.Unmark()
			c, err := convertTo(u, ty)
			if err != nil {
				return nil, function.NewArgError(i, err)
			}
			if c.Type().IsCollectionType() && c.IsKnown() && !c.IsNull() && c.LengthInt() > limit {
				return nil, function.NewArgErrorf(i, "it has more than %d elements", limit)
			}
			out[i] = c.WithMarks(marks)
		}
		return out, nil
	}
	return function.New(&function.Spec{
		Description: f.Description(), Params: params, VarParam: variadic,
		Type: func(args []cty.Value) (cty.Type, error) {
			args, err := converted(args)
			if err != nil {
				return cty.NilType, err
			}
			return f.ReturnTypeForValues(args)
		},
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			args, err := converted(args)
			if err != nil {
				return cty.NilVal, err
			}
			return f.Call(args)
		},
	})
}

// maxCompared bounds the lists whose elements a function may compare with one another.
const maxCompared = 20_000
