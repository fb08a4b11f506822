package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"bottlebuild/cache/remote"
)

func newCacheKeygenCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "keygen [FILE]",
		Short: "Make a key that results in a shared cache are signed with",
		Long: `Keygen writes a new Ed25519 key to FILE (default bottlebuild-cache.key), mode
0600, its public half to FILE.pub, and prints the public half. Builders that are
trusted sign with the first; everybody lists the second. Nothing is overwritten.`,
		Example: `  bottlebuild cache keygen ci.key
  bottlebuild run --cache registry.example.com/acme:rw --cache-sign-key ci.key
  bottlebuild run --cache registry.example.com/acme:r --cache-trust ci.key.pub`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			file := "bottlebuild-cache.key"
			if len(args) > 0 {
				file = args[0]
			}
			return a.keygen(file)
		},
	}
}

func (a *app) keygen(file string) error {
	key, err := remote.GenerateKey()
	if err != nil {
		return fmt.Errorf("make key: %w", err)
	}
	pem, err := key.PEM()
	if err != nil {
		return fmt.Errorf("make key: %w", err)
	}
	public := key.Public().String() + "\n"
	if _, err := os.Lstat(file + ".pub"); err == nil {
		return usageError("%s.pub is there already; name another file", file)
	}
	if err := writeNew(file, pem, 0o600); err != nil {
		return err
	}
	if err := writeNew(file+".pub", []byte(public), 0o644); err != nil {
		return errors.Join(err, os.Remove(file)) // half a pair is of no use
	}
	_, err = fmt.Fprint(a.stdout, public)
	return err
}

// writeNew writes a file that must not be there yet, durably or not at all.
func writeNew(file string, content []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return usageError("%s is there already; name another file", file)
	}
	if err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	if _, err = f.Write(content); err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write key: %w", errors.Join(err, os.Remove(file)))
	}
	return nil
}
