package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// layers are the top-level directories; each may import those to its right.
var layers = []string{"cmd", "hcl", "tasks", "graph", "cache"}

// leaves are below tasks and know of no graph: backends, builders, registries.
const leafPrefix = "bottlebuild/tasks/"

func TestImportsGoOneWay(t *testing.T) {
	cmd := exec.Command("go", "list", "-test", "-json=ImportPath,ForTest,Imports", "bottlebuild/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	level := func(path string) int {
		rest, ok := strings.CutPrefix(path, "bottlebuild/")
		if !ok {
			return -1
		}
		top, _, _ := strings.Cut(rest, "/")
		for i, l := range layers {
			if l == top {
				return i
			}
		}
		return -1
	}
	seen := map[string]bool{}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath, ForTest string
			Imports             []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		path, _, _ := strings.Cut(p.ImportPath, " ")
		if strings.HasSuffix(path, ".test") {
			continue
		}
		from := level(path)
		if from < 0 {
			continue
		}
		seen[layers[from]] = true
		for _, imp := range p.Imports {
			imp, _, _ = strings.Cut(imp, " ")
			switch to := level(imp); {
			case to >= 0 && to < from:
				t.Errorf("%s imports %s: imports go %s", path, imp, strings.Join(layers, " -> "))
			case strings.HasPrefix(path, leafPrefix) && (imp == "bottlebuild/tasks" || imp == "bottlebuild/graph"):
				t.Errorf("%s imports %s: what is below tasks knows of no graph", path, imp)
			case strings.HasPrefix(imp, "github.com/hashicorp/hcl") && layers[from] != "hcl":
				t.Errorf("%s imports %s: only package bottlefile reads HCL", path, imp)
			case layers[from] == "cache" && strings.HasPrefix(imp, "github.com/moby/buildkit"):
				t.Errorf("%s imports %s: the cache knows of no builder", path, imp)
			}
		}
	}
	for _, l := range layers {
		if !seen[l] {
			t.Errorf("no package of %s was looked at", l)
		}
	}
}
