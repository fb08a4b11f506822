package tasks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"bottlebuild/tasks/backend"
)

// ready waits until the machine's probe succeeds. When its time is over the
// error holds the probe's last failure and the end of the machine's log.
func (g *guest) ready(ctx context.Context) error {
	p := g.p
	if p.Ready == nil {
		return nil
	}
	limit, cancel := context.WithTimeout(ctx, p.Ready.Timeout)
	defer cancel()
	var last error
	for {
		if err := g.probe(limit); err == nil {
			return nil
		} else if limit.Err() == nil || last == nil {
			last = err
		}
		select {
		case <-limit.Done():
		case <-time.After(p.Ready.Interval):
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		log, err := g.be.Log(ctx, p.Name, 4<<10)
		if err != nil {
			last = errors.Join(last, err)
		}
		return fmt.Errorf("machine %s: not ready after %s: %w%s", p.Name, p.Ready.Timeout, last, indented("the end of its log", log))
	}
}

// probe tries once.
func (g *guest) probe(ctx context.Context) error {
	p, be := g.p, g.be
	switch {
	case len(p.Ready.Exec) > 0:
		if err := g.succeed(ctx, backend.Exec{Args: p.Ready.Exec, User: p.User}, io.Discard, 1<<10); err != nil {
			return fmt.Errorf("ready exec %q: %w", strings.Join(p.Ready.Exec, " "), err)
		}
		return nil
	case p.Ready.TCP > 0:
		conn, err := be.Dial(ctx, p.Name, p.Ready.TCP)
		if err != nil {
			return fmt.Errorf("ready tcp %d: %w", p.Ready.TCP, err)
		}
		return conn.Close()
	}
	return probeHTTP(ctx, be, p)
}

func probeHTTP(ctx context.Context, be backend.Backend, p Machine) error {
	u, err := url.Parse(p.Ready.HTTP)
	if err != nil {
		return fmt.Errorf("ready http: %w", err)
	}
	port := 80
	if u.Port() != "" {
		if port, err = strconv.Atoi(u.Port()); err != nil {
			return fmt.Errorf("ready http: %w", err)
		}
	}
	client := &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return be.Dial(ctx, p.Name, port)
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	u.Host = net.JoinHostPort("localhost", strconv.Itoa(port))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return fmt.Errorf("ready http: %w", err)
	}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ready http: %w", err)
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<20))
	if err == nil && (res.StatusCode < 200 || res.StatusCode > 399) {
		err = fmt.Errorf("%s answered %s", p.Ready.HTTP, res.Status)
	}
	if err != nil {
		return fmt.Errorf("ready http: %w", err)
	}
	return nil
}

// tailWriter keeps the last bytes that were written to it.
type tailWriter struct {
	limit int
	buf   []byte
}

func (t *tailWriter) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - t.limit; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

func (t *tailWriter) bytes() []byte { return t.buf }

// indented sets output off from the sentence that quotes it; no output adds nothing.
func indented(title string, b []byte) string {
	text := strings.TrimSpace(printable(b))
	if text == "" {
		return ""
	}
	return "; " + title + ":\n    " + strings.ReplaceAll(text, "\n", "\n    ")
}

// printable drops what would mean something to a terminal.
func printable(b []byte) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && unicode.IsControl(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(string(b), "?"))
}
