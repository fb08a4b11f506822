package draw

import (
	"bufio"
	"bytes"
	_ "embed"
	"html/template"
	"io"
	"sync"
)

//go:embed page.html
var pageSource string

// page is parsed when it is first wanted, which most commands never do.
var page = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("page").Parse(pageSource))
})

// writeHTML writes one self-contained page, which loads nothing: the drawing can
// be moved, zoomed and searched, and a click tells all about a node.
func writeHTML(w io.Writer, g *Graph) error {
	var drawing bytes.Buffer
	b := bufio.NewWriter(&drawing)
	s := arrange(g)
	drawInto(b, g, s)
	if err := b.Flush(); err != nil {
		return err
	}
	counts := map[string]int{}
	nodes := make([]pageNode, len(g.Nodes))
	for i, n := range g.Nodes {
		counts[n.Decision]++
		nodes[i] = pageNode{n, n.state(), n.cost()}
	}
	out := bufio.NewWriter(w)
	err := page().Execute(out, map[string]any{
		"Title": g.Title, "Width": s.width, "Height": s.height, "Nodes": nodes, "Counts": counts,
		"Drawing": template.HTML(drawing.String()), // made by drawInto, which escapes
	})
	if err != nil {
		return err
	}
	return out.Flush()
}

// pageNode is a node as the page's script reads it.
type pageNode struct {
	Node
	State string `json:"state,omitempty"`
	Cost  string `json:"cost,omitempty"`
}
