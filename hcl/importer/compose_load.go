package importer

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"

	"github.com/compose-spec/compose-go/v2/override"
	"github.com/compose-spec/compose-go/v2/paths"
	"github.com/compose-spec/compose-go/v2/transform"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/go-viper/mapstructure/v2"
	"go.yaml.in/yaml/v3"

	bottlefile "bottlebuild/hcl"
)

const (
	maxComposeFile  = 1 << 20 // bytes
	maxComposeFiles = 50
)

// load reads compose files with compose-go's own parts: variables are replaced,
// short forms made long, paths absolute, later files put on top of earlier ones.
// compose-go's loader would do that too, but it compiles a JSON schema whenever a
// program starts that it is linked into, which would cost every command more than
// many of them take.
func (c *compose) load(files []bottlefile.Source) (err error) {
	defer func() { // without the schema, what its types assume may not hold
		if r := recover(); r != nil {
			err = fmt.Errorf("read compose file %s: a value is of the wrong kind: %v", files[0].Path, r)
		}
	}()
	for _, f := range files {
		raw, err := c.read(f.Path, f.Bytes, c.dir)
		if err == nil {
			c.raw, err = mergeCompose(c.raw, raw)
		}
		if err != nil {
			return fmt.Errorf("read compose file %s: %w", f.Path, err)
		}
	}
	if services, ok := c.raw["services"].(map[string]any); !ok || len(services) == 0 {
		return fmt.Errorf("read compose file %s: it has no services", files[0].Path)
	}
	c.project = &types.Project{}
	decoder, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{
		Result: c.project, TagName: "yaml", Squash: true, WeaklyTypedInput: true, DecodeHook: decodeCompose,
	})
	if err == nil {
		err = decoder.Decode(c.raw)
	}
	if err != nil {
		return fmt.Errorf("read compose file %s: %w", files[0].Path, err)
	}
	for name, s := range c.project.Services {
		s.Name = name
		c.project.Services[name] = s
	}
	return nil
}

// read reads one file and those that it includes. Paths in it are relative to dir.
func (c *compose) read(path string, src []byte, dir string) (map[string]any, error) {
	if c.files++; c.files > maxComposeFiles {
		return nil, fmt.Errorf("it brings in more than %d files, or itself", maxComposeFiles)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(src, &document); err != nil {
		return nil, err
	}
	c.tags(&document, filepath.Base(path))
	var raw map[string]any
	if err := document.Decode(&raw); err != nil {
		return nil, err
	}
	raw, err := c.interpolate(raw)
	if err != nil {
		return nil, err
	}
	if raw, err = transform.Canonical(raw, false); err != nil {
		return nil, err
	}
	services, _ := raw["services"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(services)) {
		c.extend(services, name, dir, nil)
	}
	includes, _ := raw["include"].([]any)
	delete(raw, "include")
	if err := paths.ResolveRelativePaths(raw, dir, nil); err != nil {
		return nil, err
	}
	for _, i := range includes {
		m, _ := i.(map[string]any)
		c.include(raw, m, dir)
	}
	return raw, nil
}

// tags tells of the tags that take away what an earlier file says.
func (c *compose) tags(n *yaml.Node, base string) {
	if n.Tag == "!reset" || n.Tag == "!override" {
		c.note(c.warn(fmt.Sprintf("%s:%d", base, n.Line), "%s is not carried out: what stands here is put on top of what earlier files say", n.Tag))
	}
	for _, child := range n.Content {
		c.tags(child, base)
	}
}

// open reads a file that a compose file names, if it is below the directory.
func (c *compose) open(path string) ([]byte, error) {
	rel := c.relative(path)
	if c.root == nil || !filepath.IsLocal(rel) {
		return nil, errors.New("it is not below the directory")
	}
	f, err := c.root.Open(rel)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("it does not exist")
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	src, err := io.ReadAll(io.LimitReader(f, maxComposeFile+1))
	if err == nil && len(src) > maxComposeFile {
		err = fmt.Errorf("it has more than %d bytes", maxComposeFile)
	}
	return src, err
}

// include adds what an included file declares and raw does not.
func (c *compose) include(raw, entry map[string]any, dir string) {
	list, ok := entry["path"].([]any)
	if !ok {
		list = []any{entry["path"]}
	}
	var included map[string]any
	for i, p := range list {
		path := filepath.Join(dir, fmt.Sprint(p))
		if i == 0 {
			dir = filepath.Join(dir, fmt.Sprint(entry["project_directory"]))
			if entry["project_directory"] == nil {
				dir = filepath.Dir(path)
			}
		}
		src, err := c.open(path)
		var more map[string]any
		if err == nil {
			more, err = c.read(path, src, dir)
		}
		if err == nil {
			included, err = mergeCompose(included, more)
		}
		if err != nil {
			c.note(c.warn(c.base, "the included file %s is left out: %s", c.relative(path), err))
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(included)) {
		theirs, _ := included[kind].(map[string]any)
		ours, ok := raw[kind].(map[string]any)
		if !ok && len(theirs) > 0 {
			ours = map[string]any{}
			raw[kind] = ours
		}
		for _, name := range slices.Sorted(maps.Keys(theirs)) {
			if _, ok := ours[name]; ok {
				c.note(c.warn(c.base, "%s of %s is left out: there is one already", name, c.relative(fmt.Sprint(entry["path"]))))
				continue
			}
			ours[name] = theirs[name]
		}
	}
}

// extend puts a service on top of the one that it extends.
func (c *compose) extend(services map[string]any, name, dir string, from []string) {
	service, _ := services[name].(map[string]any)
	extends, ok := service["extends"].(map[string]any)
	if !ok {
		return
	}
	delete(service, "extends")
	base := fmt.Sprint(extends["service"])
	err := func() error {
		if slices.Contains(append(from, name), base) && extends["file"] == nil {
			return errors.New("it extends itself")
		}
		all := services
		if extends["file"] != nil {
			path := filepath.Join(dir, fmt.Sprint(extends["file"]))
			src, err := c.open(path)
			if err != nil {
				return err
			}
			raw, err := c.read(path, src, filepath.Dir(path))
			if err != nil {
				return err
			}
			all, _ = raw["services"].(map[string]any)
		} else {
			c.extend(all, base, dir, append(from, name))
		}
		parent, ok := all[base].(map[string]any)
		if !ok {
			return errors.New("there is no such service")
		}
		merged, err := override.ExtendService(cloneYAML(parent).(map[string]any), service)
		if err == nil {
			services[name] = merged
		}
		return err
	}()
	if err != nil {
		c.leave(name, fmt.Sprintf("what it extends, %s, is left out: %s", base, err))
	}
}

func mergeCompose(base, top map[string]any) (map[string]any, error) {
	if base == nil {
		return top, nil
	}
	merged, err := override.Merge(base, top)
	if err != nil {
		return nil, err
	}
	return override.EnforceUnicity(merged)
}

func cloneYAML(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := map[string]any{}
		for k, e := range v {
			m[k] = cloneYAML(e)
		}
		return m
	case []any:
		l := make([]any, len(v))
		for i, e := range v {
			l[i] = cloneYAML(e)
		}
		return l
	}
	return v
}

// decodeCompose has compose-go's types read what only they can read.
func decodeCompose(from, to reflect.Value) (any, error) {
	if to.Kind() == reflect.Pointer && to.IsNil() {
		to = reflect.New(to.Type().Elem())
	} else if to.CanAddr() {
		to = to.Addr()
	}
	if from.Type() == to.Type() { // it has been read
		return from.Interface(), nil
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
