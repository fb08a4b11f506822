// Package cache is the content-addressed store under every build: digests,
// recipes and their keys, blobs, and one small entry per key.
//
// It imports nothing else of this module.
package cache

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
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
	var d Digest
	err := d.UnmarshalText([]byte(s))
	return d, err
}

// ParseKey reads the text form of a key, which is that of a digest.
func ParseKey(s string) (Key, error) {
	var k Key
	err := k.UnmarshalText([]byte(s))
	return k, err
}

// parseSum reads the OCI text form into sum, which is left alone if it is not that.
func parseSum(s []byte, sum *[sha256.Size]byte) error {
	digits, ok := bytes.CutPrefix(s, []byte(digestPrefix))
	switch {
	case !ok:
		return fmt.Errorf("it does not start with %q", digestPrefix)
	case len(digits) != hex.EncodedLen(len(sum)):
		return fmt.Errorf("it has %d hex digits, not %d", len(digits), hex.EncodedLen(len(sum)))
	case bytes.ContainsAny(digits, "ABCDEF"):
		return errors.New("its hex digits are not lower case")
	}
	var read [sha256.Size]byte
	if _, err := hex.Decode(read[:], digits); err != nil {
		return err
	}
	*sum = read
	return nil
}

// Hex returns the digits without the algorithm: the name of the blob's file.
func (d Digest) Hex() string { return hex.EncodeToString(d[:]) }

// String returns the OCI text form.
func (d Digest) String() string { return digestPrefix + d.Hex() }

// IsZero reports whether d is unset.
func (d Digest) IsZero() bool { return d == Digest{} }

// MarshalText implements encoding.TextMarshaler with the OCI text form.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler, as [ParseDigest].
func (d *Digest) UnmarshalText(b []byte) error {
	if err := parseSum(b, (*[sha256.Size]byte)(d)); err != nil {
		return fmt.Errorf("parse digest %.80q: %w", b, err)
	}
	return nil
}

// is reports whether hexDigits are d's.
func (d Digest) is(hexDigits []byte) bool {
	var own [2 * sha256.Size]byte
	hex.Encode(own[:], d[:])
	return bytes.Equal(own[:], hexDigits)
}

// Hex returns the digits without the algorithm: the name of the entry's file.
func (k Key) Hex() string { return hex.EncodeToString(k[:]) }

// String returns "sha256:" and the digits.
func (k Key) String() string { return digestPrefix + k.Hex() }

// IsZero reports whether k is unset, which is how an unknown key is written.
func (k Key) IsZero() bool { return k == Key{} }

// MarshalText implements encoding.TextMarshaler.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler, as [ParseKey].
func (k *Key) UnmarshalText(b []byte) error {
	if err := parseSum(b, (*[sha256.Size]byte)(k)); err != nil {
		return fmt.Errorf("parse key %.80q: %w", b, err)
	}
	return nil
}
