package uplink

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"
)

// resolvConf is a host's resolv.conf(5), of which only the name servers count.
type resolvConf struct {
	path string

	mu      sync.Mutex
	modTime time.Time
	list    []netip.AddrPort
}

const (
	maxServers    = 3 // as the C library has it
	maxResolvConf = 64 << 10
)

// servers returns the name servers, read anew if the file has changed: a host may
// move to another network while its machines run.
func (c *resolvConf) servers() ([]netip.AddrPort, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fi, err := os.Stat(c.path)
	if err != nil {
		return nil, err
	}
	if !fi.ModTime().Equal(c.modTime) {
		f, err := os.Open(c.path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		c.list, c.modTime = parseServers(io.LimitReader(f, maxResolvConf)), fi.ModTime()
	}
	if len(c.list) == 0 {
		return nil, fmt.Errorf("%s names no name server", c.path)
	}
	return c.list, nil
}

func parseServers(r io.Reader) (list []netip.AddrPort) {
	for lines := bufio.NewScanner(r); lines.Scan() && len(list) < maxServers; {
		f := strings.Fields(lines.Text())
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(f[1]); err == nil {
			list = append(list, netip.AddrPortFrom(a, dnsPort))
		}
	}
	return list
}
