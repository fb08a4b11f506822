package buildkit

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// selfSigned makes a certificate for both ends of a connection and returns it
// with the files that it and its key are in.
func selfSigned(t testing.TB) (pair tls.Certificate, pool *x509.CertPool, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"builder.example"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
	dir := writeFiles(t, map[string]string{"cert.pem": string(certPEM), "key.pem": string(keyPEM)})
	if pair, err = tls.X509KeyPair(certPEM, keyPEM); err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return pair, pool, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
}

// TestConnectTLS reaches a daemon through an entrance that wants a client
// certificate.
func TestConnectTLS(t *testing.T) {
	cfg := spawnConfig(t, filepath.Join(t.TempDir(), "state"), time.Hour)
	connect(t, cfg)
	pair, pool, certFile, keyFile := selfSigned(t)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, NextProtos: []string{"h2"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var open sync.WaitGroup
	open.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() { forward(c, cfg.Socket) })
		}
	})
	t.Cleanup(open.Wait)
	t.Cleanup(func() { l.Close() })

	address := "tcp://" + l.Addr().String()
	full := TLS{CACert: certFile, Cert: certFile, Key: keyFile, ServerName: "builder.example"}
	b, err := Connect(t.Context(), Config{Address: address, TLS: full})
	if err != nil {
		t.Fatal(err)
	}
	if b.SameHost {
		t.Error("a tcp address counts as this host")
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	for name, tc := range map[string]TLS{
		"no TLS":                {},
		"no client certificate": {CACert: certFile, ServerName: full.ServerName},
		"another name":          {CACert: certFile, Cert: certFile, Key: keyFile, ServerName: "other.example"},
		"not trusted":           {Cert: certFile, Key: keyFile, ServerName: full.ServerName},
	} {
		if _, err := Connect(t.Context(), Config{Address: address, TLS: tc}); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: error is %v", name, err)
		} else if tc.Cert == "" && !strings.Contains(err.Error(), "client certificate") {
			t.Errorf("%s: no hint in: %v", name, err)
		}
	}
}

// forward copies between a connection and a Unix socket until either ends.
func forward(c net.Conn, socket string) {
	defer c.Close()
	if err := c.(*tls.Conn).Handshake(); err != nil {
		return
	}
	d, err := net.Dial("unix", socket)
	if err != nil {
		return
	}
	defer d.Close()
	done := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{c, d}, {d, c}} {
		go func() { io.Copy(way[0], way[1]); done <- struct{}{} }()
	}
	<-done
}
