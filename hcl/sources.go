package bottlefile

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/json"
)

// Source is one of the files that make up a bottle file, or a file of variables.
type Source struct {
	// Path is its name in messages. One that ends in .json is JSON, and so is
	// one that starts with a brace, which no file in HCL's own syntax does.
	Path  string
	Bytes []byte
	// Override tells that it changes what the other files declare, see [IsOverride].
	Override bool
}

func (s Source) isJSON() bool {
	return strings.HasSuffix(s.Path, ".json") || bytes.HasPrefix(bytes.TrimLeft(s.Bytes, " \t\r\n"), []byte("{"))
}

// extensions are those of bottle files.
var extensions = []string{".hcl", ".hcl.json"}

// stem returns a bottle file's base name without its extension.
func stem(path string) (string, bool) {
	name := filepath.Base(path)
	for _, ext := range extensions {
		if s, ok := strings.CutSuffix(name, ext); ok {
			return s, true
		}
	}
	return name, false
}

// IsOverride tells from its name whether a file overrides others:
// override.hcl, NAME.override.hcl, NAME_override.hcl, and the same in JSON.
func IsOverride(path string) bool {
	s, ok := stem(path)
	return ok && (s == "override" || strings.HasSuffix(s, ".override") || strings.HasSuffix(s, "_override"))
}

// Overrides returns the override files of a single bottle file that exist: for
// bottles.hcl these are bottles.override.hcl and bottles.override.hcl.json.
func Overrides(path string) []string {
	s, ok := stem(path)
	if !ok || IsOverride(path) {
		return nil
	}
	var paths []string
	for _, ext := range extensions {
		p := filepath.Join(filepath.Dir(path), s+".override"+ext)
		if fi, err := os.Stat(p); err == nil && fi.Mode().IsRegular() {
			paths = append(paths, p)
		}
	}
	return paths
}

// maxFiles bounds how many files of a directory are read.
const maxFiles = 1000

// FilesIn returns the bottle files in a directory, in order of name: those that
// end in .hcl or .hcl.json, but not hidden ones, lock files (NAME.lock.hcl),
// files of variables (NAME.vars.hcl) and bake's own (docker-bake.hcl).
func FilesIn(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read directory of bottle files: %w", err)
	}
	var paths []string
	for _, e := range entries {
		name, ok := stem(e.Name())
		switch {
		case !ok || e.IsDir() || strings.HasPrefix(e.Name(), "."):
		case strings.HasSuffix(name, ".lock"), strings.HasSuffix(name, ".vars"), name == "docker-bake", name == "docker-bake.override":
		default:
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	switch {
	case len(paths) == 0:
		return nil, fmt.Errorf("there is no bottle file in %s: %w", dir, fs.ErrNotExist)
	case len(paths) > maxFiles:
		return nil, fmt.Errorf("there are %d bottle files in %s; at most %d are read", len(paths), dir, maxFiles)
	}
	return paths, nil
}

// parse parses all files, after a look at their size and nesting.
func (f *File) parse() ([]hcl.Body, hcl.Diagnostics) {
	var diags hcl.Diagnostics
	var bodies []hcl.Body
	for _, s := range f.opts.Files {
		body, d := f.parseSource(s)
		diags = append(diags, d...)
		bodies = append(bodies, body)
	}
	return bodies, diags
}

// isSource tells whether a path is that of one of the files.
func (f *File) isSource(path string) bool {
	return slices.ContainsFunc(f.opts.Files, func(s Source) bool { return filepath.Join(f.opts.Dir, filepath.Base(s.Path)) == path })
}

func (f *File) parseSource(s Source) (hcl.Body, hcl.Diagnostics) {
	f.sources[s.Path] = &hcl.File{} // what is too long is not looked at for a snippet
	if s.isJSON() {
		if diags := checkJSONBounds(s.Bytes, s.Path); diags.HasErrors() {
			return nil, diags
		}
		parsed, diags := json.Parse(s.Bytes, s.Path)
		f.sources[s.Path] = &hcl.File{Bytes: s.Bytes}
		return parsed.Body, diags
	}
	if diags := checkBounds(s.Bytes, s.Path, hclsyntax.LexConfig); diags.HasErrors() {
		return nil, diags
	}
	parsed, diags := hclsyntax.ParseConfig(s.Bytes, s.Path, hcl.InitialPos)
	f.sources[s.Path] = parsed
	if body, ok := parsed.Body.(*hclsyntax.Body); ok && !diags.HasErrors() {
		diags = append(diags, boundIn(body)...)
	}
	return parsed.Body, diags
}
