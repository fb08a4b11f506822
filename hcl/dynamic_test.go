package bottlefile

import (
	"os"
	"testing"

	"bottlebuild/tasks"
)

// TestDynamicLate binds a machine whose dynamic blocks use what is known late.
func TestDynamicLate(t *testing.T) {
	source, err := os.ReadFile("testdata/valid/dynamic.hcl")
	if err != nil {
		t.Fatal(err)
	}
	f := mustLoad(t, project(t), string(source))
	nodes, diags := f.Nodes([]string{`bottle.agent["b"].machine`})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	n := nodes[len(nodes)-1]
	outputs := outputsFor(n)
	p, err := n.Bind(outputs)
	if err != nil {
		t.Fatal(err)
	}
	m := p.(tasks.Machine)
	if len(m.Ports) != 3 || m.Ports[0].Host != 20000 || m.Ports[1].Host != 26060 || m.Ports[2].Host != 20080 {
		t.Errorf("the ports are %v", m.Ports)
	}
	digest := outputs["image.base"].Digest.String()
	if len(m.Files) != 2 || m.Files[1].Path != "/etc/two" || string(m.Files[1].Content) != digest {
		t.Errorf("the files are %v, and the digest %s", m.Files, digest)
	}
}
