package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// settle is longer than the two seconds within which a file's times do not tell
// that it has not changed since.
const settle = 2500 * time.Millisecond

// noise is a source of bytes that do not compress, the same at every start.
func noise() *rand.ChaCha8 { return rand.NewChaCha8([32]byte{'b', 'e', 'n', 'c', 'h'}) }

// write writes a file below the temporary directory, and the directories above it.
func (b *bench) write(content string, elem ...string) error {
	name := b.path(elem...)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, []byte(content), 0o644)
}

// writeTree makes count files of size bytes each below dir, 100 to a directory.
func (b *bench) writeTree(dir string, count, size int) error {
	src, buf := noise(), make([]byte, size)
	for i := range count {
		if _, err := src.Read(buf); err != nil {
			return err
		}
		if err := b.write(string(buf), dir, fmt.Sprintf("d%03d", i/100), fmt.Sprintf("f%02d", i%100)); err != nil {
			return err
		}
	}
	return nil
}

// size returns the bytes in all files below a directory; a directory that is
// not there has none.
func size(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if os.IsNotExist(err) && name == dir {
			return nil
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		fi, err := d.Info()
		if err == nil {
			total += fi.Size()
		}
		return err
	})
	return total, err
}

// writeNoise makes a file of n bytes that do not compress.
func (b *bench) writeNoise(n int64, elem ...string) error {
	name := b.path(elem...)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, io.LimitReader(noise(), n))
	return errors.Join(err, f.Close())
}

// written returns the bytes that a process has made the kernel write to disks
// (proc(5), /proc/PID/io).
func written(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return 0, err
	}
	for l := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(l, "write_bytes: "); ok {
			return strconv.ParseInt(strings.TrimSpace(v), 10, 64)
		}
	}
	return 0, fmt.Errorf("/proc/%d/io has no write_bytes", pid)
}
