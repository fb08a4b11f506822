package smolvm

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"bottlebuild/tasks/backend"
	"bottlebuild/tasks/copytree"
)

// Unpack has the guest's own tar do it, since "machine cp" takes single files;
// the error wraps [backend.ErrUnsupported] if the guest has none.
func (b *Backend) Unpack(ctx context.Context, name, dst, owner string, archive io.Reader) error {
	if err := b.unpack(ctx, name, dst, owner, archive); err != nil {
		return fmt.Errorf("copy to %s in machine %s: %w", dst, name, err)
	}
	return nil
}

func (b *Backend) unpack(ctx context.Context, name, dst, owner string, archive io.Reader) error {
	if !path.IsAbs(dst) || strings.ContainsRune(dst, 0) {
		return errors.New("the path must be absolute")
	}
	r, err := b.known(ctx, name)
	if err != nil {
		return err
	}
	root, err := b.runAs(ctx, r, "0")
	if err != nil {
		return err
	}
	ids, err := b.owner(ctx, r, owner)
	if err != nil {
		return err
	}
	var uid, gid int
	if _, err := fmt.Sscanf(ids, "%d:%d", &uid, &gid); err != nil {
		return fmt.Errorf("owner %q: %w", ids, err)
	}
	dir, as := path.Clean(dst), ""
	isDir, err := b.isDir(ctx, r, root, dir)
	if err != nil {
		return err
	}
	if !isDir && !strings.HasSuffix(dst, "/") {
		dir, as = path.Dir(dir), path.Base(dir)
	}
	if !isDir {
		if err := b.tool(ctx, r, root, "mkdir", "-p", dir); err != nil {
			return err
		}
	}
	renamed, w := io.Pipe()
	go func() {
		w.CloseWithError(copytree.Rename(w, archive, as, func(h *tar.Header) { h.Uid, h.Gid = uid, gid }))
	}()
	defer renamed.Close()
	return b.tar(ctx, r, root, backend.Exec{Args: []string{"tar", "-C", dir, "-xf", "-"}, Stdin: renamed})
}

// CopyOut has the guest's own tar do it.
func (b *Backend) CopyOut(ctx context.Context, name, file string, w io.Writer) error {
	if err := b.copyOut(ctx, name, file, w); err != nil {
		return fmt.Errorf("copy %s of machine %s: %w", file, name, err)
	}
	return nil
}

func (b *Backend) copyOut(ctx context.Context, name, file string, w io.Writer) error {
	if !path.IsAbs(file) || strings.ContainsRune(file, 0) {
		return errors.New("the path must be absolute")
	}
	r, err := b.known(ctx, name)
	if err != nil {
		return err
	}
	root, err := b.runAs(ctx, r, "0")
	if err != nil {
		return err
	}
	clean := path.Clean(file)
	dir, base := path.Dir(clean), path.Base(clean)
	if clean == "/" || strings.HasSuffix(file, "/.") {
		dir, base = clean, "."
	}
	return b.tar(ctx, r, root, backend.Exec{Args: []string{"tar", "-C", dir, "-cf", "-", "./" + base}, Stdout: w})
}

// isDir asks the guest whether a path is that of a directory.
func (b *Backend) isDir(ctx context.Context, r record, as identity, dir string) (bool, error) {
	p, err := b.program(ctx)
	if err != nil {
		return false, err
	}
	code, err := b.execAs(ctx, p, r, backend.Exec{Args: []string{"test", "-d", dir}, Workdir: "/"}, as)
	return code == 0, err
}

// tar runs the guest's tar, which must succeed.
func (b *Backend) tar(ctx context.Context, r record, as identity, e backend.Exec) error {
	p, err := b.program(ctx)
	if err != nil {
		return err
	}
	var stderr tail
	e.Stderr, e.Workdir = &stderr, "/"
	code, err := b.execAs(ctx, p, r, e, as)
	switch {
	case err != nil:
		return err
	case code == 127:
		return fmt.Errorf("%w: the guest has no tar, which copying needs: pass the file through \"bottlebuild exec\"", backend.ErrUnsupported)
	case code != 0:
		return fmt.Errorf("the machine says: %s", clean(stderr.String()))
	}
	return nil
}
