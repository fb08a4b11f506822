package importer

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	bottlefile "bottlebuild/hcl"
)

var update = flag.Bool("update", false, "write golden files anew")

// run imports the first file of dir that is in the archive.
func run(t *testing.T, dir, name string, src []byte) Result {
	t.Helper()
	var res Result
	var err error
	switch {
	case strings.HasSuffix(name, ".yaml"):
		res, err = Compose(t.Context(), name, src, dir)
	case strings.HasPrefix(name, "docker-bake"):
		var shown *bottlefile.File
		var diags bottlefile.Diagnostics
		res, shown, diags = Bake(name, src)
		if diags.HasErrors() {
			t.Fatal(diags, shown != nil)
		}
	default:
		res, err = Dockerfiles(dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func validate(t *testing.T, dir string, res Result) {
	t.Helper()
	f, diags := bottlefile.Load(context.Background(), bottlefile.Options{Path: "bottles.hcl", Source: res.Source, Dir: dir})
	if diags.HasErrors() {
		var out bytes.Buffer
		if err := bottlefile.WriteDiagnostics(&out, f, diags, 0, false); err != nil {
			t.Fatal(err)
		}
		t.Errorf("the result is not valid:\n%s\n%s", res.Source, &out)
	}
}

// TestImport makes bottle files of what is in the archives, the first file or the
// Dockerfiles of each, and holds that they are valid and what they were.
func TestImport(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal("no archives", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(t.TempDir(), "shop")
			for _, f := range a.Files {
				name := filepath.Join(dir, f.Name)
				if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(name, f.Data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			res := run(t, dir, a.Files[0].Name, a.Files[0].Data)
			validate(t, dir, res)
			got := map[string]string{"bottles.hcl": string(res.Source), "warnings": strings.Join(append(res.Warnings, ""), "\n")}
			for name, text := range got {
				i := slices.IndexFunc(a.Files, func(f txtar.File) bool { return f.Name == name })
				switch {
				case *update && i < 0:
					a.Files = append(a.Files, txtar.File{Name: name, Data: []byte(text)})
				case *update:
					a.Files[i].Data = []byte(text)
				case i < 0:
					t.Errorf("the archive has no %s", name)
				default:
					if d := cmp.Diff(string(a.Files[i].Data), text); d != "" {
						t.Errorf("%s (-want +got), -update writes it anew:\n%s", name, d)
					}
				}
			}
			if *update {
				if err := os.WriteFile(path, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestSplitTag(t *testing.T) {
	for s, want := range map[string][3]string{
		"a":                                      {"docker.io", "library/a", "latest"},
		"a:1":                                    {"docker.io", "library/a", "1"},
		"acme/a":                                 {"docker.io", "acme/a", "latest"},
		"localhost:5000/a:1":                     {"localhost:5000", "a", "1"},
		"ghcr.io/acme/a:${x ? " + `"a:b" : "c"}`: {"ghcr.io", "acme/a", `${x ? "a:b" : "c"}`},
		"${var.R}/a/b:${var.T}":                  {"${var.R}", "a/b", "${var.T}"},
	} {
		host, repository, tag, err := splitTag(s)
		if got := [3]string{host, repository, tag}; err != nil || got != want {
			t.Errorf("%s: got %q, %v", s, got, err)
		}
	}
}

func TestFaultyInput(t *testing.T) {
	for name, src := range map[string]string{
		"docker-bake.hcl":      "target \"a\" {",
		"docker-bake.json":     "{",
		"docker-bake-2.json":   "[]",
		"docker-bake-3.json":   strings.Repeat(`{"a":`, 200),
		"docker-bake-deep.hcl": "a = " + strings.Repeat("(", 100_000),
	} {
		if _, _, diags := Bake(name, []byte(src)); !diags.HasErrors() {
			t.Errorf("%s: no error", name)
		}
	}
	for _, src := range []string{"services: [", "a: b", "services: {web: {image: x, ports: [x]}}"} {
		if res, err := Compose(t.Context(), "compose.yaml", []byte(src), "/"); err == nil {
			t.Errorf("%s: no error, but %s", src, res.Source)
		}
	}
	if _, err := Dockerfiles(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("no error of a directory that is not there")
	}
}

// FuzzBake holds that whatever can be read becomes source that can be read.
func FuzzBake(f *testing.F) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		a, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(a.Files[0].Data)
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		res, _, diags := Bake("docker-bake.hcl", src)
		if diags.HasErrors() {
			return
		}
		if _, _, diags := bottlefile.Format("bottles.hcl", res.Source); diags.HasErrors() {
			t.Errorf("%s\nbecame\n%s\n%s", src, res.Source, diags)
		}
	})
}
