package draw

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// sample is a graph like that of a bottle file with n bottles over one image.
func sample(n int) *Graph {
	g := &Graph{Title: "bottles.hcl", Nodes: []Node{{
		Address: "image.base", Kind: "image", Pos: "bottles.hcl:3", Decision: "run", Key: "sha256:" + strings.Repeat("0a", 32),
		Reasons: []string{"file changed: Dockerfile"}, Seconds: 12.5, Bytes: 3 << 20,
	}}}
	add := func(from, address, kind, decision string, reasons ...string) {
		g.Nodes = append(g.Nodes, Node{Address: address, Kind: kind, Decision: decision, Reasons: reasons, Pos: "bottles.hcl:9", Key: "sha256:" + strings.Repeat("0b", 32)})
		g.Edges = append(g.Edges, Edge{from, address})
	}
	for i := range n {
		b := fmt.Sprintf("bottle.agent[\"agent-%d\"]", i)
		add("image.base", b+".pack", "pack", "maybe", "a dependency will run")
		add(b+".pack", b+".machine", "machine", "hit")
		g.Nodes[len(g.Nodes)-1].Action = "none"
	}
	g.Edges = append(g.Edges, Edge{"image.base", g.Nodes[len(g.Nodes)-1].Address}) // a long edge
	return g
}

func write(t testing.TB, g *Graph, format string) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, g, format); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestDOT(t *testing.T) {
	g := &Graph{Title: "a \"b\"", Nodes: []Node{
		{Address: `image.a`, Decision: "hit"}, {Address: `bottle.x["k\\"].pack`, Decision: "run", Action: "create", Reasons: []string{"never built here"}},
	}, Edges: []Edge{{"image.a", `bottle.x["k\\"].pack`}}}
	want := `digraph "a \"b\"" {
  rankdir=LR
  node [shape=box, style="rounded,filled", fontname="monospace", fontsize=11]
  "image.a" [label="image.a\nhit", tooltip="image.a\nhit", fillcolor="#eef0f2", color="#6e7781"]
  "bottle.x[\"k\\\\\"].pack" [label="bottle.x[\"k\\\\\"].pack\nrun (create): never built here", tooltip="bottle.x[\"k\\\\\"].pack\nrun (create)\nnever built here", fillcolor="#d7f0dc", color="#1a7f37"]
  "image.a" -> "bottle.x[\"k\\\\\"].pack"
}
`
	if diff := cmp.Diff(want, write(t, g, "dot")); diff != "" {
		t.Error(diff)
	}
}

func TestMermaid(t *testing.T) {
	g := &Graph{Nodes: []Node{{Address: `image.a`}, {Address: `bottle.x["<b>;"].pack`, Decision: "run"}}, Edges: []Edge{{"image.a", `bottle.x["<b>;"].pack`}}}
	want := `flowchart LR
  n0["image.a"]
  n1["bottle.x[#34;#60;b#62;#59;#34;].pack<br/>run"]:::run
  n0 --> n1
`
	if got := write(t, g, "mermaid"); !strings.HasPrefix(got, want) {
		t.Error(cmp.Diff(want, got))
	}
}

func TestJSON(t *testing.T) {
	g := sample(1)
	var got struct {
		FormatVersion string `json:"format_version"`
		Graph
	}
	d := json.NewDecoder(strings.NewReader(write(t, g, "json")))
	d.DisallowUnknownFields()
	if err := d.Decode(&got); err != nil {
		t.Fatal(err)
	}
	got.Title = g.Title
	if diff := cmp.Diff(*g, got.Graph); diff != "" || got.FormatVersion != FormatVersion {
		t.Errorf("version %q, %s", got.FormatVersion, diff)
	}
}

func TestUnknownFormat(t *testing.T) {
	if err := Write(io.Discard, sample(1), "png"); err == nil || !strings.Contains(err.Error(), "dot, mermaid, json, svg, html") {
		t.Errorf("error %v", err)
	}
}

// A drawing is well-formed XML whatever the texts are, boxes of a column do not
// overlap, and an edge leads to the right.
func TestLayout(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := &Graph{Title: rapid.String().Draw(t, "title")}
		n := rapid.IntRange(0, 30).Draw(t, "nodes")
		for i := range n {
			g.Nodes = append(g.Nodes, Node{
				Address: fmt.Sprintf("n%d%s", i, rapid.String().Draw(t, "address")),
				// As a byte slice: not all of it is text.
				Reasons:  []string{string(rapid.SliceOf(rapid.Byte()).Draw(t, "reason"))},
				Decision: rapid.SampledFrom([]string{"", "hit", "run", "maybe"}).Draw(t, "decision"),
			})
			if i == 0 {
				continue
			}
			for _, d := range rapid.SliceOfNDistinct(rapid.IntRange(0, i-1), 0, min(i, 3), rapid.ID).Draw(t, "deps") {
				g.Edges = append(g.Edges, Edge{g.Nodes[d].Address, g.Nodes[i].Address})
			}
		}
		var b bytes.Buffer
		if err := Write(&b, g, "svg"); err != nil {
			t.Fatal(err)
		}
		for d := xml.NewDecoder(&b); ; {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("the drawing is no XML: %v", err)
			}
		}
		s := arrange(g)
		for i, a := range s.boxes {
			if a.x < 0 || a.y < 0 || a.x+a.width > s.width || a.y+a.height > s.height {
				t.Errorf("box %d is off the sheet: %+v on %v x %v", i, a, s.width, s.height)
			}
			for k, b := range s.boxes[:i] {
				if a.x < b.x+b.width && b.x < a.x+a.width && a.y < b.y+b.height && b.y < a.y+a.height {
					t.Errorf("boxes %d and %d overlap", k, i)
				}
			}
		}
		for i, line := range s.lines {
			for k := range line[1:] {
				if line[k+1].x < line[k].x {
					t.Errorf("edge %d turns back: %v", i, line)
				}
			}
		}
	})
}

func BenchmarkLayout(b *testing.B) {
	g := sample(5000)
	for b.Loop() {
		write(b, g, "svg")
	}
}
