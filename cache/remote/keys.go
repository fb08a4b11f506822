package remote

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// PublicKey is an Ed25519 key that signatures are checked with. Its text form is
// "ed25519:" and the 32 bytes in base64.
type PublicKey struct{ key ed25519.PublicKey }

// PrivateKey is an Ed25519 key that records are signed with.
type PrivateKey struct{ key ed25519.PrivateKey }

const keyPrefix = "ed25519:"

// GenerateKey makes a new key.
func GenerateKey() (PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	return PrivateKey{key}, err
}

// Public returns the key that checks what k signs.
func (k PrivateKey) Public() PublicKey { return PublicKey{k.key.Public().(ed25519.PublicKey)} }

// IsZero reports whether there is no key.
func (k PrivateKey) IsZero() bool { return k.key == nil }

// PEM returns the key as PKCS #8 in PEM, as openssl reads it.
func (k PrivateKey) PEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// ParsePrivateKey reads what [PrivateKey.PEM] wrote. No error holds any of it.
func ParsePrivateKey(b []byte) (PrivateKey, error) {
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "PRIVATE KEY" {
		return PrivateKey{}, errors.New("it is no private key in PEM (PKCS #8); make one with: bottlebuild cache keygen")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return PrivateKey{}, errors.New("it is no private key of PKCS #8; make one with: bottlebuild cache keygen")
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return PrivateKey{}, fmt.Errorf("it is a key of another kind (%T); Ed25519 is wanted: bottlebuild cache keygen", parsed)
	}
	return PrivateKey{key}, nil
}

// String returns the text form.
func (k PublicKey) String() string { return keyPrefix + base64.StdEncoding.EncodeToString(k.key) }

// ParsePublicKey reads the text form, or PKIX in PEM.
func ParsePublicKey(s string) (PublicKey, error) {
	s = strings.TrimSpace(s)
	if text, ok := strings.CutPrefix(s, keyPrefix); ok {
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(b) != ed25519.PublicKeySize {
			return PublicKey{}, fmt.Errorf("public key %.80q: it is not %s and %d bytes in base64", s, keyPrefix, ed25519.PublicKeySize)
		}
		return PublicKey{b}, nil
	}
	block, _ := pem.Decode([]byte(s))
	if block == nil {
		return PublicKey{}, fmt.Errorf("public key: write it as %sBASE64, as bottlebuild cache keygen prints it, or as PEM", keyPrefix) // it may be a private one, and is not repeated
	}
	if strings.Contains(block.Type, "PRIVATE KEY") {
		return PublicKey{}, errors.New("it is a private key, which only those who sign should have; the public one is wanted, which bottlebuild cache keygen wrote to FILE.pub")
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return PublicKey{}, errors.New("public key: it is none in PEM (PKIX); bottlebuild cache keygen prints one")
	}
	key, ok := parsed.(ed25519.PublicKey)
	if !ok {
		return PublicKey{}, fmt.Errorf("public key: it is of another kind (%T); Ed25519 is wanted", parsed)
	}
	return PublicKey{key}, nil
}

// ID names the key in signatures: the SHA-256 of its 32 bytes, in hex.
func (k PublicKey) ID() string {
	sum := sha256.Sum256(k.key)
	return hex.EncodeToString(sum[:])
}

// signer and verifier are keys in the form of the dsse package.
type signer struct{ PrivateKey }

func (s signer) Sign(_ context.Context, data []byte) ([]byte, error) {
	return ed25519.Sign(s.key, data), nil
}
func (s signer) KeyID() (string, error) { return s.PrivateKey.Public().ID(), nil }

type verifier struct {
	PublicKey
	id string
}

func (v verifier) Verify(_ context.Context, data, sig []byte) error {
	if !ed25519.Verify(v.key, data, sig) {
		return errors.New("the signature is wrong")
	}
	return nil
}
func (v verifier) KeyID() (string, error)   { return v.id, nil }
func (v verifier) Public() crypto.PublicKey { return v.key }

var (
	_ dsse.Signer   = signer{}
	_ dsse.Verifier = verifier{}
)

// ReadPublicKeys reads what names public keys: one in its text form, or a file
// of some, one a line, or of one in PEM.
func ReadPublicKeys(text string, read func(file string) ([]byte, error)) ([]PublicKey, error) {
	if strings.HasPrefix(text, keyPrefix) {
		k, err := ParsePublicKey(text)
		return []PublicKey{k}, err
	}
	b, err := read(text)
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	content := strings.TrimSpace(string(b))
	if strings.HasPrefix(content, "-----BEGIN") {
		k, err := ParsePublicKey(content)
		return []PublicKey{k}, err
	}
	var keys []PublicKey
	for line := range strings.Lines(content) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		k, err := ParsePublicKey(line)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", text, err)
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s: there is no public key in it", text)
	}
	return keys, nil
}
