package remote

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"bottlebuild/cache"
)

var mutations = flag.Int("remote.mutations", 1000, "how many mutated records are tried")

// forger makes records that a reader who trusts one key must not use for one
// cache key, of all that a writer without the private key could know.
type forger struct {
	t       *testing.T
	rand    *rand.Rand
	trusted PrivateKey
	own     PrivateKey // the forger's
	records map[cache.Key][]byte
	keys    []cache.Key
	entries map[cache.Key]*cache.Entry
	store   *cache.Store
}

func (f *forger) record(e *cache.Entry, key PrivateKey, scope Scope) []byte {
	payload, err := encodeStatement(e, "linux/amd64", Builder{ID: "test", Scope: scope})
	if err != nil {
		f.t.Fatal(err)
	}
	return f.recordOf(e, payload, key)
}

func (f *forger) recordOf(e *cache.Entry, payload []byte, key PrivateKey) []byte {
	env, err := seal(payload, key)
	if err != nil {
		f.t.Fatal(err)
	}
	u, err := prepare(f.store, e, env)
	if err != nil {
		f.t.Fatal(err)
	}
	return u.record.raw
}

// another changes what an entry says, in one of several ways.
func (f *forger) another(e *cache.Entry) *cache.Entry {
	c := *e
	c.Output.Blobs = append([]cache.Blob{}, e.Output.Blobs...)
	switch f.rand.IntN(4) {
	case 0:
		c.Output.Digest = cache.DigestOf([]byte("evil"))
	case 1:
		c.Output.Blobs[0].Size++
	case 2:
		c.Output.Attrs = map[string]string{"user": "root"}
	case 3:
		c.Created = c.Created.Add(time.Second)
	}
	return &c
}

// forge returns a record that is served for k, and what is wrong with it.
func (f *forger) forge(k cache.Key) (raw []byte, what string) {
	e := f.entries[k]
	switch f.rand.IntN(9) {
	case 0: // what another key's record says, all of it signed
		for {
			if other := f.keys[f.rand.IntN(len(f.keys))]; other != k {
				return f.records[other], "swapped"
			}
		}
	case 1: // the same under this key's annotation
		other := f.keys[f.rand.IntN(len(f.keys))]
		if other == k {
			return f.record(e, PrivateKey{}, Trusted), "unsigned"
		}
		return []byte(strings.ReplaceAll(string(f.records[other]), `"`+KeyAnnotation+`":"`+other.String(), `"`+KeyAnnotation+`":"`+k.String())), "replayed"
	case 2:
		return f.record(e, PrivateKey{}, Trusted), "unsigned"
	case 3:
		return f.record(f.another(e), f.own, Trusted), "signed by a stranger"
	case 4: // a good signature over something else
		var d document
		if err := json.Unmarshal(f.record(f.another(e), PrivateKey{}, Trusted), &d); err != nil {
			f.t.Fatal(err)
		}
		env, err := readRecord(f.records[k], k)
		if err != nil {
			f.t.Fatal(err)
		}
		fake, err := decodeEnvelope(d.Annotations[EnvelopeAnnotation])
		if err != nil {
			f.t.Fatal(err)
		}
		fake.signatures = env.signatures
		text, err := fake.encode()
		if err != nil {
			f.t.Fatal(err)
		}
		d.Annotations[EnvelopeAnnotation] = string(text)
		m, err := d.encode()
		if err != nil {
			f.t.Fatal(err)
		}
		return m.raw, "forged"
	case 5: // a trusted builder signed it, for pull requests
		return f.record(e, f.trusted, Untrusted), "from an untrusted scope"
	case 6: // signed by a stranger under the trusted key's name
		env, err := readRecord(f.record(f.another(e), f.own, Trusted), k)
		if err != nil {
			f.t.Fatal(err)
		}
		for i := range env.signatures {
			env.signatures[i].KeyID = f.trusted.Public().ID()
		}
		env.signatures = append(env.signatures, dsse.Signature{KeyID: "", Sig: env.signatures[0].Sig})
		text, err := env.encode()
		if err != nil {
			f.t.Fatal(err)
		}
		var d document
		if err := json.Unmarshal(f.records[k], &d); err != nil {
			f.t.Fatal(err)
		}
		d.Annotations[EnvelopeAnnotation] = string(text)
		m, err := d.encode()
		if err != nil {
			f.t.Fatal(err)
		}
		return m.raw, "under a false key ID"
	case 7: // a byte of the envelope changed
		raw = []byte(string(f.records[k]))
		from := strings.Index(string(raw), "payload\\\":")
		at := from + f.rand.IntN(len(raw)-from)
		raw[at] ^= byte(1 << f.rand.IntN(7))
		return raw, fmt.Sprintf("byte %d changed", at)
	}
	raw = f.records[k]
	return raw[:f.rand.IntN(len(raw))], "truncated"
}

