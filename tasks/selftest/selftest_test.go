package selftest

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"bottlebuild/cache"
	"bottlebuild/tasks/backendtest"
)

const arch = runtime.GOARCH

func sum(s string) cache.Digest { return cache.DigestOf([]byte(s)) }

// TestProbeIsOfItsSource holds the executables to probe.c: they carry its digest.
func TestProbeIsOfItsSource(t *testing.T) {
	b, err := os.ReadFile("probe/probe.c")
	if err != nil {
		t.Fatal(err)
	}
	want := "probe.c sha256:" + hex.EncodeToString(func() []byte { h := sha256.Sum256(b); return h[:] }())
	for _, arch := range []string{"amd64", "arm64"} {
		program, err := programs.ReadFile("probe/probe_" + arch)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(program, []byte(want)) {
			t.Errorf("probe_%s was not made from probe.c as it is: run make probe", arch)
		}
		if len(program) > 16<<10 {
			t.Errorf("probe_%s has %d bytes", arch, len(program))
		}
	}
}

func TestSample(t *testing.T) {
	layer := func() *backendtest.Tar { return backendtest.NewTar(t) }
	image := func(layers ...*backendtest.Tar) v1.Image {
		img := empty.Image
		for _, l := range layers {
			var err error
			if img, err = mutate.AppendLayers(img, static.NewLayer(l.Bytes(), types.OCIUncompressedLayer)); err != nil {
				t.Fatal(err)
			}
		}
		return img
	}
	big := strings.Repeat("x", maxSampleSize+1)
	many := layer()
	var first []File
	for _, c := range "abcdefghijkl" {
		many.File("opt/"+string(c), 0o644, string(c))
		if len(first) < maxSamples {
			first = append(first, File{"/opt/" + string(c), sum(string(c))})
		}
	}
	for name, tc := range map[string]struct {
		img  v1.Image
		want []File
	}{
		"no layers":     {image(), nil},
		"the last":      {image(layer().File("a", 0o644, "1"), layer().File("b", 0o644, "2")), []File{{"/b", sum("2")}}},
		"many":          {image(many), first},
		"none of these": {image(layer().Dir("d", 0o755, 0).Symlink("l", "d").File("empty", 0o644, "").File("big", 0o644, big).File("etc/hosts", 0o644, "x").File("tmp/x", 0o644, "x").File("a\nb", 0o644, "x")), nil},
		"below one that only removes": {image(layer().File("a", 0o644, "1").File("b", 0o644, "2").File("d/c", 0o644, "3").File("e/f", 0o644, "4"),
			layer().File(".wh.a", 0, "").File("d/.wh..wh..opq", 0, "").File(".wh.e", 0, "")), []File{{"/b", sum("2")}}},
		"paths are cleaned": {image(layer().File("./x/../y", 0o644, "1")), []File{{"/y", sum("1")}}},
	} {
		got, err := Sample(t.Context(), tc.img)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(tc.want, ParseSamples(FormatSamples(got))); diff != "" {
			t.Errorf("%s, written and read (-want +got):\n%s", name, diff)
		}
	}
	if _, err := Sample(t.Context(), image(layer().Add(tar.Header{Typeflag: tar.TypeReg, Name: "x", Mode: 0o644}, "x"))); err != nil {
		t.Error(err)
	}
}

func TestParse(t *testing.T) {
	if got := ParseSamples("zz /a\n" + sum("x").Hex() + " relative\nnothing\n"); got != nil {
		t.Errorf("samples = %v", got)
	}
	addrs := func(s ...string) (list []netip.Addr) {
		for _, a := range s {
			list = append(list, netip.MustParseAddr(a))
		}
		return list
	}
	if got := parseResolvConf([]byte("# nameserver 9.9.9.9\nnameserver 10.0.0.1\nsearch x\nnameserver fe80::1%eth0\nnameserver nonsense\nnameserver 10.0.0.2\nnameserver 10.0.0.3\n")); !slices.Equal(got, addrs("10.0.0.1", "fe80::1", "10.0.0.2")) {
		t.Errorf("name servers = %v", got)
	}
	routes := "Iface\tDestination\tGateway \tFlags\n" + "eth0\t00000000\t010011AC\t0003\n" + "eth0\t000011AC\t00000000\t0001\n" + "eth0\tx\n"
	if got := parseRoutes([]byte(routes)); !slices.Equal(got, addrs("172.17.0.1")) {
		t.Errorf("gateways = %v", got)
	}
	for _, s := range []string{"", "what is this\n", "id x y\n", "net 0\n", "file 0 xyz\n", "env 0\n"} {
		if _, err := parseAnswers(s); (err == nil) != (s == "") {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// FuzzAnswers has a machine say anything.
func FuzzAnswers(f *testing.F) {
	f.Add("id 0 0\ncwd 1 2f\nenv 413d62\nfile 0 6162\nother 0 2f61\nown 3\nnet 0 111- \nunlink 0\n", []byte("x"))
	f.Fuzz(func(_ *testing.T, s string, b []byte) {
		parseAnswers(s)
		parseDNS(b)
		parseHosts(b)
		parsePasswd(b)
		parseRoutes(b)
		parseResolvConf(b)
	})
}
