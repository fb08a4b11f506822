//go:build linux

package main

import (
	archive "archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path"

	"bottlebuild/tasks/copytree"
)

// tar -C DIR -cf - -- ./NAME writes an archive, tar -C DIR -xf - reads one.
func tar(args []string) error {
	if err := need(args, 4); err != nil {
		return err
	}
	if err := os.Chdir(args[1]); err != nil {
		return err
	}
	switch args[2] {
	case "-cf":
		if err := need(args, 5); err != nil {
			return err
		}
		return copytree.Pack(os.Stdout, args[4], path.Clean(args[4]))
	case "-xf":
		return extract()
	}
	return errors.New("it knows -cf and -xf")
}

// extract gives what is in the archive to whom its first entry belongs to.
func extract() error {
	b, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	first, err := archive.NewReader(bytes.NewReader(b)).Next()
	if err != nil {
		return err
	}
	return copytree.Receive(bytes.NewReader(b), ".", copytree.Options{
		Own: func(root *os.Root, name string) error { return root.Lchown(name, first.Uid, first.Gid) },
	})
}
