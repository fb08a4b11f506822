package importer

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"maps"
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

// run imports what starts an archive: a bake or compose file and those that follow
// with another name of that kind, or the Dockerfiles of dir.
func run(t *testing.T, dir string, files []txtar.File) Result {
	t.Helper()
	var res Result
	var err error
	var sources []bottlefile.Source
	name := files[0].Name
	for _, f := range files {
		if f.Name == name || strings.HasPrefix(f.Name, "docker-bake.") || strings.HasPrefix(f.Name, "compose.") {
			sources = append(sources, bottlefile.Source{Path: f.Name, Bytes: f.Data})
		}
	}
	switch {
	case strings.HasSuffix(name, ".yaml"):
		res, err = Compose(t.Context(), dir, sources...)
	case strings.HasPrefix(name, "docker-bake"):
		var shown *bottlefile.File
		var diags bottlefile.Diagnostics
		res, shown, diags = Bake(dir, sources...)
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
	// What has no default has to be given.
	given := map[string]bottlefile.Var{"VERSION": {Value: "1"}, "ADMIN_PORT": {Value: "81"}, "DB_IMAGE": {Value: "postgres:17"}}
	maps.DeleteFunc(given, func(name string, _ bottlefile.Var) bool {
		return !bytes.Contains(res.Source, []byte("variable \""+name+"\""))
	})
	f, diags := bottlefile.Load(context.Background(), bottlefile.Options{Path: "bottles.hcl", Source: res.Source, Dir: dir, Vars: given})
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
			res := run(t, dir, a.Files)
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
		"${var.ORG}/a":                           {"docker.io", "${var.ORG}/a", "latest"},
		"${var.R}/a/b:${var.T}":                  {"${var.R}", "a/b", "${var.T}"},
	} {
		host, repository, tag, err := splitTag(s, func(first string) bool { return first != "${var.ORG}" })
		if got := [3]string{host, repository, tag}; err != nil || got != want {
			t.Errorf("%s: got %q, %v", s, got, err)
		}
	}
}

// inheriting returns n targets of which each inherits the one before it twice.
func inheriting(n int) string {
	var b strings.Builder
	for i := 1; i <= n; i++ {
		fmt.Fprintf(&b, "target \"t%d\" { inherits = [\"t%d\", \"t%d\"] }\n", i, i-1, i-1)
	}
	return b.String()
}

func TestFaultyInput(t *testing.T) {
	for name, src := range map[string]string{
		"docker-bake.hcl":      "target \"a\" {",
		"docker-bake.json":     "{",
		"docker-bake-2.json":   "[]",
		"docker-bake-3.json":   strings.Repeat(`{"a":`, 200),
		"docker-bake-deep.hcl": "a = " + strings.Repeat("(", 100_000),
		"docker-bake-ways.hcl": "target \"t0\" {}\n" + inheriting(60),
	} {
		if _, _, diags := Bake(".", bottlefile.Source{Path: name, Bytes: []byte(src)}); !diags.HasErrors() {
			t.Errorf("%s: no error", name)
		}
	}
	for _, src := range []string{
		"services: [", "a: b", "services: {web: {image: x, ports: [x]}}", "services: {web: {image: \"${\"}}",
		"services: {web: {image: x, build: {ulimits: {nofile: {soft: x}}}}}", "include: [compose.yaml]",
	} {
		if res, err := Compose(t.Context(), t.TempDir(), bottlefile.Source{Path: "compose.yaml", Bytes: []byte(src)}); err == nil {
			t.Errorf("%s: no error, but %s", src, res.Source)
		}
	}
	if _, err := Dockerfiles(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("no error of a directory that is not there")
	}
}

// addSeeds adds the first file of each archive that matches the pattern.
func addSeeds(f *testing.F, pattern string) {
	f.Helper()
	paths, err := filepath.Glob(pattern)
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
}

// FuzzBake holds that whatever can be read becomes source that can be read.
func FuzzBake(f *testing.F) {
	addSeeds(f, "testdata/*.txtar")
	f.Fuzz(func(t *testing.T, src []byte) {
		res, _, diags := Bake("testdata", bottlefile.Source{Path: "docker-bake.hcl", Bytes: src})
		if diags.HasErrors() {
			return
		}
		if _, _, diags := bottlefile.Format("bottles.hcl", res.Source); diags.HasErrors() {
			t.Errorf("%s\nbecame\n%s\n%s", src, res.Source, diags)
		}
	})
}

// FuzzCompose holds the same of compose files.
func FuzzCompose(f *testing.F) {
	addSeeds(f, "testdata/compose*.txtar")
	f.Fuzz(func(t *testing.T, src []byte) {
		res, err := Compose(t.Context(), "testdata", bottlefile.Source{Path: "compose.yaml", Bytes: src})
		if err != nil {
			return
		}
		if _, _, diags := bottlefile.Format("bottles.hcl", res.Source); diags.HasErrors() {
			t.Errorf("%s\nbecame\n%s\n%s", src, res.Source, diags)
		}
	})
}
