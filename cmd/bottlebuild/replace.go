package main

import (
	"io"
	"os"
)

// checkReplaced refuses to write what a command tells, for the flag, in the place of a
// file that somebody may have written by hand: of one that ours takes for its own, or
// that is empty, nothing is lost. At most head bytes of the file are shown to ours.
func checkReplaced(flag, path, what string, head int64, ours func([]byte) bool) error {
	fi, err := os.Stat(path)
	switch {
	case err != nil: // it is not there, or whoever writes it will say why not
		return nil
	case fi.IsDir():
		return usageError("%s: %s is a directory; name a file in it", flag, path)
	case !fi.Mode().IsRegular() || fi.Size() == 0: // a pipe; a file of mktemp
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return usageError("%s: %w", flag, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, head))
	if err != nil {
		return usageError("%s: %w", flag, err)
	}
	if !ours(b) {
		return usageError("%s: %s is there and is not %s, so it is not replaced; name another file", flag, path, what)
	}
	return nil
}
