package smolvm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// To pack, smolvm boots a virtual machine of up to 8 GiB, in a process group of
// its own, and stops it at the end. A smolvm that is killed, be it with the rest
// of a cancelled run, leaves that machine running and its disk in smolvm's cache.
// So each pack leaves word of itself in its temporary directory, under a lock
// that ends with the process that packs, and every pack starts with a look for
// what others could not clean up.

// packVariable is in the environment of smolvm and of the machine it boots: the
// pack's temporary directory.
const packVariable = "BOTTLEBUILD_PACK"

const (
	packLockFile = "lock"
	packPIDFile  = "smolvm.pid" // of the smolvm that packs, and when it started
)

// packing is a pack under way.
type packing struct {
	b    *Backend
	dir  string // temporary
	lock *flock.Flock
}

// beginPack makes the temporary directory of a pack, after those that were
// abandoned have been removed.
func (b *Backend) beginPack() (*packing, error) {
	b.sweepPacks()
	dir, err := b.cfg.Store.TempDir()
	if err != nil {
		return nil, err
	}
	p := &packing{b: b, dir: dir, lock: flock.New(filepath.Join(dir, packLockFile))}
	if err := p.lock.Lock(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return p, nil
}

// started notes smolvm's process, by which its machine is called.
func (p *packing) started(pid int) {
	// Without the note the disk would stay in smolvm's cache, no more.
	_ = os.WriteFile(filepath.Join(p.dir, packPIDFile), fmt.Appendf(nil, "%d %d", pid, time.Now().UnixNano()), 0o600)
}

// end removes all that is left of the pack.
func (p *packing) end() {
	p.b.clearPack(p.dir)
	p.lock.Close()
}

// sweepPacks clears up after packs whose process is gone.
func (b *Backend) sweepPacks() {
	tmp := filepath.Join(b.cfg.Store.Dir(), "tmp")
	notes, _ := filepath.Glob(filepath.Join(tmp, "*", packPIDFile))
	for _, note := range notes {
		dir := filepath.Dir(note)
		lock := flock.New(filepath.Join(dir, packLockFile))
		if ok, err := lock.TryLock(); ok && err == nil {
			b.clearPack(dir)
		}
		lock.Close()
	}
	// The directory may have been swept before its processes were.
	killMarked(func(dir string) bool {
		_, err := os.Lstat(dir)
		return filepath.Dir(dir) == tmp && errors.Is(err, fs.ErrNotExist)
	})
}

// clearPack ends the processes of a pack and removes its directories.
func (b *Backend) clearPack(dir string) {
	killMarked(func(d string) bool { return d == dir })
	if pid, since, ok := readPackNote(filepath.Join(dir, packPIDFile)); ok {
		removeHelperDisks(machinesOf(b.cfg.Env), pid, since)
	}
	os.RemoveAll(dir)
}

func readPackNote(path string) (pid int, since int64, ok bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, 0, false
	}
	n, err := fmt.Sscanf(string(b), "%d %d", &pid, &since)
	return pid, since, n == 2 && err == nil && pid > 1
}

// machinesOf returns where smolvm keeps the directories of its machines, each
// with a file that tells its name; as in smolvm's src/agent/manager.rs and
// src/process.rs.
func machinesOf(env []string) string {
	var home, cache, data string
	for _, kv := range env {
		switch k, v, _ := strings.Cut(kv, "="); k {
		case "HOME":
			home = v
		case "XDG_CACHE_HOME":
			cache = v
		case "SMOLVM_DATA_DIR":
			data = v
		}
	}
	switch {
	case data != "":
		cache = filepath.Join(data, ".cache")
	case runtime.GOOS == "darwin":
		cache = filepath.Join(home, "Library", "Caches")
	case !filepath.IsAbs(cache):
		cache = filepath.Join(home, ".cache")
	}
	return filepath.Join(cache, "smolvm", "vms")
}

// removeHelperDisks removes the directories of machines that the smolvm of that
// process booted to pack: "pack-PID-NANOSECONDS", not before since.
func removeHelperDisks(machines string, pid int, since int64) {
	root, err := os.OpenRoot(machines)
	if err != nil {
		return
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return
	}
	for _, e := range entries {
		name, err := fs.ReadFile(root.FS(), e.Name()+"/name")
		if err != nil || !e.IsDir() {
			continue
		}
		rest, ok := strings.CutPrefix(string(name), "pack-"+strconv.Itoa(pid)+"-")
		at, err := strconv.ParseInt(rest, 10, 64)
		if ok && err == nil && at >= since-int64(time.Second) {
			root.RemoveAll(e.Name())
		}
	}
}
