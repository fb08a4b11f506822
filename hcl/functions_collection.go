package bottlefile

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

var (
	allTrueFunc = truthFunc("Whether all elements are true, also of an empty list.", false)
	anyTrueFunc = truthFunc("Whether some element is true.", true)
)

// truthFunc looks for an element that decides the result by itself.
func truthFunc(description string, decisive bool) function.Function {
	return function.New(&function.Spec{
		Description: description,
		Params:      []function.Parameter{{Name: "list", Type: cty.List(cty.Bool)}},
		Type:        function.StaticReturnType(cty.Bool), RefineResult: notNull,
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			unknown := false
			for it := args[0].ElementIterator(); it.Next(); {
				_, v := it.Element()
				switch {
				case !v.IsKnown():
					unknown = true
				case !v.IsNull() && v.True() == decisive, v.IsNull() && !decisive:
					return cty.BoolVal(decisive), nil
				}
			}
			if unknown {
				return cty.UnknownVal(cty.Bool), nil
			}
			return cty.BoolVal(!decisive), nil
		},
	})
}

// coalesceFunc also passes over empty strings.
var coalesceFunc = function.New(&function.Spec{
	Description:  "The first argument that is neither null nor an empty string.",
	VarParam:     &function.Parameter{Name: "vals", Type: cty.DynamicPseudoType, AllowUnknown: true, AllowDynamicType: true, AllowNull: true},
	RefineResult: notNull,
	Type: func(args []cty.Value) (cty.Type, error) {
		types := make([]cty.Type, len(args))
		for i, v := range args {
			types[i] = v.Type()
		}
		ty, _ := convert.UnifyUnsafe(types)
		if ty == cty.NilType {
			return ty, errors.New("all arguments must have the same type")
		}
		return ty, nil
	},
	Impl: func(args []cty.Value, ty cty.Type) (cty.Value, error) {
		for _, v := range args {
			v, err := convert.Convert(v, ty)
			if err != nil {
				return cty.NilVal, err
			}
			if !v.IsKnown() {
				return cty.UnknownVal(ty), nil
			}
			if v.IsNull() || v.Type() == cty.String && v.AsString() == "" {
				continue
			}
			return v, nil
		}
		return cty.NilVal, errors.New("no argument is other than null or an empty string")
	},
})

var indexFunc = function.New(&function.Spec{
	Description: "The position of a value in a list, counted from 0.",
	Params:      []function.Parameter{{Name: "list", Type: cty.DynamicPseudoType}, {Name: "value", Type: cty.DynamicPseudoType}},
	Type:        function.StaticReturnType(cty.Number),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		if ty := args[0].Type(); !ty.IsListType() && !ty.IsTupleType() {
			return cty.NilVal, function.NewArgErrorf(0, "it must be a list or tuple")
		}
		n := int64(0)
		for it := args[0].ElementIterator(); it.Next(); n++ {
			_, v := it.Element()
			eq, err := stdlib.Equal(v, args[1])
			if err != nil {
				return cty.NilVal, err
			}
			if !eq.IsKnown() {
				return cty.UnknownVal(cty.Number), nil
			}
			if eq.True() {
				return cty.NumberIntVal(n), nil
			}
		}
		return cty.NilVal, errors.New("the value is not in the list")
	},
})

// lengthFunc also counts the characters of a string.
var lengthFunc = function.New(&function.Spec{
	Description: "The number of elements of a collection, or of characters of a string.",
	// Marks of elements say nothing of how many there are.
	Params:       []function.Parameter{{Name: "value", Type: cty.DynamicPseudoType, AllowUnknown: true, AllowDynamicType: true, AllowMarked: true}},
	RefineResult: notNull,
	Type: func(args []cty.Value) (cty.Type, error) {
		ty := args[0].Type()
		if ty == cty.String || ty == cty.DynamicPseudoType || ty.IsTupleType() || ty.IsObjectType() || ty.IsCollectionType() {
			return cty.Number, nil
		}
		return cty.Number, function.NewArgErrorf(0, "it must be a string, a list, a map or the like")
	},
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		v, marks := args[0].Unmark()
		n, err := count(v)
		return n.WithMarks(marks), err
	},
})

