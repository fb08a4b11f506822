package importer

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	composetemplate "github.com/compose-spec/compose-go/v2/template"

	"bottlebuild/internal/lazyregexp"
)

var (
	requiredFor = lazyregexp.New(`\{([A-Za-z_][A-Za-z0-9_]*):?\?([^{}]*)\}`)
	publishing  = lazyregexp.New(`^(?:[0-9.]+:)?([^:]*\$.*):([0-9]+)(?:/tcp)?$`)
)

// expressions are the places of a compose file whose values may be expressions in a
// bottle file; with a false an empty value is as good as any.
var expressions = map[string]bool{
	"services.*.image": true, "services.*.build": true, "services.*.build.context": true, "services.*.build.dockerfile": true,
	"services.*.build.target": true, "services.*.build.args.*": false, "services.*.build.labels.*": false,
	"services.*.build.cache_from.*": true, "services.*.build.cache_to.*": true, "services.*.build.tags.*": true,
	"services.*.build.additional_contexts.*": true, "services.*.environment.*": false,
	"services.*.working_dir": true, "services.*.healthcheck.test": false, "services.*.healthcheck.test.*": false,
	"services.*.command": false, "services.*.command.*": false, "services.*.entrypoint": false, "services.*.entrypoint.*": false,
	"services.*.ports.*.published": true,
}

// expressionAt tells whether a value at a path may be an expression.
func expressionAt(path []string) (required, ok bool) {
	for pattern, required := range expressions {
		parts := strings.Split(pattern, ".")
		if matches(parts, path) {
			return required, true
		}
	}
	return false, false
}

func matches(pattern, path []string) bool {
	if len(pattern) != len(path) {
		return false
	}
	for i, p := range pattern {
		if p != "*" && p != path[i] {
			return false
		}
	}
	return true
}

// interpolate replaces variables: by placeholders where an expression can stand, by
// their defaults elsewhere.
func (c *compose) interpolate(raw map[string]any) (map[string]any, error) {
	v, _, err := c.interpolated(raw, nil)
	if err != nil {
		return nil, err
	}
	m, _ := v.(map[string]any)
	return m, nil
}

// interpolated returns false for a value that is left out.
func (c *compose) interpolated(v any, path []string) (any, bool, error) {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if len(path) == 0 && strings.HasPrefix(k, "x-") { // what refers to it has a copy of it
				continue
			}
			e, keep, err := c.interpolated(v[k], append(slices.Clip(path), k))
			if err != nil {
				return nil, false, err
			}
			if v[k] = e; !keep {
				delete(v, k)
			}
		}
	case []any:
		var list []any
		for _, e := range v {
			e, keep, err := c.interpolated(e, append(slices.Clip(path), "*"))
			if err != nil {
				return nil, false, err
			}
			if keep {
				list = append(list, e)
			}
		}
		return list, true, nil
	case string:
		if strings.Contains(v, "$") {
			return c.variables(v, path)
		}
	}
	return v, true, nil
}

// variables replaces the variables of a value at a path.
func (c *compose) variables(s string, path []string) (any, bool, error) {
	failed := func(err error) error {
		return fmt.Errorf("%s: %w; write a $ that is meant as such as $$", strings.Join(path, "."), err)
	}
	if required, ok := expressionAt(path); ok && !keyHasVariable(s, path) {
		text, err := c.substitute(s, required)
		if err != nil {
			return nil, false, failed(err)
		}
		return text, true, nil
	}
	if m := publishing.FindStringSubmatch(s); m != nil && matches([]string{"services", "*", "ports", "*"}, path) {
		target, _ := strconv.Atoi(m[2])
		before := len(c.references)
		text, err := c.substitute(m[1], true)
		if err == nil && onlyPlaceholder.MatchString(text) {
			return map[string]any{"target": target, "published": text, "protocol": "tcp", "mode": "ingress"}, true, nil
		}
		c.references = c.references[:before]
	}
	text, err := c.defaults(s)
	var missing *composetemplate.MissingRequiredError
	if err != nil && !errors.As(err, &missing) {
		return nil, false, failed(err)
	}
	what := strings.TrimSuffix(strings.Join(path, "."), ".*")
	tell := func(text string) { c.note(c.warn(c.base, "%s", text)) }
	if len(path) > 2 && path[0] == "services" {
		what = strings.TrimSuffix(strings.Join(path[2:], "."), ".*")
		tell = func(text string) { c.leave(path[1], text) }
	}
	if err != nil || text == "" {
		tell(fmt.Sprintf("%s is left out: %s has no default, and no variable can stand there", what, s))
		return nil, false, nil
	}
	if placeholder.MatchString(text) || text != strings.ReplaceAll(s, "$$", "$") {
		tell(fmt.Sprintf("%s is %s, which is what %s stands for by default: no variable can stand there", what, text, s))
	}
	return scalar(text), true, nil
}

// scalar returns what a number or a truth value in a text is, as compose-go wants
// it where no text can stand.
func scalar(text string) any {
	if n, err := strconv.Atoi(text); err == nil && strconv.Itoa(n) == text {
		return n
	}
	if text == "true" || text == "false" {
		return text == "true"
	}
	return text
}

// keyHasVariable tells whether the key of a "KEY=VALUE" in a list is a variable's.
func keyHasVariable(s string, path []string) bool {
	if path[len(path)-1] != "*" || !slices.Contains([]string{"args", "labels", "environment", "additional_contexts"}, path[len(path)-2]) {
		return false
	}
	key, _, ok := strings.Cut(s, "=")
	return !ok || strings.Contains(key, "$")
}

// defaults replaces variables by their defaults.
func (c *compose) defaults(s string) (string, error) {
	declared := composetemplate.ExtractVariables(map[string]any{"": s}, nil)
	return composetemplate.Substitute(s, func(name string) (string, bool) {
		v := declared[name]
		return "", v.DefaultValue == "" && v.PresenceValue == "" // false if it is unset, of which compose-go would warn
	})
}

// substitute replaces variables by placeholders.
func (c *compose) substitute(s string, required bool) (string, error) {
	declared := composetemplate.ExtractVariables(map[string]any{"": s}, nil)
	for _, m := range requiredFor.FindAllStringSubmatch(s, -1) {
		if _, ok := c.messages[m[1]]; !ok && m[2] != "" {
			c.messages[m[1]] = m[2]
		}
	}
	var failed error
	text, err := composetemplate.Substitute(s, func(name string) (string, bool) {
		v := declared[name]
		if v.PresenceValue != "" {
			c.note(c.warn(c.base, "%s is taken for unset in %s", name, s))
			return "", false
		}
		r := &reference{name: name, required: v.Required}
		r.hasDefault = strings.Contains(s, "{"+name+":-") || strings.Contains(s, "{"+name+"-")
		if r.hasDefault {
			var err error
			if r.defaultValue, err = c.substitute(v.DefaultValue, false); err != nil {
				failed = err
			}
		} else if required {
			r.required = true
		}
		c.references = append(c.references, r)
		return fmt.Sprintf("\ue000%d\ue001", len(c.references)-1), true
	})
	return text, errors.Join(err, failed)
}
