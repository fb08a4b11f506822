// Command probe runs in build steps of tests and fails unless what it is asked
// about is as it should be.
package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh/agent"
)

func main() {
	if err := probe(os.Args[1], os.Args[2:]); err != nil {
		fmt.Println("probe:", err)
		os.Exit(1)
	}
}

func probe(what string, args []string) error {
	switch what {
	case "secret": // FILE SHA256: the file has that digest
		b, err := os.ReadFile(args[0])
		if err != nil {
			return err
		}
		if got := fmt.Sprintf("%x", sha256.Sum256(b)); got != args[1] {
			return fmt.Errorf("%s has digest %s", args[0], got)
		}
		return nil
	case "hosts": // LINE: it stands in /etc/hosts
		b, err := os.ReadFile("/etc/hosts")
		if err == nil && !strings.Contains(string(b), args[0]) {
			err = fmt.Errorf("/etc/hosts is %q", b)
		}
		return err
	case "shm": // BYTES: the size of /dev/shm
		var st syscall.Statfs_t
		if err := syscall.Statfs("/dev/shm", &st); err != nil {
			return err
		}
		return want(uint64(st.Bsize)*st.Blocks, args[0])
	case "nofile": // HARD: the limit on open files
		var l syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
			return err
		}
		return want(l.Max, args[0])
	case "interfaces": // N: how many network interfaces there are
		is, err := net.Interfaces()
		if err != nil {
			return err
		}
		return want(len(is), args[0])
	case "stamp": // FILE: writes a file that is never the same
		return os.WriteFile(args[0], []byte(time.Now().String()), 0o644)
	case "dial": // ADDRESS: somebody answers there, and closes the connection when done
		c, err := net.Dial("tcp", args[0])
		if err == nil {
			_, err = io.Copy(io.Discard, c)
		}
		return err
	case "keys": // COMMENT: the agent has one key, with that comment
		c, err := net.Dial("unix", os.Getenv("SSH_AUTH_SOCK"))
		if err != nil {
			return err
		}
		defer c.Close()
		keys, err := agent.NewClient(c).List()
		if err == nil && (len(keys) != 1 || keys[0].Comment != args[0]) {
			err = fmt.Errorf("it has the keys %v", keys)
		}
		return err
	case "agent": // there is a socket where SSH_AUTH_SOCK says
		c, err := net.Dial("unix", os.Getenv("SSH_AUTH_SOCK"))
		if err == nil {
			c.Close()
		}
		return err
	}
	return fmt.Errorf("there is nothing called %q", what)
}

func want(got any, text string) error {
	if fmt.Sprint(got) != text {
		return fmt.Errorf("it is %v", got)
	}
	return nil
}
