package remote

import (
	"errors"
	"strings"
	"testing"

	"bottlebuild/cache"
)

// A builder that signs believes only what is signed, and signs only what it made:
// else whoever may write could have his results signed.
func TestOnlyOwnWorkIsSigned(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t)
	anybody := w.machine(nil)
	forged := anybody.make(t, "web", "forged")
	anybody.publish(ctx, forged)
	ci := newKey(t)
	signing := func(c *Config) { c.Key = ci }
	if _, err := w.machine(signing).Find(ctx, forged.Key); !errors.Is(err, cache.ErrMiss) {
		t.Errorf("it uses what is not signed: %v", err)
	}

	// One that had taken it in before it had a key.
	dir := t.TempDir()
	early := w.machineIn(dir, nil)
	e, err := early.Find(ctx, forged.Key)
	if err != nil {
		t.Fatal(err)
	}
	if err := early.fetch(ctx, e); err != nil {
		t.Fatal(err)
	}
	early.Close()
	early.store.Close()
	later := w.machineIn(dir, signing)
	own, err := later.store.Get(forged.Key)
	if err != nil {
		t.Fatal(err)
	}
	later.publish(ctx, own)
	if later.Stored(forged.Key) || len(later.notices) != 1 || !strings.Contains(later.notices[0], "was not made here but comes from") {
		t.Errorf("stored %t, %q", later.Stored(forged.Key), later.notices)
	}
	reader := func(c *Config) { c.Remotes[0].Trust.Keys = []PublicKey{ci.Public()} }
	if _, err := w.machine(reader).Find(ctx, forged.Key); !errors.Is(err, cache.ErrMiss) {
		t.Errorf("a reader takes it for signed: %v", err)
	}

	// Made here, it takes the place of what nobody signed.
	builder := w.machine(signing)
	made := builder.make(t, "web", "made")
	builder.publish(ctx, made)
	if got, err := w.machine(reader).Find(ctx, made.Key); err != nil || got.Output.Digest != made.Output.Digest {
		t.Errorf("%v; %q", err, builder.notices)
	}
}

// Who trusts keys and has none of them cannot store anything that would be believed,
// and leaves signed records alone.
func TestSignedRecordsStay(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t)
	ci, other := newKey(t), newKey(t)
	builder := w.machine(func(c *Config) { c.Key = ci })
	builder.publish(ctx, builder.make(t, "web", "signed"))
	stranger := w.machine(func(c *Config) { c.Remotes[0].Trust.Keys = []PublicKey{other.Public()} })
	e := stranger.make(t, "web", "not signed")
	stranger.publish(ctx, e)
	if len(stranger.notices) != 1 || !strings.Contains(stranger.notices[0], "no key to sign with") {
		t.Errorf("notices are %q", stranger.notices)
	}
	reader := w.machine(func(c *Config) { c.Remotes[0].Trust.Keys = []PublicKey{ci.Public()} })
	if _, err := reader.Find(ctx, e.Key); err != nil {
		t.Errorf("the signed record is gone: %v", err)
	}

	// From one registry to another, a record keeps its signature.
	second := newWorld(t)
	mirror := second.machine(func(c *Config) {
		from := Remote{Prefix: w.host + "/acme", Mode: Mode{Read: true}, Scope: Trusted, Trust: Trust{Keys: []PublicKey{ci.Public()}}}
		c.Remotes[0].Trust = from.Trust
		c.Remotes = append([]Remote{from}, c.Remotes...)
	})
	got, err := mirror.Find(ctx, e.Key)
	if err == nil {
		err = mirror.fetch(ctx, got)
	}
	if err != nil {
		t.Fatal(err)
	}
	mirror.publish(ctx, got)
	copied := second.machine(func(c *Config) { c.Remotes[0].Trust.Keys = []PublicKey{ci.Public()} })
	if _, err := copied.Find(ctx, e.Key); err != nil {
		t.Errorf("%v; %q", err, mirror.notices)
	}
}

// Each registry gets a record of its own scope.
func TestRecordsAreOfTheirScope(t *testing.T) {
	w := newWorld(t)
	m := w.machine(func(c *Config) {
		second := c.Remotes[0]
		second.Prefix, second.Scope = w.host+"/proposed", Untrusted
		c.Remotes = append(c.Remotes, second)
	})
	e := m.make(t, "web", "content")
	m.publish(t.Context(), e)
	if !m.Stored(e.Key) || len(m.notices) > 0 {
		t.Errorf("stored %t, %q", m.Stored(e.Key), m.notices)
	}
}