func count(v cty.Value) (cty.Value, error) {
	ty := v.Type()
	switch {
	case ty == cty.DynamicPseudoType:
		return cty.UnknownVal(cty.Number), nil
	case ty.IsTupleType():
		return cty.NumberIntVal(int64(ty.Length())), nil
	case ty.IsObjectType():
		return cty.NumberIntVal(int64(len(ty.AttributeTypes()))), nil
	case ty == cty.String && v.IsKnown():
		if utf8.RuneCountInString(v.AsString()) == 0 {
			return cty.Zero, nil
		}
		return stdlib.Strlen(v)
	case ty == cty.String:
		return cty.UnknownVal(cty.Number).Refine().NotNull().NumberRangeLowerBound(cty.Zero, true).NewValue(), nil
	}
	return v.Length(), nil
}

var lookupFunc = function.New(&function.Spec{
	Description: "The element of a map for a key, or a default if there is none.",
	// Marks of other elements are not on the one that is found.
	Params:   []function.Parameter{{Name: "map", Type: cty.DynamicPseudoType, AllowMarked: true, AllowUnknown: true}, {Name: "key", Type: cty.String, AllowMarked: true, AllowUnknown: true}},
	VarParam: &function.Parameter{Name: "default", Type: cty.DynamicPseudoType, AllowNull: true, AllowUnknown: true, AllowDynamicType: true, AllowMarked: true},
	Type: func(args []cty.Value) (cty.Type, error) {
		key, _ := args[1].Unmark()
		switch ty := args[0].Type(); {
		case len(args) > 3:
			return cty.NilType, errors.New("it takes a map, a key and at most one default")
		case ty.IsMapType():
			if len(args) == 3 {
				if _, err := convert.Convert(args[2], ty.ElementType()); err != nil {
					return cty.NilType, wrongDefault(err)
				}
			}
			return ty.ElementType(), nil
		case !ty.IsObjectType():
			return cty.NilType, function.NewArgErrorf(0, "it must be a map or an object")
		case !key.IsKnown():
			return cty.DynamicPseudoType, nil
		case ty.HasAttribute(key.AsString()):
			return ty.AttributeType(key.AsString()), nil
		case len(args) == 3:
			return args[2].Type(), nil
		}
		return cty.NilType, noElement(args[1])
	},
	Impl: func(args []cty.Value, ty cty.Type) (cty.Value, error) {
		m, marks := args[0].Unmark()
		key, keyMarks := args[1].Unmark()
		if !m.IsKnown() || !key.IsKnown() {
			return cty.UnknownVal(ty).WithMarks(marks, keyMarks), nil
		}
		switch name := key.AsString(); {
		case m.Type().IsObjectType() && m.Type().HasAttribute(name):
			return m.GetAttr(name).WithMarks(marks, keyMarks), nil
		case m.Type().IsMapType():
			if has := m.HasIndex(key); !has.IsKnown() {
				return cty.UnknownVal(ty).WithMarks(marks, keyMarks), nil
			} else if has.True() {
				return m.Index(key).WithMarks(marks, keyMarks), nil
			}
		}
		if len(args) < 3 {
			return cty.NilVal, noElement(args[1])
		}
		v, err := convert.Convert(args[2], ty)
		if err != nil {
			return cty.NilVal, wrongDefault(err)
		}
		return v.WithMarks(marks, keyMarks), nil
	},
})

func wrongDefault(err error) error {
	return function.NewArgErrorf(2, "the default must have the type of the elements: %s", err)
}

func noElement(key cty.Value) error {
	u := unmark(key)
	return fmt.Errorf("there is no element %s, and no default is given", show(u.Value, u.sensitive))
}

var matchKeysFunc = function.New(&function.Spec{
	Description: "The elements of a list for which the element of keys at the same position is in a set.",
	Params: []function.Parameter{
		{Name: "values", Type: cty.List(cty.DynamicPseudoType)}, {Name: "keys", Type: cty.List(cty.DynamicPseudoType)},
		{Name: "searchset", Type: cty.List(cty.DynamicPseudoType)},
	},
	RefineResult: notNull,
	Type:         func(args []cty.Value) (cty.Type, error) { return args[0].Type(), nil },
	Impl: func(args []cty.Value, ty cty.Type) (cty.Value, error) {
		if !args[1].IsWhollyKnown() || !args[2].IsWhollyKnown() {
			return cty.UnknownVal(ty), nil
		}
		if args[0].LengthInt() != args[1].LengthInt() {
			return cty.NilVal, errors.New("values and keys must have the same number of elements")
		}
		var found []cty.Value
		values, keys, search := args[0].AsValueSlice(), args[1].AsValueSlice(), args[2].AsValueSlice()
		for i, k := range keys {
			for _, s := range search {
				eq, err := stdlib.Equal(k, s)
				if err != nil {
					return cty.NilVal, err
				}
				if eq.True() {
					found = append(found, values[i])
					break
				}
			}
		}
		if len(found) == 0 {
			return cty.ListValEmpty(ty.ElementType()), nil
		}
		return cty.ListVal(found), nil
	},
})

