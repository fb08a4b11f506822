package remote

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/layout"

	"bottlebuild/cache"
)

// signing is a change of a machine's configuration: it signs, and trusts itself.
func signing(key PrivateKey) func(*Config) {
	return func(c *Config) { c.Key, c.Remotes[0].Trust.Keys = key, []PublicKey{key.Public()} }
}

func newKey(t *testing.T) PrivateKey {
	t.Helper()
	k, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestExportImport(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t)
	builder, other := newKey(t), newKey(t)
	one := w.machine(signing(builder))
	image, pack := one.makeImage(t, "web"), one.make(t, "pack", strings.Repeat("x", 1<<20), "small")
	one.publish(ctx, image, pack)
	dir := filepath.Join(t.TempDir(), "out")
	r, err := one.Export(ctx, dir, []*cache.Entry{image, pack}, nil)
	if err != nil || r.Entries != 2 || r.Blobs != 5 {
		t.Fatalf("%+v, %v", r, err)
	}
	// Again there is nothing to copy, and what was cut off is.
	if r, err := one.Export(ctx, dir, []*cache.Entry{image, pack}, nil); err != nil || r.Blobs != 0 {
		t.Errorf("again: %+v, %v", r, err)
	}
	if err := os.Remove(filepath.Join(dir, layoutBlob(pack.Output.Blobs[0].Digest))); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, tempPrefix+"x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := one.Export(ctx, dir, []*cache.Entry{image, pack}, nil); err != nil || r.Blobs != 1 || r.Bytes != 1<<20 {
		t.Errorf("after a cut: %+v, %v", r, err)
	}
	// It is a layout to others, with nothing else in it.
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != 3 {
		t.Errorf("%v, %v", names, err)
	}
	ix, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := ix.IndexManifest()
	if err != nil || len(m.Manifests) != 2 {
		t.Errorf("%+v, %v", m, err)
	}

	// A machine that trusts the builder takes it; one that trusts another does not.
	two := newWorld(t).machine(nil)
	if r, err := two.Import(ctx, dir, ImportOptions{Trust: Trust{Keys: []PublicKey{other.Public()}}}); !errors.Is(err, ErrUntrusted) || len(r.Refused) != 2 || r.Entries != 0 {
		t.Errorf("another key: %+v, %v", r, err)
	}
	r, err = two.Import(ctx, dir, ImportOptions{Trust: Trust{Keys: []PublicKey{builder.Public()}}})
	if err != nil || r.Entries != 2 || r.Blobs != 5 {
		t.Fatalf("%+v, %v", r, err)
	}
	for _, want := range []*cache.Entry{image, pack} {
		e, err := two.store.Get(want.Key)
		if err != nil || e.Output.Digest != want.Output.Digest || e.From != dir || !two.store.Marked(want.Partial) {
			t.Fatalf("%+v, %v", e, err)
		}
		for _, b := range e.Output.Blobs {
			if err := two.store.VerifyBlob(b.Digest); err != nil {
				t.Error(err)
			}
		}
	}
	if r, err := two.Import(ctx, dir, ImportOptions{}); err != nil || r.Blobs != 0 || r.Entries != 2 {
		t.Errorf("again: %+v, %v", r, err)
	}

	// It passes the signatures on, and does not sign what was not made here.
	two.conf.Key = other
	further := filepath.Join(t.TempDir(), "further")
	e, err := two.store.Get(pack.Key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := two.Export(ctx, further, []*cache.Entry{e}, nil); err != nil {
		t.Fatal(err)
	}
	for n, k := range []PrivateKey{other, builder} { // n: how many hold
		three := newWorld(t).machine(nil)
		if r, err := three.Import(ctx, further, ImportOptions{Trust: Trust{Keys: []PublicKey{k.Public()}}}); (err == nil) != (n == 1) || r.Entries != n {
			t.Errorf("%+v, %v", r, err)
		}
	}

	// What the layout has is not written again without its signature.
	one.conf.Key = PrivateKey{}
	if _, err := one.Export(ctx, dir, []*cache.Entry{image, pack}, nil); err != nil {
		t.Fatal(err)
	}
	four := newWorld(t).machine(nil)
	if r, err := four.Import(ctx, dir, ImportOptions{Trust: Trust{Keys: []PublicKey{builder.Public()}}}); err != nil || r.Entries != 2 {
		t.Errorf("exported again without a key: %+v, %v", r, err)
	}
}

