package tasks

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Volumes keeps the directories of volumes that have a name: Dir/MACHINE/NAME. They
// outlive the machine, and are there again for the next one of its name.
type Volumes struct{ Dir string }

// host returns the directory of the host that a machine's volume is.
func (v Volumes) host(machine string, vol Volume) string {
	if vol.Name == "" {
		return vol.Host
	}
	return filepath.Join(v.Dir, machine, vol.Name)
}

// make makes those of a machine that are not there yet.
func (v Volumes) make(p Machine) error {
	for _, vol := range p.Volumes {
		if vol.Name == "" {
			continue
		}
		// What is in a volume is the machine's, and nobody else's on the host.
		if err := os.MkdirAll(filepath.Join(v.Dir, p.Name), 0o700); err != nil {
			return fmt.Errorf("volume %s of machine %s: %w", vol.Name, p.Name, err)
		}
		path := v.host(p.Name, vol)
		err := os.Mkdir(path, 0o755)
		if err == nil {
			err = os.Chmod(path, 0o755) // whatever the umask
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("volume %s of machine %s: %w", vol.Name, p.Name, err)
		}
	}
	return nil
}

// Machines returns the names of the machines for which volumes are kept, sorted.
func (v Volumes) Machines() ([]string, error) {
	entries, err := os.ReadDir(v.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("volumes: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Has reports whether volumes are kept for a machine of this name.
func (v Volumes) Has(machine string) bool {
	fi, err := os.Lstat(filepath.Join(v.Dir, machine))
	return err == nil && fi.IsDir()
}

// delete removes the volumes of a machine, with all that is in them. There must be
// no such machine, and it must be locked.
func (v Volumes) delete(machine string) error {
	root, err := os.OpenRoot(v.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		defer root.Close()
		err = root.RemoveAll(machine)
	}
	if err != nil {
		return fmt.Errorf("volumes of machine %s: %w", machine, err)
	}
	return nil
}
