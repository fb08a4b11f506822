package container

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// servedPort is what all servers of a world serve, by TCP and UDP.
const servedPort = "7000"

// world is a host with its neighbours, each a network namespace of the test's
// own, and what has arrived at each of them.
type world struct {
	t    *testing.T
	host netns.NsHandle

	mu      sync.Mutex
	arrived map[string]bool // "denied tcp", "denied icmp", "denied udp injected", …
	asked   map[string]bool // names that the name server was asked for
}

// newWorld makes:
//
//	allowed   10.77.1.2, and fd77:1::2
//	denied    10.77.2.2
//	dns       10.77.3.2, a name server
//	metadata  169.254.169.254
//	self      10.77.1.1, the host's own address
//	loopback  127.0.0.1, and all else of the host
func newWorld(t *testing.T) *world {
	t.Helper()
	needRoot(t)
	w := &world{t: t, arrived: map[string]bool{}, asked: map[string]bool{}}
	w.host = w.namespace()
	w.in(w.host, loopbackUp)
	w.neighbour("allowed", "10.77.1.1/24", "10.77.1.2/24", "fd77:1::1/64", "fd77:1::2/64")
	w.neighbour("denied", "10.77.2.1/24", "10.77.2.2/24")
	dns := w.neighbour("dns", "10.77.3.1/24", "10.77.3.2/24")
	w.neighbour("metadata", "169.254.169.253/30", "169.254.169.254/30")
	w.serve("host", w.host, "::")
	w.nameServer(dns, "10.77.3.2:53")
	return w
}

// namespace makes a network namespace that lasts as long as the test.
func (w *world) namespace() netns.NsHandle {
	w.t.Helper()
	made := make(chan netns.NsHandle, 1)
	go func() {
		defer close(made)
		runtime.LockOSThread() // and the thread ends with the goroutine
		if ns, err := netns.New(); err == nil {
			made <- ns
		}
	}()
	ns, ok := <-made
	if !ok {
		w.t.Fatal("cannot make a network namespace")
	}
	w.t.Cleanup(func() { ns.Close() })
	return ns
}

func (w *world) in(ns netns.NsHandle, f func() error) {
	w.t.Helper()
	if err := inNamespace(ns, f); err != nil {
		w.t.Fatal(err)
	}
}

// neighbour connects a namespace with the host; of each two addresses, the first
// is the host's.
func (w *world) neighbour(name string, addresses ...string) netns.NsHandle {
	w.t.Helper()
	ns := w.namespace()
	w.in(w.host, func() error {
		veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "eth0", PeerNamespace: netlink.NsFd(ns)}
		if err := netlink.LinkAdd(veth); err != nil {
			return fmt.Errorf("veth: %w", err)
		}
		return nil
	})
	for i, address := range addresses {
		side, device := w.host, name
		if i%2 == 1 {
			side, device = ns, "eth0"
		}
		w.in(side, func() error {
			link, err := netlink.LinkByName(device)
			if err != nil {
				return err
			}
			addr, err := netlink.ParseAddr(address)
			if err != nil {
				return err
			}
			addr.Flags = unix.IFA_F_NODAD // it is there at once
			return errors.Join(netlink.AddrAdd(link, addr), netlink.LinkSetUp(link))
		})
		if side == ns {
			ip, _, err := net.ParseCIDR(address)
			if err != nil {
				w.t.Fatal(err)
			}
			w.serve(name, ns, netip.MustParseAddr(ip.String()).String())
		}
	}
	return ns
}

// serve answers TCP, UDP and, by the kernel, pings at the addresses, and notes
// what arrives.
func (w *world) serve(name string, ns netns.NsHandle, addresses ...string) {
	w.t.Helper()
	for _, a := range addresses {
		address := net.JoinHostPort(a, servedPort)
		w.in(ns, func() error {
			l, err := net.Listen("tcp", address)
			if err != nil {
				return err
			}
			c, err := net.ListenPacket("udp", address)
			if err != nil {
				return err
			}
			w.t.Cleanup(func() { l.Close(); c.Close() })
			go w.serveTCP(name, l)
			go w.serveUDP(name, c)
			return nil
		})
	}
	w.in(ns, func() error {
		c, err := net.ListenPacket("ip4:icmp", "0.0.0.0")
		if err != nil {
			return err
		}
		w.t.Cleanup(func() { c.Close() })
		go func() {
			buf := make([]byte, 1024)
			for {
				n, _, err := c.ReadFrom(buf)
				if err != nil {
					return
				}
				if n > 0 && buf[0] == 8 {
					w.note(name + " icmp")
				}
			}
		}()
		return nil
	})
}

