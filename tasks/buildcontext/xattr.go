package buildcontext

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxXattrs bounds the names of a file's extended attributes together, and the
// value of each, in bytes; Linux has 65,536 for both.
const maxXattrs = 1 << 20

// readXattrs returns the extended attributes of an open file as they stand in
// the listing: for each, in order of name, a space, name, "=" and value, both
// quoted. There are those that BuildKit takes into its own content hash: all but
// security.* and system.*, which belong to the machine (SELinux labels, ACLs),
// and with security.capability; and not com.apple.*, which fsutil never sends.
func readXattrs(fd int) (string, error) {
	names, err := readAttr(func(b []byte) (int, error) { return unix.Flistxattr(fd, b) })
	if errors.Is(err, unix.ENOTSUP) || len(names) == 0 && err == nil {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("list extended attributes: %w", err)
	}
	var keys []string
	for _, k := range bytes.Split(names, []byte{0}) {
		if wantXattr(string(k)) {
			keys = append(keys, string(k))
		}
	}
	slices.Sort(keys)
	var out []byte
	for _, k := range keys {
		v, err := readAttr(func(b []byte) (int, error) { return unix.Fgetxattr(fd, k, b) })
		if err != nil {
			continue // as fsutil has it
		}
		out = append(out, ' ')
		out = appendQuoted(out, k)
		out = append(out, '=')
		out = appendQuoted(out, string(v))
	}
	return string(out), nil
}

func wantXattr(k string) bool {
	if k == "security.capability" {
		return true
	}
	return k != "" && !strings.HasPrefix(k, "security.") && !strings.HasPrefix(k, "system.") && !strings.HasPrefix(k, "com.apple.")
}

// readAttr calls read with larger and larger buffers. Most files have none, so
// the first call asks for the size only.
func readAttr(read func([]byte) (int, error)) ([]byte, error) {
	n, err := read(nil)
	for err == nil && n > 0 && n <= maxXattrs {
		b := make([]byte, n)
		if n, err = read(b); err == nil {
			return b[:n], nil
		}
		if errors.Is(err, unix.ERANGE) { // it has grown in between
			n, err = read(nil)
		}
	}
	if n > maxXattrs {
		return nil, fmt.Errorf("they have more than %d bytes", maxXattrs)
	}
	return nil, err
}
