package bottlefile

import (
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

var anyMarked = []function.Parameter{{Name: "value", Type: cty.DynamicPseudoType, AllowUnknown: true, AllowNull: true, AllowMarked: true, AllowDynamicType: true}}

func sameType(args []cty.Value) (cty.Type, error) { return args[0].Type(), nil }

var (
	sensitiveFunc = function.New(&function.Spec{
		Description: "Keeps a value, and all that is made from it, from being printed.",
		Params:      anyMarked, Type: sameType,
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) { return markSensitive(args[0]), nil },
	})
	nonsensitiveFunc = function.New(&function.Spec{
		Description: "Lets a value be printed that was made from a sensitive one but does not show it.",
		Params:      anyMarked, Type: sameType,
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			v, paths := args[0].UnmarkDeepWithPaths()
			for i := range paths {
				delete(paths[i].Marks, sensitiveMark{})
			}
			return v.MarkWithPaths(paths), nil
		},
	})
	isSensitiveFunc = function.New(&function.Spec{
		Description: "Whether a value is kept from being printed.",
		Params:      anyMarked, Type: function.StaticReturnType(cty.Bool),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) { return cty.BoolVal(isSensitive(args[0])), nil },
	})
)
