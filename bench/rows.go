package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

const scratchDockerfile = "FROM scratch\nCOPY . /\n"

// small compares cached runs of one small image.
func (b *bench) small(ctx context.Context) ([]line, error) {
	return b.cachedRun(ctx, "small", 1, 16, 4, false)
}

// files compares cached runs of one image with many files, and a walk of them.
func (b *bench) files(ctx context.Context) ([]line, error) {
	return b.cachedRun(ctx, "files", 20_000, 10_000, 20, true)
}

// cachedRun makes an image of count files of size bytes, builds it with both
// programs, and compares what they take when nothing has changed. A plain bake
// leaves the image in BuildKit, where nothing else can use it; with bottlebuild
// it is in the store, so a bake that exports it is measured as well.
func (b *bench) cachedRun(ctx context.Context, dir string, count, size int, figure float64, walked bool) ([]line, error) {
	if err := errors.Join(
		b.writeTree(filepath.Join(dir, "context"), count, size),
		b.write(scratchDockerfile, dir, "context", "Dockerfile"),
		b.write("image \"a\" {\n  context = \"context\"\n}\n", dir, "bottles.hcl"),
		b.write("target \"default\" {\n  context = \"context\"\n}\n", dir, "docker-bake.hcl"),
	); err != nil {
		return nil, err
	}
	if err := b.startDaemon(ctx); err != nil {
		return nil, err
	}
	time.Sleep(settle)
	export := b.bakeCommand(dir, "--set", "*.output=type=oci,dest=image.tar")
	export.name = "the same to an OCI file"
	commands := []command{b.runCommand(dir), b.bakeCommand(dir), export}
	if walked {
		commands = append(commands, b.command("lstat of every file", dir, b.own, walkCommand, "context"))
	}
	if b.docker != "" {
		commands = append(commands, b.pluginCommand(dir))
	}
	runs, err := alternate(ctx, warm, b.pairs, commands...)
	if err != nil {
		return nil, err
	}
	if err := allCached(runs[0]); err != nil {
		return nil, err
	}
	var lines []line
	for i, c := range commands {
		lines = append(lines, timing(c, runs[i]))
	}
	r := ratio(runs[1], runs[0])
	lines = append(lines,
		verdict("bake / run", fmt.Sprintf("%.1f", r), fmt.Sprintf("at least %.0f", figure), r >= figure),
		note("bake to an OCI file / run", fmt.Sprintf("%.1f", ratio(runs[2], runs[0]))),
	)
	if b.docker != "" {
		lines = append(lines, note("bake without docker / run", fmt.Sprintf("%.1f", ratio(runs[len(runs)-1], runs[0]))))
	}
	if walked {
		const most = 2
		r := ratio(runs[0], runs[3])
		lines = append(lines, verdict("run / lstat", fmt.Sprintf("%.2f", r), fmt.Sprintf("at most %d", most), r <= most))
	}
	return lines, nil
}

// allCached makes sure that the runs which were measured had nothing to do.
func allCached(runs []usage) error {
	for _, u := range runs {
		if !strings.Contains("\n"+u.output, "\n0 ran, ") {
			return fmt.Errorf("bottlebuild run was to find everything cached, but said:\n%s", u.output)
		}
	}
	return nil
}

const planned = 1000

// buildPatience bounds the building of all images for the second half of the
// plan's row.
const buildPatience = 3 * time.Minute

