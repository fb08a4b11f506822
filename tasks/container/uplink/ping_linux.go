package uplink

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

const pingWait = 5 * time.Second

// forwardPing carries echo requests, and nothing else of ICMP. The stack itself
// answers those for the gateway; those that lead nowhere stay unanswered.
func (l *link) forwardPing(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
	ip := header.IPv4(pkt.NetworkHeader().Slice())
	from, called := ip.SourceAddress(), ip.DestinationAddress()
	to := netip.AddrFrom4(called.As4())
	payload := stack.PayloadSince(pkt.TransportHeader())
	defer payload.Release()
	echo := header.ICMPv4(slices.Clone(payload.AsSlice())) // the packet is used again
	if len(echo) < header.ICMPv4MinimumSize || echo.Type() != header.ICMPv4Echo || to == Gateway.Addr() ||
		!l.policy.allows(to) || !take(l.pings) {
		return true
	}
	go func() {
		defer func() { <-l.pings }()
		if ping(to, echo) == nil {
			l.echo(called, from, echo)
		}
	}()
	return true
}

// ping sends the request's payload with an identifier of its own, as others of
// this host may be pinging there too, and waits for the answer.
func ping(to netip.Addr, echo header.ICMPv4) error {
	conn, err := net.DialIP("ip4:icmp", nil, &net.IPAddr{IP: to.AsSlice()})
	if err != nil {
		return err
	}
	defer conn.Close()
	request := slices.Clone(echo)
	id := uint16(rand.Uint32())
	request.SetIdent(id)
	request.SetChecksum(0)
	request.SetChecksum(^checksum.Checksum(request, 0))
	if _, err := conn.Write(request); err != nil {
		return err
	}
	_ = conn.SetReadDeadline(time.Now().Add(pingWait))
	buf := make([]byte, 64<<10)
	for {
		n, _, err := conn.ReadFromIP(buf) // without its IP header
		if err != nil {
			return err
		}
		answer := header.ICMPv4(buf[:n])
		if n >= header.ICMPv4MinimumSize && answer.Type() == header.ICMPv4EchoReply && answer.Ident() == id && answer.Sequence() == request.Sequence() {
			return nil
		}
	}
}

// echo answers the machine's request.
func (l *link) echo(from, to tcpip.Address, echo header.ICMPv4) {
	packet := make([]byte, header.IPv4MinimumSize+len(echo))
	ip := header.IPv4(packet)
	ip.Encode(&header.IPv4Fields{
		TotalLength: uint16(len(packet)), TTL: 64, Protocol: uint8(header.ICMPv4ProtocolNumber), SrcAddr: from, DstAddr: to,
		ID: uint16(rand.Uint32()),
	})
	ip.SetChecksum(^ip.CalculateChecksum())
	reply := header.ICMPv4(packet[header.IPv4MinimumSize:])
	copy(reply, echo)
	reply.SetType(header.ICMPv4EchoReply)
	binary.BigEndian.PutUint16(reply[2:], 0)
	reply.SetChecksum(^checksum.Checksum(reply, 0))
	l.stack.WritePacketToRemote(nic, tcpip.LinkAddress(MachineMAC[:]), ipv4.ProtocolNumber, buffer.MakeWithData(packet))
}
