package importer

import (
	"slices"
	"strconv"
	"strings"

	"bottlebuild/internal/lazyregexp"
)

// reference is a ${NAME} of a compose file on its way to a var.NAME. While the file
// is read a placeholder stands for it, which no part of compose-go takes apart.
type reference struct {
	name         string
	hasDefault   bool
	defaultValue string // with placeholders
	required     bool   // an empty value makes no sense
	used         bool   // it stands in an expression
}

var (
	placeholder     = lazyregexp.New("\ue000([0-9]+)\ue001")
	onlyPlaceholder = lazyregexp.New("^\ue000([0-9]+)\ue001$")
)

// reference returns what a placeholder stands for, nil for one of the file's own.
func (c *compose) reference(match string) *reference {
	i, err := strconv.Atoi(placeholder.FindStringSubmatch(match)[1])
	if err != nil || i >= len(c.references) {
		return nil
	}
	return c.references[i]
}

// plain writes placeholders as compose has them.
func (c *compose) plain(s string) string {
	return placeholder.ReplaceAllStringFunc(s, func(match string) string {
		r := c.reference(match)
		switch {
		case r == nil:
			return match
		case r.hasDefault:
			return "${" + r.name + ":-" + c.plain(r.defaultValue) + "}"
		}
		return "${" + r.name + "}"
	})
}

// byDefault returns a text with defaults for placeholders; false if one has none.
func (c *compose) byDefault(s string) (string, bool) {
	known := true
	text := placeholder.ReplaceAllStringFunc(s, func(match string) string {
		r := c.reference(match)
		if r == nil {
			return match
		}
		d, ok := c.byDefault(r.defaultValue)
		known = known && ok && r.hasDefault
		return d
	})
	return text, known
}

// variable tells whether a variable has to be given, and what its default is. Its
// default is empty if it is not the same wherever it is used.
func (c *compose) variable(name string) (required bool, defaultValue string) {
	var defaults []string
	for _, r := range c.references {
		if r.name == name {
			required = required || r.required
			defaults = append(defaults, r.defaultValue)
		}
	}
	if defaults = slices.Compact(defaults); len(defaults) == 1 && !placeholder.MatchString(defaults[0]) {
		defaultValue = defaults[0]
	}
	return required, defaultValue
}

// expression writes a reference as one.
func (c *compose) expression(r *reference) string {
	r.used = true
	required, d := c.variable(r.name)
	if required || r.defaultValue == d {
		return "var." + r.name
	}
	if placeholder.MatchString(r.defaultValue) {
		return "var." + r.name + ` != "" ? var.` + r.name + " : " + c.text(r.defaultValue)
	}
	return "coalesce(var." + r.name + ", " + c.text(r.defaultValue) + ")"
}

// text writes a text of the compose file as an expression.
func (c *compose) text(s string) string {
	if onlyPlaceholder.MatchString(s) && c.reference(s) != nil {
		return c.expression(c.reference(s))
	}
	return `"` + c.inner(s) + `"`
}

// inner writes what stands between the quotes of a text.
func (c *compose) inner(s string) string {
	var b strings.Builder
	literal := func(part string) {
		cut, dollar := strings.CutSuffix(part, "$") // which would escape a following ${
		q := quote(cut)
		b.WriteString(q[1 : len(q)-1])
		if dollar {
			b.WriteString(`${"$"}`)
		}
	}
	for _, m := range placeholder.FindAllStringSubmatch(s, -1) {
		before, after, _ := strings.Cut(s, m[0])
		if r := c.reference(m[0]); r != nil {
			literal(before)
			b.WriteString("${" + c.expression(r) + "}")
		} else {
			literal(before + m[0])
		}
		s = after
	}
	q := quote(s)
	b.WriteString(q[1 : len(q)-1])
	return b.String()
}

// declare writes the variables that expressions refer to.
func (c *compose) declare() {
	seen := map[string]bool{}
	for _, r := range c.references {
		if !r.used || seen[r.name] {
			continue
		}
		seen[r.name] = true
		v := c.add("variable " + quote(r.name))
		v.set("type", "string")
		if required, d := c.variable(r.name); !required {
			v.set("default", quote(d))
		}
		if message := c.messages[r.name]; message != "" {
			v.set("description", quote(message))
		}
	}
	if len(seen) == 0 || c.root == nil {
		return
	}
	if _, err := c.root.Stat(".env"); err == nil {
		c.note(c.warn(c.base, ".env, where compose takes variables from, is not read: give them with --var, in BOTTLE_VAR_NAME, or as defaults"))
	}
}
