package selftest

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"bottlebuild/tasks/backend"
)

// policy is what a machine may reach.
type policy struct {
	open  bool
	some  bool // something is allowed, be it names that are not known here
	cidrs []netip.Prefix
	// names are the allowed hosts but those that stand for many, with the
	// addresses that this host knows them by.
	names []namedHost
}

type namedHost struct {
	name  string
	addrs []netip.Addr
	port  uint16 // at which this host reaches it; 0: at none that was tried
}

// lookupTime bounds what is asked and tried from this host.
const lookupTime = 2 * time.Second

// maxNames bounds how many of the allowed hosts are looked at.
const maxNames = 3

// newPolicy asks this host's resolver for the allowed hosts. A host that is not
// to be reached from here either says nothing about the machine.
func newPolicy(ctx context.Context, n *backend.Network) *policy {
	if n == nil {
		return &policy{}
	}
	p := &policy{open: n.Open, some: n.Open || len(n.AllowHosts)+len(n.AllowCIDRs) > 0}
	for _, c := range n.AllowCIDRs {
		if a, err := netip.ParseAddr(c); err == nil {
			p.cidrs = append(p.cidrs, netip.PrefixFrom(a, a.BitLen()))
		} else if c, err := netip.ParsePrefix(c); err == nil {
			p.cidrs = append(p.cidrs, c.Masked())
		}
	}
	for _, h := range n.AllowHosts {
		if !strings.HasPrefix(h, "*") && len(p.names) < maxNames {
			p.names = append(p.names, namedHost{name: strings.TrimSuffix(h, ".")})
		}
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	var wg sync.WaitGroup
	for i := range p.names {
		wg.Go(func() { p.names[i].find(ctx) })
	}
	wg.Wait()
	return p
}

// find looks the host up and tries the ports that most hosts serve.
func (h *namedHost) find(ctx context.Context) {
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", h.name)
	if err != nil {
		return
	}
	for _, a := range addrs {
		h.addrs = append(h.addrs, a.Unmap())
	}
	h.port = reachablePort(ctx, h.name)
}

// reachablePort returns the first usual port at which this host reaches another,
// 0 if it reaches none.
func reachablePort(ctx context.Context, name string) uint16 {
	var d net.Dialer
	for _, port := range []struct {
		text   string
		number uint16
	}{{"443", 443}, {"80", 80}} {
		conn, err := d.DialContext(ctx, "tcp4", net.JoinHostPort(name, port.text))
		if err == nil {
			conn.Close()
			return port.number
		}
	}
	return 0
}

// closed reports whether the machine has no network at all.
func (p *policy) closed() bool { return !p.some }

// mayReach reports whether the machine may reach an address, as far as is known.
func (p *policy) mayReach(a netip.Addr) bool {
	if p.open && !a.IsLoopback() && !a.IsLinkLocalUnicast() {
		return true
	}
	for _, n := range p.names {
		if slices.Contains(n.addrs, a) {
			return true
		}
	}
	return slices.ContainsFunc(p.cidrs, func(c netip.Prefix) bool { return c.Contains(a) })
}

// namesIt reports whether an address is allowed by itself, not as one of many.
func (p *policy) namesIt(a netip.Addr) bool {
	return slices.Contains(p.cidrs, netip.PrefixFrom(a, a.BitLen()))
}
