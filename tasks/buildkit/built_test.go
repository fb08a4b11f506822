package buildkit

import (
	"errors"
	"fmt"
	"testing"

	"bottlebuild/cache"
)

// TestCheckRewritten has images of which BuildKit rewrote some layers.
func TestCheckRewritten(t *testing.T) {
	const done = `,"annotations":{"buildkit/rewritten-timestamp":"0"}`
	base := map[string][]byte{"containerimage.base.config": fmt.Appendf(nil,
		`{"rootfs":{"type":"layers","diff_ids":["%s"]}}`, cache.DigestOf([]byte("x")))}
	for _, tc := range []struct {
		name   string
		layers []string // what follows a layer's size
		meta   map[string][]byte
		want   error
	}{
		{"all", []string{done, done}, nil, nil},
		{"none", []string{""}, nil, errNotRewritten},
		{"the last is missing", []string{done, ""}, nil, errNotRewritten},
		{"another epoch", []string{`,"annotations":{"buildkit/rewritten-timestamp":"1"}`}, nil, errNotRewritten},
		{"all but the base", []string{"", done}, base, nil},
		{"the base too", []string{done, done}, base, nil},
		{"more than the base is missing", []string{"", ""}, base, errNotRewritten},
		{"no layers", nil, nil, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			store := openStore(t)
			put := func(b []byte) string {
				d, err := store.PutBytes(b)
				if err != nil {
					t.Fatal(err)
				}
				return d.String()
			}
			layers := ""
			for i, rest := range tc.layers {
				if i > 0 {
					layers += ","
				}
				content := fmt.Appendf(nil, "layer %d", i)
				layers += fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.layer.v1.tar+zstd","digest":"%s","size":%d%s}`, put(content), len(content), rest)
			}
			config := []byte(`{"os":"linux","architecture":"amd64"}`)
			raw := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",`+
				`"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"%s","size":%d},"layers":[%s]}`, put(config), len(config), layers)
			put(raw)
			out, err := readBuilt(store, cache.DigestOf(raw))
			if err != nil {
				t.Fatal(err)
			}
			if err := checkRewritten(store, out, "0", tc.meta); !errors.Is(err, tc.want) {
				t.Errorf("error is %v, want %v", err, tc.want)
			}
		})
	}
}

func TestReadBuiltMisses(t *testing.T) {
	if _, err := readBuilt(openStore(t), cache.DigestOf([]byte("nothing"))); !errors.Is(err, cache.ErrMiss) {
		t.Errorf("error is %v", err)
	}
}
