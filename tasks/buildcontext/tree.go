package buildcontext

import (
	"bytes"
	"path/filepath"
	"strings"

	"bottlebuild/cache"
)

// Tree is what a build can see of a directory, as it was found. It is never
// changed, so it may be shared.
type Tree struct {
	// Digest is that of the listing: equal digests mean that a build sees the same.
	Digest cache.Digest
	Files  int   // regular files
	Bytes  int64 // of the files together

	dir     string
	listing []byte
}

func newTree(dir string, listing []byte, d *directory) *Tree {
	digest := cache.DigestOf(listing)
	same, ok := d.listings[digest]
	if !ok {
		same = bytes.Clone(listing) // without the room to grow
		d.listings[digest] = same
	}
	return &Tree{Digest: digest, dir: dir, listing: same}
}

// Listing returns the text that Digest is the SHA-256 of: a line for each
// selected entry and for each parent of one, but not for the directory itself,
// in the order of a walk (entries of a directory by the bytes of their names,
// each directory followed by what is in it). The caller must not change it.
//
//	f MODE "PATH" SIZE HEX ["XATTR"="VALUE" ...]   file; HEX: SHA-256 of its bytes
//	d MODE "PATH"                                  directory
//	l 0777 "PATH" "TARGET"                         symbolic link
//	p MODE "PATH"                                  named pipe
//	c MODE "PATH" MAJOR:MINOR                      character device; b: block device
//
// MODE is four octal digits: set-user-ID, set-group-ID, sticky and permissions.
// PATH is relative, with slashes. What is quoted is quoted as in Go, in ASCII.
// Owners, times, link counts and the extended attributes of what is no file do
// not stand in it, nor are they sent; hard links are files of their own. A
// socket is listed as the empty file that fsutil sends for it. An extended
// attribute counts if BuildKit's own content hash counts it: all but com.apple.*,
// system.* and security.*, though with security.capability.
func (t *Tree) Listing() []byte { return t.listing }

// Names tells whether there is an entry of that slash-separated path, or a symbolic
// link to it, in the listing.
func (t *Tree) Names(path string) bool {
	return bytes.Contains(t.listing, appendQuoted([]byte{' '}, path))
}

// Dirs returns the paths of the directory itself and of those in the listing.
func (t *Tree) Dirs() []string {
	dirs := []string{t.dir}
	for line := range strings.Lines(string(t.listing)) {
		if kind(line[0]) != kindDir {
			continue
		}
		if e, err := parseEntry(strings.TrimSuffix(line, "\n")); err == nil {
			dirs = append(dirs, filepath.Join(t.dir, filepath.FromSlash(e.path)))
		}
	}
	return dirs
}
