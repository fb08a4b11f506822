package uplink

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestCheck(t *testing.T) {
	for _, c := range []Config{
		{Hosts: []string{"example.com", "*.example.com", "EXAMPLE.com.", "a_b.example"}},
		{CIDRs: []string{"10.0.0.0/8", "10.0.0.1", "10.0.0.1/8", "0.0.0.0/0"}},
	} {
		if err := c.Check(); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
	for _, c := range []Config{
		{Hosts: []string{""}}, {Hosts: []string{"a b"}}, {Hosts: []string{"*"}}, {Hosts: []string{"a.*.b"}}, {Hosts: []string{strings.Repeat("a", 300)}},
		{CIDRs: []string{"example.com"}}, {CIDRs: []string{"10.0.0.0/33"}}, {CIDRs: []string{"fd00::/8"}}, {CIDRs: []string{"::1"}},
		{Hosts: make([]string, maxRules+1)},
	} {
		if err := c.Check(); err == nil {
			t.Errorf("%.1q, %q: Check = nil", c.Hosts, c.CIDRs)
		}
	}
}

func TestAllows(t *testing.T) {
	own := netip.MustParseAddr("10.1.2.3")
	cidrs := Config{CIDRs: []string{"10.0.0.0/8", "169.254.0.0/16", "192.168.1.1"}}
	for _, tc := range []struct {
		config Config
		addr   string
		want   bool
	}{
		{Config{}, "10.0.0.1", false},
		{cidrs, "10.0.0.1", true},
		{cidrs, "10.1.2.3", false},
		{cidrs, "11.0.0.1", false},
		{cidrs, "192.168.1.1", true},
		{cidrs, "192.168.1.2", false},
		{cidrs, "169.254.169.254", false},
		{cidrs, "::ffff:10.0.0.1", false},
		{cidrs, "fd00::1", false},
		{Config{CIDRs: []string{"10.1.2.3"}}, "10.1.2.3", true},
		{Config{CIDRs: []string{"169.254.169.254/32"}}, "169.254.169.254", true},
		{Config{CIDRs: []string{"127.0.0.1/32", "0.0.0.0", "255.255.255.255", "192.0.0.1"}}, "127.0.0.1", false},
		{Config{CIDRs: []string{"127.0.0.1/32", "0.0.0.0", "255.255.255.255", "192.0.0.1"}}, "0.0.0.0", false},
		{Config{CIDRs: []string{"127.0.0.1/32", "0.0.0.0", "255.255.255.255", "192.0.0.1"}}, "192.0.0.1", false},
		{Config{Open: true}, "93.184.216.34", true},
		{Config{Open: true}, "10.0.0.1", true},
		{Config{Open: true}, "10.1.2.3", false},
		{Config{Open: true}, "127.0.0.1", false},
		{Config{Open: true}, "169.254.169.254", false},
		{Config{Open: true}, "224.0.0.251", false},
		{Config{Open: true}, "255.255.255.255", false},
	} {
		p, err := newPolicy(tc.config)
		if err != nil {
			t.Fatal(err)
		}
		p.local = func(a netip.Addr) bool { return a == own }
		if got := p.allows(netip.MustParseAddr(tc.addr)); got != tc.want {
			t.Errorf("%+v allows %s: %v, want %v", tc.config, tc.addr, got, tc.want)
		}
	}
}

func TestAllowsName(t *testing.T) {
	p, err := newPolicy(Config{Hosts: []string{"Example.com", "*.wild.test"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"example.com": true, "EXAMPLE.COM.": true, "a.example.com": false, "notexample.com": false, "example.com.evil": false,
		"a.wild.test": true, "a.b.wild.test": true, "wild.test": false, ".wild.test": false, "evilwild.test": false, "": false, ".": false,
	} {
		if got := p.allowsName(name); got != want {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
}

// TestLearn: what a name resolves to is allowed for its time, unless no name may
// open it; and what has become of that is told once.
func TestLearn(t *testing.T) {
	p, err := newPolicy(Config{Hosts: []string{"example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	var added, gone []netip.Addr
	p.changed = func(a, g []netip.Addr) { added, gone = append(added, a...), append(gone, g...) }
	good := netip.MustParseAddr("93.184.216.34")
	until := time.Now().Add(time.Hour)
	for range 2 {
		p.learn([]netip.Addr{good, netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("169.254.169.254"), netip.MustParseAddr("fd00::1")}, until)
	}
	if len(added) != 1 || added[0] != good || !p.allows(good) || p.allows(netip.MustParseAddr("169.254.169.254")) {
		t.Errorf("added %v; allows it: %v", added, p.allows(good))
	}
	p.forget(until.Add(-time.Second))
	p.forget(until)
	if len(gone) != 1 || gone[0] != good || p.allows(good) {
		t.Errorf("gone %v; allows it: %v", gone, p.allows(good))
	}
	for i := range maxLearned + 100 {
		p.learn([]netip.Addr{netip.AddrFrom4([4]byte{100, byte(i >> 16), byte(i >> 8), byte(i)})}, until)
	}
	if len(p.learned) != maxLearned {
		t.Errorf("it has learned %d addresses, and %d is the bound", len(p.learned), maxLearned)
	}
}
