//go:build linux

// Command guest is what runs inside the machines of the conformance suite: many
// small tools in one static binary, so that an image FROM scratch is enough. The
// tool is named by argv[0], if that is not "guest", else by the first argument.
package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// errStatus ends the program with status 1 and no message.
var errStatus = errors.New("")

var tools = map[string]func(args []string) error{
	"append":   appendFile,
	"args":     printArgs,
	"cat":      cat,
	"chmod":    chmod,
	"chown":    chown,
	"detach":   detach,
	"die":      die,
	"echo":     echo,
	"env":      env,
	"exit":     exit,
	"fail":     fail,
	"flood":    flood,
	"held":     held,
	"hog":      hog,
	"hold":     hold,
	"hostname": hostname,
	"id":       id,
	"inject":   inject,
	"inode":    inode,
	"ls":       ls,
	"mkdir":    mkdir,
	"mv":       mv,
	"nics":     nics,
	"pids":     pids,
	"pwd":      pwd,
	"reach":    reach,
	"readlink": readlink,
	"rm":       rm,
	"serve":    serve,
	"setpriv":  setpriv,
	"spawn":    spawn,
	"stat":     stat,
	"sum":      sum,
	"symlink":  symlink,
	"tar":      tar,
	"test":     test,
	"tellenv":  func(args []string) error { return errors.Join(env(args), errStatus) },
	"true":     func([]string) error { return nil },
	"tty":      tty,
	"wait":     wait,
	"warn":     warn,
	"write":    write,
	"xattr":    xattr,
	"yes":      yes,
}

func main() {
	tool, args := filepath.Base(os.Args[0]), os.Args[1:]
	if tool == "guest" && len(args) > 0 {
		tool, args = args[0], args[1:]
	}
	f, ok := tools[tool]
	if !ok {
		fmt.Fprintf(os.Stderr, "guest: no tool %q; there are %s\n", tool, strings.Join(slices.Sorted(maps.Keys(tools)), " "))
		os.Exit(2)
	}
	if err := f(args); err != nil {
		if !errors.Is(err, errStatus) {
			fmt.Fprintf(os.Stderr, "guest %s: %v\n", tool, err)
		}
		os.Exit(1)
	}
}

// need reports a usage error if there are fewer than n arguments.
func need(args []string, n int) error {
	if len(args) < n {
		return fmt.Errorf("needs %d arguments", n)
	}
	return nil
}

// printArgs prints its arguments quoted, one a line.
func printArgs(args []string) error {
	for _, a := range args {
		fmt.Printf("%q\n", a)
	}
	return nil
}

func echo(args []string) error { fmt.Println(strings.Join(args, " ")); return nil }

// warn is echo to standard error.
func warn(args []string) error { fmt.Fprintln(os.Stderr, strings.Join(args, " ")); return nil }

// env prints the values of the named variables, NAME=VALUE a line, those that
// are not set as NAME alone; all of them without arguments.
func env(args []string) error {
	if len(args) == 0 {
		fmt.Println(strings.Join(os.Environ(), "\n"))
	}
	for _, name := range args {
		if v, ok := os.LookupEnv(name); ok {
			name += "=" + v
		}
		fmt.Println(name)
	}
	return nil
}

func exit(args []string) error {
	if err := need(args, 1); err != nil {
		return err
	}
	code, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	os.Exit(code)
	return nil
}

func hostname([]string) error {
	h, err := os.Hostname()
	fmt.Println(h)
	return err
}

// id prints "uid=1000 gid=1000 groups=50,1000".
func id([]string) error {
	groups, err := os.Getgroups()
	if err != nil {
		return err
	}
	slices.Sort(groups)
	fmt.Printf("uid=%d gid=%d groups=%s\n", os.Getuid(), os.Getgid(),
		strings.ReplaceAll(strings.Trim(fmt.Sprint(slices.Compact(groups)), "[]"), " ", ","))
	return nil
}

func pwd([]string) error {
	wd, err := os.Getwd()
	fmt.Println(wd)
	return err
}

// tty prints for each of the three standard files whether it is a terminal.
func tty([]string) error {
	for _, f := range []*os.File{os.Stdin, os.Stdout, os.Stderr} {
		fi, err := f.Stat()
		if err != nil {
			return err
		}
		_, err = os.Readlink("/proc/self/fd/" + strconv.Itoa(int(f.Fd())))
		fmt.Println(f.Name(), err == nil && fi.Mode()&os.ModeCharDevice != 0 && fi.Sys().(*syscall.Stat_t).Rdev != nullDevice)
	}
	return nil
}

const nullDevice = 1<<8 | 3 // /dev/null on Linux

// yes writes n bytes, "y" and line ends.
func yes(args []string) error {
	if err := need(args, 1); err != nil {
		return err
	}
	n, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil {
		return err
	}
	_, err = io.CopyN(os.Stdout, yesReader{}, n)
	return err
}

type yesReader struct{}

func (yesReader) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = "y\n"[i%2]
	}
	return len(p) &^ 1, nil
}
