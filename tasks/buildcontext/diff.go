package buildcontext

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
)

// ChangeKind says in what way an entry differs between two listings.
type ChangeKind string

// The kinds of changes. An entry of another type differs in everything, and only
// ChangedType is said.
const (
	Added          ChangeKind = "added"
	Removed        ChangeKind = "removed"
	ChangedType    ChangeKind = "type"    // a file became a directory, and the like
	ChangedContent ChangeKind = "content" // of a file
	ChangedMode    ChangeKind = "mode"    // permission bits
	ChangedTarget  ChangeKind = "target"  // of a symbolic link, or numbers of a device
	ChangedXattrs  ChangeKind = "xattrs"  // of a file
)

// FileChange is one difference between two listings. A path whose content and
// mode have both changed has two.
type FileChange struct {
	Path string // as in the file system, not quoted
	Kind ChangeKind
}

// DiffListings returns how after differs from before, by path and kind, where
// both are texts of [Tree.Listing]. Lines that are none of a listing are passed
// over.
func DiffListings(before, after []byte) []FileChange {
	a, b := newLines(before, after), newLines(after, before)
	var changes []FileChange
	add := func(path string, k ChangeKind) { changes = append(changes, FileChange{path, k}) }
	for p, old := range a {
		e, ok := b[p]
		switch {
		case !ok:
			add(p, Removed)
			continue
		case e.kind != old.kind:
			add(p, ChangedType)
			continue
		}
		if e.perm != old.perm {
			add(p, ChangedMode)
		}
		if e.digest != old.digest || e.size != old.size {
			add(p, ChangedContent)
		}
		if e.target != old.target {
			add(p, ChangedTarget)
		}
		if e.extra != old.extra {
			add(p, ChangedXattrs)
		}
	}
	for p := range b {
		if _, ok := a[p]; !ok {
			add(p, Added)
		}
	}
	slices.SortFunc(changes, func(a, b FileChange) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Kind, b.Kind))
	})
	return changes
}

// newLines returns the entries, by path, of the lines of text that do not stand
// in other. Most lines stand in both and need no parsing.
func newLines(text, other []byte) map[string]entry {
	known := map[string]bool{}
	for l := range bytes.Lines(other) {
		known[string(l)] = true
	}
	entries := map[string]entry{}
	for l := range bytes.Lines(text) {
		if known[string(l)] {
			continue
		}
		if e, err := parseEntry(strings.TrimSuffix(string(l), "\n")); err == nil {
			entries[e.path] = e
		}
	}
	return entries
}
