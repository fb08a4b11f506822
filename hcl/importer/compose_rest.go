package importer

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

const maxShown = 200 // bytes of a value in a comment

// service returns what the files say of a service.
func (c *compose) service(name string) map[string]any {
	services, _ := c.raw["services"].(map[string]any)
	s, _ := services[name].(map[string]any)
	return s
}

// topLevel tells what beside the services has no counterpart.
func (c *compose) topLevel() {
	known := append(keysOf[types.Project](), "version", "include")
	for _, k := range slices.Sorted(maps.Keys(c.raw)) {
		switch {
		case slices.Contains([]string{"services", "secrets", "version"}, k), strings.HasPrefix(k, "x-"), isZero(c.raw[k]):
		case k == "volumes", k == "configs": // the services tell that use them
		case !slices.Contains(known, k):
			c.note(c.warn(c.base, "compose knows no %s: it is left out", k))
		default:
			c.note(c.warn(c.base, "%s has no counterpart and is left out", k))
		}
	}
}

// unknownKeys returns the keys of a service that compose does not know.
func (c *compose) unknownKeys(name string) []string {
	var unknown []string
	known := keysOf[types.ServiceConfig]()
	for _, k := range slices.Sorted(maps.Keys(c.service(name))) {
		if !slices.Contains(known, k) && !strings.HasPrefix(k, "x-") {
			unknown = append(unknown, k)
		}
	}
	return unknown
}

// rest tells what of a part of a service has no counterpart: all but what is
// handled, and what says nothing.
func (c *compose) rest(b *block, s types.ServiceConfig, part string, raw map[string]any, handled, known []string) {
	if part != "" {
		part += "."
	}
	for _, k := range slices.Sorted(maps.Keys(raw)) {
		switch {
		case slices.Contains(handled, k), strings.HasPrefix(k, "x-"), isZero(raw[k]):
		case !slices.Contains(known, k):
			c.left(b, s, "compose knows no "+part+k+": it is left out")
		default:
			c.left(b, s, part+k+" has no counterpart and is left out"+shown(raw[k]))
		}
	}
}

// shown writes a value for a comment, if it is short.
func shown(v any) string {
	text, err := json.Marshal(v)
	if err != nil || len(text) > maxShown {
		return ""
	}
	return ": " + string(text)
}

func isZero(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return v == nil || reflect.ValueOf(v).IsZero()
}

// keysOf returns the keys of one of compose-go's types.
func keysOf[T any]() []string { return yamlKeys(reflect.TypeFor[T]()) }

func yamlKeys(t reflect.Type) []string {
	var keys []string
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case f.Anonymous:
			keys = append(keys, yamlKeys(f.Type)...)
		case name != "" && name != "-":
			keys = append(keys, name)
		}
	}
	return keys
}
