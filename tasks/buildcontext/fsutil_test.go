package buildcontext

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
	"pgregory.net/rapid"
)

// sent returns the lines "mode path target" that BuildKit's sender would send of
// a directory, and the files among them that it could not open.
func sent(f fsutil.FS, opt *fsutil.FilterOpt) (lines, unopened []string, err error) {
	if f, err = fsutil.NewFilterFS(f, opt); err != nil {
		return nil, nil, err
	}
	err = f.Walk(context.Background(), "/", func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := e.Info()
		if err != nil {
			return err
		}
		st := fi.Sys().(*types.Stat)
		target := st.Linkname
		if fi.Mode()&fs.ModeSymlink == 0 {
			target = "" // of a hard link
		}
		lines = append(lines, fmt.Sprintf("%v %q %q", fi.Mode(), st.Path, target))
		if fi.Mode().IsRegular() {
			r, err := f.Open(p)
			if err != nil {
				unopened = append(unopened, p)
				return nil
			}
			return r.Close()
		}
		return nil
	})
	return lines, unopened, err
}

var (
	someName    = rapid.SampledFrom([]string{"a", "b", "c", "aa", "a.go", "b.go", "b c", "-", "é", "a+b", "x\n"})
	somePattern = rapid.SampledFrom([]string{"a", "b", "c", "aa", "a.go", "*", "**", "?", "*.go", "a*", "?a", "[ab]", "[^a]", "a**", "**b", "*a*", `\a`, "a+b", "é", "b c", "..", ".", "***", "a|b", "{a}"})
)

func somePath(t *rapid.T, part *rapid.Generator[string], label string) string {
	return strings.Join(rapid.SliceOfN(part, 1, 4).Draw(t, label), "/")
}

// growTree makes some files, directories and links under dir.
func growTree(t *rapid.T, dir string) {
	for range rapid.IntRange(1, 14).Draw(t, "entries") {
		name := filepath.Join(dir, somePath(t, someName, "path"))
		if os.MkdirAll(filepath.Dir(name), 0o755) != nil {
			continue // a file or a link is there
		}
		switch rapid.SampledFrom([]string{"file", "file", "dir", "link", "abs"}).Draw(t, "type") {
		case "file":
			os.WriteFile(name, []byte(name), rapid.SampledFrom([]os.FileMode{0o644, 0o755, 0o600}).Draw(t, "mode"))
		case "dir":
			os.Mkdir(name, rapid.SampledFrom([]os.FileMode{0o755, 0o700}).Draw(t, "mode"))
		case "link":
			up := strings.Repeat("../", rapid.IntRange(0, 2).Draw(t, "up"))
			os.Symlink(up+somePath(t, someName, "target"), name)
		case "abs":
			os.Symlink("/"+somePath(t, someName, "target"), name)
		}
	}
}

