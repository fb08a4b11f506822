package bottlefile

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

var (
	endsWithFunc    = textTest("Whether the string ends with the suffix.", "suffix", strings.HasSuffix)
	strContainsFunc = textTest("Whether the string contains the other.", "substr", strings.Contains)

	basenameFunc = textFunc("The last element of a path.", func(s string) (string, error) { return path.Base(s), nil })
	dirnameFunc  = textFunc("All but the last element of a path.", func(s string) (string, error) { return path.Dir(s), nil })

	urlEncodeFunc    = textFunc("Escapes a string for the query of a URL.", func(s string) (string, error) { return url.QueryEscape(s), nil })
	urlDecodeFunc    = textFunc("Reverses urlencode.", url.QueryUnescape)
	base64EncodeFunc = textFunc("Base64 of the string's bytes.", func(s string) (string, error) { return base64.StdEncoding.EncodeToString([]byte(s)), nil })
	base64DecodeFunc = textFunc("Reverses base64encode; the result must be UTF-8.", func(s string) (string, error) {
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return "", errors.New("it is not base64")
		}
		if !utf8.Valid(b) {
			return "", errors.New("the result is not UTF-8, and strings are")
		}
		return string(b), nil
	})

	md5Func    = hashFunc("MD5", func(b []byte) []byte { h := md5.Sum(b); return h[:] }, hex.EncodeToString)
	sha1Func   = hashFunc("SHA-1", func(b []byte) []byte { h := sha1.Sum(b); return h[:] }, hex.EncodeToString)
	sha256Func = hashFunc("SHA-256", sum256, hex.EncodeToString)
	sha512Func = hashFunc("SHA-512", sum512, hex.EncodeToString)

	base64SHA256Func = hashFunc("SHA-256 in base64", sum256, base64.StdEncoding.EncodeToString)
	base64SHA512Func = hashFunc("SHA-512 in base64", sum512, base64.StdEncoding.EncodeToString)
)

func sum256(b []byte) []byte { h := sha256.Sum256(b); return h[:] }
func sum512(b []byte) []byte { h := sha512.Sum512(b); return h[:] }

func hashFunc(name string, sum func([]byte) []byte, encode func([]byte) string) function.Function {
	return textFunc(name+" of the string's bytes.", func(s string) (string, error) { return encode(sum([]byte(s))), nil })
}

func textTest(description, second string, test func(s, t string) bool) function.Function {
	return function.New(&function.Spec{
		Description: description,
		Params:      []function.Parameter{{Name: "str", Type: cty.String}, {Name: second, Type: cty.String}},
		Type:        function.StaticReturnType(cty.Bool), RefineResult: notNull,
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			return cty.BoolVal(test(args[0].AsString(), args[1].AsString())), nil
		},
	})
}

// startsWithFunc can tell of a string of which only the start is known.
var startsWithFunc = function.New(&function.Spec{
	Description: "Whether the string starts with the prefix.",
	Params:      []function.Parameter{{Name: "str", Type: cty.String, AllowUnknown: true}, {Name: "prefix", Type: cty.String}},
	Type:        function.StaticReturnType(cty.Bool), RefineResult: notNull,
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		s, prefix := args[0], args[1].AsString()
		if s.IsKnown() {
			return cty.BoolVal(strings.HasPrefix(s.AsString(), prefix)), nil
		}
		switch start := s.Range().StringPrefix(); {
		case strings.HasPrefix(start, prefix):
			return cty.True, nil
		case !strings.HasPrefix(prefix, start):
			return cty.False, nil
		}
		return cty.UnknownVal(cty.Bool), nil
	},
})

// replaceFunc takes a pattern between slashes as a regular expression.
var replaceFunc = function.New(&function.Spec{
	Description: "Replaces each occurrence of a substring, or of a regular expression if it stands between slashes.",
	Params:      []function.Parameter{{Name: "str", Type: cty.String}, {Name: "substr", Type: cty.String}, {Name: "replace", Type: cty.String}},
	Type:        function.StaticReturnType(cty.String),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		s, old, with := args[0].AsString(), args[1].AsString(), args[2].AsString()
		var re *regexp.Regexp
		if len(old) > 1 && strings.HasPrefix(old, "/") && strings.HasSuffix(old, "/") {
			var err error
			if re, err = regexp.Compile(old[1 : len(old)-1]); err != nil {
				return cty.UnknownVal(cty.String), function.NewArgError(1, err)
			}
		}
		if len(with) > 0 && len(s)*len(with) > maxText {
			return cty.UnknownVal(cty.String), fmt.Errorf("the result could have more than %d MiB", maxText>>20)
		}
		if re != nil {
			return cty.StringVal(re.ReplaceAllString(s, with)), nil
		}
		return cty.StringVal(strings.ReplaceAll(s, old, with)), nil
	},
})
