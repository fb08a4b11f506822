// Package uplink is the way out of a machine that may reach some of the world:
// a process on the host, one for each such machine, that holds the other end of
// the machine's only network interface.
//
// The interface is a tap device in the machine's network namespace. Its frames
// end here, in a TCP/IP stack of this process's own; what the machine may reach
// is dialled anew from the host, as any of its programs would. So the host needs
// no route, no address translation, no forwarding and no rule for it, and there
// is nothing of it that a host could be left with: when this process ends, the
// machine has no network.
//
// What a machine may reach is enforced here, out of its reach, whatever frames it
// makes up; and once more by nftables in its namespace, which answers at once for
// what leads nowhere. Names are resolved here too: a name that is not allowed is
// never asked for, and the addresses of an allowed one are allowed for as long
// as it has them.
//
// IPv4 only: the interface has no IPv6 address, and what is sent by it is dropped.
package uplink

import "net/netip"

// Config says what a machine may reach. With Open it is everything but the
// special addresses, see [Config.Check].
type Config struct {
	Open bool `json:"open,omitempty"`
	// Hosts are host names; "*.example.com" stands for all below it.
	Hosts []string `json:"hosts,omitempty"`
	// CIDRs are networks, or addresses. An address of the host itself, and one
	// that is link-local, as clouds serve their metadata at, is allowed only by
	// itself: by 10.0.0.7/32, and not by 10.0.0.0/8.
	CIDRs []string `json:"cidrs,omitempty"`
	// Resolv is the host's resolv.conf(5), read again whenever it has changed.
	Resolv string `json:"resolv"`
}

// The two ends of a machine's interface. Each machine has them for itself, so
// they are the same for all: of the addresses that RFC 7335 sets aside for a
// host's own translation, which nobody serves anything at.
var (
	Gateway = netip.MustParsePrefix("192.0.0.1/30")
	Machine = netip.MustParsePrefix("192.0.0.2/30")
)

// Device is the interface's name in the machine.
const Device = "eth0"

// MTU is the interface's: since nothing of it reaches a wire, it may be large.
const MTU = 65520

// The hardware addresses of the two ends, locally administered.
var (
	GatewayMAC = [6]byte{0x02, 0xbb, 0, 0, 0, 1}
	MachineMAC = [6]byte{0x02, 0xbb, 0, 0, 0, 2}
)

// Ready is what the process writes to its standard output when the machine's
// network is there; anything else is why it is not.
const Ready = "ready"

// Check reports what in the configuration is no host name and no network, or is
// of a kind that cannot be had.
func (c Config) Check() error {
	_, err := newPolicy(c)
	return err
}

// Descriptors that the process is started with, after the standard ones.
const (
	machineFD = 3 // of the machine's first process, see pidfd_open(2): this one ends with it
	tapFD     = 4 // the tap device
	netnsFD   = 5 // the machine's network namespace
)
