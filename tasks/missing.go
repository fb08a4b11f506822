package tasks

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"bottlebuild/graph"
	"bottlebuild/tasks/buildcontext"
	"bottlebuild/tasks/buildkit"
)

// absences are the reasons for which images' builds will fail, by address, as they
// were found when the images were described last.
type absences struct {
	mu sync.Mutex
	by map[string][]graph.Reason
}

func (a *absences) set(address string, reasons []graph.Reason) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(reasons) == 0 {
		delete(a.by, address)
		return
	}
	if a.by == nil {
		a.by = map[string][]graph.Reason{}
	}
	a.by[address] = reasons
}

func (a *absences) of(address string) []graph.Reason {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.by[address]
}

// missingCopies says which paths that an image's Dockerfile copies are not there, so that
// its build will fail. What cannot be told for certain is taken to be there.
func missingCopies(p Image, a *buildkit.Analysis, trees map[string]*buildcontext.Tree) (reasons []graph.Reason) {
	for _, c := range a.Copies {
		if t := trees[c.Context]; t == nil || t.Names(c.Path) {
			continue
		}
		dir, dockerfile := p.contextDir(c.Context)
		why := absence(dir, dockerfile, c.Path)
		if why == "" {
			continue
		}
		reasons = append(reasons, graph.Reason{
			Cause: CauseMissing, Component: contextComponent(c.Context) + "/" + c.Path,
			Text: fmt.Sprintf("%s: %s %s: the build will fail", p.line(c.Line), filepath.Join(filepath.Base(dir), c.Path), why),
		})
	}
	return reasons
}

// line names a line of the image's Dockerfile; 0 is none of them.
func (p Image) line(n int) string {
	file := "dockerfile_inline"
	if p.Dockerfile != "" {
		file = filepath.Join(filepath.Base(filepath.Dir(p.Dockerfile)), filepath.Base(p.Dockerfile))
	}
	if n == 0 {
		return file
	}
	return fmt.Sprintf("%s:%d", file, n)
}

// absence says why a build does not find a path of a directory; empty: it does, or
// that cannot be told, as behind symbolic links.
func absence(dir, dockerfile, path string) string {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return ""
	}
	defer root.Close()
	var fi fs.FileInfo
	names := strings.Split(path, "/")
	for i := range names {
		fi, err = root.Lstat(strings.Join(names[:i+1], "/"))
		if errors.Is(err, fs.ErrNotExist) {
			return "is not there"
		}
		if err != nil || fi.Mode()&fs.ModeSymlink != 0 || !fi.IsDir() && i < len(names)-1 {
			return ""
		}
	}
	patterns, err := buildcontext.IgnoreFile(dir, dockerfile)
	if err != nil {
		return ""
	}
	if out, err := buildcontext.Ignored(patterns, path, fi.IsDir()); err != nil || !out {
		return ""
	}
	return "is left out by the ignore file"
}
