package draw

import (
	"bufio"
	"fmt"
	"html"
	"io"
	"strings"
)

// writeSVG writes a drawing for a page or a viewer.
func writeSVG(w io.Writer, g *Graph) error {
	b := bufio.NewWriter(w)
	s := arrange(g)
	fmt.Fprintf(b, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"%s\">\n",
		s.width, s.height, s.width, s.height, html.EscapeString(g.Title))
	fmt.Fprintf(b, "<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n")
	drawInto(b, g, s)
	fmt.Fprintln(b, "</svg>")
	return b.Flush()
}

// drawInto writes the edges and the nodes. Edges have the attributes data-from
// and data-to, nodes data-node: numbers of nodes.
func drawInto(b *bufio.Writer, g *Graph, s sheet) {
	number := make(map[string]int, len(g.Nodes))
	for i, n := range g.Nodes {
		number[n.Address] = i
	}
	fmt.Fprintf(b, "<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#8c959f\"/></marker></defs>\n")
	fmt.Fprintf(b, "<g fill=\"none\" stroke=\"#8c959f\" stroke-width=\"1.2\">\n")
	for i, e := range g.Edges {
		fmt.Fprintf(b, "<path class=\"edge\" data-from=\"%d\" data-to=\"%d\" d=\"%s\" marker-end=\"url(#tip)\"/>\n", number[e.From], number[e.To], curve(s.lines[i]))
	}
	fmt.Fprintf(b, "</g>\n<g font-family=\"ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace\" font-size=\"12\">\n")
	for i, n := range g.Nodes {
		drawNode(b, i, n, s.boxes[i])
	}
	fmt.Fprintln(b, "</g>")
}

func drawNode(b *bufio.Writer, i int, n Node, at box) {
	c := n.colour()
	fmt.Fprintf(b, "<g class=\"node\" data-node=\"%d\" transform=\"translate(%.1f %.1f)\"><title>%s</title>", i, at.x, at.y, html.EscapeString(n.tooltip()))
	fmt.Fprintf(b, "<rect width=\"%.1f\" height=\"%.1f\" rx=\"5\" fill=\"%s\" stroke=\"%s\"/>", at.width, at.height, c.fill, c.line)
	for k, l := range n.lines() {
		fill, weight := "#1f2328", "600"
		if k > 0 {
			fill, weight = c.line, "400"
		}
		fmt.Fprintf(b, "<text x=\"%d\" y=\"%d\" fill=\"%s\" font-weight=\"%s\">%s</text>", boxPadding, boxPadding/2+12+k*lineHeight, fill, weight, html.EscapeString(l))
	}
	fmt.Fprintln(b, "</g>")
}

// curve is the path data of a line that passes the points, each with a
// horizontal tangent.
func curve(points []point) string {
	var d strings.Builder
	fmt.Fprintf(&d, "M%.1f %.1f", points[0].x, points[0].y)
	for i, p := range points[1:] {
		q := points[i]
		if p.y == q.y {
			fmt.Fprintf(&d, "H%.1f", p.x)
			continue
		}
		middle := (p.x + q.x) / 2
		fmt.Fprintf(&d, "C%.1f %.1f %.1f %.1f %.1f %.1f", middle, q.y, middle, p.y, p.x, p.y)
	}
	return d.String()
}
