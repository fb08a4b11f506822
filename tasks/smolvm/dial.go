package smolvm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"bottlebuild/tasks/backend"
)

// dialPatience is how long a published port may take to close a connection that
// it accepted for a guest in which nobody listens.
const dialPatience = 100 * time.Millisecond

// Dial connects to a published port. smolvm accepts a connection before it knows
// whether anybody listens in the guest, and closes it if not; so a connection
// that ends at once is an error here.
func (b *Backend) Dial(ctx context.Context, name string, port int) (net.Conn, error) {
	conn, err := b.dial(ctx, name, port)
	if err != nil {
		return nil, fmt.Errorf("dial port %d of machine %s: %w", port, name, err)
	}
	return conn, nil
}

func (b *Backend) dial(ctx context.Context, name string, port int) (net.Conn, error) {
	r, err := b.known(ctx, name)
	if err != nil {
		return nil, err
	}
	host := 0
	for _, p := range r.Ports {
		if p.Guest == port {
			host = p.Host
		}
	}
	if host == 0 {
		return nil, fmt.Errorf("%w: smolvm reaches only published ports: add \"port { host = …, guest = %d }\" to the machine", backend.ErrUnsupported, port)
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(host)))
	if err != nil {
		return nil, err
	}
	c, err := settle(conn)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// settle waits until the connection is not closed at once. A byte that arrives
// meanwhile is given back by the first Read.
func settle(conn net.Conn) (net.Conn, error) {
	if err := conn.SetReadDeadline(time.Now().Add(dialPatience)); err != nil {
		return nil, err
	}
	first := make([]byte, 1)
	n, err := conn.Read(first)
	switch {
	case n == 1:
	case errors.Is(err, os.ErrDeadlineExceeded):
	default:
		return nil, fmt.Errorf("nobody listens in the guest: %w", errors.Join(err, io.ErrUnexpectedEOF))
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	if n == 0 {
		return conn, nil
	}
	return &settled{Conn: conn, first: first}, nil
}

type settled struct {
	net.Conn
	first []byte
}

func (s *settled) Read(p []byte) (int, error) {
	if len(s.first) > 0 && len(p) > 0 {
		p[0], s.first = s.first[0], nil
		return 1, nil
	}
	return s.Conn.Read(p)
}