// plan compares plans of many images and bottles with bake's printing of as many
// targets; before any of them was built, and after all were.
func (b *bench) plan(ctx context.Context) ([]line, error) {
	const dir = "plan"
	var bottles, bake, names strings.Builder
	for i := range planned {
		name := fmt.Sprintf("t%04d", i)
		if err := errors.Join(
			b.write("FROM scratch\nCOPY file /"+name+"\n", dir, name, "Dockerfile"),
			b.write("this is "+name+"\n", dir, name, "file"),
		); err != nil {
			return nil, err
		}
		fmt.Fprintf(&bottles, "image %q {\n  context = %q\n}\nbottle %q {\n  image   = image.%s\n  backend = \"container\"\n  pack {}\n}\n", name, name, name, name)
		fmt.Fprintf(&bake, "target %q {\n  context = %q\n}\n", name, name)
		fmt.Fprintf(&names, "%q, ", name)
	}
	fmt.Fprintf(&bake, "group \"default\" {\n  targets = [%s]\n}\n", names.String())
	if err := errors.Join(b.write(bottles.String(), dir, "bottles.hcl"), b.write(bake.String(), dir, "docker-bake.hcl")); err != nil {
		return nil, err
	}
	if err := b.startDaemon(ctx); err != nil {
		return nil, err
	}
	time.Sleep(settle)
	lines, err := b.comparePlans(ctx, dir, "never built")
	if err != nil {
		return nil, err
	}
	took, err := b.build(ctx, dir)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return append(lines, note("plan, all built", fmt.Sprintf("not measured: building takes over %s", buildPatience))), nil
	}
	if err != nil {
		return nil, err
	}
	more, err := b.comparePlans(ctx, dir, "all built")
	lines = append(append(lines, note("(building them all)", took.Round(time.Second).String())), more...)
	return lines, err
}

func (b *bench) comparePlans(ctx context.Context, dir, state string) ([]line, error) {
	plan := b.command("bottlebuild plan, "+state, dir, b.bottlebuild, "plan", "--builder", b.address())
	commands := []command{plan, b.bakeCommand(dir, "--print")}
	if b.docker != "" {
		commands = append(commands, b.pluginCommand(dir, "--print"))
	}
	runs, err := alternate(ctx, warm, b.pairs, commands...)
	if err != nil {
		return nil, err
	}
	var lines []line
	for i, c := range commands {
		lines = append(lines, timing(c, runs[i]))
	}
	r := ratio(runs[1], runs[0])
	lines = append(lines, verdict("bake / plan", fmt.Sprintf("%.2f", r), "more than 1", r > 1))
	if b.docker != "" {
		lines = append(lines, note("bake without docker / plan", fmt.Sprintf("%.2f", ratio(runs[2], runs[0]))))
	}
	return lines, nil
}

// build runs everything in dir and returns how long that took; the error is
// context.DeadlineExceeded if it was too long.
func (b *bench) build(ctx context.Context, dir string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, buildPatience)
	defer cancel()
	u, err := b.runCommand(dir).run(ctx)
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	return u.wall, err
}

// graphBottles bottles of graphPushes pushes and a pack each, all of one image, are
// the nodes of the big graph.
const (
	graphBottles = 2000
	graphPushes  = 4
)

