package bottlefile

import (
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"bottlebuild/internal/lazyregexp"
)

// nameRE is what names of declarations look like: they are written unquoted in
// references and on command lines. How long they may be is looked at apart, for
// an expression that counts takes longer to compile than a small file to read.
var nameRE = lazyregexp.New(`^[A-Za-z_][A-Za-z0-9_-]*$`)

// maxDeclared is how long the name of a declaration may be, in bytes.
const maxDeclared = 128

func isName(s string) bool { return len(s) <= maxDeclared && nameRE.MatchString(s) }

// nameTable holds the labels in use, by kind and label.
type nameTable map[string]*block

// add checks a block's label and reports a second block of that label.
func (t nameTable) add(b *block) hcl.Diagnostics {
	kind, name := b.schema.Name, b.label()
	if !isName(name) {
		hint := ""
		if s := slug(name, "_"); isName(s) {
			hint = " Did you mean \"" + s + "\"?"
		}
		return hcl.Diagnostics{errorAt(b.labelRange(), "Invalid name", "The name %.80q of this %s is not valid: a name starts with a letter or underscore, and goes on with letters, digits, underscores and hyphens, up to 128 in all.%s", name, kind, hint)}
	}
	id := kind + "." + name
	if first := t[id]; first != nil {
		d := errorAt(b.labelRange(), "Duplicate "+kind, "%s is declared at %s already. Give one of the two another name.", id, place(first.defRange))
		d.Context = b.defRange.Ptr()
		return hcl.Diagnostics{d}
	}
	t[id] = b
	return nil
}

// slug replaces what may not stand in a name by sep, and cuts sep at both ends.
func slug(s, sep string) string {
	var b strings.Builder
	for _, r := range s {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' {
			b.WriteRune(r)
		} else {
			b.WriteString(sep)
		}
	}
	return strings.Trim(b.String(), sep)
}

// quotedReference returns the kind of block that a text such as "image.base" or
// "image.base[\"x\"]" would refer to if it had no quotes, empty if there is none.
func (f *File) quotedReference(s string) string {
	kind, rest, ok := strings.Cut(s, ".")
	name, _, _ := strings.Cut(rest, "[")
	if ok && slices.Contains([]string{"image", "registry"}, kind) && slices.Contains(f.names(kind), name) {
		return kind
	}
	return ""
}
