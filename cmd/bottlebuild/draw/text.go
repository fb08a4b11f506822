package draw

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// writeDOT writes the form that Graphviz reads (graphviz.org, "The DOT Language").
func writeDOT(w io.Writer, g *Graph) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "digraph %s {\n  rankdir=LR\n  node [shape=box, style=\"rounded,filled\", fontname=\"monospace\", fontsize=11]\n", quoteDOT(g.Title))
	for _, n := range g.Nodes {
		c := n.colour()
		fmt.Fprintf(b, "  %s [label=%s, tooltip=%s, fillcolor=%q, color=%q]\n",
			quoteDOT(n.Address), quoteDOT(strings.Join(n.lines(), "\n")), quoteDOT(n.tooltip()), c.fill, c.line)
	}
	for _, e := range g.Edges {
		fmt.Fprintf(b, "  %s -> %s\n", quoteDOT(e.From), quoteDOT(e.To))
	}
	fmt.Fprintln(b, "}")
	return b.Flush()
}

// quoteDOT writes a quoted string: only the quote and the backslash are special.
func quoteDOT(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

// tooltip is all that is known of the node, a fact a line.
func (n Node) tooltip() string {
	lines := []string{n.Address, n.state()}
	lines = append(lines, n.Reasons...)
	if c := n.cost(); c != "" {
		lines = append(lines, "last time: "+c)
	}
	lines = append(lines, n.Pos)
	kept := lines[:0]
	for _, l := range lines {
		if l != "" {
			kept = append(kept, l)
		}
	}
	return strings.Join(kept, "\n")
}

// writeMermaid writes a flowchart in Mermaid's language (mermaid.js.org), as
// GitHub and GitLab show it in Markdown.
func writeMermaid(w io.Writer, g *Graph) error {
	b := bufio.NewWriter(w)
	fmt.Fprintln(b, "flowchart LR")
	ids := make(map[string]string, len(g.Nodes))
	for i, n := range g.Nodes {
		ids[n.Address] = fmt.Sprintf("n%d", i)
		class := ""
		if n.Decision != "" {
			class = ":::" + n.Decision
		}
		fmt.Fprintf(b, "  n%d[\"%s\"]%s\n", i, quoteMermaid(n.lines()), class)
	}
	for _, e := range g.Edges {
		fmt.Fprintf(b, "  %s --> %s\n", ids[e.From], ids[e.To])
	}
	for _, d := range []string{"hit", "run", "maybe"} {
		c := Node{Decision: d}.colour()
		fmt.Fprintf(b, "  classDef %s fill:%s,stroke:%s,color:#1f2328\n", d, c.fill, c.line)
	}
	return b.Flush()
}

// quoteMermaid makes lines the text of a node. Mermaid reads entity codes and
// HTML in it, so everything but plain text becomes a code.
func quoteMermaid(lines []string) string {
	var b strings.Builder
	for i, l := range lines {
		if i > 0 {
			b.WriteString("<br/>")
		}
		for _, r := range l {
			if strings.ContainsRune("\"#;<>&`*_\\", r) {
				fmt.Fprintf(&b, "#%d;", r)
			} else {
				b.WriteRune(r)
			}
		}
	}
	return b.String()
}
