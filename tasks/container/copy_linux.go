package container

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"bottlebuild/tasks/backend"
	"bottlebuild/tasks/container/machineinit"
)

// CopyIn implements [backend.Backend]. A helper in the machine does it, so a
// link of the guest leads nowhere but into the guest.
func (b *Backend) CopyIn(ctx context.Context, name string, f backend.File) error {
	if err := b.copyIn(ctx, name, f); err != nil {
		return fmt.Errorf("copy to %s in machine %s: %w", f.Path, name, err)
	}
	return nil
}

func (b *Backend) copyIn(ctx context.Context, name string, f backend.File) error {
	if !filepath.IsAbs(f.Path) || strings.Contains(f.Path, "\x00") {
		return errors.New("the path must be absolute")
	}
	mode := strconv.FormatUint(uint64(f.Mode&0o7777), 8)
	return b.help(ctx, name, bytes.NewReader(f.Content), nil, machineinit.Copy, f.Owner, mode, f.Path)
}

// Unpack implements [backend.Backend].
func (b *Backend) Unpack(ctx context.Context, name, dst, owner string, archive io.Reader) error {
	err := errors.New("the path must be absolute")
	if filepath.IsAbs(dst) && !strings.Contains(dst, "\x00") {
		err = b.help(ctx, name, archive, nil, machineinit.Unpack, owner, dst)
	}
	if err != nil {
		return fmt.Errorf("copy to %s in machine %s: %w", dst, name, err)
	}
	return nil
}

// CopyOut implements [backend.Backend].
func (b *Backend) CopyOut(ctx context.Context, name, file string, w io.Writer) error {
	err := errors.New("the path must be absolute")
	if filepath.IsAbs(file) && !strings.Contains(file, "\x00") {
		as := path.Base(file)
		if as == "/" || strings.HasSuffix(file, "/.") {
			as = "."
		}
		err = b.help(ctx, name, nil, w, machineinit.Pack, file, as)
	}
	if err != nil {
		return fmt.Errorf("copy %s of machine %s: %w", file, name, err)
	}
	return nil
}

// maxComplaint bounds what is kept of a helper's standard error, in bytes.
const maxComplaint = 1 << 10

// help runs a helper as root that has to succeed.
func (b *Backend) help(ctx context.Context, name string, in io.Reader, out io.Writer, args ...string) error {
	m, err := b.load(name)
	if err != nil {
		return err
	}
	h, err := b.helper(ctx, m, m.process(m.environ(), false, args...))
	if err != nil {
		return err
	}
	defer h.close()
	var stderr bytes.Buffer
	code, err := h.run(backend.Exec{Stdin: in, Stdout: out, Stderr: &stderr})
	if err != nil {
		return err
	}
	if code != 0 {
		return fmt.Errorf("the machine says: %.*s", maxComplaint, strings.TrimPrefix(strings.TrimSpace(stderr.String()), "bottlebuild: "))
	}
	return nil
}
