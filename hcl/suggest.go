package bottlefile

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/hashicorp/hcl/v2"
)

// suggest returns the option that given was probably meant to be, or "".
func suggest(given string, options []string) string {
	best, bestDistance := "", tolerance(len(given))+1
	for _, o := range options {
		if o == given || len(o) > 2*len(given)+2 {
			continue
		}
		d := levenshtein.Distance(fold(given), fold(o), nil)
		if d < bestDistance {
			best, bestDistance = o, d
		}
	}
	return best
}

// tolerance is how many letters of a name may be wrong.
func tolerance(length int) int {
	switch {
	case length < 2:
		return 0
	case length < 4:
		return 1
	}
	return max(2, length/3)
}

// fold makes names equal that differ only in case and in how words are joined.
func fold(s string) string { return strings.ReplaceAll(strings.ToLower(s), "-", "_") }

// didYouMean returns " Did you mean …?", or what there is to choose from if it is
// short, or "".
func didYouMean(given string, options []string) string {
	if m := suggest(given, options); m != "" {
		return fmt.Sprintf(" Did you mean %q?", m)
	}
	if len(options) == 0 || len(options) > 12 {
		return ""
	}
	return " There is: " + strings.Join(slices.Sorted(slices.Values(options)), ", ") + "."
}

// oneOf returns the words of an enumeration as they are listed in messages.
func oneOf(options []string) string {
	quoted := make([]string, len(options))
	for i, o := range options {
		quoted[i] = strconv.Quote(o)
	}
	if len(quoted) < 2 {
		return strings.Join(quoted, "")
	}
	return strings.Join(quoted[:len(quoted)-1], ", ") + " or " + quoted[len(quoted)-1]
}

// quotedIn returns the first double-quoted word of a message.
func quotedIn(s string) (string, bool) {
	i := strings.IndexByte(s, '"')
	if i < 0 {
		return "", false
	}
	q, err := strconv.QuotedPrefix(s[i:])
	if err != nil {
		return "", false
	}
	u, err := strconv.Unquote(q)
	return u, err == nil
}

func lowerFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}

// place says where a range is, as nodes do: "bottles.hcl:12".
func place(r hcl.Range) string { return fmt.Sprintf("%s:%d", r.Filename, r.Start.Line) }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// sortedAttrs returns attributes in the order of the file.
func sortedAttrs(attrs hcl.Attributes) []*hcl.Attribute {
	return slices.SortedFunc(maps.Values(attrs), func(a, b *hcl.Attribute) int {
		return cmp.Or(cmp.Compare(a.NameRange.Filename, b.NameRange.Filename), cmp.Compare(a.NameRange.Start.Byte, b.NameRange.Start.Byte))
	})
}
