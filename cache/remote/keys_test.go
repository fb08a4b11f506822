package remote

import (
	"strings"
	"testing"
)

func TestKeys(t *testing.T) {
	k, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	pem, err := k.PEM()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParsePrivateKey(pem)
	if err != nil || again.Public().String() != k.Public().String() {
		t.Errorf("private: %v", err)
	}
	public, err := ParsePublicKey(k.Public().String())
	if err != nil || public.ID() != k.Public().ID() {
		t.Errorf("public: %v", err)
	}
	for _, bad := range []string{"", "ed25519:", "ed25519:AAAA", "ed25519:!", "rsa:x", string(pem)} {
		if _, err := ParsePublicKey(bad); err == nil {
			t.Errorf("%.30q is a public key", bad)
		} else if strings.Contains(err.Error(), "MC4") {
			t.Errorf("%v holds a private key", err)
		}
	}
	for _, bad := range []string{"", k.Public().String(), strings.Replace(string(pem), "M", "!", 1)} {
		if _, err := ParsePrivateKey([]byte(bad)); err == nil || strings.Contains(err.Error(), "MC4") {
			t.Errorf("%.30q: %v", bad, err)
		}
	}
}
