//go:build !linux

package archive

import (
	"errors"
	"os"
)

// exchange makes two names of a directory change places in one step, which this
// system is not asked to do.
func exchange(*os.Root, string, string) error { return errors.ErrUnsupported }
