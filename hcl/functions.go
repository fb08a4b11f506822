package bottlefile

import (
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/tryfunc"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"

	"bottlebuild/internal/lazyregexp"
)

// pureFunctions are those whose result depends on nothing but their arguments.
// Those of Terraform's names do what Terraform's do. There is no clock, no
// randomness and no environment among them.
var pureFunctions = map[string]function.Function{
	// numbers
	"abs": stdlib.AbsoluteFunc, "ceil": stdlib.CeilFunc, "floor": stdlib.FloorFunc, "log": stdlib.LogFunc,
	"int": stdlib.IntFunc, "max": stdlib.MaxFunc, "min": stdlib.MinFunc, "parseint": stdlib.ParseIntFunc, "pow": stdlib.PowFunc, "signum": stdlib.SignumFunc,

	// operators, as bake has them
	"add": stdlib.AddFunc, "and": stdlib.AndFunc, "divide": stdlib.DivideFunc, "equal": stdlib.EqualFunc, "greaterthan": stdlib.GreaterThanFunc,
	"greaterthanorequalto": stdlib.GreaterThanOrEqualToFunc, "lessthan": stdlib.LessThanFunc, "lessthanorequalto": stdlib.LessThanOrEqualToFunc,
	"modulo": stdlib.ModuloFunc, "multiply": stdlib.MultiplyFunc, "negate": stdlib.NegateFunc, "not": stdlib.NotFunc, "notequal": stdlib.NotEqualFunc,
	"or": stdlib.OrFunc, "subtract": stdlib.SubtractFunc,

	// text
	"chomp": stdlib.ChompFunc, "endswith": endsWithFunc, "format": guarded(stdlib.FormatFunc, checkFormat),
	"formatlist": guarded(stdlib.FormatListFunc, checkFormat), "indent": guarded(stdlib.IndentFunc, checkIndent), "join": stdlib.JoinFunc, "lower": stdlib.LowerFunc,
	"regex": stdlib.RegexFunc, "regex_replace": stdlib.RegexReplaceFunc, "regexall": stdlib.RegexAllFunc, "replace": replaceFunc, "split": stdlib.SplitFunc,
	"startswith": startsWithFunc, "strcontains": strContainsFunc, "strlen": stdlib.StrlenFunc, "strrev": stdlib.ReverseFunc, "substr": stdlib.SubstrFunc,
	"title": stdlib.TitleFunc, "trim": stdlib.TrimFunc, "trimprefix": stdlib.TrimPrefixFunc, "trimspace": stdlib.TrimSpaceFunc,
	"trimsuffix": stdlib.TrimSuffixFunc, "upper": stdlib.UpperFunc,

	// collections
	"alltrue": collected(allTrueFunc, maxElements), "anytrue": collected(anyTrueFunc, maxElements), "chunklist": collected(stdlib.ChunklistFunc, maxCompared), "coalesce": coalesceFunc,
	"coalescelist": stdlib.CoalesceListFunc, "compact": stdlib.CompactFunc, "concat": stdlib.ConcatFunc, "contains": stdlib.ContainsFunc,
	"distinct": collected(stdlib.DistinctFunc, maxCompared), "element": stdlib.ElementFunc, "flatten": stdlib.FlattenFunc, "hasindex": stdlib.HasIndexFunc, "index": indexFunc,
	"keys": stdlib.KeysFunc, "length": lengthFunc, "lookup": lookupFunc, "matchkeys": collected(matchKeysFunc, maxCompared), "merge": stdlib.MergeFunc,
	"one": oneFunc, "range": stdlib.RangeFunc, "reverse": stdlib.ReverseListFunc, "setintersection": collected(stdlib.SetIntersectionFunc, maxCompared),
	"setproduct": guarded(stdlib.SetProductFunc, checkProduct), "sethaselement": stdlib.SetHasElementFunc, "setsymmetricdifference": collected(stdlib.SetSymmetricDifferenceFunc, maxCompared), "setsubtract": collected(stdlib.SetSubtractFunc, maxCompared), "setunion": collected(stdlib.SetUnionFunc, maxCompared),
	"slice": stdlib.SliceFunc, "sort": stdlib.SortFunc, "sum": sumFunc, "transpose": transposeFunc, "values": stdlib.ValuesFunc, "zipmap": stdlib.ZipmapFunc,

	// encodings
	"base64decode": base64DecodeFunc, "base64encode": base64EncodeFunc, "csvdecode": stdlib.CSVDecodeFunc,
	"jsondecode": guarded(stdlib.JSONDecodeFunc, checkJSON), "jsonencode": guarded(stdlib.JSONEncodeFunc, checkEncoded), "urldecode": urlDecodeFunc, "urlencode": urlEncodeFunc,

	// hashes
	"md5": md5Func, "sha1": sha1Func, "sha256": sha256Func, "sha512": sha512Func, "base64sha256": base64SHA256Func, "base64sha512": base64SHA512Func,

	// networks
	"cidrhost": cidrHostFunc, "cidrnetmask": cidrNetmaskFunc, "cidrsubnet": cidrSubnetFunc, "cidrsubnets": cidrSubnetsFunc, "stable_subnet": stableSubnetFunc,

	// paths and times
	"basename": basenameFunc, "dirname": dirnameFunc, "formatdate": stdlib.FormatDateFunc, "timeadd": stdlib.TimeAddFunc,

	// types
	"can": tryfunc.CanFunc, "try": tryfunc.TryFunc, "tobool": stdlib.MakeToFunc(cty.Bool), "tolist": toFunc(cty.List(cty.DynamicPseudoType)),
	"tomap": toFunc(cty.Map(cty.DynamicPseudoType)), "tonumber": guarded(stdlib.MakeToFunc(cty.Number), checkConversion(cty.Number)), "toset": toFunc(cty.Set(cty.DynamicPseudoType)),
	"tostring": guarded(stdlib.MakeToFunc(cty.String), checkConversion(cty.String)), "sensitive": sensitiveFunc, "nonsensitive": nonsensitiveFunc, "issensitive": isSensitiveFunc,
}

