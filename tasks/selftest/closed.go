package selftest

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// target is one connection that the machine tries.
type target struct {
	what    string // "the host's loopback, 127.0.0.1"
	tcp     bool
	addr    netip.AddrPort
	payload []byte
	port    *port // of this host; nil: somebody else's
	dns     bool  // the payload is a question, and only its answer matters
	any     bool  // of dns: whatever answer, not only one that knows
}

// op is the probe's argument. The address is a sockaddr_in or a sockaddr_in6 of
// Linux; both processors have the low byte first.
func (t target) op() string {
	a := t.addr.Addr().Unmap()
	var b []byte
	if a.Is4() {
		b = binary.LittleEndian.AppendUint16(b, 2) // AF_INET
		b = binary.BigEndian.AppendUint16(b, t.addr.Port())
		b = append(append(b, a.AsSlice()...), make([]byte, 8)...)
	} else {
		b = binary.LittleEndian.AppendUint16(b, 10) // AF_INET6
		b = binary.BigEndian.AppendUint16(b, t.addr.Port())
		b = append(append(append(b, make([]byte, 4)...), a.AsSlice()...), make([]byte, 4)...)
	}
	kind := "udp"
	if t.tcp {
		kind = "tcp"
	}
	return kind + ":" + hex.EncodeToString(b) + ":" + hex.EncodeToString(t.payload)
}

// metadata is where clouds tell a machine's secrets, to whoever asks.
const metadata = "169.254.169.254"

// forbidden returns what the machine must not reach.
func forbidden(p *policy, h *host, s seen) []target {
	var list []target
	gateways := parseRoutes(s.ipv4Routes)
	for _, port := range h.ports {
		t := target{tcp: port.tcp, addr: port.addr, payload: port.token, port: port}
		a := port.addr.Addr()
		t.what = "this host, at " + a.String()
		if a.IsLoopback() {
			t.what = "this host's loopback, " + a.String()
		}
		if !p.mayReach(a) {
			list = append(list, t)
		}
		// User-mode networks hand a name of their own to the host's loopback.
		for _, g := range gateways {
			if a.Is4() && a.IsLoopback() && !p.namesIt(g) {
				t.what, t.addr = "this host's loopback, by way of the gateway "+g.String(), netip.AddrPortFrom(g, port.addr.Port())
				list = append(list, t)
			}
		}
	}
	if p.open {
		return list
	}
	request := []byte("GET / HTTP/1.0\r\n\r\n")
	for _, x := range []struct{ what, addr string }{
		{"the cloud's metadata service", metadata}, {"an address that nobody has", documentation4}, {"an IPv6 address that nobody has", documentation6},
	} {
		if a := netip.MustParseAddr(x.addr); !p.mayReach(a) {
			list = append(list, target{what: x.what + ", " + x.addr, tcp: true, addr: netip.AddrPortFrom(a, 80), payload: request})
		}
	}
	for _, a := range parseResolvConf(s.resolvConf) {
		if !p.mayReach(a) {
			list = append(list, target{
				what: "a name server that knows names that are not allowed, " + a.String(), addr: netip.AddrPortFrom(a, 53),
				payload: question(unlisted), dns: true, any: p.closed(),
			})
		}
	}
	return list
}

// unlisted is a name that every resolver of the Internet knows (RFC 7050), for
// just this purpose: to ask whether something is so.
const unlisted = "ipv4only.arpa"

// closed judges what the machine tried and should not have reached.
func (t *tests) closed(targets []target, got []netAnswer) {
	for i, target := range targets {
		reached := len(got[i].answer) > 0
		switch {
		case target.port != nil:
			reached = target.port.reached()
		case target.dns && !target.any:
			addrs, _ := parseDNS(got[i].answer)
			reached = len(addrs) > 0
		case target.dns:
			_, reached = parseDNS(got[i].answer)
		}
		protocol := "UDP"
		if target.tcp {
			protocol = "TCP"
		}
		t.check(!reached, leakAdvice, "the machine reaches what its network block does not allow: %s (%s)", target.what, protocol)
	}
}

const leakAdvice = "do not run untrusted code in it: the backend does not enforce the network block here; update the backend, or allow this if it is meant"

// parseRoutes returns the gateways of Linux's /proc/net/route.
func parseRoutes(b []byte) []netip.Addr {
	var list []netip.Addr
	for line := range bytes.Lines(b) {
		f := strings.Fields(string(line))
		if len(f) < 3 || len(list) == 2 {
			continue
		}
		n, err := strconv.ParseUint(f[2], 16, 32)
		if err != nil || n == 0 {
			continue
		}
		list = append(list, netip.AddrFrom4([4]byte(binary.LittleEndian.AppendUint32(nil, uint32(n)))))
	}
	return list
}

// parseResolvConf returns the name servers of resolv.conf(5), of which the
// resolver asks three.
func parseResolvConf(b []byte) []netip.Addr {
	var list []netip.Addr
	for line := range bytes.Lines(b) {
		f := strings.Fields(string(line))
		if len(f) < 2 || f[0] != "nameserver" || len(list) == 3 {
			continue
		}
		if a, err := netip.ParseAddr(f[1]); err == nil {
			list = append(list, a.WithZone(""))
		}
	}
	return list
}

// question is a query for the IPv4 addresses of a name; empty if it is none.
func question(name string) []byte {
	n, err := dnsmessage.NewName(name + ".")
	if err != nil {
		return nil
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 0x6262, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: n, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	b, err := m.Pack()
	if err != nil {
		return nil
	}
	return b
}

// parseDNS returns the IPv4 addresses in an answer, and whether it is one.
func parseDNS(b []byte) (addrs []netip.Addr, ok bool) {
	var m dnsmessage.Message
	if m.Unpack(b) != nil || !m.Response {
		return nil, false
	}
	for _, r := range m.Answers {
		if a, ok := r.Body.(*dnsmessage.AResource); ok {
			addrs = append(addrs, netip.AddrFrom4(a.A))
		}
	}
	return addrs, true
}
