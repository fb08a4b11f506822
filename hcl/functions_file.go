package bottlefile

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// maxListed bounds how many files fileset walks over.
const maxListed = 100_000

// fileReader reads files for functions, from the bottle file's directory only.
// What was read once is kept, so that every evaluation sees the same. It is safe
// for concurrent use.
type fileReader struct {
	dir string

	mu    sync.Mutex
	seen  map[string]fileContent
	stats map[string]fileStat
}

type fileContent struct {
	bytes []byte
	err   error
}

type fileStat struct {
	info fs.FileInfo
	err  error
}

// Inputs returns the files that expressions have read, relative to the bottle
// file's directory, in order of name.
func (f *File) Inputs() []string {
	f.files.mu.Lock()
	defer f.files.mu.Unlock()
	var names []string
	for name, c := range f.files.seen {
		if c.err == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// stat is os.Stat, once per path.
func (r *fileReader) stat(path string) (fs.FileInfo, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s, ok := r.stats[path]; ok {
		return s.info, s.err
	}
	fi, err := os.Stat(path)
	if r.stats == nil {
		r.stats = map[string]fileStat{}
	}
	r.stats[path] = fileStat{fi, err}
	return fi, err
}

// local returns a path relative to the directory, or an error if it leads out.
func (r *fileReader) local(path string) (string, error) {
	if filepath.IsAbs(path) {
		rel, err := filepath.Rel(r.dir, path)
		if err != nil || !filepath.IsLocal(rel) {
			return "", errOutside
		}
		return rel, nil
	}
	path = filepath.Clean(path)
	if !filepath.IsLocal(path) {
		return "", errOutside
	}
	return path, nil
}

var errOutside = errors.New("it is outside of the bottle file's directory, from which alone files can be read")

func (r *fileReader) read(path string) ([]byte, error) {
	path, err := r.local(path)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if c, ok := r.seen[path]; ok {
		return c.bytes, c.err
	}
	b, err := r.readNow(path)
	r.seen[path] = fileContent{b, err}
	return b, err
}

func (r *fileReader) readNow(path string) ([]byte, error) {
	root, err := os.OpenRoot(r.dir)
	if err != nil {
		return nil, fmt.Errorf("its directory cannot be opened: %s", withoutPath(err))
	}
	defer root.Close()
	fi, err := root.Stat(path)
	switch {
	case err != nil && strings.HasSuffix(err.Error(), "path escapes from parent"): // of os.Root, which has no error value for it
		return nil, errOutside
	case err != nil:
		return nil, errors.New(reason(err))
	case !fi.Mode().IsRegular(): // a pipe would block
		return nil, errors.New("it is not a regular file")
	}
	f, err := root.Open(path)
	if err != nil {
		return nil, errors.New(withoutPath(err))
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, MaxFileSize+1))
	switch {
	case err != nil:
		return nil, errors.New(withoutPath(err))
	case len(b) > MaxFileSize:
		return nil, fmt.Errorf("it has more than %d MiB", MaxFileSize>>20)
	}
	return b, nil
}

func withoutPath(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}

func (r *fileReader) text(path string) (string, error) {
	b, err := r.read(path)
	if err == nil && !utf8.Valid(b) {
		err = errors.New("it is not UTF-8; filebase64 reads any file")
	}
	return string(b), err
}

// functions returns the functions that read files, and iterate for templates.
func (r *fileReader) functions(iterate function.Function) map[string]function.Function {
	fns := map[string]function.Function{
		"file": pathFunc("Content of a file.", r.text),
		"filebase64": pathFunc("Content of a file in base64.", func(path string) (string, error) {
			b, err := r.read(path)
			return base64.StdEncoding.EncodeToString(b), err
		}),
		"filesha256": pathFunc("SHA-256 of a file's content.", func(path string) (string, error) {
			b, err := r.read(path)
			sum := sha256.Sum256(b)
			return hex.EncodeToString(sum[:]), err
		}),
		"fileexists": function.New(&function.Spec{
			Description: "Whether there is a file of that path.",
			Params:      []function.Parameter{{Name: "path", Type: cty.String}},
			Type:        function.StaticReturnType(cty.Bool),
			Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
				path, err := r.local(args[0].AsString())
				if err != nil {
					return cty.NilVal, function.NewArgError(0, err)
				}
				root, err := os.OpenRoot(r.dir)
				if err != nil {
					return cty.NilVal, errors.New(withoutPath(err))
				}
				defer root.Close()
				fi, err := root.Stat(path)
				return cty.BoolVal(err == nil && fi.Mode().IsRegular()), nil
			},
		}),
		"fileset": function.New(&function.Spec{
			Description: "The files below a directory whose path in it matches a pattern with *, ? and **.",
			Params:      []function.Parameter{{Name: "path", Type: cty.String}, {Name: "pattern", Type: cty.String}},
			Type:        function.StaticReturnType(cty.Set(cty.String)),
			Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
				names, err := r.list(args[0].AsString(), args[1].AsString())
				if err != nil {
					return cty.NilVal, err
				}
				if len(names) == 0 {
					return cty.SetValEmpty(cty.String), nil
				}
				return cty.SetVal(names), nil
			},
		}),
	}
	fns[iterateName] = iterate
	fns["templatefile"] = r.templateFunc(fns)
	return fns
}

func pathFunc(description string, read func(string) (string, error)) function.Function {
	return function.New(&function.Spec{
		Description: description,
		Params:      []function.Parameter{{Name: "path", Type: cty.String}},
		Type:        function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			s, err := read(args[0].AsString())
			if err != nil {
				return cty.NilVal, function.NewArgErrorf(0, "cannot read %q: %w", args[0].AsString(), err)
			}
			return cty.StringVal(s), nil
		},
	})
}

// list returns the regular files below dir that match, relative to dir.
func (r *fileReader) list(dir, pattern string) ([]cty.Value, error) {
	rel, err := r.local(dir)
	if err != nil {
		return nil, function.NewArgError(0, err)
	}
	re := globRE(pattern)
	root, err := os.OpenRoot(r.dir)
	if err != nil {
		return nil, errors.New(withoutPath(err))
	}
	defer root.Close()
	var names []cty.Value
	walked := 0
	err = fs.WalkDir(root.FS(), filepath.ToSlash(rel), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return errors.New(withoutPath(err))
		}
		if walked++; walked > maxListed {
			return fmt.Errorf("there are more than %d files below it", maxListed)
		}
		if !e.Type().IsRegular() {
			return nil
		}
		name := path
		if rel != "." {
			name = strings.TrimPrefix(path, filepath.ToSlash(rel)+"/")
		}
		if re.MatchString(name) {
			names = append(names, cty.StringVal(name))
		}
		return nil
	})
	if err != nil {
		return nil, function.NewArgErrorf(0, "cannot list %q: %w", dir, err)
	}
	return names, nil
}

// globRE matches a path against a pattern: * and ? match within a name, and **/
// any number of directories.
func globRE(pattern string) *regexp.Regexp {
	quoted := regexp.QuoteMeta(pattern)
	re := strings.NewReplacer(`\*\*/`, `(?:.*/)?`, `\*\*`, `.*`, `\*`, `[^/]*`, `\?`, `[^/]`).Replace(quoted)
	return regexp.MustCompile(`^(?s:` + re + `)$`)
}
