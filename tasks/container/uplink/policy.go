package uplink

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"bottlebuild/internal/lazyregexp"
)

// policy decides what a machine may reach.
type policy struct {
	open      bool
	names     map[string]bool // lower case
	wildcards []string        // ".example.com" for "*.example.com"
	cidrs     []netip.Prefix
	// local reports whether an address is the host's own, now.
	local func(netip.Addr) bool
	// changed is told, in order, which addresses have become allowed by name, and
	// which no longer are.
	changed func(added, gone []netip.Addr)

	mu      sync.Mutex
	learned map[netip.Addr]time.Time // until when; of allowed names
}

const (
	maxRules = 1024 // hosts, and CIDRs, of one machine
	// maxLearned bounds what names that answer with ever new addresses can fill.
	maxLearned = 16384
)

var nameRE = lazyregexp.New(`^(\*\.)?[a-z0-9_]([a-z0-9_.-]*[a-z0-9])?$`)

// maxName is the length of a name in DNS. It is no part of the pattern, which
// would take much longer to compile, at every start.
const maxName = 253

// special are the networks of which an address can be allowed only by itself:
// this host, loopback, link-local with the clouds' metadata, multicast, and what
// is reserved, broadcast among it.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("224.0.0.0/3"),
	netip.MustParsePrefix("192.0.0.0/29"),
}

// never are those of them that cannot be allowed at all: there, a dial from the
// host would reach the host's loopback or nobody.
var never = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("224.0.0.0/3"), netip.MustParsePrefix("192.0.0.0/29"),
}

func newPolicy(c Config) (*policy, error) {
	p := &policy{
		open: c.Open, names: map[string]bool{}, learned: map[netip.Addr]time.Time{},
		local: func(netip.Addr) bool { return false }, changed: func(_, _ []netip.Addr) {},
	}
	if len(c.Hosts) > maxRules || len(c.CIDRs) > maxRules {
		return nil, fmt.Errorf("more than %d hosts or networks", maxRules)
	}
	for _, h := range c.Hosts {
		name := canonical(h)
		if !nameRE.MatchString(name) || len(strings.TrimPrefix(name, "*.")) > maxName {
			return nil, fmt.Errorf("%.100q is no host name", h)
		}
		if rest, ok := strings.CutPrefix(name, "*"); ok {
			p.wildcards = append(p.wildcards, rest)
		} else {
			p.names[name] = true
		}
	}
	for _, c := range c.CIDRs {
		prefix, err := ParseCIDR(c)
		if err != nil {
			return nil, err
		}
		p.cidrs = append(p.cidrs, prefix)
	}
	return p, nil
}

// ParseCIDR reads a network of IPv4, or an address, which stands for itself.
func ParseCIDR(s string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		addr, aerr := netip.ParseAddr(s)
		if aerr != nil {
			return netip.Prefix{}, fmt.Errorf("%.100q is neither a network nor an address", s)
		}
		prefix = netip.PrefixFrom(addr, addr.BitLen())
	}
	if !prefix.Addr().Is4() {
		return netip.Prefix{}, fmt.Errorf("%s is of IPv6, which machines do not have: write its IPv4 address", s)
	}
	return prefix.Masked(), nil
}

func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// allowsName reports whether the name may be asked for.
func (p *policy) allowsName(name string) bool {
	name = canonical(name)
	if p.open || p.names[name] {
		return true
	}
	for _, w := range p.wildcards {
		if len(name) > len(w) && strings.HasSuffix(name, w) {
			return true
		}
	}
	return false
}

// allows reports whether a connection to the address may be made.
func (p *policy) allows(a netip.Addr) bool {
	if !a.Is4() || within(never, a) {
		return false
	}
	byNetwork := false
	for _, c := range p.cidrs {
		if c.Contains(a) {
			if c.Bits() == 32 {
				return true
			}
			byNetwork = true
		}
	}
	if within(special, a) || !(byNetwork || p.open || p.knows(a)) {
		return false
	}
	return !p.local(a)
}

func (p *policy) knows(a netip.Addr) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Now().Before(p.learned[a])
}

// learn allows the addresses of an allowed name until then. A name does not open
// what no name may: its owner says what it resolves to.
func (p *policy) learn(addrs []netip.Addr, until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var added []netip.Addr
	for _, a := range addrs {
		old, known := p.learned[a]
		if !a.Is4() || within(special, a) || !known && len(p.learned) >= maxLearned {
			continue
		}
		if !known {
			added = append(added, a)
		}
		if until.After(old) {
			p.learned[a] = until
		}
	}
	p.changed(added, nil)
}

// forget removes what is no longer allowed.
func (p *policy) forget(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var gone []netip.Addr
	for a, until := range p.learned {
		if !now.Before(until) {
			delete(p.learned, a)
			gone = append(gone, a)
		}
	}
	p.changed(nil, gone)
}

func within(networks []netip.Prefix, a netip.Addr) bool {
	for _, n := range networks {
		if n.Contains(a) {
			return true
		}
	}
	return false
}
