// Package importer writes bottle files out of what people have already:
// Dockerfiles, the files of docker buildx bake, and compose files.
//
// Bake's HCL is translated as it is written: variables stay variables, and
// expressions stay expressions. Its own package, github.com/docker/buildx/bake,
// would yield values in place of both, and brings 1219 packages with it, more
// than all of bottlebuild. Compose files are read by compose-go.
package importer

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclwrite"

	bottlefile "bottlebuild/hcl"
	"bottlebuild/internal/lazyregexp"
)

// Result is a bottle file.
type Result struct {
	Source []byte // in canonical form
	// Warnings say what could not be carried over, each starting with its place:
	// "docker-bake.hcl:12: …". Where it has one, the bottle file has it as a
	// comment too.
	Warnings []string
}

// file is a bottle file in the making.
type file struct {
	head     []string // comment at its top
	blocks   []*block
	warnings []string
	notes    []string // comments before the first block
	// registries has the names of registries, and hosts the name of each by its host
	// and path.
	registries names
	hosts      map[string]string
	// explained tells that a machine has comments on what else there is.
	explained bool
}

// block is a block in the making. Its items and blocks are written in order.
type block struct {
	comments []string // before it
	header   string   // `image "web"`
	items    []string // lines: attributes and comments
	blocks   []*block
}

// newFile starts a file that is made from others.
func newFile(from []bottlefile.Source) *file {
	var names, flags []string
	for _, s := range from {
		base := filepath.Base(s.Path)
		names = append(names, base)
		flags = append(flags, " --from "+base)
	}
	return &file{hosts: map[string]string{}, head: []string{
		"Made from " + strings.Join(names, " and ") + " by: bottlebuild init" + strings.Join(flags, ""),
		"What could not be carried over stands in comments. Check it with: bottlebuild validate",
	}}
}

func (f *file) add(header string, comments ...string) *block {
	b := &block{header: header, comments: comments}
	f.blocks = append(f.blocks, b)
	return b
}

func (f *file) warn(place, format string, args ...any) string {
	text := fmt.Sprintf(format, args...)
	if w := place + ": " + text; !slices.Contains(f.warnings, w) {
		f.warnings = append(f.warnings, w)
	}
	return text
}

// note adds a comment that belongs to no block.
func (f *file) note(text string) {
	f.notes = append(f.notes, strings.Split(strings.TrimRight(text, "\n"), "\n")...)
}

func (b *block) block(header string) *block {
	n := &block{header: header}
	b.blocks = append(b.blocks, n)
	return n
}

// set adds an attribute; expr is source text.
func (b *block) set(name, expr string) { b.items = append(b.items, name+" = "+expr) }

// comment adds lines of comment.
func (b *block) comment(text string) {
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		b.items = append(b.items, strings.TrimRight("# "+line, " "))
	}
}

// ranks is the order of blocks in a file.
var ranks = []string{"variable", "locals", "secret", "registry", "image", "group"}

// rank returns where a block belongs; bottles stand with the images.
func (b *block) rank() int {
	kind, _, _ := strings.Cut(b.header, " ")
	if kind == "bottle" {
		kind = "image"
	}
	return slices.Index(ranks, kind)
}

func (f *file) result() Result {
	var s strings.Builder
	slices.SortStableFunc(f.blocks, func(a, b *block) int { return a.rank() - b.rank() })
	for _, line := range f.head {
		s.WriteString(strings.TrimRight("# "+line, " ") + "\n")
	}
	for i, line := range f.notes {
		if i == 0 {
			s.WriteString("\n")
		}
		s.WriteString(strings.TrimRight("# "+line, " ") + "\n")
	}
	for _, b := range f.blocks {
		s.WriteString("\n")
		b.write(&s)
	}
	return Result{Source: hclwrite.Format([]byte(strings.TrimLeft(s.String(), "\n"))), Warnings: f.warnings}
}

