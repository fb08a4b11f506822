// Command server is what the example's machines run: a small HTTP server, and a
// client for looking at it from inside, since the images hold nothing else.
//
//	server                serve on port 8080
//	server get URL        print what URL answers
//	server put FILE       write a file, as a step of a build may
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

func main() {
	if len(os.Args) > 1 {
		do := map[string]func(string) error{"get": get, "put": put}[os.Args[1]]
		if do == nil || len(os.Args) != 3 {
			log.Fatalf("unknown command %q", os.Args[1:])
		}
		if err := do(os.Args[2]); err != nil {
			log.Fatal(err)
		}
		return
	}
	http.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	http.HandleFunc("/whoami", func(w http.ResponseWriter, _ *http.Request) {
		dir, err := os.Getwd()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintln(w, os.Getuid(), dir)
	})
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		host, err := os.Hostname()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintf(w, "%s from %s\n", os.Getenv("GREETING"), host)
	})
	server := &http.Server{Addr: ":8080", ReadHeaderTimeout: 10 * time.Second}
	log.Print("serving on ", server.Addr)
	log.Fatal(server.ListenAndServe())
}

func put(file string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, []byte("made by a step\n"), 0o644)
}

func get(url string) error {
	client := &http.Client{Timeout: 10 * time.Second}
	res, err := client.Get(url)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.Copy(os.Stdout, res.Body); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", url, res.Status)
	}
	return nil
}
