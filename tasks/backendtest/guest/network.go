//go:build linux

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// reachWait bounds one attempt to reach something.
const reachWait = 10 * time.Second

// reach WHAT… tries all at once, each tcp=ADDRESS:PORT, udp=ADDRESS:PORT,
// ping=ADDRESS, name=NAME (by the machine's name server) or name=NAME@tcp=SERVER,
// and prints those that answered, in order.
func reach(args []string) error {
	reached := make([]bool, len(args))
	var all sync.WaitGroup
	for i, what := range args {
		all.Go(func() { reached[i] = reachOne(what) == nil })
	}
	all.Wait()
	for i, what := range args {
		if reached[i] {
			fmt.Println(what)
		}
	}
	return nil
}

func reachOne(what string) error {
	network, address, _ := strings.Cut(what, "=")
	switch network {
	case "ping":
		return ping(address)
	case "name":
		return resolve(address)
	}
	conn, err := net.DialTimeout(network, address, reachWait)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(reachWait))
	if _, err := fmt.Fprintln(conn, "hello"); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1024))
	return err
}

// ping needs no capability where net.ipv4.ping_group_range allows it.
func ping(address string) error {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return err
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, syscall.IPPROTO_ICMP)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	timeout := syscall.NsecToTimeval(int64(reachWait))
	echo := []byte{8, 0, 0, 0, 0, 0, 0, 1, 'h', 'e', 'l', 'l', 'o', 0}
	binary.BigEndian.PutUint16(echo[2:], checksum(echo))
	err = errors.Join(
		syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &timeout),
		syscall.Connect(fd, &syscall.SockaddrInet4{Addr: addr.As4()}),
	)
	if err == nil {
		_, err = syscall.Write(fd, echo)
	}
	if err != nil {
		return err
	}
	buf := make([]byte, 1024)
	n, err := syscall.Read(fd, buf)
	for err == syscall.EINTR { // which a socket with a timeout is not spared
		n, err = syscall.Read(fd, buf)
	}
	if err == nil && (n < 8 || buf[0] != 0) {
		err = fmt.Errorf("answer %x", buf[:max(n, 0)])
	}
	return err
}

func resolve(what string) error {
	name, server, other := strings.Cut(what, "@")
	r := &net.Resolver{PreferGo: true}
	if other {
		network, address, _ := strings.Cut(server, "=")
		r.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, net.JoinHostPort(address, "53"))
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), reachWait)
	defer cancel()
	_, err := r.LookupNetIP(ctx, "ip4", name+".")
	return err
}

// inject DEVICE MAC ADDRESS PORT sends a datagram as a frame of its own making, by
// which it passes by all that looks at what programs send.
func inject(args []string) error {
	if err := need(args, 4); err != nil {
		return err
	}
	device, err := net.InterfaceByName(args[0])
	if err != nil {
		return err
	}
	mac, err := net.ParseMAC(args[1])
	if err != nil {
		return err
	}
	to, err := netip.ParseAddr(args[2])
	if err != nil {
		return err
	}
	port, err := strconv.ParseUint(args[3], 10, 16)
	if err != nil {
		return err
	}
	const payload = "injected"
	udp := binary.BigEndian.AppendUint16(nil, 4711)
	udp = binary.BigEndian.AppendUint16(udp, uint16(port))
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(payload)))
	udp = append(append(udp, 0, 0), payload...) // no checksum, which IPv4 allows
	ip := []byte{0x45, 0, 0, byte(20 + len(udp)), 0, 1, 0, 0, 64, syscall.IPPROTO_UDP, 0, 0, 192, 0, 0, 2}
	ip = append(ip, to.AsSlice()...)
	binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	frame := append(mac, device.HardwareAddr...)
	frame = append(append(append(frame, 0x08, 0x00), ip...), udp...)
	fd, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_RAW, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	return syscall.Sendto(fd, frame, 0, &syscall.SockaddrLinklayer{Ifindex: device.Index, Halen: 6})
}

func checksum(b []byte) uint16 {
	sum := uint32(0)
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