func (b *block) write(s *strings.Builder) {
	for _, line := range b.comments {
		s.WriteString(strings.TrimRight("# "+line, " ") + "\n")
	}
	if len(b.items)+len(b.blocks) == 0 {
		s.WriteString(b.header + " {}\n")
		return
	}
	s.WriteString(b.header + " {\n")
	for _, item := range b.items {
		s.WriteString(item + "\n")
	}
	for i, n := range b.blocks {
		if i > 0 || len(b.items) > 0 {
			s.WriteString("\n")
		}
		n.write(s)
	}
	s.WriteString("}\n")
}

// written returns the source of blocks.
func written(blocks []*block) string {
	var s strings.Builder
	for i, b := range blocks {
		if i > 0 {
			s.WriteString("\n")
		}
		b.write(&s)
	}
	return string(hclwrite.Format([]byte(s.String())))
}

// quote writes a text as an expression in which nothing is a template.
func quote(s string) string {
	return string(hclwrite.TokensForValue(stringValue(s)).Bytes())
}

func quotes(texts []string) []string {
	var exprs []string
	for _, s := range texts {
		exprs = append(exprs, quote(s))
	}
	return exprs
}

// quoteTemplate writes a text as an expression, and leaves the templates in it.
func quoteTemplate(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	depth := 0 // of braces inside ${ or %{
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case depth > 0:
			b.WriteByte(c)
			if c == '{' {
				depth++
			} else if c == '}' {
				depth--
			}
		case (c == '$' || c == '%') && strings.HasPrefix(s[i+1:], "{") && (i == 0 || s[i-1] != c):
			b.WriteString(s[i : i+2])
			depth, i = 1, i+1
		case c == '"' || c == '\\':
			b.WriteString(`\` + string(c))
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

var (
	quotedPart = lazyregexp.New(`\$\{"([^"\\$%]*)"\}`)
	onlyPart   = lazyregexp.New(`^\$\{([^{}"]*)\}$`)
)

// template writes what stands between quotes as an expression, without quotes and
// braces that it does not need.
func template(inner string) string {
	inner = quotedPart.ReplaceAllString(inner, "$1")
	if m := onlyPart.FindStringSubmatch(inner); m != nil {
		return m[1]
	}
	return `"` + inner + `"`
}

func list(exprs []string) string { return "[" + strings.Join(exprs, ", ") + "]" }

// pair is an element of a map in the making.
type pair struct{ key, expr string }

// object writes a map, on one line if it is short.
func object(pairs []pair) string {
	if len(pairs) == 0 {
		return "{}"
	}
	var elements []string
	n := 0
	for _, p := range pairs {
		e := mapKey(p.key) + " = " + p.expr
		n += len(e) + 2
		elements = append(elements, e)
	}
	if len(pairs) == 1 && n < 90 && !strings.Contains(elements[0], "\n") {
		return "{ " + elements[0] + " }"
	}
	return "{\n" + strings.Join(elements, "\n") + "\n}"
}

var identifier = lazyregexp.New(`^[A-Za-z_][A-Za-z0-9_-]*$`)

func mapKey(k string) string {
	if identifier.MatchString(k) && !slices.Contains([]string{"for", "null", "true", "false"}, k) {
		return k
	}
	return quote(k)
}

// names gives declarations names that the language takes, each its own.
type names struct{ used map[string]bool }

func (n *names) pick(wanted string) string {
	s := strings.Map(func(r rune) rune {
		if r == '_' || r == '-' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' {
			return r
		}
		return '-'
	}, wanted)
	if s == "" || !identifier.MatchString(s) {
		s = "_" + s
	}
	s = s[:min(len(s), 100)]
	if n.used == nil {
		n.used = map[string]bool{}
	}
	for i, base := 2, s; n.used[s]; i++ {
		s = fmt.Sprintf("%s-%d", base, i)
	}
	n.used[s] = true
	return s
}
