package bottlefile

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestJSONSchema checks documents with a validator of the keywords that the
// schema uses.
func TestJSONSchema(t *testing.T) {
	b, err := JSONSchema()
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(b, &schema); err != nil {
		t.Fatal(err)
	}
	if len(b) > 200<<10 {
		t.Errorf("the schema has %d bytes: blocks are written more than once", len(b))
	}
	for _, c := range []struct {
		doc   string
		valid bool
	}{
		{`{}`, true},
		{`{"//": "a comment", "locals": {"a": 1, "b": ["x"]}}`, true},
		{`{"image": {"web": {"context": "web", "args": {"A": 1}, "no_cache": "${var.x}"}}}`, true},
		{`{"image": {"web": {"//": "c", "context": "web"}, "//": "c"}}`, true},
		{`{"image": [{"web": {}}, {"db": [{"context": null}]}]}`, true},
		{`{"bottle": {"x": {"image": "${image.web}", "machine": {"memory": "6GiB", "port": [{"host": 1, "guest": "2"}], "file": {"/a b": {"content": ""}}}}}}`, true},
		{`{"bottle": {"x": {"image": "${image.web}", "machine": {"ready": {"tcp": 80, "timeout": "1m30s"}}}}}`, true},
		{`{"group": {"default": {"targets": ["bottle.x"]}}, "variable": {"v": {"type": "list(string)", "default": []}}}`, true},
		{`{"bottle": {"x": {"image": "a", "dynamic": {"export": {"for_each": [1], "content": {"path": "a", "format": "oci"}}}}}}`, true},
		{`{"bottle": {"x": {"image": "a", "machine": {"dynamic": [{"file": [{"for_each": {}, "iterator": "f", "labels": ["${f.key}"], "content": [{"content": "x"}]}]}]}}}}`, true},
		{`{"bottle": {"x": {"image": "a", "machine": {"dynamic": {"port": {"for_each": [1], "content": {"host": 1, "guest": 2}}}, "port": []}}}}`, true},
		{`{"bottle": {"x": {"image": "a", "dynamic": {"exprt": {"for_each": [1], "content": {}}}}}}`, false},
		{`{"bottle": {"x": {"image": "a", "dynamic": {"export": {"content": {"path": "a"}}}}}}`, false},
		{`{"bottle": {"x": {"image": "a", "dynamic": {"export": {"for_each": [1], "content": {"pth": "a"}}}}}}`, false},
		{`{"bottle": {"x": {"image": "a", "machine": {"dynamic": {"file": {"for_each": [1], "content": {"content": "x"}}}}}}}`, false},
		{`{"image": {"web": {"dynamic": {}}}}`, false},
		{`[]`, false},
		{`{"imagge": {}}`, false},
		{`{"image": {"web": {"contxt": "web"}}}`, false},
		{`{"image": {"1 web": {}}}`, false},
		{`{"image": {"web": {"platforms": "linux/amd64"}}}`, false},
		{`{"image": {"web": {"no_cache": "perhaps"}}}`, false},
		{`{"bottle": {"x": {"machine": {}}}}`, false},
		{`{"bottle": {"x": {"image": "a", "machine": {"memory": "6Gib"}}}}`, false},
		{`{"bottle": {"x": {"image": "a", "machine": {"port": {"host": 1}}}}}`, false},
		{`{"group": {"default": {}}}`, false},
		{`{"image": {"` + strings.Repeat("a", 128) + `": {"context": "."}}}`, true},
		{`{"image": {"` + strings.Repeat("a", 129) + `": {"context": "."}}}`, false},
	} {
		var doc any
		if err := json.Unmarshal([]byte(c.doc), &doc); err != nil {
			t.Fatalf("%s: %v", c.doc, err)
		}
		if why := violates(schema, schema, doc); (why == "") != c.valid {
			t.Errorf("%s: valid is to be %v: %s", c.doc, c.valid, why)
		}
	}
}

// violates says how a document violates a schema, or returns "". It knows the
// keywords that JSONSchema writes, and panics at others. root has the $defs.
func violates(root, schema map[string]any, doc any) string {
	object, isObject := doc.(map[string]any)
	properties, _ := schema["properties"].(map[string]any)
	for keyword, arg := range schema {
		switch keyword {
		case "$schema", "$defs", "title", "description", "default", "examples":
		case "$ref":
			defs := root["$defs"].(map[string]any)
			name := strings.TrimPrefix(arg.(string), "#/$defs/")
			def, ok := defs[name].(map[string]any)
			if !ok {
				panic("no definition of " + name)
			}
			if why := violates(root, def, doc); why != "" {
				return why
			}
		case "properties":
			for k, s := range properties {
				if v, ok := object[k]; ok {
					if why := violates(root, s.(map[string]any), v); why != "" {
						return k + ": " + why
					}
				}
			}
		case "additionalProperties":
			for k, v := range object {
				if properties[k] != nil {
					continue
				}
				s, ok := arg.(map[string]any)
				if !ok {
					return "unknown name " + k
				}
				if why := violates(root, s, v); why != "" {
					return k + ": " + why
				}
			}
		case "propertyNames":
			for k := range object {
				if why := violates(root, arg.(map[string]any), k); why != "" {
					return why
				}
			}
		case "required":
			for _, k := range arg.([]any) {
				if _, ok := object[k.(string)]; isObject && !ok {
					return "no " + k.(string)
				}
			}
		case "items":
			elements, _ := doc.([]any)
			for _, e := range elements {
				if why := violates(root, arg.(map[string]any), e); why != "" {
					return why
				}
			}
		case "anyOf":
			var reasons []string
			for _, s := range arg.([]any) {
				reasons = append(reasons, violates(root, s.(map[string]any), doc))
			}
			if !slices.Contains(reasons, "") {
				return fmt.Sprint(reasons)
			}
		case "const":
			if doc != arg {
				return fmt.Sprintf("not %v", arg)
			}
		case "pattern":
			if s, ok := doc.(string); ok && !regexp.MustCompile(arg.(string)).MatchString(s) {
				return fmt.Sprintf("%q does not match %s", s, arg)
			}
		case "maxLength":
			if s, ok := doc.(string); ok && utf8.RuneCountInString(s) > int(arg.(float64)) {
				return fmt.Sprintf("%q is longer than %v", s, arg)
			}
		case "type":
			types, ok := arg.([]any)
			if !ok {
				types = []any{arg}
			}
			if !slices.Contains(types, any(jsonType(doc))) {
				return fmt.Sprintf("%s is not %v", jsonType(doc), types)
			}
		default:
			panic("unknown keyword " + keyword)
		}
	}
	return ""
}

func jsonType(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "string"
	case float64:
		return "number"
	case bool:
		return "boolean"
	case []any:
		return "array"
	}
	return "object"
}
