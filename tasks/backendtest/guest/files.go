//go:build linux

package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// cat copies the named files, or standard input, to standard output.
func cat(args []string) error {
	if len(args) == 0 {
		_, err := io.Copy(os.Stdout, os.Stdin)
		return err
	}
	for _, name := range args {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		_, err = io.Copy(os.Stdout, f)
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// write FILE CONTENT replaces the file.
func write(args []string) error {
	if err := need(args, 2); err != nil {
		return err
	}
	return os.WriteFile(args[0], []byte(args[1]), 0o644)
}

// appendFile FILE CONTENT adds to the file, which it makes if needed.
func appendFile(args []string) error {
	if err := need(args, 2); err != nil {
		return err
	}
	f, err := os.OpenFile(args[0], os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(args[1]); err != nil {
		return err
	}
	return f.Close()
}

// stat prints "MODE UID:GID SIZE" of each file, or of the link if it is one.
func stat(args []string) error {
	for _, name := range args {
		fi, err := os.Lstat(name)
		if err != nil {
			return err
		}
		st := fi.Sys().(*syscall.Stat_t)
		fmt.Printf("%s %d:%d %d\n", fi.Mode(), st.Uid, st.Gid, fi.Size())
	}
	return nil
}

func ls(args []string) error {
	for _, name := range args {
		entries, err := os.ReadDir(name)
		if err != nil {
			return err
		}
		for _, e := range entries {
			fmt.Println(e.Name())
		}
	}
	return nil
}

func symlink(args []string) error {
	if err := need(args, 2); err != nil {
		return err
	}
	return os.Symlink(args[0], args[1])
}

func mkdir(args []string) error {
	for _, name := range options(args) {
		if err := os.MkdirAll(name, 0o755); err != nil {
			return err
		}
	}
	return nil
}

func rm(args []string) error {
	for _, name := range options(args) {
		if err := os.RemoveAll(name); err != nil {
			return err
		}
	}
	return nil
}

func mv(args []string) error {
	args = options(args)
	if err := need(args, 2); err != nil {
		return err
	}
	return os.Rename(args[0], args[1])
}

// chmod MODE FILE…, the mode in octal digits.
func chmod(args []string) error {
	args = options(args)
	if err := need(args, 2); err != nil {
		return err
	}
	mode, err := strconv.ParseUint(args[0], 8, 12)
	if err != nil {
		return err
	}
	for _, name := range args[1:] {
		if err := syscall.Chmod(name, uint32(mode)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// chown [-R] USER[:GROUP] FILE…, by number or by the names of /etc/passwd and
// /etc/group.
func chown(args []string) error {
	all := len(args) > 0 && args[0] == "-R"
	args = options(args)
	if err := need(args, 2); err != nil {
		return err
	}
	uid, gid, err := owner(args[0])
	if err != nil {
		return err
	}
	for _, name := range args[1:] {
		err := os.Lchown(name, uid, gid)
		if all && err == nil {
			err = filepath.WalkDir(name, func(path string, _ fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				return os.Lchown(path, uid, gid)
			})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// test -e|-d|-f|-w FILE
func test(args []string) error {
	if err := need(args, 2); err != nil {
		return err
	}
	fi, err := os.Stat(args[1])
	switch {
	case err != nil,
		args[0] == "-d" && !fi.IsDir(),
		args[0] == "-f" && !fi.Mode().IsRegular(),
		args[0] == "-w" && syscall.Access(args[1], 2) != nil:
		return errStatus
	}
	return nil
}

// options drops leading options such as -p, -f, -r and --: the tools always do
// what these ask for.
func options(args []string) []string {
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		args = args[1:]
	}
	return args
}

// owner resolves USER[:GROUP]. The group is -1 if it is not named.
func owner(s string) (uid, gid int, err error) {
	user, group, hasGroup := strings.Cut(s, ":")
	gid = -1
	if uid, err = lookup("/etc/passwd", user); err == nil && hasGroup {
		gid, err = lookup("/etc/group", group)
	}
	return uid, gid, err
}

// lookup finds the number, third field, of a name in a colon-separated file.
func lookup(file, name string) (int, error) {
	if n, err := strconv.Atoi(name); err == nil {
		return n, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Split(strings.TrimSpace(line), ":"); len(f) > 2 && f[0] == name {
			return strconv.Atoi(f[2])
		}
	}
	return 0, fmt.Errorf("%s has no %q", file, name)
}
