package tasks

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bottlebuild/cache"
	"bottlebuild/graph"
	"bottlebuild/tasks/buildcontext"
)

// TestMissing plans images whose Dockerfiles copy what is there and what is not.
// TestKeyOracle holds that a build of what is called missing fails.
func TestMissing(t *testing.T) {
	for name, c := range map[string]struct {
		text   string
		ignore string
		params Image
		want   []string
	}{
		"there":               {text: "FROM scratch\nCOPY a dir/b /x/\nADD dir /y/\nCOPY . /z/"},
		"not there":           {text: "FROM scratch\nCOPY a none /x/\nADD dir/none /y/", want: []string{"app/Dockerfile:2: app/none is not there", "app/Dockerfile:3: app/dir/none is not there"}},
		"of several lines":    {text: "FROM scratch\n\nCOPY a \\\n  none \\\n  /x/", want: []string{"app/Dockerfile:3: app/none is not there"}},
		"with spelling":       {text: "FROM scratch\ncopy --link ./none/ /x", want: []string{"app/Dockerfile:2: app/none is not there"}},
		"in a file's place":   {text: "FROM scratch\nCOPY a/b /"},
		"wildcards":           {text: "FROM scratch\nCOPY none* n[o]ne /x/"},
		"parents, exclude":    {text: "FROM scratch\nCOPY --parents none/x /x/\nCOPY --exclude=*.md none /y/"},
		"variables":           {text: "FROM scratch\nARG F=a\nCOPY $F /", params: Image{Args: map[string]string{"F": "none"}}, want: []string{"app/Dockerfile:3: app/none is not there"}},
		"heredoc":             {text: "FROM scratch\nCOPY <<none /none\ntext\nnone"},
		"another stage":       {text: "FROM scratch AS one\nCOPY a /\nFROM scratch\nCOPY --from=one /none /"},
		"a stage left out":    {text: "FROM scratch AS one\nCOPY none /\nFROM scratch\nCOPY a /"},
		"a trigger":           {text: "FROM scratch AS one\nONBUILD COPY none /\nFROM one\nLABEL a=b", want: []string{"app/Dockerfile: app/none is not there"}},
		"links":               {text: "FROM scratch\nCOPY link/none link /x/"},
		"a named directory":   {text: "FROM scratch\nCOPY --from=lib none dir/b /x/", params: Image{Contexts: map[string]Context{"lib": {}}}, want: []string{"app/Dockerfile:2: app/none is not there"}},
		"ignored":             {text: "FROM scratch\nCOPY a dir/b dir /x/", ignore: "a\ndir", want: []string{"app/Dockerfile:2: app/a is left out by the ignore file", "app/Dockerfile:2: app/dir is left out by the ignore file", "app/Dockerfile:2: app/dir/b is left out by the ignore file"}},
		"ignored, but for":    {text: "FROM scratch\nCOPY dir/b dir /x/", ignore: "*\n!dir/b"},
		"none whatever links": {text: "FROM base\nCOPY none /", params: Image{Contexts: map[string]Context{"base": {Image: "image.base"}}}, want: []string{"app/Dockerfile:2: app/none is not there"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "app")
			must(t, os.MkdirAll(filepath.Join(dir, "dir"), 0o755))
			for name, text := range map[string]string{"Dockerfile": c.text, "a": "a", "dir/b": "b", ".dockerignore": c.ignore} {
				must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
			}
			must(t, os.Symlink("nowhere", filepath.Join(dir, "link")))
			store, err := cache.View(filepath.Join(dir, "none"))
			must(t, err)
			w := &Worker{Store: store, Scanner: buildcontext.New(nil, 1), Platform: "linux/amd64"}
			p := c.params
			p.Context, p.Dockerfile = dir, filepath.Join(dir, "Dockerfile")
			if _, ok := p.Contexts["lib"]; ok {
				p.Contexts["lib"] = Context{Dir: dir}
			}
			spec := graph.Spec{Params: p, Known: p.Contexts["base"].Image == ""}
			must(t, w.Describe(t.Context(), spec, cache.NewRecipe(KindImage)))
			v := w.checkImage(p, spec, nil)
			var got []string
			for _, r := range v.Notes {
				if r.Cause != CauseMissing {
					t.Errorf("cause %s", r.Cause)
				}
				got = append(got, r.Text)
			}
			for i := range c.want {
				c.want[i] += ": the build will fail"
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if v := w.checkImage(p, spec, &cache.Entry{}); v.Decision != graph.Hit || len(v.Notes) > 0 {
				t.Errorf("of a hit is said %+v", v)
			}
		})
	}
}
