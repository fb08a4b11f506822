package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// snapshot FILE writes to a file what is below the script's directory (names,
// modes, sizes, times, digests) and which processes it has: two that are equal
// show that nothing has changed.
func cmdSnapshot(ts *testscript.TestScript, _ bool, args []string) {
	root := ts.Getenv("WORK")
	var b strings.Builder
	ts.Check(filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := filepath.Base(path); strings.HasPrefix(name, "snapshot") || strings.HasPrefix(name, "requests") || path == root {
			return nil
		}
		if path == filepath.Join(root, ".cache", "buildkit") || path == filepath.Join(root, ".registry") {
			return filepath.SkipDir // other processes'
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(&b, path, fi.Mode(), fi.Size(), fi.ModTime().UnixNano())
		if fi.Mode().IsRegular() {
			content, err := os.ReadFile(path)
			fmt.Fprintf(&b, "  %x\n", sha256.Sum256(content))
			return err
		}
		return nil
	}))
	for _, p := range processesOf(root) {
		fmt.Fprintln(&b, p)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(b.String()), 0o600))
}

// processesOf returns the processes that were started with the script's directory
// in their environment, such as daemons and machines, and their command lines.
func processesOf(root string) (found []string) {
	environs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, name := range environs {
		b, err := os.ReadFile(name)
		if err != nil || !bytes.Contains(b, []byte(root)) {
			continue
		}
		dir := filepath.Dir(name)
		if line, err := os.ReadFile(filepath.Join(dir, "cmdline")); err == nil {
			found = append(found, filepath.Base(dir)+" "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

// recorded VAR ADDRESS FILE sets VAR to the address of a proxy in front of a
// registry, which appends the method and the path of each request to FILE.
func cmdRecorded(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: recorded VAR ADDRESS FILE")
	}
	file, err := os.OpenFile(ts.MkAbs(args[2]), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	ts.Check(err)
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: args[1]})
	var mu sync.Mutex
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		fmt.Fprintln(file, r.Method, r.URL.Path)
		mu.Unlock()
		proxy.ServeHTTP(w, r)
	}))
	ts.Defer(func() { server.Close(); file.Close() })
	ts.Setenv(args[0], server.Listener.Addr().String())
}
