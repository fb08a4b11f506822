package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/docker/go-units"

	"bottlebuild/cache"
	"bottlebuild/graph"
)

// whyJSON is what why --json prints of a node. docs/plan.md describes it.
type whyJSON struct {
	stepJSON
	Pos   string     `json:"pos"`
	Built *builtJSON `json:"built,omitempty"` // of its result, or of the latest one
	// Compared is the earlier work that reasons compare it with, where that is not
	// the latest.
	Compared *builtJSON   `json:"compared,omitempty"`
	Nearest  *nearestJSON `json:"nearest,omitempty"` // of a node that was never built
	Depends  []dependency `json:"depends_on"`
	Roots    []rootJSON   `json:"roots,omitempty"` // of a maybe: what it is because of
	Recipe   []component  `json:"recipe"`          // what decides the output, as far as that is known
}

type builtJSON struct {
	Key     cache.Key     `json:"key"`
	Digest  *cache.Digest `json:"digest,omitempty"`
	Created time.Time     `json:"created"`
	Seconds float64       `json:"seconds"`
	Bytes   int64         `json:"bytes"`
	Address string        `json:"address"`       // of the node whose work it was
	Run     string        `json:"run,omitempty"` // see runs show; left out if its record is gone
}

// nearestJSON is the earlier work that differs least, of another address.
type nearestJSON struct {
	builtJSON
	Reasons []graph.Reason `json:"reasons"`
}

type dependency struct {
	Address  string         `json:"address"`
	Decision graph.Decision `json:"decision"`
}

type rootJSON struct {
	Address string         `json:"address"`
	Reasons []graph.Reason `json:"reasons"`
}

type component struct {
	Name  string `json:"name"`
	Value string `json:"value"` // "(sensitive)" if it is not to be shown
}

// printWhy writes an explanation for people.
func (a *app) printWhy(j *whyJSON, recipe bool) {
	out := a.stdout
	fmt.Fprintf(out, "%s (%s): %s\n", j.Address, j.Pos, verdictText(j))
	for _, r := range j.Reasons {
		fmt.Fprintf(out, "  %s: %s\n", r.Cause, indentRest(r.Text))
		printValues(out, r)
	}
	if len(j.Roots) > 0 {
		fmt.Fprintln(out, "  which starts with:")
		for _, r := range j.Roots {
			fmt.Fprintf(out, "    %s: %s\n", r.Address, reasonLine(r.Reasons))
		}
	}
	if b := j.Built; b != nil {
		what := "built"
		if j.Decision != graph.Hit || j.same() {
			what = "last built"
		}
		fmt.Fprintf(out, "  %s %s\n", what, builtText(b, j.Address))
	}
	if c := j.Compared; c != nil {
		fmt.Fprintf(out, "  compared with what was built %s, which is nearer to it\n", builtText(c, j.Address))
	}
	if n := j.Nearest; n != nil {
		fmt.Fprintf(out, "  nearest to it is %s, built %s, of which differ:\n", n.Address, builtText(&n.builtJSON, n.Address))
		for _, r := range n.Reasons {
			fmt.Fprintf(out, "    %s: %s\n", r.Cause, reasonLine([]graph.Reason{r}))
		}
	}
	if len(j.Depends) > 0 {
		var deps []string
		for _, d := range j.Depends {
			deps = append(deps, fmt.Sprintf("%s (%s)", d.Address, d.Decision))
		}
		fmt.Fprintf(out, "  depends on %s\n", strings.Join(deps, ", "))
	}
	if j.Key != nil {
		fmt.Fprintf(out, "  key %s, of %d components\n", j.Key, len(j.Recipe))
	}
	if recipe {
		for _, c := range j.Recipe {
			fmt.Fprintf(out, "    %s = %s\n", c.Name, c.Value)
		}
	}
}

func verdictText(j *whyJSON) string {
	switch {
	case j.same():
		return "nothing to do by itself"
	case j.Decision == graph.Hit:
		return "up to date"
	}
	text := "will run"
	if action := j.outcome(); action != "" {
		text += " (" + action + ")"
	}
	if j.Decision == graph.Maybe {
		text += ", unless what it depends on yields what it had before"
	}
	return text
}

func builtText(b *builtJSON, address string) string {
	text := fmt.Sprintf("%s (%s), in %s", ago(b.Created), b.Created.Local().Format(time.DateTime), shortDuration(seconds(b.Seconds)))
	if b.Bytes > 0 {
		text += ", " + units.BytesSize(float64(b.Bytes))
	}
	if b.Address != address {
		text += ", as " + b.Address
	}
	if b.Run != "" {
		text += ", by run " + b.Run
	}
	return text
}

// printValues writes what a component was and is, where there is anything to see.
func printValues(out io.Writer, r graph.Reason) {
	if r.Before != "" && r.Cause != graph.SameWork {
		fmt.Fprintf(out, "    was %s\n", indentRest(r.Before))
	}
	if r.After != "" && r.Cause != graph.SameWork {
		fmt.Fprintf(out, "    is  %s\n", indentRest(r.After))
	}
}

func indentRest(text string) string {
	return strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n      ")
}
