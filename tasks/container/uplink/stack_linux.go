package uplink

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/fdbased"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// Bounds of what one machine can make this process hold, in connections and
// bytes: it is not in the machine's cgroup.
const (
	maxTCP     = 1024
	maxPending = 256 // of maxTCP, being dialled
	maxUDP     = 512
	maxPings   = 64
	maxWindow  = 1 << 20
)

const (
	dialWait  = 30 * time.Second
	udpIdle   = 90 * time.Second
	keepAlive = 60 * time.Second
)

const nic = 1

// link is the host's end of a machine's interface.
type link struct {
	policy   *policy
	resolver *resolver
	stack    *stack.Stack
	tcp, udp chan struct{} // slots
	pings    chan struct{}
}

// newLink starts to take frames from the tap device.
func newLink(tap int, p *policy, r *resolver) (*link, error) {
	l := &link{policy: p, resolver: r, tcp: make(chan struct{}, maxTCP), udp: make(chan struct{}, maxUDP), pings: make(chan struct{}, maxPings)}
	l.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4},
	})
	ep, err := fdbased.New(&fdbased.Options{
		FDs: []int{tap}, MTU: MTU, EthernetHeader: true, Address: tcpip.LinkAddress(GatewayMAC[:]),
		PacketDispatchMode: fdbased.Readv,
	})
	if err != nil {
		return nil, err
	}
	sack := tcpip.TCPSACKEnabled(true)
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: 4 << 10, Default: 256 << 10, Max: maxWindow}
	send := tcpip.TCPSendBufferSizeRangeOption{Min: 4 << 10, Default: 256 << 10, Max: maxWindow}
	for _, err := range []tcpip.Error{
		l.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &sack),
		l.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &receive),
		l.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &send),
		l.stack.CreateNIC(nic, ep),
		l.stack.AddProtocolAddress(nic, tcpip.ProtocolAddress{
			Protocol:          ipv4.ProtocolNumber,
			AddressWithPrefix: tcpip.AddressWithPrefix{Address: tcpip.AddrFrom4(Gateway.Addr().As4()), PrefixLen: Gateway.Bits()},
		}, stack.AddressProperties{}),
		// It takes what is for anyone, and answers in their name.
		l.stack.SetPromiscuousMode(nic, true),
		l.stack.SetSpoofing(nic, true),
	} {
		if err != nil {
			return nil, errors.New(err.String())
		}
	}
	l.stack.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nic}})
	l.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, tcp.NewForwarder(l.stack, 0, maxPending, l.forwardTCP).HandlePacket)
	l.stack.SetTransportProtocolHandler(udp.ProtocolNumber, udp.NewForwarder(l.stack, l.forwardUDP).HandlePacket)
	l.stack.SetTransportProtocolHandler(icmp.ProtocolNumber4, l.forwardPing)
	return l, nil
}

// destination is where the machine's packet goes to.
func destinationOf(id stack.TransportEndpointID) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4(id.LocalAddress.As4()), id.LocalPort)
}

// take takes one of the slots, if there is one.
func take(slots chan struct{}) bool {
	select {
	case slots <- struct{}{}:
		return true
	default:
		return false
	}
}

// forwardTCP dials first and answers the machine then, so that it sees a refusal
// as one. It is called in a goroutine of its own.
func (l *link) forwardTCP(r *tcp.ForwarderRequest) {
	to := destinationOf(r.ID())
	dns := to == netip.AddrPortFrom(Gateway.Addr(), dnsPort)
	if !dns && !l.policy.allows(to.Addr()) || !take(l.tcp) {
		r.Complete(true)
		return
	}
	defer func() { <-l.tcp }()
	var out net.Conn
	if !dns {
		d := net.Dialer{Timeout: dialWait}
		var err error
		if out, err = d.DialContext(context.Background(), "tcp4", to.String()); err != nil {
			r.Complete(true)
			return
		}
		defer out.Close()
	}
	var queue waiter.Queue
	ep, err := r.CreateEndpoint(&queue)
	if err != nil {
		r.Complete(true)
		return
	}
	r.Complete(false)
	in := gonet.NewTCPConn(&queue, ep)
	defer in.Close()
	if dns {
		l.resolver.serve(in)
		return
	}
	ep.SocketOptions().SetKeepAlive(true)
	idle := tcpip.KeepaliveIdleOption(keepAlive)
	ep.SetSockOpt(&idle)
	done := make(chan struct{})
	go func() {
		defer close(done)
		pass(out, in)
	}()
	pass(in, out)
	<-done
}

// pass copies from one connection to the other, and then the end of the stream;
// a connection that is cut off cuts off the other.
func pass(to, from net.Conn) {
	if _, err := io.Copy(to, from); err != nil {
		to.Close()
		from.Close()
		return
	}
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// forwardUDP has a socket of the host for each pair of the machine's port and
// what it talks to. What it does not take is answered as unreachable.
func (l *link) forwardUDP(r *udp.ForwarderRequest) bool {
	to := destinationOf(r.ID())
	dns := to == netip.AddrPortFrom(Gateway.Addr(), dnsPort)
	if !dns && !l.policy.allows(to.Addr()) || !take(l.udp) {
		return false
	}
	var queue waiter.Queue
	ep, err := r.CreateEndpoint(&queue)
	if err != nil {
		<-l.udp
		return false
	}
	in := gonet.NewUDPConn(&queue, ep)
	go func() {
		defer func() { <-l.udp }()
		defer in.Close()
		if dns {
			l.resolver.serveDatagrams(in)
			return
		}
		out, err := net.Dial("udp4", to.String()) //nolint:noctx // it does not wait for anything
		if err != nil {
			return
		}
		defer out.Close()
		go func() {
			datagrams(in, out, in, out)
			_ = in.Close() // so that the other direction ends
		}()
		datagrams(out, in, in, out)
	}()
	return true
}

// datagrams copies from one connection to the other until nothing has passed in
// either direction for a while. An error of one datagram, such as that nobody
// listens, ends it: the machine's next one begins anew.
func datagrams(to, from net.Conn, both ...net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		_ = from.SetReadDeadline(time.Now().Add(udpIdle))
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		for _, c := range both {
			_ = c.SetReadDeadline(time.Now().Add(udpIdle))
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}
