package remote

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"bottlebuild/cache"
)

// ErrUntrusted is wrapped by the error of a record that is there and whose
// signature, or what is signed, does not hold.
var ErrUntrusted = errors.New("not trusted")

// Trust says which records are believed.
type Trust struct {
	// Keys check signatures. Without any, whoever may write to the repository is
	// believed, and signatures are not looked at.
	Keys []PublicKey
}

// envelope is a signed statement in the form of the dsse package, with the
// payload decoded.
type envelope struct {
	payload    []byte
	signatures []dsse.Signature
}

// payloadType is that of in-toto statements.
const payloadType = "application/vnd.in-toto+json"

// seal signs a statement; a zero key leaves it unsigned.
func seal(payload []byte, key PrivateKey) (*envelope, error) {
	env := &envelope{payload: payload}
	if key.IsZero() {
		return env, nil
	}
	s, err := dsse.NewEnvelopeSigner(signer{key})
	if err != nil {
		return nil, err
	}
	signed, err := s.SignPayload(context.Background(), payloadType, payload)
	if err != nil {
		return nil, err
	}
	env.signatures = signed.Signatures
	return env, nil
}

func (e *envelope) encode() ([]byte, error) {
	return json.Marshal(e.dsse())
}

func (e *envelope) dsse() *dsse.Envelope {
	return &dsse.Envelope{PayloadType: payloadType, Payload: base64.StdEncoding.EncodeToString(e.payload), Signatures: append([]dsse.Signature{}, e.signatures...)}
}

// maxSignatures bounds how many signatures of a record are tried.
const maxSignatures = 16

func decodeEnvelope(text string) (*envelope, error) {
	var d dsse.Envelope
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		return nil, fmt.Errorf("its envelope: %w", err)
	}
	if d.PayloadType != payloadType {
		return nil, fmt.Errorf("its envelope holds %.80q", d.PayloadType)
	}
	if len(d.Signatures) > maxSignatures {
		return nil, fmt.Errorf("it has over %d signatures", maxSignatures)
	}
	payload, err := d.DecodeB64Payload()
	if err != nil {
		return nil, fmt.Errorf("its envelope: %w", err)
	}
	return &envelope{payload, d.Signatures}, nil
}

// policy is what a repository's records are held against.
type policy struct {
	scope     Scope
	verifiers []dsse.Verifier
	id        string // equal for equal policies
}

func newPolicy(scope Scope, t Trust) *policy {
	p := &policy{scope: scope}
	var ids []string
	for _, k := range t.Keys {
		id := k.ID()
		if slices.Contains(ids, id) {
			continue
		}
		ids = append(ids, id)
		p.verifiers = append(p.verifiers, verifier{k, id})
	}
	slices.Sort(ids)
	p.id = string(scope) + "\x00" + strings.Join(ids, ",")
	return p
}

// open returns the entry that an envelope holds, which must be that of k. The
// error wraps [ErrUntrusted].
func (p *policy) open(env *envelope, k cache.Key, now time.Time) (*cache.Entry, error) {
	if len(p.verifiers) > 0 {
		// A verifier changes the list it is given.
		v, err := dsse.NewEnvelopeVerifier(slices.Clone(p.verifiers)...)
		if err == nil {
			_, err = v.Verify(context.Background(), env.dsse())
		}
		switch {
		case errors.Is(err, dsse.ErrNoSignature):
			return nil, fmt.Errorf("%w: it is not signed", ErrUntrusted)
		case err != nil:
			return nil, fmt.Errorf("%w: no signature of a trusted key fits it", ErrUntrusted)
		}
	}
	e, by, err := decodeStatement(env.payload, k, now)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	if by.Scope != p.scope {
		return nil, fmt.Errorf("%w: it was made in scope %.20q and stands in that of %q", ErrUntrusted, by.Scope, p.scope)
	}
	return e, nil
}
