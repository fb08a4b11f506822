package bottlefile

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"bottlebuild/tasks"
)

// TestSetElement sets single elements of maps.
func TestSetElement(t *testing.T) {
	const source = `
variable "v" { default = "from v" }
image "a" {
  dockerfile_inline = "FROM scratch"
  args              = { KEPT = "1", CHANGED = "2" }
}
image "b" {
  dockerfile_inline = "FROM scratch"
}`
	f, diags := Load(t.Context(), Options{Path: "bottles.hcl", Dir: t.TempDir(), Source: []byte(source), Sets: []string{
		"image.a.args.CHANGED=1.50", `image.*.args["NEW"]=var.v`, "image.a.args.CHANGED=2.50",
		"image.b.labels.org.example.x=y", `image.b.labels["org.example.z"]={A`, "image.b.contexts.base=docker-image://alpine",
	}})
	if diags.HasErrors() {
		t.Fatal(render80(t, f, diags))
	}
	type maps struct{ Args, Labels map[string]string }
	got := map[string]maps{}
	for _, u := range f.units {
		if p, ok := u.res.params.(tasks.Image); ok {
			got[u.node.Address] = maps{p.Args, p.Labels}
		}
	}
	want := map[string]maps{
		"image.a": {Args: map[string]string{"KEPT": "1", "CHANGED": "2.50", "NEW": "from v"}},
		"image.b": {Args: map[string]string{"NEW": "from v"}, Labels: map[string]string{"org.example.x": "y", "org.example.z": "{A"}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for _, set := range []string{"image.a.target.x=1", "image.a.platforms[0]=linux/arm64", "image.a.args.X.y[0]=1"} {
		if f, diags := Load(t.Context(), Options{Path: "bottles.hcl", Dir: t.TempDir(), Source: []byte(source), Sets: []string{set}}); !diags.HasErrors() {
			t.Errorf("--set %s: no error, %v", set, f.units)
		}
	}
}
