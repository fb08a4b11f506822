package smolvm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"bottlebuild/internal/lazyregexp"
	"bottlebuild/tasks/backend"
)

var numericOwner = lazyregexp.New(`^[0-9]{1,10}:[0-9]{1,10}$`)

// CopyIn writes a file with "machine cp", which from 1.9.0 sets owner and mode;
// before, the guest's own mkdir, chown and chmod do the rest, and the error wraps
// [backend.ErrUnsupported] if the guest has none.
func (b *Backend) CopyIn(ctx context.Context, name string, f backend.File) error {
	if err := b.copyIn(ctx, name, f); err != nil {
		return fmt.Errorf("copy file %s into machine %s: %w", f.Path, name, err)
	}
	return nil
}

func (b *Backend) copyIn(ctx context.Context, name string, f backend.File) error {
	if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || f.Path == "/" || strings.ContainsRune(f.Path, 0) {
		return fmt.Errorf("%q is not the absolute, clean path of a file", f.Path)
	}
	r, err := b.known(ctx, name)
	if err != nil {
		return err
	}
	owner, err := b.owner(ctx, r, f.Owner)
	if err != nil {
		return err
	}
	flags, err := b.flagsOf(ctx, "machine", "cp")
	if err != nil {
		return err
	}
	if err := b.ownParents(ctx, r, f); err != nil {
		return err
	}
	if flags["--mode"] && flags["--uid"] && flags["--gid"] {
		uid, gid, _ := strings.Cut(owner, ":")
		return b.transfer(ctx, name, f, "--mode", fmt.Sprintf("%04o", f.Mode&0o7777), "--uid", uid, "--gid", gid)
	}
	root, err := b.runAs(ctx, r, "0")
	if err != nil {
		return err
	}
	if dir := path.Dir(f.Path); dir != "/" {
		if err := b.tool(ctx, r, root, "mkdir", "-p", dir); err != nil {
			return err
		}
	}
	if err := b.transfer(ctx, name, f); err != nil {
		return err
	}
	// In this order: a change of owner takes away the bits for setting ids.
	if err := b.tool(ctx, r, root, "chown", owner, f.Path); err != nil {
		return err
	}
	return b.tool(ctx, r, root, "chmod", fmt.Sprintf("%04o", f.Mode&0o7777), f.Path)
}

// ownParents has the owner make the directories above the file, as far as it may,
// so that they are its own: smolvm makes them root's.
func (b *Backend) ownParents(ctx context.Context, r record, f backend.File) error {
	dir := path.Dir(f.Path)
	if isRoot(f.Owner) || dir == "/" {
		return nil
	}
	as, err := b.runAs(ctx, r, f.Owner)
	if errors.Is(err, backend.ErrUnsupported) {
		return nil
	}
	if err == nil {
		_, err = b.quiet(ctx, r, as, "mkdir", "-p", dir)
	}
	return err
}

// transfer passes the content through a file of this user's only.
func (b *Backend) transfer(ctx context.Context, name string, f backend.File, flags ...string) error {
	dir, err := b.cfg.Store.TempDir()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	src := filepath.Join(dir, "file")
	if err := os.WriteFile(src, f.Content, 0o600); err != nil {
		return err
	}
	_, err = b.call(ctx, append([]string{"machine", "cp", src, name + ":" + f.Path}, flags...)...)
	return err
}

// owner returns "UID:GID". Names are looked up in the guest.
func (b *Backend) owner(ctx context.Context, r record, owner string) (string, error) {
	switch {
	case isRoot(owner):
		return "0:0", nil
	case numericOwner.MatchString(owner):
		return owner, nil
	}
	g, err := b.askGuest(ctx, r)
	if err != nil {
		return "", err
	}
	a, err := g.resolve(owner)
	if err != nil {
		return "", err
	}
	return strconv.Itoa(a.uid) + ":" + strconv.Itoa(a.gid), nil
}

// tool runs a tool of the guest's that must succeed.
func (b *Backend) tool(ctx context.Context, r record, as identity, args ...string) error {
	p, err := b.program(ctx)
	if err != nil {
		return err
	}
	var stderr tail
	code, err := b.execAs(ctx, p, r, backend.Exec{Args: args, Workdir: "/", Stderr: &stderr}, as)
	switch {
	case err != nil:
		return err
	case code == 127:
		return fmt.Errorf("%w: the guest has no %s, which writing files needs", backend.ErrUnsupported, args[0])
	case code != 0:
		return fmt.Errorf("%s in the guest: exit code %d: %s", args[0], code, clean(stderr.String()))
	}
	return nil
}
