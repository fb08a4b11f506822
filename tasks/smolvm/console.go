package smolvm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"bottlebuild/tasks/backend"
)

// consoleFile is where smolvm keeps a machine's console, below its data directory.
const consoleFile = "agent-console.log"

// Log returns the end of the console's log, nothing if there is none yet.
func (b *Backend) Log(ctx context.Context, name string, max int64) ([]byte, error) {
	out, err := b.log(ctx, name, max)
	if err != nil {
		return nil, fmt.Errorf("log of machine %s: %w", name, err)
	}
	return out, nil
}

// Console returns where smolvm keeps the console.
func (b *Backend) Console(ctx context.Context, name string) (string, error) {
	dir, err := b.dataDir(ctx, name)
	if err != nil {
		return "", fmt.Errorf("console of machine %s: %w", name, err)
	}
	return filepath.Join(dir, consoleFile), nil
}

func (b *Backend) dataDir(ctx context.Context, name string) (string, error) {
	if err := checkName(name); err != nil {
		return "", fmt.Errorf("%w: %w", backend.ErrNotFound, err)
	}
	out, err := b.call(ctx, "machine", "data-dir", "--name", name)
	if err != nil {
		return "", err
	}
	dir := strings.TrimSpace(out)
	if !filepath.IsAbs(dir) {
		return "", fmt.Errorf("smolvm machine data-dir: %.200q is no absolute path", dir)
	}
	return dir, nil
}

func (b *Backend) log(ctx context.Context, name string, max int64) ([]byte, error) {
	dir, err := b.dataDir(ctx, name)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // never started
	}
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.OpenFile(consoleFile, os.O_RDONLY|openNoFollow, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a plain file", consoleFile)
	}
	from := fi.Size() - max
	if from < 0 {
		from = 0
	}
	var buf bytes.Buffer
	_, err = io.Copy(&buf, io.NewSectionReader(f, from, fi.Size()-from))
	return buf.Bytes(), err
}
