package main

import (
	"bytes"
	"context"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"bottlebuild/cmd/bottlebuild/draw"
	"bottlebuild/graph"
)

type graphFlags struct {
	selection
	format string
	output string
	noPlan bool
}

func newGraphCommand(a *app) *cobra.Command {
	var f graphFlags
	cmd := &cobra.Command{
		Use:   "graph [FILE] [TARGET...]",
		Short: "Draw what depends on what, coloured by what a run would do",
		Long: `Graph draws the nodes of a bottle file and what depends on what, each with what a
run would do and why. Nothing is changed.

Formats: dot (Graphviz), mermaid (Markdown on GitHub and GitLab), json, svg, and
html: one page that loads nothing, to be moved, zoomed, searched and clicked.`,
		Example: `  bottlebuild graph | dot -Tpdf -o graph.pdf
  bottlebuild graph bottles.hcl 'bottle.agent["claude"]' --format mermaid
  bottlebuild graph --format html --output graph.html`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return a.graph(cmd.Context(), &f, args) },
	}
	f.add(cmd)
	cmd.Flags().StringVar(&f.format, "format", "", "one of "+strings.Join(draw.Formats, ", ")+" (default: by the ending of --output, else "+draw.Formats[0]+")")
	cmd.Flags().StringVarP(&f.output, "output", "o", "", "write to this file instead of standard output")
	cmd.Flags().BoolVar(&f.noPlan, "no-plan", false, "draw the nodes alone, without asking the cache and the world")
	return cmd
}

// formatOf returns the format that is asked for, or goes with the file's name. A
// name that bottle files have is refused.
func (f *graphFlags) formatOf() (string, error) {
	if strings.HasSuffix(f.output, ".hcl") || strings.HasSuffix(f.output, ".hcl.json") {
		return "", usageError("--output %s: a bottle file has such a name, and is not replaced; name another file", f.output)
	}
	if f.format != "" {
		if !slices.Contains(draw.Formats, f.format) {
			return "", usageError("--format %q: use one of %s", f.format, strings.Join(draw.Formats, ", "))
		}
		return f.format, nil
	}
	if f.output == "" {
		return draw.Formats[0], nil
	}
	ending := strings.TrimPrefix(filepath.Ext(f.output), ".")
	for format, endings := range map[string][]string{"dot": {"dot", "gv"}, "mermaid": {"mmd", "mermaid"}, "json": {"json"}, "svg": {"svg"}, "html": {"html", "htm"}} {
		if slices.Contains(endings, ending) {
			return format, nil
		}
	}
	return "", usageError("--output %s: its ending names no format; say which with --format (%s)", f.output, strings.Join(draw.Formats, ", "))
}

func (a *app) graph(ctx context.Context, f *graphFlags, args []string) error {
	format, err := f.formatOf()
	if err != nil {
		return err
	}
	c, err := a.choose(ctx, &f.selection, args)
	if err != nil {
		return err
	}
	g := &draw.Graph{Title: filepath.Base(c.file.Project()), Nodes: []draw.Node{}, Edges: []draw.Edge{}}
	if f.noPlan {
		order, err := graph.Sort(c.nodes)
		if err != nil {
			return err
		}
		for _, n := range order {
			addNode(g, n)
		}
	} else {
		s, err := a.look()
		if err != nil {
			return err
		}
		defer s.close()
		if err := s.share(c.file, &f.shared, true); err != nil {
			return err
		}
		plan, err := s.planNodes(ctx, s.runner(c), c.nodes)
		if err != nil {
			return planError(err)
		}
		for _, s := range plan.Steps {
			addStep(g, s)
		}
	}
	if f.output == "" {
		return draw.Write(a.stdout, g, format)
	}
	var b bytes.Buffer
	if err := draw.Write(&b, g, format); err != nil {
		return err
	}
	if err := renameio.WriteFile(f.output, b.Bytes(), 0o644); err != nil {
		return usageError("--output: %w", err)
	}
	return nil
}

// addNode adds a node, and an edge from each node that it depends on.
func addNode(g *draw.Graph, n *graph.Node) *draw.Node {
	g.Nodes = append(g.Nodes, draw.Node{Address: n.Address, Kind: n.Kind, Pos: n.Pos})
	for _, d := range n.Deps {
		g.Edges = append(g.Edges, draw.Edge{From: d.Address, To: n.Address})
	}
	return &g.Nodes[len(g.Nodes)-1]
}

func addStep(g *draw.Graph, s *graph.Step) {
	n := addNode(g, s.Node)
	n.Decision, n.Action, n.Actions = string(s.Decision), s.Action, s.Actions
	n.Seconds, n.Bytes = s.Estimate.Seconds, s.Estimate.Bytes
	if !s.Key.IsZero() {
		n.Key = s.Key.String()
	}
	for _, r := range s.Reasons {
		n.Reasons = append(n.Reasons, r.Text)
	}
}
