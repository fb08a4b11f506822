package selftest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
)

// hostAddress is the one that this host has in these tests' network.
const hostAddress = "203.0.113.5"

const networkVariable = "SELFTEST_NETWORK"

// TestMain runs the tests in a network of their own, as root, so that what a
// machine is let to reach in them is never anything else.
func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		goleak.VerifyTestMain(m)
		return
	}
	if os.Getenv(networkVariable) == "" {
		os.Exit(inOwnNetwork())
	}
	if err := makeHost(); err != nil {
		fmt.Fprintln(os.Stderr, "make a network:", err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

func inOwnNetwork() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), networkVariable+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return cmd.ProcessState.ExitCode()
}

// makeHost gives the loopback an address more, that everything seems to be
// reached from.
func makeHost() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	ip := net.ParseIP(hostAddress)
	return errors.Join(
		netlink.LinkSetUp(lo),
		netlink.AddrAdd(lo, &netlink.Addr{IPNet: &net.IPNet{IP: ip, Mask: net.CIDRMask(32, 32)}}),
		netlink.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}, Src: ip}),
	)
}
