package sidecar

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func sidecarBytes(t testing.TB, assets string, m Manifest) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := Write(&buf, strings.NewReader(assets), m); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

var testManifest = Manifest{
	Mode: "container", Digest: "sha256:" + strings.Repeat("ab", 32), Platform: "linux/amd64",
	Entrypoint: []string{"/bin/app"}, Env: []string{"A=b"}, CPUs: 4, Mem: 8192,
}

// check reads a sidecar as a pack does.
func check(b []byte) (Manifest, []byte, error) {
	s, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return Manifest{}, nil, err
	}
	var out bytes.Buffer
	err = s.Copy(&out)
	return s.Manifest, out.Bytes(), err
}

func TestSidecarFormat(t *testing.T) {
	b := sidecarBytes(t, "assets", testManifest)
	foot := b[len(b)-64:]
	u64 := func(at int) uint64 { return binary.LittleEndian.Uint64(foot[at:]) }
	manifestSize := uint64(len(b) - 64 - len("assets"))
	got := []any{string(foot[:8]), binary.LittleEndian.Uint32(foot[8:]), u64(12), u64(20), u64(28), u64(36), u64(44), u64(56)}
	want := []any{"SMOLPACK", uint32(1), uint64(0), uint64(0), uint64(6), uint64(6), manifestSize, uint64(0)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("footer (-want +got):\n%s", diff)
	}
}

func TestSidecarRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		assets := rapid.String().Draw(t, "assets")
		m := Manifest{
			Digest: rapid.String().Draw(t, "digest"), Env: rapid.SliceOfN(rapid.StringMatching(`[A-Z]+=[a-z ]*`), 1, 4).Draw(t, "env"),
			CPUs: rapid.Int().Draw(t, "cpus"), Network: rapid.Bool().Draw(t, "network"),
		}
		var buf bytes.Buffer
		if err := Write(&buf, strings.NewReader(assets), m); err != nil {
			t.Fatal(err)
		}
		got, copied, err := check(buf.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, got); diff != "" {
			t.Errorf("manifest (-want +got):\n%s", diff)
		}
		if !bytes.Equal(copied, buf.Bytes()) {
			t.Error("the copy differs")
		}
		s, err := Open(bytes.NewReader(buf.Bytes()), int64(buf.Len()))
		if err != nil {
			t.Fatal(err)
		}
		if a, err := io.ReadAll(s.Assets()); err != nil || string(a) != assets {
			t.Errorf("assets = %q, %v", a, err)
		}
	})
}

func TestSidecarTruncated(t *testing.T) {
	b := sidecarBytes(t, strings.Repeat("assets", 20), testManifest)
	for n := range b {
		if _, _, err := check(b[:n]); !errors.Is(err, ErrInvalid) {
			t.Fatalf("first %d of %d bytes: %v, want ErrInvalid", n, len(b), err)
		}
		if _, _, err := check(b[n+1:]); err == nil {
			t.Fatalf("without the first %d bytes: no error", n+1)
		}
	}
}

func TestSidecarChanged(t *testing.T) {
	b := sidecarBytes(t, strings.Repeat("assets", 20), testManifest)
	version := len(b) - footerSize + 8
	for i := range b {
		for _, bit := range []byte{1, 0x80} {
			c := bytes.Clone(b)
			c[i] ^= bit
			if i == version && c[i] <= newestFooter && c[i] >= 1 {
				continue // another version that is read
			}
			if _, _, err := check(c); err == nil {
				t.Fatalf("byte %d of %d changed: no error", i, len(b))
			}
		}
	}
}

func TestSidecarBounds(t *testing.T) {
	foot := func(change func(u64 func(at int, v uint64))) []byte {
		b := sidecarBytes(t, "assets", testManifest)
		f := b[len(b)-footerSize:]
		change(func(at int, v uint64) { binary.LittleEndian.PutUint64(f[at:], v) })
		return b
	}
	for name, b := range map[string][]byte{
		"empty":         {},
		"zeros":         make([]byte, 1000),
		"huge manifest": foot(func(u64 func(int, uint64)) { u64(44, maxManifest+1) }),
		"wrapped sizes": foot(func(u64 func(int, uint64)) { u64(28, 1<<63); u64(36, 1<<63); u64(44, 1<<63) }),
		"overlap":       foot(func(u64 func(int, uint64)) { u64(28, 3); u64(36, 3) }),
		"stub":          foot(func(u64 func(int, uint64)) { u64(12, 5) }),
		"no manifest":   foot(func(u64 func(int, uint64)) { u64(44, 0) }),
	} {
		if _, _, err := check(b); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
}

func FuzzSidecar(f *testing.F) {
	f.Add(sidecarBytes(f, "assets", testManifest))
	f.Add(make([]byte, footerSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, copied, err := check(b); err == nil && !bytes.Equal(copied, b) {
			t.Error("a valid sidecar was copied as something else")
		}
	})
}
