package smolvm

import (
	"archive/tar"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// Whiteouts as in the OCI image-spec, layer.md: a file of such a name takes away
// what lower layers have.
const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
)

const (
	maxEntries  = 4 << 20 // of all layers together
	maxSymlinks = 64      // on the way to one parent directory
	maxPath     = 4096    // bytes, as the kernel has it
)

// tree is what layers amount to, headers only. Paths are resolved inside it, so
// a link in one layer that leads out of the image leads nowhere.
type tree struct {
	root    *node
	layer   int // the one being applied
	entries int
}

// node is a file by name.
type node struct {
	header   *tar.Header // nil: a directory that no layer has an entry for
	layer    int         // the last one that had an entry for it
	children map[string]*node
	file     *inode // of a regular file; hard links share it
}

// inode is the content of a regular file: the entry'th of a layer.
type inode struct {
	header       *tar.Header
	layer, entry int
	paths        []string // where it is in the end, sorted
}

func newTree() *tree { return &tree{root: &node{children: map[string]*node{}}} }

func (n *node) isDir() bool { return n.children != nil }

// apply adds the entry'th header of the current layer.
func (t *tree) apply(entry int, h *tar.Header) error {
	if t.entries++; t.entries > maxEntries {
		return fmt.Errorf("it has more than %d entries", maxEntries)
	}
	name := path.Clean("/" + h.Name)
	if len(name) > maxPath || strings.ContainsRune(name, 0) {
		return fmt.Errorf("entry %.100q: its name is not one of a file", h.Name)
	}
	dir, base := path.Split(name)
	switch {
	case h.Typeflag == tar.TypeXGlobalHeader:
		return nil
	case base == opaque:
		if parent := t.walk(dir, false); parent != nil {
			parent.prune(t.layer)
		}
		return nil
	case strings.HasPrefix(base, whiteout+whiteout):
		return nil // bookkeeping of AUFS
	case strings.HasPrefix(base, whiteout):
		t.remove(dir, strings.TrimPrefix(base, whiteout))
		return nil
	case base == "":
		if h.Typeflag == tar.TypeDir {
			t.root.header, t.root.layer = h, t.layer
		}
		return nil
	}
	n, err := t.nodeFor(entry, h)
	if err != nil {
		return fmt.Errorf("entry %.100q: %w", h.Name, err)
	}
	parent := t.walk(dir, true)
	if parent == nil {
		return fmt.Errorf("entry %.100q: it is below something that is no directory", h.Name)
	}
	if old := parent.children[base]; old != nil && old.isDir() && n.isDir() {
		n.children = old.children
	}
	parent.children[base] = n
	return nil
}

func (t *tree) nodeFor(entry int, h *tar.Header) (*node, error) {
	n := &node{header: h, layer: t.layer}
	switch h.Typeflag {
	case tar.TypeDir:
		n.children = map[string]*node{}
	case tar.TypeReg, tar.TypeGNUSparse:
		n.file = &inode{header: h, layer: t.layer, entry: entry}
	case tar.TypeSymlink, tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
	case tar.TypeLink:
		dir, base := path.Split(path.Clean("/" + h.Linkname))
		parent := t.walk(dir, false)
		if parent == nil || parent.children[base] == nil || parent.children[base].isDir() {
			return nil, fmt.Errorf("it is a hard link to %.100q, which is no file", h.Linkname)
		}
		target := parent.children[base]
		n.header, n.file = target.header, target.file
	default:
		return nil, fmt.Errorf("it is of unknown type %q", h.Typeflag)
	}
	return n, nil
}

// walk returns the directory at an absolute path, following symbolic links
// inside the tree; nil if there is none. With create, missing ones are made.
func (t *tree) walk(dir string, create bool) *node {
	at, todo := []*node{t.root}, strings.Split(dir, "/")
	for links := 0; len(todo) > 0; {
		base := todo[0]
		todo = todo[1:]
		here := at[len(at)-1]
		switch base {
		case "", ".":
			continue
		case "..":
			at = at[:max(1, len(at)-1)]
			continue
		}
		next := here.children[base]
		switch {
		case next == nil && !create:
			return nil
		case next == nil:
			next = &node{layer: t.layer, children: map[string]*node{}}
			here.children[base] = next
			at = append(at, next)
		case next.isDir():
			at = append(at, next)
		case next.header.Typeflag == tar.TypeSymlink:
			if links++; links > maxSymlinks || len(next.header.Linkname) > maxPath {
				return nil
			}
			if path.IsAbs(next.header.Linkname) {
				at = at[:1]
			}
			todo = append(strings.Split(next.header.Linkname, "/"), todo...)
		default:
			return nil
		}
	}
	return at[len(at)-1]
}

// remove takes away what lower layers have at a path.
func (t *tree) remove(dir, base string) {
	parent := t.walk(dir, false)
	if parent == nil {
		return
	}
	if n := parent.children[base]; n != nil && !n.prune(t.layer) && n.layer < t.layer {
		delete(parent.children, base)
	}
}

// prune takes away everything below n that layers under this one have, and
// reports whether anything is left.
func (n *node) prune(layer int) bool {
	for base, c := range n.children {
		if !c.prune(layer) && c.layer < layer {
			delete(n.children, base)
		}
	}
	return len(n.children) > 0
}

// list returns everything but regular files in the order in which it can be
// unpacked, and fills in the paths of the inodes.
func (t *tree) list() []*tar.Header {
	var dirs, others []*tar.Header
	var visit func(name string, n *node)
	visit = func(name string, n *node) {
		switch {
		case n.isDir():
			if name != "" || n.header != nil {
				dirs = append(dirs, dirHeader(name, n.header))
			}
			for _, base := range slices.Sorted(maps.Keys(n.children)) {
				visit(path.Join(name, base), n.children[base])
			}
		case n.file != nil:
			n.file.paths = append(n.file.paths, name)
		default:
			others = append(others, plainHeader(name, n.header))
		}
	}
	visit("", t.root)
	return append(dirs, others...)
}

func dirHeader(name string, h *tar.Header) *tar.Header {
	if h == nil {
		h = &tar.Header{Typeflag: tar.TypeDir, Mode: 0o755}
	}
	if name == "" {
		name = "."
	}
	return plainHeader(name+"/", h)
}

// plainHeader returns what matters of a header, under another name: type, mode,
// owner, time, link, device and extended attributes.
func plainHeader(name string, h *tar.Header) *tar.Header {
	out := &tar.Header{
		Typeflag: h.Typeflag, Name: name, Linkname: h.Linkname, Size: h.Size,
		Mode: h.Mode, Uid: h.Uid, Gid: h.Gid, ModTime: h.ModTime,
		Devmajor: h.Devmajor, Devminor: h.Devminor, Format: tar.FormatPAX,
	}
	for k, v := range h.PAXRecords {
		if strings.HasPrefix(k, "SCHILY.xattr.") {
			if out.PAXRecords == nil {
				out.PAXRecords = map[string]string{}
			}
			out.PAXRecords[k] = v
		}
	}
	return out
}
