package container

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"bottlebuild/cache"
	"bottlebuild/tasks/backend"
	"bottlebuild/tasks/container/machineinit"
)

// machine is what machine.json holds: all that a machine is started from. A
// machine whose directory has no such file is half made or half deleted.
type machine struct {
	Version  int          `json:"version"`
	Spec     backend.Spec `json:"spec"` // with the defaults filled in
	Pack     cache.Digest `json:"pack"`
	Document *document    `json:"document"` // here so that a start needs no blob
	Created  time.Time    `json:"created"`
	// Started is set before the first start.
	Started bool `json:"started"`
}

const machineVersion = 1

// run is what run.json holds while a machine runs, or may: it is written before
// the runtime is called, so that whatever that leaves behind is found.
type run struct {
	Runtime string `json:"runtime"` // program
	// The rest is zero until the machine is up.
	process
	Forwarder process `json:"forwarder"` // see publish; zero if no port is published
	Uplink    process `json:"uplink"`    // see connect; zero if the machine reaches nothing
	Lower     uint64  `json:"lower"`     // inode of the unpacked image that is mounted
}

// process names a process of this host for good; a number alone is used again.
type process struct {
	PID   int    `json:"pid"`
	Since string `json:"since"` // start time, as /proc has it
	Boot  string `json:"boot"`  // of the host
}

// thisProcess names the process that has the number now.
func thisProcess(pid int) (process, error) {
	since, _, err := processStart(pid)
	return process{PID: pid, Since: since, Boot: bootID()}, err
}

// maxState bounds the files above, in bytes.
const maxState = 16 << 20

func (b *Backend) dir(name string) string {
	return filepath.Join(b.conf.StateDir, "machines", name)
}

func (b *Backend) file(name, file string) string { return filepath.Join(b.dir(name), file) }

// lockMachine makes others wait that want to change the machine.
func (b *Backend) lockMachine(ctx context.Context, name string) (unlock func(), err error) {
	dir := filepath.Join(b.conf.StateDir, "locks")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return lock(ctx, filepath.Join(dir, name))
}

// load reads a machine; the error wraps [backend.ErrNotFound] if there is none.
func (b *Backend) load(name string) (*machine, error) {
	if err := checkName(name); err != nil {
		return nil, fmt.Errorf("%w: %w", backend.ErrNotFound, err)
	}
	m := &machine{}
	err := readState(b.file(name, "machine.json"), m)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", backend.ErrNotFound, name)
	}
	if err == nil && (m.Version != machineVersion || m.Document == nil) {
		err = fmt.Errorf("it has format %d; this bottlebuild knows %d", m.Version, machineVersion)
	}
	if err != nil {
		return nil, fmt.Errorf("read state of machine %s: %w", name, err)
	}
	return m, nil
}

func (b *Backend) save(m *machine) error {
	return writeState(b.file(m.Spec.Name, "machine.json"), m)
}

// loadRun returns the machine's run, nil if it has none.
func (b *Backend) loadRun(name string) (*run, error) {
	r := &run{}
	err := readState(b.file(name, "run.json"), r)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read state of machine %s: %w", name, err)
	}
	return r, nil
}

