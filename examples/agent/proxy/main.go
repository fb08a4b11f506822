// Command proxy stands in for the egress proxy of the agents' example: it tells
// what it was asked for, and lets nothing through. A real one asks a policy, adds
// the credential and passes the request on.
//
//	proxy ADDRESS:PORT
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: proxy ADDRESS:PORT")
	}
	l, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(answer)}
	log.Fatal(server.Serve(l))
}

func answer(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodConnect {
		http.Error(w, "this stand-in opens no tunnels", http.StatusNotImplemented)
		return
	}
	fmt.Fprintf(w, "the proxy was asked for %s\n", r.URL)
}