var oneFunc = function.New(&function.Spec{
	Description: "The only element of a list or set, or null if it is empty.",
	Params:      []function.Parameter{{Name: "list", Type: cty.DynamicPseudoType}},
	Type: func(args []cty.Value) (cty.Type, error) {
		ty := args[0].Type()
		switch {
		case ty.IsListType() || ty.IsSetType():
			return ty.ElementType(), nil
		case ty.IsTupleType() && ty.Length() == 0:
			return cty.DynamicPseudoType, nil
		case ty.IsTupleType() && ty.Length() == 1:
			return ty.TupleElementType(0), nil
		}
		return cty.NilType, function.NewArgErrorf(0, "it must be a list, set or tuple with at most one element")
	},
	Impl: func(args []cty.Value, ty cty.Type) (cty.Value, error) {
		n := args[0].Length()
		if !n.IsKnown() {
			return cty.UnknownVal(ty), nil
		}
		switch elements := args[0].AsValueSlice(); len(elements) {
		case 0:
			return cty.NullVal(ty), nil
		case 1:
			return elements[0], nil
		}
		return cty.NilVal, function.NewArgErrorf(0, "it must be a list, set or tuple with at most one element")
	},
})

var sumFunc = function.New(&function.Spec{
	Description: "The sum of the numbers in a list or set, of which there is at least one.",
	Params:      []function.Parameter{{Name: "list", Type: cty.DynamicPseudoType}},
	Type:        function.StaticReturnType(cty.Number), RefineResult: notNull,
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		if ty := args[0].Type(); !ty.IsListType() && !ty.IsSetType() && !ty.IsTupleType() {
			return cty.NilVal, function.NewArgErrorf(0, "it must be a list, set or tuple of numbers")
		}
		if args[0].LengthInt() == 0 {
			return cty.NilVal, function.NewArgErrorf(0, "there is nothing to sum")
		}
		total := cty.Zero
		for it := args[0].ElementIterator(); it.Next(); {
			_, v := it.Element()
			n, err := convert.Convert(v, cty.Number)
			if err != nil || n.IsNull() {
				return cty.NilVal, function.NewArgErrorf(0, "it must be a list, set or tuple of numbers")
			}
			if total, err = stdlib.Add(total, n); err != nil {
				return cty.NilVal, err
			}
		}
		return total, nil
	},
})

var transposeFunc = function.New(&function.Spec{
	Description: "Swaps keys and elements of a map of lists of strings.",
	Params:      []function.Parameter{{Name: "map", Type: cty.Map(cty.List(cty.String))}},
	Type:        function.StaticReturnType(cty.Map(cty.List(cty.String))), RefineResult: notNull,
	Impl: func(args []cty.Value, ty cty.Type) (cty.Value, error) {
		if !args[0].IsWhollyKnown() {
			return cty.UnknownVal(ty), nil
		}
		lists := map[string][]cty.Value{}
		for it := args[0].ElementIterator(); it.Next(); { // in the order of the keys
			k, list := it.Element()
			if list.IsNull() {
				return cty.NilVal, errors.New("a list is null")
			}
			for et := list.ElementIterator(); et.Next(); {
				_, e := et.Element()
				if e.IsNull() {
					return cty.NilVal, errors.New("an element is null")
				}
				lists[e.AsString()] = append(lists[e.AsString()], k)
			}
		}
		if len(lists) == 0 {
			return cty.MapValEmpty(cty.List(cty.String)), nil
		}
		m := map[string]cty.Value{}
		for k, l := range lists {
			m[k] = cty.ListVal(l)
		}
		return cty.MapVal(m), nil
	},
})
