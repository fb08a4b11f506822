package bottlefile

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"bottlebuild/internal/lazyregexp"
)

var settingsSchema = &BlockSchema{
	Name: "bottlebuild",
	Doc:  "Settings of the tool itself.",
	Attrs: []*AttrSchema{
		{Name: "required_version", Type: cty.String, TypeName: "version constraint", Early: true,
			Doc: "The versions of bottlebuild that may read this file: \">= 0.2, < 1.0\"."},
	},
}

// checkVersion reports a bottlebuild that the file does not admit.
func (f *File) checkVersion() hcl.Diagnostics {
	a := f.settings.attrs["required_version"]
	if a == nil {
		return nil
	}
	v, diags := a.Expr.Value(nil)
	if diags.HasErrors() {
		return diags
	}
	if v.IsNull() || v.Type() != cty.String {
		return hcl.Diagnostics{errorAt(a.Expr.Range(), "Invalid version constraint", "required_version is a string such as \">= 0.2, < 1.0\".")}
	}
	ok, err := satisfies(f.opts.Version, v.AsString())
	switch {
	case err != nil:
		return hcl.Diagnostics{errorAt(a.Expr.Range(), "Invalid version constraint", "%s. Write constraints as \">= 0.2, < 1.0\".", upperFirst(err.Error()))}
	case !ok:
		return hcl.Diagnostics{errorAt(a.Expr.Range(), "Unsuitable version of bottlebuild", "This file requires bottlebuild %s; this is %s. Install a version that fits, or change required_version.", v.AsString(), f.opts.Version)}
	}
	return nil
}

var constraintRE = lazyregexp.New(`^(=|!=|>=|<=|>|<|~>)?\s*v?(\d+(?:\.\d+){0,2})(-[0-9A-Za-z.-]+)?$`)

// satisfies tells whether a version meets every one of the comma-separated
// constraints. A version that is no number, or that Go makes up for a
// build without a tag (0.0.0-TIME-COMMIT), meets all. "~> 1.2" admits 1.2 and later below 2.0, and "~> 1.2.3" 1.2.3
// and later below 1.3.
func satisfies(version, constraints string) (bool, error) {
	have, haveErr := parseVersion(version)
	all := true
	for c := range strings.SplitSeq(constraints, ",") {
		c = strings.TrimSpace(c)
		m := constraintRE.FindStringSubmatch(c)
		if m == nil {
			return false, fmt.Errorf("%q is no version constraint", c)
		}
		want, err := parseVersion(m[2] + m[3])
		if err != nil {
			return false, err
		}
		untagged := have.numbers == [3]int{} && have.prerelease != ""
		if haveErr == nil && !untagged && !have.meets(m[1], want, strings.Count(m[2], ".")) {
			all = false
		}
	}
	return all, nil
}

type version struct {
	numbers    [3]int
	prerelease string
}

func parseVersion(s string) (version, error) {
	var v version
	s, _, _ = strings.Cut(strings.TrimPrefix(s, "v"), "+")
	s, v.prerelease, _ = strings.Cut(s, "-")
	parts := strings.Split(s, ".")
	if len(parts) > 3 {
		return v, fmt.Errorf("version %q has more than three numbers", s)
	}
	for i, p := range parts {
		n, err := strconv.Atoi(p)
		if err != nil {
			return v, fmt.Errorf("version %q has %q where a number belongs", s, p)
		}
		v.numbers[i] = n
	}
	return v, nil
}

func (v version) compare(w version) int {
	if c := slices.Compare(v.numbers[:], w.numbers[:]); c != 0 || v.prerelease == w.prerelease {
		return c
	}
	switch {
	case v.prerelease == "":
		return 1
	case w.prerelease == "":
		return -1
	}
	return cmp.Compare(v.prerelease, w.prerelease)
}

// meets compares with a wanted version that was written with that many dots.
func (v version) meets(op string, want version, dots int) bool {
	c := v.compare(want)
	switch op {
	case "", "=":
		return c == 0
	case "!=":
		return c != 0
	case ">":
		return c > 0
	case ">=":
		return c >= 0
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	}
	return c >= 0 && slices.Equal(v.numbers[:max(1, dots)], want.numbers[:max(1, dots)])
}

func upperFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
