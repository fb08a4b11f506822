package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// line is one line of the table under a row's title.
type line struct {
	what   string
	runs   []usage // times to show, if any
	result string  // what is compared with the figure, or a remark
	figure string  // what it must reach; empty: it is only for information
	met    bool
}

// timing is the line of one program's times.
func timing(c command, runs []usage) line { return line{what: c.name, runs: runs} }

// verdict is the line that compares a result with the figure it must reach.
func verdict(what, result, figure string, met bool) line {
	return line{what: what, result: result, figure: figure, met: met}
}

// note is a line that is only for information.
func note(what, result string) line { return line{what: what, result: result} }

// writeLines writes a table with aligned columns.
func writeLines(w io.Writer, lines []line) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	if slices.ContainsFunc(lines, func(l line) bool { return len(l.runs) > 0 }) {
		fmt.Fprintln(tw, "\tmin\tmedian\tmax\tprocessor\tresult\tfigure\t")
	} else {
		fmt.Fprintln(tw, "\t\t\t\t\tresult\tfigure\t")
	}
	for _, l := range lines {
		var least, middle, most, cpu, met string
		if len(l.runs) > 0 {
			s := walls(l.runs)
			least, middle, most = milliseconds(slices.Min(s)), milliseconds(median(s)), milliseconds(slices.Max(s))
			cpu = milliseconds(median(cpus(l.runs)))
		}
		switch {
		case l.figure == "":
		case l.met:
			met = "met"
		default:
			met = "MISSED"
		}
		fmt.Fprintf(tw, "  %s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", l.what, least, middle, most, cpu, l.result, l.figure, met)
	}
	return tw.Flush()
}

// milliseconds writes a time with three digits that count.
func milliseconds(s float64) string {
	ms := s * 1000
	switch {
	case ms < 10:
		return fmt.Sprintf("%.2f ms", ms)
	case ms < 100:
		return fmt.Sprintf("%.1f ms", ms)
	}
	return fmt.Sprintf("%.0f ms", ms)
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
