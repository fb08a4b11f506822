package container

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"bottlebuild/tasks/backend"
	"bottlebuild/tasks/container/machineinit"
	"bottlebuild/tasks/container/uplink"
)

// uplinkWait bounds how long a machine's network may take to come up.
const uplinkWait = 30 * time.Second

// networked reports whether the machine may reach anything at all.
func networked(n *backend.Network) bool {
	return n != nil && (n.Open || len(n.AllowHosts)+len(n.AllowCIDRs) > 0)
}

// uplinkConfig is what the process that is a machine's way out is told.
func (b *Backend) uplinkConfig(n *backend.Network) uplink.Config {
	return uplink.Config{Open: n.Open, Hosts: n.AllowHosts, CIDRs: n.AllowCIDRs, Resolv: b.conf.ResolvConf}
}

// connect gives the machine, whose first process is pid, its way out: a tap device
// in its network namespace, and the process that holds the other end. That one
// ends with the machine, and with it the device. It is zero if the machine is to
// reach nothing.
func (b *Backend) connect(ctx context.Context, n *backend.Network, pid int) (process, error) {
	if !networked(n) {
		return process{}, nil
	}
	p, err := b.startUplink(ctx, b.uplinkConfig(n), pid)
	if err != nil {
		return process{}, fmt.Errorf("network: %w", err)
	}
	return p, nil
}

func (b *Backend) startUplink(ctx context.Context, c uplink.Config, pid int) (p process, err error) {
	config, err := json.Marshal(c)
	if err != nil {
		return p, err
	}
	var files []*os.File // as package uplink numbers them
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return p, err
	}
	files = append(files, os.NewFile(uintptr(fd), "machine"))
	tap, err := newTap(pid)
	if err != nil {
		return p, err
	}
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return p, errors.Join(err, tap.Close())
	}
	files = append(files, tap, os.NewFile(uintptr(ns), "netns"))
	cmd := exec.Command(b.conf.Init, initCommand, machineinit.Uplink) //nolint:noctx // it lives as long as the machine
	cmd.Dir = "/"
	cmd.Env = []string{}
	cmd.Stdin = bytes.NewReader(config)
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return p, err
	}
	if err := cmd.Start(); err != nil {
		return p, err
	}
	said := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(io.LimitReader(out, maxLog)).ReadString('\n')
		said <- strings.TrimSpace(line)
		cmd.Wait() // so that it is no zombie if this process lives longer
	}()
	ctx, cancel := context.WithTimeout(ctx, uplinkWait)
	defer cancel()
	select {
	case line := <-said:
		if line != uplink.Ready {
			return p, fmt.Errorf("its process ended: %s", line)
		}
		return thisProcess(cmd.Process.Pid)
	case <-ctx.Done():
		_ = cmd.Process.Kill()
		return p, ctx.Err()
	}
}

// newTap makes the machine's network interface. It is there for as long as the
// file is open somewhere.
func newTap(pid int) (tap *os.File, err error) {
	err = inNetwork(pid, func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("/dev/net/tun: %w; load the module: modprobe tun", err)
		}
		tap = os.NewFile(uintptr(fd), "tap")
		req, err := unix.NewIfreq(uplink.Device)
		if err != nil {
			return err
		}
		req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
			return fmt.Errorf("make a tap device: %w", err)
		}
		return configureTap()
	})
	if err != nil && tap != nil {
		tap.Close()
		return nil, err
	}
	return tap, err
}

// configureTap sets the device up, in the namespace that it is called in.
func configureTap() error {
	link, err := netlink.LinkByName(uplink.Device)
	if err != nil {
		return err
	}
	// Before it comes up, since it would get an address by itself.
	path := "/proc/sys/net/ipv6/conf/" + uplink.Device + "/disable_ipv6"
	if err := os.WriteFile(path, []byte("1"), 0); ignoreNotExist(err) != nil {
		return err
	}
	if err := netlink.LinkSetMTU(link, uplink.MTU); err != nil {
		return fmt.Errorf("set its MTU: %w", err)
	}
	if err := netlink.LinkSetHardwareAddr(link, uplink.MachineMAC[:]); err != nil {
		return fmt.Errorf("set its hardware address: %w", err)
	}
	address := &netlink.Addr{IPNet: &net.IPNet{IP: uplink.Machine.Addr().AsSlice(), Mask: net.CIDRMask(uplink.Machine.Bits(), 32)}}
	if err := netlink.AddrAdd(link, address); err != nil {
		return fmt.Errorf("set its address: %w", err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set it up: %w", err)
	}
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: uplink.Gateway.Addr().AsSlice()}); err != nil {
		return fmt.Errorf("add its route: %w", err)
	}
	return nil
}