// TestSelectionIsFsutils compares what is selected with what fsutil selects, over
// trees, ignore patterns and follow paths at random.
func TestSelectionIsFsutils(t *testing.T) {
	base := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		dir := filepath.Join(base, fmt.Sprint(n))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		growTree(t, dir)
		req := Request{Dir: dir}
		for range rapid.IntRange(0, 4).Draw(t, "ignores") {
			not := rapid.SampledFrom([]string{"", "", "!"}).Draw(t, "not")
			req.Ignore = append(req.Ignore, not+somePath(t, somePattern, "ignore"))
		}
		for range rapid.IntRange(0, 2).Draw(t, "follows") {
			req.Follow = append(req.Follow, somePath(t, rapid.OneOf(someName, someName, somePattern), "follow"))
		}
		raw, err := fsutil.NewFS(dir)
		if err != nil {
			t.Fatal(err)
		}
		opt := &fsutil.FilterOpt{ExcludePatterns: req.Ignore, FollowPaths: req.Follow}
		want, unopened, wantErr := sent(raw, opt)

		tree, err := New(nil, 2).Scan(context.Background(), req)
		if wantErr != nil || len(unopened) > 0 {
			if err == nil {
				t.Fatalf("fsutil: error %v, files it cannot open %q; here no error", wantErr, unopened)
			}
			return
		}
		if err != nil {
			t.Fatalf("fsutil has no error; here: %v", err)
		}
		f, err := tree.FS()
		if err != nil {
			t.Fatal(err)
		}
		got, unopened, err := sent(f, nil)
		if err != nil || len(unopened) > 0 {
			t.Fatalf("walk of what was scanned: %v, not opened: %q", err, unopened)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("selection (-fsutil +here):\n%s", diff)
		}
		toldAlike(t, tree, req)
		if req.Follow == nil { // the filter runs again on what is handed to BuildKit
			again, unopened, err := sent(f, opt)
			if err != nil || len(unopened) > 0 {
				t.Fatalf("filtered again: %v, not opened: %q", err, unopened)
			}
			if diff := cmp.Diff(want, again); diff != "" {
				t.Fatalf("filtered again (-once +twice):\n%s", diff)
			}
		}
	})
}

// toldAlike checks what is said of single paths against a listing.
func toldAlike(t *rapid.T, tree *Tree, req Request) {
	listed := map[string]bool{}
	for line := range strings.Lines(string(tree.Listing())) {
		e, err := parseEntry(strings.TrimSuffix(line, "\n"))
		if err != nil {
			t.Fatal(err)
		}
		listed[e.path] = true
		if !tree.Names(e.path) {
			t.Fatalf("%q is not named in the listing:\n%s", e.path, tree.Listing())
		}
	}
	err := filepath.WalkDir(req.Dir, func(name string, e fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(req.Dir, name)
		if err != nil || rel == "." || req.Follow != nil {
			return err
		}
		ignored, err := Ignored(req.Ignore, rel, e.IsDir())
		if ignored && listed[rel] || !ignored && !listed[rel] && !e.IsDir() {
			t.Fatalf("%q by %q: ignored is %t, and listed is %t", rel, req.Ignore, ignored, listed[rel])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestWalkTarget compares walks that start below the top, which FollowLinks does.
func TestWalkTarget(t *testing.T) {
	base := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		dir := filepath.Join(base, fmt.Sprint(n))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		growTree(t, dir)
		tree, err := New(nil, 1).Scan(context.Background(), Request{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		mine, err := tree.FS()
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := fsutil.NewFS(dir)
		if err != nil {
			t.Fatal(err)
		}
		target := rapid.SampledFrom([]string{"", "/", ".", "a", "/a", "a/b", "b/", "c/a"}).Draw(t, "target")
		for parent := path.Dir(path.Clean("/" + target)); parent != "/"; parent = path.Dir(parent) {
			if fi, err := os.Lstat(filepath.Join(dir, parent)); err == nil && fi.Mode()&fs.ModeSymlink != 0 {
				t.Skip("fsutil follows links on the way to the target; here nothing does")
			}
		}
		stop := rapid.IntRange(0, 5).Draw(t, "stop")
		how := rapid.SampledFrom([]error{nil, fs.SkipDir, fs.SkipAll, fs.ErrInvalid}).Draw(t, "how")
		walk := func(f fsutil.FS) (seen []string, err error) {
			err = f.Walk(context.Background(), target, func(p string, e fs.DirEntry, err error) error {
				seen = append(seen, path.Clean(p))
				if err != nil {
					return err
				}
				if len(seen) == stop {
					return how
				}
				return nil
			})
			return seen, err
		}
		want, wantErr := walk(theirs)
		got, err := walk(mine)
		if diff := cmp.Diff(want, got); diff != "" || (err == nil) != (wantErr == nil) {
			t.Fatalf("walk of %q: error %v, fsutil's %v (-fsutil +here):\n%s", target, err, wantErr, diff)
		}
	})
}