// TestMutatedRecords: of records that were tampered with in any way that a
// writer without the key can, none is used, unless it says exactly what the
// trusted builder signed.
func TestMutatedRecords(t *testing.T) {
	w := newWorld(t)
	trusted, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	one := w.machine(nil)
	f := &forger{
		t: t, rand: rand.New(rand.NewPCG(1, uint64(*mutations))), trusted: trusted, own: stranger, store: one.store,
		records: map[cache.Key][]byte{}, entries: map[cache.Key]*cache.Entry{},
	}
	for i := range 20 {
		e := one.make(t, fmt.Sprint("entry", i), fmt.Sprint("content", i))
		f.keys = append(f.keys, e.Key)
		f.entries[e.Key] = e
		f.records[e.Key] = f.record(e, trusted, Trusted)
	}
	p := newPolicy(Trusted, Trust{Keys: []PublicKey{trusted.Public()}})
	read := func(raw []byte, k cache.Key) (*cache.Entry, error) {
		env, err := readRecord(raw, k)
		if err != nil {
			return nil, err
		}
		return p.open(env, k, time.Now())
	}
	for k, raw := range f.records {
		if _, err := read(raw, k); err != nil {
			t.Fatalf("a good record is not used: %v", err)
		}
	}
	used, harmless := 0, 0
	for range *mutations {
		k := f.keys[f.rand.IntN(len(f.keys))]
		raw, what := f.forge(k)
		e, err := read(raw, k)
		switch {
		case errors.Is(err, ErrUntrusted):
		case err != nil:
			t.Fatalf("%s: %v", what, err)
		case strings.HasPrefix(what, "byte") && e.Output.Digest == f.entries[k].Output.Digest && e.Recipe == f.entries[k].Recipe && e.Created.Equal(f.entries[k].Created):
			harmless++ // behind what is signed, or in what JSON and base64 do not read
		default:
			used++
			t.Errorf("a record that was %s is used: %+v", what, e)
		}
	}
	t.Logf("%d mutated records, %d used, %d changed nothing that is read", *mutations, used, harmless)
}

// TestEveryByte: a signed record that is cut off anywhere is not used, and neither is
// one with a changed byte, unless it says exactly what was signed.
func TestEveryByte(t *testing.T) {
	key := newKey(t)
	one := newWorld(t).machine(nil)
	e := one.make(t, "web", "content")
	f := &forger{t: t, store: one.store}
	raw := f.record(e, key, Trusted)
	p := newPolicy(Trusted, Trust{Keys: []PublicKey{key.Public()}})
	read := func(raw []byte) (*cache.Entry, error) {
		env, err := readRecord(raw, e.Key)
		if err != nil {
			return nil, err
		}
		return p.open(env, e.Key, time.Now())
	}
	if _, err := read(raw); err != nil {
		t.Fatal(err)
	}
	for n := range raw {
		if _, err := read(raw[:n]); !errors.Is(err, ErrUntrusted) {
			t.Errorf("cut to %d of %d bytes: %v", n, len(raw), err)
		}
		changed := bytes.Clone(raw)
		changed[n] ^= 0x20
		got, err := read(changed)
		same := err == nil && got.Output.Digest == e.Output.Digest && got.Recipe == e.Recipe && got.Created.Equal(e.Created)
		if !errors.Is(err, ErrUntrusted) && !same {
			t.Errorf("byte %d changed: %+v, %v", n, got, err)
		}
	}
	t.Logf("%d bytes", len(raw))
}

// TestRequireSigned: where signatures are required, a bad record is an error.
func TestRequireSigned(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t)
	key, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	one := w.machine(nil) // does not sign
	e := one.make(t, "web", "content")
	one.publish(ctx, e)
	reader := func(required bool) *machine {
		return w.machine(func(c *Config) {
			c.Remotes[0].Trust.Keys = []PublicKey{key.Public()}
			c.RequireSigned = required
		})
	}
	if _, err := reader(false).Find(ctx, e.Key); !errors.Is(err, cache.ErrMiss) || errors.Is(err, cache.ErrUncertain) {
		t.Errorf("not required: %v", err)
	}
	if _, err := reader(true).Find(ctx, e.Key); !errors.Is(err, ErrUntrusted) || errors.Is(err, cache.ErrMiss) {
		t.Errorf("required: %v", err)
	}
	// One who signs replaces a record that nobody can use.
	two := w.machine(func(c *Config) {
		c.Key, c.Remotes[0].Trust.Keys = key, []PublicKey{key.Public()}
	})
	two.publish(ctx, two.make(t, "web", "content"))
	if _, err := reader(true).Find(ctx, e.Key); err != nil {
		t.Error(err)
	}
}
