package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/moby/sys/mountinfo"

	"bottlebuild/cache"
	"bottlebuild/tasks/backend"
)

var _ backend.Keeper = (*Backend)(nil)

// Kept implements [backend.Keeper]: unpacked images.
func (b *Backend) Kept(ctx context.Context) ([]backend.Kept, error) {
	entries, err := os.ReadDir(b.rootfsDir())
	if err != nil {
		return nil, ignoreNotExist(err)
	}
	needs, err := b.needs()
	if err != nil {
		return nil, err
	}
	var kept []backend.Kept
	for _, e := range entries {
		chain := e.Name()
		if _, err := cache.ParseDigest("sha256:" + chain); err != nil || !e.IsDir() {
			continue
		}
		bytes, err := diskUsage(ctx, filepath.Join(b.rootfsDir(), chain))
		if err != nil {
			return nil, fmt.Errorf("measure unpacked image %s: %w", chain, err)
		}
		kept = append(kept, backend.Kept{
			Name: chain, Bytes: bytes, Used: b.conf.Store.Used(rootfsName(chain)), Needed: needs[chain],
		})
	}
	return kept, nil
}

// Drop implements [backend.Keeper].
func (b *Backend) Drop(ctx context.Context, chain string) (bool, error) {
	if _, err := cache.ParseDigest("sha256:" + chain); err != nil {
		return false, fmt.Errorf("drop unpacked image %q: %w", chain, err)
	}
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	return b.conf.Store.Evict(rootfsName(chain), func() (bool, error) {
		needs, err := b.needs()
		return needs[chain] != "", err
	})
}

// needs says of unpacked images, by their chain, what needs them: machines of
// this state directory, whatever has pinned a pack, and mounts.
func (b *Backend) needs() (map[string]string, error) {
	needs := map[string]string{}
	machines, err := os.ReadDir(filepath.Join(b.conf.StateDir, "machines"))
	if err := ignoreNotExist(err); err != nil {
		return nil, err
	}
	for _, e := range machines {
		m, err := b.load(e.Name())
		if errors.Is(err, backend.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		needs[m.Document.chain()] = "machine " + e.Name()
	}
	pins, err := b.conf.Store.Pins(false)
	if err != nil {
		return nil, err
	}
	for _, p := range pins {
		for _, blob := range p.Blobs {
			if blob.MediaType != MediaType {
				continue
			}
			if doc, err := b.document(cache.Output{Digest: blob.Digest}); err == nil {
				needs[doc.chain()] = p.Holder
			}
		}
	}
	prefix := b.rootfsDir() + "/"
	_, err = mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		for option := range strings.SplitSeq(m.VFSOptions, ",") {
			lower, _ := strings.CutPrefix(option, "lowerdir=")
			if chain, ok := strings.CutPrefix(lower, prefix); ok && needs[chain] == "" {
				needs[chain] = "the mount at " + m.Mountpoint
			}
		}
		return true, false
	})
	return needs, err
}

// diskUsage returns the bytes that the files below dir take, each counted once.
func diskUsage(ctx context.Context, dir string) (total int64, err error) {
	seen := map[uint64]bool{}
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return ignoreNotExist(err)
		}
		fi, err := e.Info()
		if err != nil {
			return ignoreNotExist(err)
		}
		st := fi.Sys().(*syscall.Stat_t)
		if st.Nlink > 1 && !e.IsDir() {
			if seen[st.Ino] {
				return nil
			}
			seen[st.Ino] = true
		}
		total += st.Blocks * 512
		return nil
	})
	return total, err
}