// graph compares a cached run of a graph of 10,000 nodes with ninja's null build
// of a graph of the same shape.
func (b *bench) graph(ctx context.Context) ([]line, error) {
	const dir = "graph"
	var bottles, ninja strings.Builder
	fmt.Fprintf(&bottles, `registry "scratch" { embedded = true }
image "base" { context = "base" }
bottle "b" {
  for_each = toset([for k in setproduct(["a", "b"], range(%d)) : "${k[0]}${k[1]}"])
  image    = image.base
  backend  = "container"
  pack {}
`, graphBottles/2)
	ninja.WriteString("rule touch\n  command = : > $out\nbuild all-base: touch\n")
	for i := range graphPushes {
		fmt.Fprintf(&bottles, "  push {\n    registry   = registry.scratch\n    repository = \"p%d-${each.key}\"\n  }\n", i)
	}
	bottles.WriteString("}\n")
	for i := range graphBottles * (graphPushes + 1) {
		fmt.Fprintf(&ninja, "build node-%05d: touch all-base\n", i)
	}
	if err := errors.Join(
		b.write(bottles.String(), dir, "bottles.hcl"), b.write(ninja.String(), dir, "build.ninja"),
		b.write("FROM scratch\nCOPY file /\n", dir, "base", "Dockerfile"), b.write("file\n", dir, "base", "file"),
	); err != nil {
		return nil, err
	}
	if err := b.startDaemon(ctx); err != nil {
		return nil, err
	}
	null := b.command("ninja, nothing to do", dir, "ninja")
	for _, fill := range []command{b.runCommand(dir), null} {
		if _, err := fill.run(ctx); err != nil {
			return nil, err
		}
	}
	run := b.runCommand(dir)
	runs, err := alternate(ctx, warm, b.pairs, run, null)
	if err != nil {
		return nil, err
	}
	if err := allCached(runs[0]); err != nil {
		return nil, err
	}
	for _, u := range runs[1] {
		if !strings.Contains(u.output, "no work to do") {
			return nil, fmt.Errorf("ninja was to find nothing to do, but said:\n%.500s", u.output)
		}
	}
	took, rss := median(walls(runs[0])), peak(runs[0])
	const most, room = 1.0, 300 << 20
	return []line{
		timing(run, runs[0]), timing(null, runs[1]),
		note("run / ninja", fmt.Sprintf("%.1f", ratio(runs[0], runs[1]))),
		verdict("time of the run, median", milliseconds(took), "under 1 s", took < most),
		note("its processor time, median", milliseconds(median(cpus(runs[0])))),
		verdict("memory of the run, peak", mebibytes(rss), "under 300 MiB", rss < room),
		note("memory of ninja, peak", mebibytes(peak(runs[1]))),
	}, nil
}

// bytes builds an image of one big layer with bake, so that BuildKit has it, and
// measures what bottlebuild writes to have it ready for packing: in its store,
// served by its embedded registry.
func (b *bench) bytes(ctx context.Context) ([]line, error) {
	const dir, image = "bytes", 1 << 30
	if err := errors.Join(
		b.writeNoise(image, dir, "context", "noise"),
		b.write(scratchDockerfile, dir, "context", "Dockerfile"),
		b.write("target \"default\" {\n  context = \"context\"\n}\n", dir, "docker-bake.hcl"),
		b.write(`registry "scratch" {
  embedded = true
}
image "a" {
  context = "context"
}
bottle "a" {
  image   = image.a
  backend = "container"
  push {
    registry   = registry.scratch
    repository = "a"
    tags       = ["dev"]
  }
}
`, dir, "bottles.hcl"),
	); err != nil {
		return nil, err
	}
	if err := b.startDaemon(ctx); err != nil {
		return nil, err
	}
	if _, err := b.bakeCommand(dir).run(ctx); err != nil {
		return nil, err
	}
	before, err := size(b.path("cache"))
	if err != nil {
		return nil, err
	}
	daemonBefore, err := written(b.daemon.Process.Pid)
	if err != nil {
		return nil, err
	}
	u, err := b.runCommand(dir).run(ctx)
	if err != nil {
		return nil, err
	}
	after, err := size(b.path("cache"))
	if err != nil {
		return nil, err
	}
	daemonAfter, err := written(b.daemon.Process.Pid)
	if err != nil {
		return nil, err
	}
	most := max(after-before, u.written)
	if u.written == 0 {
		return nil, errors.New("the kernel does not count what is written to " + b.dir + ": use -dir to name a directory on a disk")
	}
	const limit = 1.1
	r := float64(most) / image
	return []line{
		note("new in the store", mebibytes(after-before)),
		note("written by bottlebuild run", mebibytes(u.written)),
		verdict("greater of both / image", fmt.Sprintf("%.3f", r), "under 1.1", r < limit),
		note("written by BuildKit meanwhile", mebibytes(daemonAfter-daemonBefore)),
		note("time of the run", u.wall.Round(time.Millisecond).String()),
	}, nil
}
