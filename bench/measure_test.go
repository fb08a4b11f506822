package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{7}, 7},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 1, 9, 2}, 3},
	} {
		if got := median(c.values); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.values, got, c.want)
		}
	}
}

// A ratio is that of neighbours: what slows down one pair does not show in it.
func TestRatioIsOfPairs(t *testing.T) {
	runs := func(ms ...time.Duration) (u []usage) {
		for _, d := range ms {
			u = append(u, usage{wall: d * time.Millisecond})
		}
		return u
	}
	if got := ratio(runs(20, 200, 2000), runs(10, 100, 1000)); got != 2 {
		t.Errorf("ratio = %v, want 2", got)
	}
}

func TestAlternate(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	write := func(s string) command {
		return command{name: s, argv: []string{"/bin/sh", "-c", "printf " + s + " >>" + log}}
	}
	runs, err := alternate(t.Context(), 1, 2, write("a"), write("b"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != "ababab" || len(runs) != 2 || len(runs[0]) != 2 || len(runs[1]) != 2 {
		t.Errorf("ran %q and counted %d and %d, want ababab, 2 and 2", got, len(runs[0]), len(runs[1]))
	}
}

func TestFailureShowsOutput(t *testing.T) {
	c := command{name: "x", argv: []string{"/bin/sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x; echo the reason >&2; exit 7"}}
	_, err := c.run(t.Context())
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Fatalf("error %v, want one with exit code 7", err)
	}
	if text := err.Error(); !strings.HasSuffix(text, "the reason") || len(text) > 10_000 {
		t.Errorf("the error has %d bytes and ends in %q, want the bounded end of the output", len(text), text[len(text)-20:])
	}
}

func TestCancelEndsGroup(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	pid := filepath.Join(t.TempDir(), "pid")
	c := command{argv: []string{"/bin/sh", "-c", "sleep 1000 & echo $! >" + pid + "; wait"}}
	if _, err := c.run(ctx); err == nil {
		t.Fatal("a cancelled command succeeded")
	}
	b, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err)
	}
	stat := filepath.Join("/proc", strings.TrimSpace(string(b)), "stat")
	for range 500 {
		state, err := os.ReadFile(stat)
		if err != nil || strings.Contains(string(state), ") Z ") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("the grandchild %s still runs", strings.TrimSpace(string(b)))
}

func TestTable(t *testing.T) {
	var b strings.Builder
	runs := []usage{{wall: time.Millisecond}, {wall: 20 * time.Millisecond, cpu: 4 * time.Millisecond}, {wall: 300 * time.Millisecond}}
	err := writeLines(&b, []line{
		timing(command{name: "run"}, runs),
		verdict("a", "5", "at least 4", true),
		verdict("b", "3", "at least 4", false),
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for l := range strings.Lines(b.String()) {
		got = append(got, strings.Join(strings.Fields(l), " "))
	}
	want := []string{
		"min median max processor result figure",
		"run 1.00 ms 20.0 ms 300 ms 0.00 ms",
		"a 5 at least 4 met",
		"b 3 at least 4 MISSED",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("table:\n%s\nwant the fields\n%s", b.String(), strings.Join(want, "\n"))
	}
}
