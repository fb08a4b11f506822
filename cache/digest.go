// Package cache is the content-addressed store under every build: digests,
// recipes and their keys, blobs, and one small entry per key.
//
// It imports nothing else of this module.
package cache

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Digest is the SHA-256 of an artifact's bytes. Its text form is the OCI one,
// "sha256:" and 64 lower-case hex digits.
type Digest [sha256.Size]byte

// Key is the SHA-256 of a [Recipe]. Equal keys mean equal work. It is a type of
// its own so that a key is never taken for the digest of a result.
type Key [sha256.Size]byte

const digestPrefix = "sha256:"

// DigestOf returns the digest of b.
func DigestOf(b []byte) Digest { return sha256.Sum256(b) }

// ParseDigest reads the OCI text form. Anything but "sha256:" and 64 lower-case
// hex digits is an error.
func ParseDigest(s string) (Digest, error) {
	sum, err := parseSum(s)
	if err != nil {
		return Digest{}, fmt.Errorf("parse digest %.80q: %w", s, err)
	}
	return Digest(sum), nil
}

// ParseKey reads the text form of a key, which is that of a digest.
func ParseKey(s string) (Key, error) {
	sum, err := parseSum(s)
	if err != nil {
		return Key{}, fmt.Errorf("parse key %.80q: %w", s, err)
	}
	return Key(sum), nil
}

func parseSum(s string) (sum [sha256.Size]byte, err error) {
	digits, ok := strings.CutPrefix(s, digestPrefix)
	switch {
	case !ok:
		return sum, fmt.Errorf("it does not start with %q", digestPrefix)
	case len(digits) != hex.EncodedLen(len(sum)):
		return sum, fmt.Errorf("it has %d hex digits, not %d", len(digits), hex.EncodedLen(len(sum)))
	case strings.ToLower(digits) != digits:
		return sum, fmt.Errorf("its hex digits are not lower case")
	}
	_, err = hex.Decode(sum[:], []byte(digits))
	return sum, err
}

// Hex returns the digits without the algorithm: the name of the blob's file.
func (d Digest) Hex() string { return hex.EncodeToString(d[:]) }

// String returns the OCI text form.
func (d Digest) String() string { return digestPrefix + d.Hex() }

// IsZero reports whether d is unset.
func (d Digest) IsZero() bool { return d == Digest{} }

// MarshalText implements encoding.TextMarshaler with the OCI text form.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Digest) UnmarshalText(b []byte) (err error) {
	*d, err = ParseDigest(string(b))
	return err
}

// Hex returns the digits without the algorithm: the name of the entry's file.
func (k Key) Hex() string { return hex.EncodeToString(k[:]) }

// String returns "sha256:" and the digits.
func (k Key) String() string { return digestPrefix + k.Hex() }

// IsZero reports whether k is unset, which is how an unknown key is written.
func (k Key) IsZero() bool { return k == Key{} }

// MarshalText implements encoding.TextMarshaler.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *Key) UnmarshalText(b []byte) (err error) {
	*k, err = ParseKey(string(b))
	return err
}