// allFunctions returns what expressions of the file can call.
func (f *File) allFunctions() map[string]function.Function {
	all := maps.Clone(boundedFunctions())
	maps.Copy(all, f.files.functions(f.iterations.function()))
	return all
}

// functionsOnly returns a context with all functions and no values.
func (f *File) functionsOnly() *hcl.EvalContext {
	return &hcl.EvalContext{Functions: f.functions}
}

// guarded wraps a function whose arguments can ask for more memory or time than
// there is.
func guarded(f function.Function, check func(args []cty.Value) error) function.Function {
	return function.New(&function.Spec{
		Description: f.Description(),
		Params:      f.Params(),
		VarParam:    f.VarParam(),
		Type: func(args []cty.Value) (cty.Type, error) {
			if err := check(args); err != nil {
				return cty.NilType, err
			}
			return f.ReturnTypeForValues(args)
		},
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) { return f.Call(args) },
	})
}

// checkConversion bounds what is converted to a primitive type.
func checkConversion(ty cty.Type) func([]cty.Value) error {
	return func(args []cty.Value) error {
		if why := unwritable(args[0], ty); why != "" {
			return function.NewArgErrorf(0, "%s", why)
		}
		return nil
	}
}

var (
	widthRE   = lazyregexp.New(`%[^A-Za-z%]*[0-9]{5}`)
	numericRE = lazyregexp.New(`%[^A-Za-z%]*[bdoxXeEfFgG]`)
	numberRE  = lazyregexp.New(`^[-+]?[0-9._]+([eEpP][-+]?[0-9]+)?$`)
)

