// Command bench prints bottlebuild's figures side by side with what people know:
// docker buildx bake on the same BuildKit, ninja, and a bare walk of a directory.
//
// Each row does one thing with each program in turns, A B A B …, so that what
// else the machine does falls on all of them, and reports the least, the median
// and the greatest time of whole processes, from start to exit, and the median
// of the ratios of neighbours. Before that each program has run twice, so files
// are in memory and results in caches.
//
// Everything happens in a temporary directory, which is removed at the end. It
// needs Linux, root, and runc and ninja on PATH. Where there is no docker on PATH,
// its plugin buildx is measured by itself, which is faster than docker buildx.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// walkCommand is the command with which this program starts itself, to be measured
// as a process like the others.
const walkCommand = "walk"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := realMain(ctx, os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func realMain(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == walkCommand {
		return walk(args[1:])
	}
	return compare(ctx, args)
}

// row is one thing to measure.
type row struct {
	name    string
	title   string
	measure func(*bench, context.Context) ([]line, error)
}

var rows = []row{
	{"small", "cached run, 1 image of 1 small file", (*bench).small},
	{"files", "cached run, 1 image of 20,000 files, 200 MB", (*bench).files},
	{"plan", "plan of 1,000 images and 1,000 bottles", (*bench).plan},
	{"language", "a bottle file of 1,000 bottles from one for_each", (*bench).language},
	{"graph", "cached run of a graph of 10,000 nodes", (*bench).graph},
	{"bytes", "bytes written from a built image to a pack's input, image of 1 GiB", (*bench).bytes},
	{"boots", "20 machines booted in parallel from one pack, on the container backend", (*bench).boots},
}

func rowNames() []string {
	var names []string
	for _, r := range rows {
		names = append(names, r.name)
	}
	return names
}

func compare(ctx context.Context, args []string) (err error) {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	wanted := f.String("rows", strings.Join(rowNames(), ","), "what to measure")
	pairs := f.Int("n", 10, "how often to run each program")
	bin := f.String("bin", filepath.Join("..", "bin"), "directory with bottlebuild and buildx")
	tmp := f.String("dir", "", "directory in which to make the temporary one (default the system's)")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 || *pairs < 1 {
		return fmt.Errorf("arguments %q and -n %d: only flags are taken, and -n is at least 1", f.Args(), *pairs)
	}
	names := strings.Split(*wanted, ",")
	for _, n := range names {
		if !slices.Contains(rowNames(), n) {
			return fmt.Errorf("-rows: there is no row %q, only %s", n, strings.Join(rowNames(), ", "))
		}
	}
	b, err := newBench(*bin, *tmp, *pairs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.facts(ctx, os.Stdout); err != nil {
		return err
	}
	for _, r := range rows {
		if !slices.Contains(names, r.name) {
			continue
		}
		lines, err := r.measure(b, ctx)
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		if err != nil {
			return fmt.Errorf("row %s: %w", r.name, err)
		}
		fmt.Printf("\n%s: %s\n", r.name, r.title)
		if err := writeLines(os.Stdout, lines); err != nil {
			return err
		}
	}
	return nil
}
