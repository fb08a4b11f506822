package selftest

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"bottlebuild/tasks/backend"
)

// TestLeaks has a machine with this host's network, whatever it was to reach.
func TestLeaks(t *testing.T) {
	server := resolver(t, map[string]netip.Addr{unlisted + ".": netip.MustParseAddr("192.0.0.170")})
	both := func(what string) []string { return []string{what + " (TCP)", what + " (UDP)"} }
	loopback := slices.Concat(both("this host's loopback, 127.0.0.1"), both("this host's loopback, ::1"))
	all := slices.Concat(loopback, both("this host, at "+hostAddress))
	names := "a name server that knows names that are not allowed, " + server.String() + " (UDP)"
	for name, tc := range map[string]struct {
		network *backend.Network
		resolv  bool
		want    []string // of what was reached
	}{
		"none":          {nil, false, all},
		"empty":         {&backend.Network{}, true, append(slices.Clone(all), names)},
		"hosts":         {&backend.Network{AllowHosts: []string{"*.invalid"}}, true, append(slices.Clone(all), names)},
		"cidrs":         {&backend.Network{AllowCIDRs: []string{"192.0.2.0/24"}}, false, all},
		"own cidr":      {&backend.Network{AllowCIDRs: []string{hostAddress + "/24"}}, false, loopback},
		"open":          {&backend.Network{Open: true}, false, loopback},
		"the loopback":  {&backend.Network{AllowCIDRs: []string{"127.0.0.0/8", "::1"}}, true, both("this host, at " + hostAddress)},
		"all addresses": {&backend.Network{AllowCIDRs: []string{"0.0.0.0/0", "::/0"}}, true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r, m := newRoom(t), machine()
			r.sameNetwork = true
			if tc.resolv {
				r.write("etc/resolv.conf", "nameserver "+server.String()+"\n")
			}
			m.Network = tc.network
			_, err := r.test(t, m)
			var got []string
			if failed, ok := err.(*Error); ok {
				for _, f := range failed.Failed {
					_, what, _ := strings.Cut(f.Text, "does not allow: ")
					got = append(got, what)
				}
			} else if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("reached: %q, want %q", got, tc.want)
			}
		})
	}
}

// TestNetworkOfItsOwn has none of these leaks.
func TestNetworkOfItsOwn(t *testing.T) {
	r, m := newRoom(t), machine()
	for _, n := range []*backend.Network{nil, {AllowCIDRs: []string{"192.0.2.0/24"}}, {AllowHosts: []string{"*.invalid"}}} {
		m.Network = n
		if _, err := r.test(t, m); err != nil {
			t.Errorf("%+v: %v", n, err)
		}
	}
}

// TestAllowedIsReached also has a machine that cannot reach what it may.
func TestAllowedIsReached(t *testing.T) {
	server := resolver(t, map[string]netip.Addr{"allowed.test.": netip.MustParseAddr("127.0.0.1")})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).AddrPort().Port()
	r := reachable{
		servers: []netip.Addr{server},
		names:   []namedHost{{name: "allowed.test", port: port}, {name: "in.hosts", port: port}},
		direct:  []target{{what: "127.0.0.1", tcp: true, addr: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)}},
		hosts:   []byte("127.0.0.1 in.hosts # by hand\n"),
	}
	r.ask("allowed.test")
	for name, tc := range map[string]struct {
		sameNetwork bool
		want        []string
	}{
		"reached": {true, nil},
		"not": {false, []string{
			"does not reach 127.0.0.1:", "cannot resolve allowed.test", "does not reach in.hosts, port ",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			room := newRoom(t)
			room.sameNetwork = tc.sameNetwork
			p, err := place(t.Context(), room, machine())
			if err != nil {
				t.Fatal(err)
			}
			ts := &tests{}
			if err := ts.open(t.Context(), p, r, []netAnswer{{}}); err != nil {
				t.Fatal(err)
			}
			if len(ts.failed) != len(tc.want) || ts.passed+len(ts.failed) != 3 {
				t.Fatalf("%+v", ts)
			}
			for i, w := range tc.want {
				if !strings.Contains(ts.failed[i].Text, w) {
					t.Errorf("failed: %s, want %s", ts.failed[i].Text, w)
				}
			}
		})
	}
}

// TestOwnAddress has a machine that may reach this host by its address, and one
// that may and does not.
func TestOwnAddress(t *testing.T) {
	a, ok := ownAddress(t.Context(), documentation4)
	if !ok || a.String() != hostAddress {
		t.Fatalf("this host's address = %s, %t; want %s", a, ok, hostAddress)
	}
	r, m := newRoom(t), machine()
	m.Network = &backend.Network{AllowCIDRs: []string{a.String() + "/32"}}
	_, err := r.test(t, m)
	wantFailures(t, err, []string{"does not reach this host, at " + a.String()})
}

// resolver serves DNS on an address of the loopback that nothing else uses.
func resolver(t *testing.T, names map[string]netip.Addr) netip.Addr {
	t.Helper()
	addr := netip.MustParseAddr("127.0.53.77")
	l, err := net.ListenPacket("udp", netip.AddrPortFrom(addr, 53).String())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 1500)
		for {
			n, from, err := l.ReadFrom(b)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(b[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			m.Response, m.RCode = true, dnsmessage.RCodeNameError
			if a, ok := names[m.Questions[0].Name.String()]; ok {
				m.RCode = dnsmessage.RCodeSuccess
				m.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET},
					Body:   &dnsmessage.AResource{A: a.As4()},
				}}
			}
			if out, err := m.Pack(); err == nil {
				l.WriteTo(out, from)
			}
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return addr
}

// TestHostPorts has strangers come to the ports.
func TestHostPorts(t *testing.T) {
	h, err := listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	if len(h.ports) < 2 {
		t.Fatalf("%d ports", len(h.ports))
	}
	for _, p := range h.ports {
		network := "udp"
		if p.tcp {
			network = "tcp"
		}
		for _, tc := range []struct {
			text string
			want bool
		}{{"GET / HTTP/1.0\r\n\r\nand so on and so on", false}, {string(p.token), true}} {
			conn, err := net.Dial(network, p.addr.String())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write([]byte(tc.text)); err != nil {
				t.Fatal(err)
			}
			if tc.want {
				conn.SetReadDeadline(time.Now().Add(10 * time.Second))
				b := make([]byte, 20)
				if n, err := conn.Read(b); err != nil || string(b[:n]) != greeting {
					t.Errorf("%s %s answered %q, %v", network, p.addr, b[:n], err)
				}
			}
			conn.Close()
			h.settle()
			if !tc.want && !p.tcp && p.reached() {
				t.Errorf("%s %s takes anybody for the machine", network, p.addr)
			}
		}
		if !p.reached() {
			t.Errorf("%s %s did not see the token", network, p.addr)
		}
	}
}

// TestPolicyOfNames asks this host's resolver.
func TestPolicyOfNames(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p := newPolicy(ctx, &backend.Network{AllowHosts: []string{"localhost.", "*.example.com"}})
	if !p.mayReach(netip.MustParseAddr("127.0.0.1")) || p.mayReach(netip.MustParseAddr("127.0.0.2")) || p.closed() {
		t.Errorf("policy = %+v", p)
	}
}
