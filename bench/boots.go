package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// booted is how many machines the row of boots has.
const booted = 20

// boots packs an image once and boots machines of it in parallel, in the container
// backend. The second round boots machines that were stopped: nothing is unpacked
// or written of the image again.
func (b *bench) boots(ctx context.Context) (lines []line, err error) {
	const dir, image = "boots", 64 << 20
	if err := errors.Join(
		b.writeNoise(image, dir, "context", "noise"),
		b.write(scratchDockerfile, dir, "context", "Dockerfile"),
		b.write(fmt.Sprintf(`image "a" {
  context = "context"
}
bottle "a" {
  for_each = toset([for i in range(%d) : tostring(i)])
  image    = image.a
  backend  = "container"
  pack {}
  machine {
    name      = "bench-${each.key}"
    cpus      = 1
    memory    = "64MiB"
    self_test = false
  }
}
`, booted), dir, "bottles.hcl"),
	); err != nil {
		return nil, err
	}
	if err := b.startDaemon(ctx); err != nil {
		return nil, err
	}
	if _, err := b.command("bottlebuild run --until pack", dir, b.bottlebuild, "run", "--builder", b.address(), "--until", "pack").run(ctx); err != nil {
		return nil, err
	}
	defer func() {
		_, derr := b.command("bottlebuild down", dir, b.bottlebuild, "down", "--all").run(context.WithoutCancel(ctx))
		err = errors.Join(err, derr)
	}()
	rootfs, err := tree(b.path("cache", "rootfs"))
	if err != nil {
		return nil, err
	}
	first, err := b.runCommand(dir).run(ctx)
	if err != nil {
		return nil, err
	}
	memory, machines, err := machinesMemory()
	if err != nil {
		return nil, err
	}
	if machines != booted {
		return nil, fmt.Errorf("%d machines run, not %d", machines, booted)
	}
	disk, err := ownDisk(b.path("state"))
	if err != nil {
		return nil, err
	}
	if _, err := b.command("bottlebuild stop", dir, b.bottlebuild, "stop", "bottles.hcl").run(ctx); err != nil {
		return nil, err
	}
	second, err := b.command("bottlebuild start", dir, b.bottlebuild, "start", "bottles.hcl").run(ctx)
	if err != nil {
		return nil, err
	}
	after, err := tree(b.path("cache", "rootfs"))
	if err != nil {
		return nil, err
	}
	changed := 0
	for path, was := range rootfs {
		if after[path] != was {
			changed++
		}
	}
	changed += max(0, len(after)-len(rootfs))
	perMachine := func(u usage) string { return milliseconds(u.wall.Seconds() / booted) }
	return []line{
		note(fmt.Sprintf("create and boot of %d machines", booted), milliseconds(first.wall.Seconds())),
		note("  per machine", perMachine(first)),
		note(fmt.Sprintf("boot of %d machines that were stopped", booted), milliseconds(second.wall.Seconds())),
		note("  per machine", perMachine(second)),
		note("memory of a machine, by its cgroup", mebibytes(memory/booted)),
		note("disk of a machine, without the image", fmt.Sprintf("%.1f KiB", float64(disk)/booted/(1<<10))),
		note("the unpacked image, which all share", mebibytes(image)),
		verdict("files of it that the boots wrote", strconv.Itoa(changed), "none", changed == 0),
	}, nil
}

// tree returns of every file below dir what changes if it is written. Times of use,
// of which the cache keeps account beside the images, are left out.
func tree(dir string) (map[string]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || filepath.Dir(path) == dir && !e.IsDir() || path == dir {
			return err
		}
		fi, err := e.Info()
		if err != nil {
			return err
		}
		st := fi.Sys().(*syscall.Stat_t)
		files[path] = fmt.Sprint(st.Ino, fi.Size(), fi.Mode(), st.Ctim)
		return nil
	})
	return files, err
}

// ownDisk returns what the files below dir take, in bytes, but for what is mounted
// there and for files that have another name as well: bottlebuild's binary is
// linked into machines.
func ownDisk(dir string) (total int64, err error) {
	var top syscall.Stat_t
	if err := syscall.Stat(dir, &top); err != nil {
		return 0, err
	}
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := e.Info()
		if err != nil {
			return err
		}
		st := fi.Sys().(*syscall.Stat_t)
		if st.Dev != top.Dev {
			return fs.SkipDir
		}
		if e.IsDir() || st.Nlink == 1 {
			total += st.Blocks * 512
		}
		return nil
	})
	return total, err
}

// machinesMemory returns what the machines take, in bytes, and how many they are.
func machinesMemory() (total int64, n int, err error) {
	for _, pattern := range []string{"/sys/fs/cgroup/bottlebuild/bench-*/memory.current", "/sys/fs/cgroup/memory/bottlebuild/bench-*/memory.usage_in_bytes"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return 0, 0, err
		}
		for _, file := range found {
			text, err := os.ReadFile(file)
			if err != nil {
				return 0, 0, err
			}
			bytes, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
			if err != nil {
				return 0, 0, fmt.Errorf("%s: %w", file, err)
			}
			total += bytes
			n++
		}
	}
	return total, n, nil
}