// TestExportRefuses: a directory that is something else stays as it is.
func TestExportRefuses(t *testing.T) {
	one := newWorld(t).machine(nil)
	e := one.make(t, "a", "content")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "thesis.tex"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := one.Export(t.Context(), dir, []*cache.Entry{e}, nil); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Error(err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("%v, %v", names, err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	if _, err := one.Export(ctx, filepath.Join(dir, "new"), []*cache.Entry{e}, nil); err == nil || !strings.Contains(err.Error(), "enough") {
		t.Error(err)
	}
}

// TestImportRefuses: whatever somebody does to a layout, nothing of it is used
// that was not signed, and what is untouched still is.
func TestImportRefuses(t *testing.T) {
	ctx := t.Context()
	key := newKey(t)
	one := newWorld(t).machine(signing(key))
	bad, good := one.make(t, "bad", "content of bad", "more of it"), one.make(t, "good", "content of good")
	blob := bad.Output.Blobs[0].Digest
	// recordOf returns the path of a record in a layout.
	recordOf := func(dir string, e *cache.Entry) string {
		l, err := openLayout(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer l.close()
		ix, err := l.index()
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range ix.Manifests {
			if d.Annotations[refName] == recordTag(e.Key) {
				return filepath.Join(dir, "blobs/sha256", d.Digest.Hex)
			}
		}
		t.Fatal("no record")
		return ""
	}
	edit := func(path string, change func(string) string) error {
		b, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, []byte(change(string(b))), 0o600)
		}
		return err
	}
	replaceBlob := func(make func(path string) error) func(string) error {
		return func(dir string) error {
			path := filepath.Join(dir, layoutBlob(blob))
			return errors.Join(os.Remove(path), make(path))
		}
	}
	for name, do := range map[string]func(dir string) error{
		"a blob changed": func(dir string) error {
			return edit(filepath.Join(dir, layoutBlob(blob)), func(s string) string { return "C" + s[1:] })
		},
		"a blob cut": func(dir string) error {
			return os.Truncate(filepath.Join(dir, layoutBlob(blob)), 3)
		},
		"a blob longer": func(dir string) error {
			return edit(filepath.Join(dir, layoutBlob(blob)), func(s string) string { return s + "x" })
		},
		"a blob gone":      func(dir string) error { return os.Remove(filepath.Join(dir, layoutBlob(blob))) },
		"a link out of it": replaceBlob(func(path string) error { return os.Symlink("/etc/passwd", path) }),
		"a link in it":     replaceBlob(func(path string) error { return os.Symlink(good.Output.Blobs[0].Digest.Hex(), path) }),
		"a pipe":           replaceBlob(func(path string) error { return syscall.Mkfifo(path, 0o600) }),
		"a directory":      replaceBlob(func(path string) error { return os.Mkdir(path, 0o700) }),
		"a record changed": func(dir string) error {
			return edit(recordOf(dir, bad), func(s string) string { return strings.Replace(s, "2", "3", 1) })
		},
		"a record gone":      func(dir string) error { return os.Remove(recordOf(dir, bad)) },
		"a record too large": func(dir string) error { return os.Truncate(recordOf(dir, bad), maxManifest+1) },
		"another's record under its name": func(dir string) error {
			return edit(filepath.Join(dir, indexFile), func(s string) string {
				g, b := filepath.Base(recordOf(dir, good)), filepath.Base(recordOf(dir, bad))
				return strings.ReplaceAll(s, b, g)
			})
		},
		"a name that is none": func(dir string) error {
			return edit(filepath.Join(dir, indexFile), func(s string) string {
				return strings.ReplaceAll(s, recordTag(bad.Key), "ac-../../x")
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "out")
			if _, err := one.Export(ctx, dir, []*cache.Entry{bad, good}, nil); err != nil {
				t.Fatal(err)
			}
			if err := do(dir); err != nil {
				t.Fatal(err)
			}
			two := newWorld(t).machine(nil)
			r, err := two.Import(ctx, dir, ImportOptions{Trust: Trust{Keys: []PublicKey{key.Public()}}})
			if !errors.Is(err, ErrUntrusted) || len(r.Refused) != 1 || r.Entries != 1 || r.Blobs > 2 || r.Bytes > int64(len("content of good")+len("more of it")) {
				t.Errorf("%+v, %v", r, err)
			}
			if _, err := two.store.Get(bad.Key); !errors.Is(err, cache.ErrMiss) || errors.Is(err, cache.ErrDamaged) {
				t.Errorf("the bad one: %v", err)
			}
			if _, err := two.store.Get(good.Key); err != nil {
				t.Errorf("the good one: %v", err)
			}
		})
	}
	for name, content := range map[string]string{
		"no JSON": "{", "another version": `{"imageLayoutVersion":"2.0.0"}`, "nothing": "",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, layoutFile), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := one.Import(ctx, dir, ImportOptions{}); !errors.Is(err, ErrNoLayout) {
			t.Errorf("%s: it was taken for a layout", name)
		}
	}
	if _, err := one.Import(ctx, filepath.Join(t.TempDir(), "x"), ImportOptions{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing there: %v", err)
	}
}

// TestImportScope: what was made in pull requests is taken only where that is asked for.
func TestImportScope(t *testing.T) {
	ctx := t.Context()
	one := newWorld(t).machine(func(c *Config) { c.Remotes[0].Scope = Untrusted })
	e := one.make(t, "a", "content")
	dir := filepath.Join(t.TempDir(), "out")
	if _, err := one.Export(ctx, dir, []*cache.Entry{e}, nil); err != nil {
		t.Fatal(err)
	}
	two := newWorld(t).machine(nil)
	if r, err := two.Import(ctx, dir, ImportOptions{}); !errors.Is(err, ErrUntrusted) {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := two.Import(ctx, dir, ImportOptions{Scope: Untrusted}); err != nil || r.Entries != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}