func (w *world) serveTCP(name string, l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		w.note(name + " tcp")
		go func() {
			defer c.Close()
			if _, err := io.ReadAtLeast(c, make([]byte, 64), 1); err == nil {
				io.WriteString(c, name)
			}
		}()
	}
}

func (w *world) serveUDP(name string, c net.PacketConn) {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		if string(buf[:n]) == "injected" {
			w.note(name + " injected")
		} else {
			w.note(name + " udp")
		}
		c.WriteTo([]byte(name), from)
	}
}

func (w *world) note(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.arrived[what] = true
}

// wait waits until something has arrived.
func (w *world) wait(what string) {
	for range 500 {
		w.mu.Lock()
		arrived := w.arrived[what]
		w.mu.Unlock()
		if arrived {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// takeArrived returns what has arrived since the last call.
func (w *world) takeArrived() (arrived, asked []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for a := range w.arrived {
		arrived = append(arrived, a)
	}
	for a := range w.asked {
		asked = append(asked, a)
	}
	clear(w.arrived)
	clear(w.asked)
	slices.Sort(arrived)
	slices.Sort(asked)
	return arrived, asked
}

// names are what the world's name server knows.
var names = map[string][]string{
	"allowed.test.":      {"10.77.1.2"},
	"sub.wild.test.":     {"10.77.1.2"},
	"denied.test.":       {"10.77.2.2"},
	"rebind.test.":       {"169.254.169.254", "127.0.0.1", "10.77.1.1", "0.0.0.0"},
	"also.allowed.test.": {"10.77.2.2"},
}

func (w *world) nameServer(ns netns.NsHandle, address string) {
	w.in(ns, func() error {
		c, err := net.ListenPacket("udp", address)
		if err != nil {
			return err
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		w.t.Cleanup(func() { c.Close(); l.Close() })
		go func() {
			buf := make([]byte, 4096)
			for {
				n, from, err := c.ReadFrom(buf)
				if err != nil {
					return
				}
				w.note("dns query")
				c.WriteTo(w.resolve(buf[:n]), from)
			}
		}()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				w.note("dns query")
				buf := make([]byte, 4096)
				if n, err := c.Read(buf); err == nil && n > 2 {
					answer := w.resolve(buf[2:n])
					c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
				}
				c.Close()
			}
		}()
		return nil
	})
}

// resolve answers a query.
func (w *world) resolve(query []byte) []byte {
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	w.mu.Lock()
	w.asked[q.Name.String()] = true
	w.mu.Unlock()
	addrs, known := names[q.Name.String()]
	h.Response = true
	if !known {
		h.RCode = dnsmessage.RCodeNameError
	}
	m := dnsmessage.Message{Header: h, Questions: []dnsmessage.Question{q}}
	if q.Type == dnsmessage.TypeA {
		for _, a := range addrs {
			m.Answers = append(m.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 5},
				Body:   &dnsmessage.AResource{A: netip.MustParseAddr(a).As4()},
			})
		}
	}
	answer, err := m.Pack()
	if err != nil {
		return nil
	}
	return answer
}

// resolvConf writes a resolv.conf that names the world's name server.
func (w *world) resolvConf() string {
	path := filepath.Join(w.t.TempDir(), "resolv.conf")
	if err := os.WriteFile(path, []byte("# of the test\nnameserver 10.77.3.2\n"), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// onHost calls f in a goroutine whose thread is in the host's namespace, so that
// the programs that f starts are.
func (w *world) onHost(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		if err := netns.Set(w.host); err != nil {
			w.t.Error(err)
			return
		}
		f()
	}()
	<-done
}