func readState(path string, v any) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err == nil && fi.Size() > maxState {
		err = fmt.Errorf("%s is over %d bytes", path, maxState)
	}
	if err != nil {
		return err
	}
	if err := json.NewDecoder(f).Decode(v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func writeState(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	// Beside it, not in TMPDIR: what a killed process leaves is found there.
	return renameio.WriteFile(path, append(b, '\n'), 0o600, renameio.WithTempDir(filepath.Dir(path)))
}

// alive reports whether the machine's first process still runs.
func (r *run) alive() bool { return r != nil && r.process.alive() }

// intact tells what a machine that runs has lost; nil if nothing.
func (b *Backend) intact(m *machine, r *run) error {
	if inode, err := inodeOf(b.rootfsPath(m.Document)); err != nil || inode != r.Lower {
		return errors.New("its unpacked image was removed from the cache")
	}
	if len(m.Spec.Ports) > 0 && !r.Forwarder.alive() {
		return errors.New("its ports are no longer published")
	}
	if networked(m.Spec.Network) && !r.Uplink.alive() {
		return errors.New("its network is gone")
	}
	return nil
}

func inodeOf(path string) (uint64, error) {
	var st unix.Stat_t
	err := unix.Lstat(path, &st)
	return st.Ino, err
}

// alive reports whether the process still runs. Neither a later one of its
// number nor one of another boot is taken for it.
func (p process) alive() bool {
	if p.PID == 0 || p.Boot != bootID() {
		return false
	}
	since, zombie, err := processStart(p.PID)
	return err == nil && since == p.Since && !zombie
}

// processStart returns field 22 of /proc/PID/stat (proc_pid_stat(5)), which with
// the number identifies a process until the next boot.
func processStart(pid int) (since string, zombie bool, err error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", false, err
	}
	// The name, field 2, is in parentheses and may hold anything.
	i := bytes.LastIndexByte(b, ')')
	fields := strings.Fields(string(b[i+1:]))
	if i < 0 || len(fields) < 20 {
		return "", false, fmt.Errorf("process %d has an odd stat", pid)
	}
	return fields[19], fields[0] == "Z" || fields[0] == "X", nil
}

func bootID() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // empty where there is none
	return strings.TrimSpace(string(b))
}

// Status implements [backend.Backend].
func (b *Backend) Status(ctx context.Context, name string) (backend.Status, error) {
	m, err := b.load(name)
	if err != nil {
		return backend.Status{}, err
	}
	r, err := b.loadRun(name)
	if err != nil {
		return backend.Status{}, err
	}
	st := backend.Status{
		Name: name, Backend: b.Name(), State: backend.Stopped, Labels: m.Spec.Labels, CreatedAt: m.Created,
		CPUs: m.Spec.CPUs, MemoryMiB: m.Spec.MemoryMiB, Ports: m.Spec.Ports,
	}
	switch {
	case r.alive() && b.intact(m, r) != nil:
		st.State, st.PID, st.Note = backend.Broken, r.PID, b.intact(m, r).Error()
	case r.alive():
		st.State, st.PID, st.Note = backend.Running, r.PID, commandNote(r.PID)
	case !m.Started:
		st.State = backend.Created
	}
	return st, ctx.Err()
}

// commandNote tells of the image's command, if it does not run.
func commandNote(pid int) string {
	name, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	if err != nil {
		return ""
	}
	switch title, code, _ := machineinit.ParseTitle(strings.TrimSpace(string(name))); title {
	case machineinit.TitleEnded:
		return fmt.Sprintf("the image's command has ended, with exit code %d", code)
	case machineinit.TitleAgain:
		return fmt.Sprintf("the image's command keeps ending, last with exit code %d", code)
	}
	return ""
}

// List implements [backend.Backend]. It asks no runtime, so it is quick, and
// shows the machines of every runtime.
func (b *Backend) List(ctx context.Context) ([]backend.Status, error) {
	entries, err := os.ReadDir(filepath.Join(b.conf.StateDir, "machines"))
	if err != nil {
		return nil, ignoreNotExist(err)
	}
	var list []backend.Status
	for _, e := range entries { // sorted by name
		st, err := b.Status(ctx, e.Name())
		if errors.Is(err, backend.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, st)
	}
	return list, nil
}

// Log implements [backend.Backend].
func (b *Backend) Log(ctx context.Context, name string, max int64) ([]byte, error) {
	if _, err := b.load(name); err != nil {
		return nil, err
	}
	f, err := os.Open(b.file(name, "console.log"))
	if err != nil {
		return nil, ignoreNotExist(err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("console of %s: %w", name, err)
	}
	buf := make([]byte, min(fi.Size(), max))
	n, err := f.ReadAt(buf, fi.Size()-int64(len(buf)))
	if n < len(buf) && err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("console of %s: %w", name, err)
	}
	return slices.Clip(buf[:n]), ctx.Err()
}

// Console implements [backend.Backend].
func (b *Backend) Console(ctx context.Context, name string) (string, error) {
	if _, err := b.load(name); err != nil {
		return "", err
	}
	return b.file(name, "console.log"), ctx.Err()
}
