package main

import (
	"fmt"
	"io/fs"
	"path/filepath"
)

// walk takes the status of every file below a directory and prints how many
// there are: the least that anyone can do who wants to know whether one changed.
func walk(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("%s: name one directory", walkCommand)
	}
	files := 0
	err := filepath.WalkDir(args[0], func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if _, err := d.Info(); err != nil { // lstat
			return err
		}
		files++
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", walkCommand, err)
	}
	fmt.Println(files)
	return nil
}
