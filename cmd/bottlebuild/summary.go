package main

import (
	"errors"
	"fmt"
	"time"

	"bottlebuild/graph"
)

// summarize writes the closing lines: how the nodes ended, how long it took, and
// what the cache has saved.
func (a *app) summarize(r *graph.Report, took time.Duration, mode string) {
	if mode == "quiet" || mode == "rawjson" {
		return
	}
	for _, res := range r.Results {
		if res.Status == graph.Skipped && !errors.Is(res.Err, errInterrupted) {
			fmt.Fprintf(a.stderr, "skipped %s: %v\n", res.Node.Address, res.Err)
		}
	}
	fmt.Fprintln(a.stderr, countsText(r, took))
}

// countsText says how the nodes ended, how long it took, and what was saved.
func countsText(r *graph.Report, took time.Duration) string {
	count := map[graph.Status]int{}
	var saved time.Duration
	for _, res := range r.Results {
		count[res.Status]++
		saved += res.Saved
	}
	text := fmt.Sprintf("%d ran, %d cached", count[graph.Ran], count[graph.Cached])
	for _, s := range []graph.Status{graph.Failed, graph.Skipped} {
		if count[s] > 0 {
			text += fmt.Sprintf(", %d %s", count[s], s)
		}
	}
	text += fmt.Sprintf(" in %s", shortDuration(took))
	if saved > 0 {
		text += fmt.Sprintf(" (the cache saved %s)", shortDuration(saved))
	}
	return text
}

// shortDuration rounds to what a reader wants to know.
func shortDuration(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}
