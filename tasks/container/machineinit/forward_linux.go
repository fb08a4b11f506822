package machineinit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// dialWait bounds how long a connection to a port in the machine may take.
const dialWait = 10 * time.Second

// maxForwards bounds the connections carried at once for each port.
const maxForwards = 1024

// forward carries connections to the machine's ports until its first process
// ends. It runs in the machine's network, in nothing else of the machine; its
// listeners were made in the host's.
func forward(ports []string) int {
	const first = 3 // after the standard ones: the machine's first process, then a listener for each port
	for i, port := range ports {
		f := os.NewFile(uintptr(first+1+i), "listener")
		l, err := net.FileListener(f)
		f.Close()
		if err != nil {
			return complain("forward port "+port, err)
		}
		go accept(l, port)
	}
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: first, Events: unix.POLLIN}}, -1)
		if !errors.Is(err, unix.EINTR) {
			return 0
		}
	}
}

func accept(l net.Listener, port string) {
	slots := make(chan struct{}, maxForwards)
	for {
		slots <- struct{}{}
		conn, err := l.Accept()
		if err != nil { // out of descriptors or memory: it passes
			fmt.Fprintf(os.Stderr, "forward port %s: %v\n", port, err)
			<-slots
			time.Sleep(100 * time.Millisecond)
			continue
		}
		go func() {
			defer func() { <-slots }()
			carry(conn, port)
		}()
	}
}

// carry connects conn to the machine's port, on IPv4's loopback or on IPv6's,
// and passes on the end of each direction by itself.
func carry(conn net.Conn, port string) {
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), dialWait)
	defer cancel()
	var d net.Dialer
	inside, err := d.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		if inside, err = d.DialContext(ctx, "tcp", net.JoinHostPort("::1", port)); err != nil {
			return
		}
	}
	defer inside.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		pass(inside, conn)
	}()
	pass(conn, inside)
	<-done
}

// pass copies from one connection to the other, and then the end of the stream.
func pass(to, from net.Conn) {
	_, err := io.Copy(to, from)
	if err != nil {
		to.Close()
		from.Close()
		return
	}
	if t, ok := to.(*net.TCPConn); ok {
		t.CloseWrite()
	}
}
