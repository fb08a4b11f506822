package smolvm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"bottlebuild/cache"
	"bottlebuild/tasks/backend"
	"bottlebuild/tasks/smolvm/sidecar"
)

// record is what smolvm forgets of a machine, kept in StateDir/machines/NAME
// beside the sidecar that the machine boots from.
type record struct {
	Name     string
	Pack     cache.Digest
	ImageEnv []string // "NAME=value"
	Env      map[string]string
	User     string // the image's
	Workdir  string // the image's
	Ports    []backend.Port
}

const (
	recordFile  = "machine.json"
	sidecarFile = "pack.smolmachine"
	maxRecord   = 16 << 20
)

func (b *Backend) machineDir(name string) string {
	return filepath.Join(b.cfg.StateDir, "machines", name)
}

// used reports whether a machine was made here and not deleted since.
func (b *Backend) used() bool {
	entries, err := os.ReadDir(filepath.Join(b.cfg.StateDir, "machines"))
	return err == nil && len(entries) > 0
}

// keep makes the machine's directory and returns the verified sidecar in it.
// What an earlier attempt left there is replaced.
func (b *Backend) keep(ctx context.Context, spec backend.Spec, pack cache.Output) (string, sidecar.Manifest, error) {
	blob, ok := pack.Blob(sidecarBlob)
	if !ok || blob.Digest != pack.Digest {
		return "", sidecar.Manifest{}, fmt.Errorf("pack %s is not one of smolvm's", pack.Digest)
	}
	if err := b.forget(spec.Name); err != nil {
		return "", sidecar.Manifest{}, err
	}
	dir := b.machineDir(spec.Name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", sidecar.Manifest{}, fmt.Errorf("make state directory: %w", err)
	}
	path := filepath.Join(dir, sidecarFile)
	if err := place(ctx, b.cfg.Store, blob.Digest, path); err != nil {
		return "", sidecar.Manifest{}, fmt.Errorf("take pack %s: %w", pack.Digest, err)
	}
	m, err := readManifest(path)
	if err == nil {
		err = checkClosed(m)
	}
	if err != nil {
		return "", sidecar.Manifest{}, fmt.Errorf("pack %s: %w", pack.Digest, err)
	}
	raw, err := json.Marshal(record{
		Name: spec.Name, Pack: pack.Digest, ImageEnv: m.Env, Env: spec.Env,
		User: pack.Attrs[attrUser], Workdir: m.Workdir, Ports: spec.Ports,
	})
	if err != nil {
		return "", sidecar.Manifest{}, err
	}
	// Beside it, not in TMPDIR: what a killed process leaves goes with the machine.
	if err := renameio.WriteFile(filepath.Join(dir, recordFile), raw, 0o600, renameio.WithTempDir(dir)); err != nil {
		return "", sidecar.Manifest{}, fmt.Errorf("write record: %w", err)
	}
	return path, m, nil
}

// place puts a verified blob at path: a hard link, which takes no room and stays
// when the store drops its own, or a copy where the file system has none.
func place(ctx context.Context, store *cache.Store, d cache.Digest, path string) error {
	r, err := store.OpenBlob(d)
	if err != nil {
		return err
	}
	defer r.Close()
	var w io.Writer = io.Discard
	if err := os.Link(store.BlobPath(d), path); err != nil {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		defer f.Close()
		w = f
	}
	_, err = io.Copy(w, &boundedReader{ctx: ctx, r: r, left: maxUnpacked})
	return err
}

// forget removes the machine's directory.
func (b *Backend) forget(name string) error {
	if err := os.RemoveAll(b.machineDir(name)); err != nil {
		return fmt.Errorf("remove state of machine %s: %w", name, err)
	}
	return nil
}

// record reads what was kept of a machine.
func (b *Backend) record(name string) (record, error) {
	if err := checkName(name); err != nil {
		return record{}, fmt.Errorf("%w: %w", backend.ErrNotFound, err)
	}
	f, err := os.OpenFile(filepath.Join(b.machineDir(name), recordFile), os.O_RDONLY|openNoFollow, 0)
	if err != nil {
		return record{}, fmt.Errorf("read record: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxRecord))
	if err != nil {
		return record{}, fmt.Errorf("read record: %w", err)
	}
	var r record
	if err := json.Unmarshal(raw, &r); err != nil {
		return record{}, fmt.Errorf("read record: %w", err)
	}
	return r, nil
}

// known is record for what must have one: an error tells a machine that is not
// there from one whose record is lost.
func (b *Backend) known(ctx context.Context, name string) (record, error) {
	r, err := b.record(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return r, err
	}
	if _, serr := b.status(ctx, name); serr != nil {
		return record{}, serr
	}
	return record{}, fmt.Errorf("bottlebuild's record of it in %s is gone: delete the machine and create it again", b.machineDir(name))
}
