package selftest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// host is this host's ports that the machine tries to reach: one for each
// protocol on each loopback address, and on the address that the host has in the
// world. What arrives there with its token has come out of the machine.
type host struct {
	ports []*port
	done  sync.WaitGroup
}

// port is one of them.
type port struct {
	addr  netip.AddrPort
	tcp   bool
	token []byte
	stop  func() error

	mu   sync.Mutex
	seen bool
	mark chan struct{} // receives when what [host.settle] sent has arrived
}

func (p *port) reached() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen
}

// greeting is what a port answers.
const greeting = "reached"

// listen opens the ports, for as short a time as the test takes.
func listen(ctx context.Context) (*host, error) {
	h := &host{}
	addrs := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}
	for _, toward := range []string{documentation4, documentation6} {
		if a, ok := ownAddress(ctx, toward); ok && !slices.Contains(addrs, a) {
			addrs = append(addrs, a)
		}
	}
	for i, a := range addrs {
		err := errors.Join(h.openTCP(ctx, a), h.openUDP(ctx, a))
		if err != nil && i == 0 { // a host may lack the others
			h.close()
			return nil, err
		}
	}
	return h, nil
}

// Addresses that are in documents only (RFC 5737, RFC 3849): nobody has them.
const (
	documentation4 = "198.51.100.1"
	documentation6 = "2001:db8::1"
)

// ownAddress returns the address that packets to another one would come from.
// None is sent.
func ownAddress(ctx context.Context, toward string) (netip.Addr, bool) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "udp", net.JoinHostPort(toward, "9"))
	if err != nil {
		return netip.Addr{}, false
	}
	defer conn.Close()
	a := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
	return a.WithZone(""), !a.IsLinkLocalUnicast()
}

func (h *host) add(addr net.Addr, tcp bool, stop func() error) *port {
	p := &port{tcp: tcp, token: []byte(rand.Text()), stop: stop, mark: make(chan struct{}, 1)}
	p.addr, _ = netip.ParseAddrPort(addr.String())
	h.ports = append(h.ports, p)
	return p
}

func (h *host) openTCP(ctx context.Context, a netip.Addr) error {
	var c net.ListenConfig
	l, err := c.Listen(ctx, "tcp", netip.AddrPortFrom(a, 0).String())
	if err != nil {
		return err
	}
	p := h.add(l.Addr(), true, l.Close)
	h.done.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			h.done.Go(func() { p.serve(conn) })
		}
	})
	return nil
}

// serve reads a token, and nothing else, from whoever it is.
func (p *port) serve(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	got := make([]byte, len(p.token))
	n := 0
	for n < len(got) {
		m, err := conn.Read(got[n:])
		if err != nil {
			return
		}
		n += m
	}
	if p.take(got) {
		conn.Write([]byte(greeting))
	}
}

func (p *port) take(b []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	ok := bytes.Equal(b, p.token)
	p.seen = p.seen || ok
	return ok
}

func (h *host) openUDP(ctx context.Context, a netip.Addr) error {
	var c net.ListenConfig
	l, err := c.ListenPacket(ctx, "udp", netip.AddrPortFrom(a, 0).String())
	if err != nil {
		return err
	}
	p := h.add(l.LocalAddr(), false, l.Close)
	h.done.Go(func() {
		b := make([]byte, 1024)
		for {
			n, from, err := l.ReadFrom(b)
			switch {
			case err != nil:
				return
			case string(b[:n]) == "mark "+string(p.token):
				select {
				case p.mark <- struct{}{}:
				default:
				}
			case p.take(b[:n]):
				_, _ = l.WriteTo([]byte(greeting), from)
			}
		}
	})
	return nil
}

// settle waits until what has reached this host has been looked at: it sends a
// datagram to each port and sees it arrive, after all that came before.
func (h *host) settle() {
	for _, p := range h.ports {
		if p.tcp {
			continue // the machine has waited for the answer
		}
		conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(p.addr))
		if err != nil {
			continue
		}
		conn.Write([]byte("mark " + string(p.token)))
		select {
		case <-p.mark:
		case <-time.After(patience):
		}
		conn.Close()
	}
}

func (h *host) close() {
	for _, p := range h.ports {
		_ = p.stop()
	}
	h.done.Wait()
}
