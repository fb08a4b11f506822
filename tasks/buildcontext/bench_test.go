package buildcontext

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bottlebuild/cache"
)

// manyFiles makes n files of 10,000 bytes, 100 to a directory, and waits until
// they are old enough to be trusted.
func manyFiles(b *testing.B, n int) string {
	dir := b.TempDir()
	data := make([]byte, 10_000)
	for i := range n {
		sub := filepath.Join(dir, fmt.Sprintf("pkg%02d/dir%03d", i/2000, i/100))
		if i%100 == 0 {
			if err := os.MkdirAll(sub, 0o755); err != nil {
				b.Fatal(err)
			}
		}
		copy(data, fmt.Sprint(i))
		if err := os.WriteFile(filepath.Join(sub, fmt.Sprintf("source_file_%05d.go", i)), data, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	time.Sleep(2100 * time.Millisecond)
	return dir
}

// cpuTime reports processor time per operation, which other work on the machine
// disturbs less than it does the time that has passed.
func cpuTime(b *testing.B) func() {
	used := func() int64 {
		var r unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
			b.Fatal(err)
		}
		return r.Utime.Nano() + r.Stime.Nano()
	}
	start := used()
	return func() { b.ReportMetric(float64(used()-start)/float64(b.N)/1e6, "cpu-ms/op") }
}

func benchStore(b *testing.B) *cache.Store {
	s, err := cache.Open(filepath.Join(b.TempDir(), "cache"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

func BenchmarkLstatWalk(b *testing.B) {
	b.Run("files=20000", func(b *testing.B) {
		dir := manyFiles(b, 20_000)
		defer cpuTime(b)()
		for b.Loop() {
			err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
				if err == nil {
					_, err = e.Info()
				}
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkScan starts with a Scanner that knows nothing each time, as a process
// does: cached has the table on disk to read, cold has not.
func BenchmarkScan(b *testing.B) {
	for _, ignore := range []struct {
		name     string
		patterns []string
	}{{"", nil}, {"/ignore", []string{"**/*.pyc", "node_modules", ".git", "*.md", "!README.md"}}} {
		for _, cached := range []bool{true, false} {
			name := map[bool]string{true: "cached", false: "cold"}[cached]
			b.Run("files=20000/"+name+ignore.name, func(b *testing.B) {
				req := Request{Dir: manyFiles(b, 20_000), Ignore: ignore.patterns}
				var store *cache.Store
				if cached {
					store = benchStore(b)
					s := New(store, 2)
					if _, err := s.Scan(b.Context(), req); err != nil {
						b.Fatal(err)
					}
					if err := s.Save(b.Context()); err != nil {
						b.Fatal(err)
					}
				}
				defer cpuTime(b)()
				for b.Loop() {
					s := New(store, 2)
					if _, err := s.Scan(b.Context(), req); err != nil {
						b.Fatal(err)
					}
					if err := s.Save(b.Context()); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkScanDirs(b *testing.B) {
	b.Run("dirs=1000/files=3", func(b *testing.B) {
		root := b.TempDir()
		for i := range 1000 {
			dir := filepath.Join(root, fmt.Sprint(i))
			if err := os.Mkdir(dir, 0o755); err != nil {
				b.Fatal(err)
			}
			for j := range 3 {
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(j)), []byte(dir), 0o644); err != nil {
					b.Fatal(err)
				}
			}
		}
		store := benchStore(b)
		defer cpuTime(b)()
		for b.Loop() {
			s := New(store, 2)
			for i := range 1000 {
				if _, err := s.Scan(b.Context(), Request{Dir: filepath.Join(root, fmt.Sprint(i)), Ignore: []string{"*.md"}}); err != nil {
					b.Fatal(err)
				}
			}
			if err := s.Save(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
