package bottlefile

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"

	"bottlebuild/graph"
)

var update = flag.Bool("update", false, "write golden files anew")

// project makes a directory with the build contexts that test files name.
func project(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"images/base/", "images/claude/", "images/codex/", ""} {
		write(d+"Dockerfile", "FROM scratch\n")
	}
	write("files/prompt.txt", "You are a bottle.\n")
	write("files/motd.tmpl", "Welcome to ${name}\n%{ for h in hosts ~}\n- ${h}\n%{ endfor ~}\n")
	write("files/deep/a.txt", "a")
	write("files/binary", "\xff\xfe")
	write("src/main.c", "int main;")
	for name, index := range map[string]string{"good": `{"manifests": [{"digest": "sha256:` + strings.Repeat("1", 64) + `", "annotations": {"org.opencontainers.image.ref.name": "v1"}}]}`, "broken": "{", "empty": "{}"} {
		write("layouts/"+name+"/oci-layout", `{"imageLayoutVersion": "1.0.0"}`)
		write("layouts/"+name+"/index.json", index)
	}
	return dir
}

func load(t testing.TB, dir, source string, vars map[string]Var) (*File, hcl.Diagnostics) {
	t.Helper()
	return Load(context.Background(), Options{
		Path: "bottles.hcl", Source: []byte(source), Dir: dir, Project: "test", Vars: vars, Version: "0.3.0",
	})
}

func mustLoad(t testing.TB, dir, source string) *File {
	t.Helper()
	f, diags := load(t, dir, source, nil)
	if diags.HasErrors() {
		t.Fatal(render80(t, f, diags))
	}
	return f
}

func render80(t testing.TB, f *File, diags hcl.Diagnostics) string {
	t.Helper()
	var b bytes.Buffer
	if err := WriteDiagnostics(&b, f, diags, 0, false); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// describe writes nodes with what they depend on and their parameters.
func describe(t testing.TB, nodes []*graph.Node, dir string) string {
	t.Helper()
	var b strings.Builder
	for _, n := range nodes {
		fmt.Fprintf(&b, "%s (%s, %s)\n", n.Address, n.Kind, n.Pos)
		for _, d := range n.Deps {
			fmt.Fprintf(&b, "  needs %s\n", d.Address)
		}
		p, err := n.Bind(nil)
		if errors.Is(err, graph.ErrUnknown) {
			b.WriteString("  known later\n")
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		j, err := json.MarshalIndent(p, "  ", "  ")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "  %s\n", j)
	}
	return strings.ReplaceAll(b.String(), dir, "DIR")
}

func TestValid(t *testing.T) {
	files, err := filepath.Glob("testdata/valid/*.hcl")
	if err != nil || len(files) == 0 {
		t.Fatal("no fixtures", err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".hcl"), func(t *testing.T) {
			source, err := ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			dir := project(t)
			f := mustLoad(t, dir, string(source))
			nodes, diags := f.Nodes(nil)
			if diags.HasErrors() {
				t.Fatal(diags)
			}
			got := describe(t, nodes, dir)
			golden := strings.TrimSuffix(path, ".hcl") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("nodes (-want +got), -update writes them anew:\n%s", d)
			}
		})
	}
}