func checkFormat(args []cty.Value) error {
	if err := checkNoSecret(args); err != nil {
		return err
	}
	f, _ := args[0].Unmark()
	if f.IsKnown() && !f.IsNull() && widthRE.MatchString(f.AsString()) {
		return function.NewArgErrorf(0, "a width or precision may have at most four digits")
	}
	if !f.IsKnown() || f.IsNull() || !numericRE.MatchString(f.AsString()) {
		return nil
	}
	for i, arg := range args[1:] { // a text is made a number where the format wants one
		arg, _ = arg.UnmarkDeep()
		long := false
		_ = cty.Walk(arg, func(_ cty.Path, v cty.Value) (bool, error) {
			if v.Type() == cty.String && v.IsKnown() && !v.IsNull() {
				text := v.AsString()
				long = long || numberRE.MatchString(text) && exponent([]byte(text)) > maxExponent
			}
			return !long, nil
		})
		if long {
			return function.NewArgErrorf(1+i, "the exponent of a number in it is over %d", maxExponent)
		}
	}
	return nil
}

// checkNoSecret keeps where a secret is to be had from being made a text, which
// would look like the secret itself.
func checkNoSecret(args []cty.Value) error {
	for i, a := range args {
		if hasSecret(a.Type()) {
			return function.NewArgErrorf(i, "it is or has a secret, which is no text")
		}
	}
	return nil
}

func checkIndent(args []cty.Value) error {
	n, _ := args[0].Unmark()
	if n.IsKnown() && !n.IsNull() && (n.GreaterThan(cty.NumberIntVal(1000)).True() || n.LessThan(cty.Zero).True()) {
		return function.NewArgErrorf(0, "the number of spaces is from 0 to 1000")
	}
	return nil
}

func checkProduct(args []cty.Value) error {
	n := 1
	for _, a := range args {
		if a, _ = a.Unmark(); a.IsKnown() && !a.IsNull() && a.CanIterateElements() {
			n *= max(1, a.LengthInt())
		}
		if n > MaxInstances {
			return fmt.Errorf("the product has more than %d elements", MaxInstances)
		}
	}
	return nil
}

// checkJSON bounds the nesting of a JSON text, whose decoder recurses, and its
// numbers.
func checkJSON(args []cty.Value) error {
	s, _ := args[0].Unmark()
	if !s.IsKnown() || s.IsNull() {
		return nil
	}
	depth, inString := 0, false
	text := s.AsString()
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > MaxNesting {
				return function.NewArgErrorf(0, "it is nested more than %s deep", strconv.Itoa(MaxNesting))
			}
		case c == '}' || c == ']':
			depth--
		case c >= '0' && c <= '9':
			end := i + 1
			for end < len(text) && strings.IndexByte("0123456789.eE+-", text[end]) >= 0 {
				end++
			}
			if exponent([]byte(text[i:end])) > maxExponent {
				return function.NewArgErrorf(0, "the exponent of a number in it is over %d", maxExponent)
			}
			i = end - 1
		}
	}
	return nil
}

// checkEncoded is what functions take that write a value as a text.
func checkEncoded(args []cty.Value) error {
	for i, a := range args {
		if why := tooLarge(a); why != "" {
			return function.NewArgErrorf(i, "it %s", why)
		}
	}
	return checkNoSecret(args)
}

// notNull is of functions whose result is never null, also before it is known.
func notNull(b *cty.RefinementBuilder) *cty.RefinementBuilder { return b.NotNull() }

// textFunc makes a function from one string to another.
func textFunc(description string, impl func(string) (string, error)) function.Function {
	return function.New(&function.Spec{
		Description: description,
		Params:      []function.Parameter{{Name: "str", Type: cty.String}},
		Type:        function.StaticReturnType(cty.String), RefineResult: notNull,
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			s, err := impl(args[0].AsString())
			if err != nil {
				return cty.UnknownVal(cty.String), function.NewArgError(0, err)
			}
			return cty.StringVal(s), nil
		},
	})
}

// HasFunction tells whether expressions of a bottle file can call a function.
func HasFunction(name string) bool { return functionDocs()[name].text != "" }
