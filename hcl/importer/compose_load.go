package importer

import (
	"errors"
	"reflect"
	"strconv"

	"github.com/compose-spec/compose-go/v2/interpolation"
	"github.com/compose-spec/compose-go/v2/paths"
	"github.com/compose-spec/compose-go/v2/transform"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/go-viper/mapstructure/v2"
	"go.yaml.in/yaml/v3"
)

// loadCompose reads one compose file with compose-go's own parts: variables are
// replaced, short forms made long, paths absolute. compose-go's loader would do
// that too, but it compiles a JSON schema whenever a program starts that it is
// linked into, which would cost every command more than many of them take.
func loadCompose(src []byte, dir string, lookup interpolation.LookupValue) (*types.Project, error) {
	var raw map[string]any
	if err := yaml.Unmarshal(src, &raw); err != nil {
		return nil, err
	}
	if services, ok := raw["services"].(map[string]any); !ok || len(services) == 0 {
		return nil, errors.New("it has no services")
	}
	raw, err := interpolation.Interpolate(raw, interpolation.Options{LookupValue: lookup})
	if err != nil {
		return nil, err
	}
	if raw, err = transform.Canonical(raw, false); err != nil {
		return nil, err
	}
	if err := paths.ResolveRelativePaths(raw, dir, nil); err != nil {
		return nil, err
	}
	project := &types.Project{}
	decoder, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{
		Result: project, TagName: "yaml", Squash: true, WeaklyTypedInput: true, DecodeHook: decodeCompose,
	})
	if err != nil {
		return nil, err
	}
	if err := decoder.Decode(raw); err != nil {
		return nil, err
	}
	for name, s := range project.Services {
		s.Name = name
		project.Services[name] = s
	}
	return project, nil
}

// decodeCompose has compose-go's types read what only they can read.
func decodeCompose(from, to reflect.Value) (any, error) {
	if to.Kind() == reflect.Pointer && to.IsNil() {
		to = reflect.New(to.Type().Elem())
	} else if to.CanAddr() {
		to = to.Addr()
	}
	if d, ok := to.Interface().(interface{ DecodeMapstructure(any) error }); ok {
		if err := d.DecodeMapstructure(from.Interface()); err != nil {
			return nil, err
		}
		return to.Interface(), nil
	}
	if s, ok := from.Interface().(string); ok && to.Kind() == reflect.Pointer && to.Elem().Kind() == reflect.Bool {
		return strconv.ParseBool(s)
	}
	return from.Interface(), nil
}
