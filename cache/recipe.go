package cache

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// KeySchema is the version of everything that goes into a key: raise it when a
// component changes its meaning, and no old entry is taken for a new one.
const KeySchema = "1"

// ComponentType tells how a component's value is to be read.
type ComponentType byte

// The component types, as they stand in the text form.
const (
	TypeString ComponentType = 's' // a value as the user or a tool wrote it
	TypeDigest ComponentType = 'd' // a [Digest] in its text form
	TypeList   ComponentType = 'l' // quoted strings, separated by spaces
	TypeHidden ComponentType = 'h' // the [Digest] of a value that is not to be shown
)

// Component is one named part of what decides a node's output.
type Component struct {
	Type  ComponentType
	Name  string // dotted path: "args.NODE", "context", "tool.buildkit"
	Value string
}

// Recipe is everything that decides a node's output, component by component.
// The order in which components are added is of no account.
type Recipe struct {
	Kind       string
	Components []Component
}

// NewRecipe starts the recipe of a node of that kind.
func NewRecipe(kind string) *Recipe { return &Recipe{Kind: kind} }

// Add adds a string component. An empty value is a component too: where "unset"
// and "empty" differ, leave out the component for "unset".
func (r *Recipe) Add(name, value string) {
	r.Components = append(r.Components, Component{TypeString, name, value})
}

// AddDigest adds a digest component.
func (r *Recipe) AddDigest(name string, d Digest) {
	r.Components = append(r.Components, Component{TypeDigest, name, d.String()})
}

// AddList adds a list in which order counts. An empty list adds nothing.
func (r *Recipe) AddList(name string, values []string) {
	if len(values) == 0 {
		return
	}
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = strconv.Quote(v)
	}
	r.Components = append(r.Components, Component{TypeList, name, strings.Join(quoted, " ")})
}

// AddMap adds one component "name.key" for each pair of m.
func (r *Recipe) AddMap(name string, m map[string]string) {
	for k, v := range m {
		r.Add(name+"."+k, v)
	}
}

// Conceal puts digests in place of the values of those components that are
// called one of names, or something below it: "args" conceals "args.TOKEN" too.
// They decide the key as before. A digest keeps a value from being read, not
// from being guessed: what is secret belongs into no recipe.
func (r *Recipe) Conceal(names ...string) {
	for i, c := range r.Components {
		hidden := slices.ContainsFunc(names, func(n string) bool {
			return c.Name == n || strings.HasPrefix(c.Name, n+".")
		})
		if hidden && c.Type != TypeHidden {
			r.Components[i] = Component{TypeHidden, c.Name, DigestOf([]byte(c.Name + "\x00" + c.Value)).String()}
		}
	}
}

// sorted returns the components by name; equal names keep their order.
func (r *Recipe) sorted() []Component {
	c := slices.Clone(r.Components)
	slices.SortStableFunc(c, func(a, b Component) int { return cmp.Compare(a.Name, b.Name) })
	return c
}

// Key returns the SHA-256 over the schema version, the kind and each component
// in order of name: type, then name and value, each behind its length as a
// 64-bit big-endian number, so that no two recipes share an encoding.
func (r *Recipe) Key() Key {
	h := sha256.New()
	field := func(s string) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	field(KeySchema)
	field(r.Kind)
	for _, c := range r.sorted() {
		h.Write([]byte{byte(c.Type)})
		field(c.Name)
		field(c.Value)
	}
	var k Key
	h.Sum(k[:0])
	return k
}

// Text returns the form in which a recipe is stored and read by people: a line
// "recipe SCHEMA KIND", then a line "TYPE NAME VALUE" per component in order of
// name, names and string values quoted as in Go.
func (r *Recipe) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "recipe %s %s\n", KeySchema, strconv.Quote(r.Kind))
	for _, c := range r.sorted() {
		value := c.Value
		if c.Type == TypeString {
			value = strconv.Quote(value)
		}
		fmt.Fprintf(&b, "%c %s %s\n", c.Type, strconv.Quote(c.Name), value)
	}
	return b.String()
}

// ParseRecipe reads what [Recipe.Text] wrote. A recipe of another schema is an
// error: its components mean something else.
func ParseRecipe(text string) (*Recipe, error) {
	head, rest, _ := strings.Cut(text, "\n")
	kind, ok := strings.CutPrefix(head, "recipe "+KeySchema+" ")
	if !ok {
		return nil, fmt.Errorf("parse recipe: first line %.80q is not of key schema %s", head, KeySchema)
	}
	k, err := strconv.Unquote(kind)
	if err != nil {
		return nil, fmt.Errorf("parse recipe: kind %.80q: %w", kind, err)
	}
	r := NewRecipe(k)
	for line := range strings.Lines(rest) {
		c, err := parseComponent(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, fmt.Errorf("parse recipe: line %.80q: %w", line, err)
		}
		r.Components = append(r.Components, c)
	}
	return r, nil
}

func parseComponent(line string) (c Component, err error) {
	if len(line) < 2 || line[1] != ' ' {
		return c, fmt.Errorf("no component type")
	}
	c.Type = ComponentType(line[0])
	quoted, err := strconv.QuotedPrefix(line[2:])
	if err != nil {
		return c, err
	}
	if c.Name, err = strconv.Unquote(quoted); err != nil {
		return c, err
	}
	value, ok := strings.CutPrefix(line[2+len(quoted):], " ")
	if !ok {
		return c, fmt.Errorf("no value")
	}
	switch c.Type {
	case TypeString:
		c.Value, err = strconv.Unquote(value)
	case TypeDigest, TypeHidden:
		_, err = ParseDigest(value)
		c.Value = value
	case TypeList:
		c.Value = value
	default:
		err = fmt.Errorf("unknown component type %q", c.Type)
	}
	return c, err
}

// Change is one component in which two recipes differ. Before or After is empty
// where the component is missing on that side.
// Where a component is concealed on either side, both say only that.
type Change struct {
	Component     string
	Before, After string
}

// Diff returns the components in which after differs from before, by name.
func Diff(before, after *Recipe) []Change {
	type pair struct {
		before, after []string
		hidden        bool
	}
	pairs := map[string]*pair{}
	at := func(name string) *pair {
		p := pairs[name]
		if p == nil {
			p = &pair{}
			pairs[name] = p
		}
		return p
	}
	for _, c := range before.Components {
		at(c.Name).hidden = at(c.Name).hidden || c.Type == TypeHidden
		at(c.Name).before = append(at(c.Name).before, c.Value)
	}
	for _, c := range after.Components {
		at(c.Name).hidden = at(c.Name).hidden || c.Type == TypeHidden
		at(c.Name).after = append(at(c.Name).after, c.Value)
	}
	var changes []Change
	for name, p := range pairs {
		if !slices.Equal(p.before, p.after) {
			if p.hidden {
				p.before, p.after = conceal(p.before), conceal(p.after)
			}
			changes = append(changes, Change{name, strings.Join(p.before, " "), strings.Join(p.after, " ")})
		}
	}
	slices.SortFunc(changes, func(a, b Change) int { return cmp.Compare(a.Component, b.Component) })
	return changes
}

// Concealed stands in messages for a value that is not to be shown.
const Concealed = "(sensitive)"

// conceal says of values only whether there are any.
func conceal(values []string) []string {
	if len(values) == 0 {
		return nil
	}
	return []string{Concealed}
}
