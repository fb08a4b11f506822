package archive

import (
	"crypto/sha256"
	"fmt"

	"bottlebuild/cache"
)

// file is a file of an archive on disk: the archive itself, with no name, or one
// of a directory.
type file struct {
	name   string
	digest cache.Digest
	size   int64
}

// listing is all files of an archive, in order of name.
type listing []file

// digest returns the digest of the one file, or that over "DIGEST SIZE NAME\n"
// for each file of a directory.
func (l listing) digest() cache.Digest {
	if len(l) == 1 && l[0].name == "" {
		return l[0].digest
	}
	h := sha256.New()
	for _, f := range l {
		fmt.Fprintf(h, "%s %d %s\n", f.digest, f.size, f.name)
	}
	return cache.Digest(h.Sum(nil))
}

func (l listing) size() (total int64) {
	for _, f := range l {
		total += f.size
	}
	return total
}
