package remote

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"

	"bottlebuild/cache"
)

// A statement is what a record says, in the form of an in-toto Statement v1
// (github.com/in-toto/attestation): the subjects are the output and its blobs.
type statement struct {
	Type          string    `json:"_type"`
	Subject       []subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     predicate `json:"predicate"`
}

type subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

const (
	statementType = "https://in-toto.io/Statement/v1"
	predicateType = "urn:bottlebuild:action:v1"
)

// predicate is everything else that a signature covers.
type predicate struct {
	Key      cache.Key    `json:"key"`
	Schema   string       `json:"schema"` // cache.KeySchema
	Kind     string       `json:"kind"`
	Address  string       `json:"address,omitempty"`
	Recipe   string       `json:"recipe"`            // the text that Key is the hash of
	Partial  *cache.Key   `json:"partial,omitempty"` // see graph.Shared
	Output   cache.Output `json:"output"`
	Platform string       `json:"platform"` // of the builder: "linux/amd64"
	Builder  Builder      `json:"builder"`
	Created  time.Time    `json:"created"`
	Seconds  float64      `json:"seconds"`
	Bytes    int64        `json:"bytes"`
}

// Builder says who did the work.
type Builder struct {
	ID    string `json:"id,omitempty"` // "github.com/acme/app/ci", a host name
	Scope Scope  `json:"scope"`
}

// maxAhead is how far the clock of a builder may be ahead of this one.
const maxAhead = time.Hour

func subjects(out cache.Output) []subject {
	of := func(name string, d cache.Digest) subject {
		return subject{name, map[string]string{"sha256": d.Hex()}}
	}
	s := []subject{of("output", out.Digest)}
	for i, b := range out.Blobs {
		name := b.Name
		if name == "" {
			name = "blob"
		}
		s = append(s, of(fmt.Sprintf("%s.%d", name, i), b.Digest))
	}
	return s
}

// encodeStatement returns what is signed of an entry.
func encodeStatement(e *cache.Entry, platform string, by Builder) ([]byte, error) {
	p := predicate{
		Key: e.Key, Schema: cache.KeySchema, Kind: e.Kind, Address: e.Address, Recipe: e.Recipe,
		Output: e.Output, Platform: platform, Builder: by, Created: e.Created.UTC(), Seconds: e.Seconds, Bytes: e.Bytes,
	}
	if !e.Partial.IsZero() {
		p.Partial = &e.Partial
	}
	if len(e.Recipe) > maxRecipe {
		return nil, fmt.Errorf("its recipe is over %d bytes", maxRecipe)
	}
	b, err := json.Marshal(statement{statementType, subjects(e.Output), predicateType, p})
	if err == nil {
		_, _, err = decodeStatement(b, e.Key, e.Created) // nothing is published that would not be read
	}
	return b, err
}

// decodeStatement reads a statement that must be about k, as of now.
func decodeStatement(b []byte, k cache.Key, now time.Time) (*cache.Entry, Builder, error) {
	var s statement
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return nil, Builder{}, fmt.Errorf("its statement: %w", err)
	}
	p := s.Predicate
	err := func() error {
		switch {
		case s.Type != statementType || s.PredicateType != predicateType:
			return errors.New("its statement is of another type")
		case p.Key != k:
			return fmt.Errorf("it is the record of %s", p.Key)
		case p.Schema != cache.KeySchema:
			return fmt.Errorf("its key schema is %.20q, not %q", p.Schema, cache.KeySchema)
		case p.Created.After(now.Add(maxAhead)):
			return fmt.Errorf("it was made in the future, at %s", p.Created)
		case p.Output.Digest.IsZero():
			return errors.New("it has no output")
		case len(p.Output.Blobs) > maxBlobs:
			return fmt.Errorf("it has over %d blobs", maxBlobs)
		case !reflect.DeepEqual(s.Subject, subjects(p.Output)):
			return errors.New("its subjects are not its output's")
		}
		for _, b := range p.Output.Blobs {
			if b.Digest.IsZero() || b.Size < 0 || b.Size > maxBlobSize {
				return fmt.Errorf("blob %s has %d bytes", b.Digest, b.Size)
			}
		}
		recipe, err := cache.ParseRecipe(p.Recipe)
		if err != nil {
			return err
		}
		if recipe.Key() != k || recipe.Kind != p.Kind {
			return errors.New("its recipe is not the key's")
		}
		return nil
	}()
	if err != nil {
		return nil, Builder{}, err
	}
	e := &cache.Entry{
		Key: k, Kind: p.Kind, Address: p.Address, Output: p.Output, Created: p.Created,
		Seconds: p.Seconds, Bytes: p.Bytes, Recipe: p.Recipe,
	}
	if p.Partial != nil {
		e.Partial = *p.Partial
	}
	return e, p.Builder, nil
}
