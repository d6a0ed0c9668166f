package signature

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A key pair and a signature from the tests of Svix, the authors of Standard Webhooks. The
// signature also stands in an example of the specification.
const (
	officialPrivate   = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
	officialPublic    = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
	officialSignature = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
)

func TestEd25519MakesTheOfficialSignature(t *testing.T) {
	seed, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(officialPrivate, "whsk_"))
	if err != nil {
		t.Fatal(err)
	}
	for name, secret := range map[string]string{
		"seed and public key": officialPrivate,
		"seed":                "whsk_" + base64.StdEncoding.EncodeToString(seed[:ed25519.SeedSize]),
	} {
		s := must[*StandardEd25519](t)(NewStandardEd25519(TimedSecret{Secret: secret}))
		for range 3 { // buffers are used again
			h := sign(t, s, Message{ID: vectorID, Time: vectorTime, Body: []byte(vectorBody)})
			if got := h.Get("webhook-signature"); got != officialSignature || h.Get("webhook-id") != vectorID || h.Get("webhook-timestamp") != "1614265330" {
				t.Errorf("%s: %v", name, h)
			}
		}
		if got := must[Ed25519Key](t)(ParseEd25519Key(secret)).Public(); got != officialPublic {
			t.Errorf("%s: public key %s", name, got)
		}
	}
}

func TestEd25519Rotates(t *testing.T) {
	older, olderPublic := NewEd25519Pair()
	newer, newerPublic := NewEd25519Pair()
	s := must[*StandardEd25519](t)(NewStandardEd25519(TimedSecret{Secret: older, Until: vectorTime.Add(time.Hour)}, TimedSecret{Secret: newer}))
	for at, want := range map[time.Time]int{vectorTime: 2, vectorTime.Add(time.Hour): 1} {
		h := sign(t, s, Message{ID: vectorID, Time: at, Body: []byte("x")})
		valid := 0
		for _, public := range []string{olderPublic, newerPublic} {
			if VerifyEd25519(must[Ed25519PublicKey](t)(ParseEd25519PublicKey(public)), h, []byte("x"), at, 0) == nil {
				valid++
			}
		}
		if valid != want || len(strings.Fields(h.Get(HeaderSignature))) != want {
			t.Errorf("at %s: %d keys verify %q; want %d", at, valid, h.Get(HeaderSignature), want)
		}
	}
}

func TestVerifyEd25519SaysWhatIsWrong(t *testing.T) {
	key := must[Ed25519PublicKey](t)(ParseEd25519PublicKey(officialPublic))
	for _, tt := range []struct {
		name   string
		change func(http.Header)
		body   string
		part   error
		want   string
	}{
		{name: "symmetric only", change: func(h http.Header) { h.Set(HeaderSignature, vectorSignature) }, part: ErrSignature, want: "checked with a secret (whsec_)"},
		{name: "no version", change: func(h http.Header) { h.Set(HeaderSignature, "x") }, part: ErrSignature, want: "begins with v1a,"},
		{name: "no base64", change: func(h http.Header) { h.Set(HeaderSignature, "v1a,%") }, part: ErrMismatch, want: "the secret is another one"},
		{name: "short", change: func(h http.Header) { h.Set(HeaderSignature, "v1a,AAAA") }, part: ErrMismatch},
		{name: "another body", body: "{}", part: ErrMismatch},
		{name: "a line break", body: vectorBody + "\n", part: ErrMismatch, want: "line break at its end"},
		{name: "no id", change: func(h http.Header) { h.Del(HeaderID) }, part: ErrID, want: "webhook-id is wrong: it is missing"},
	} {
		h := http.Header{HeaderID: {vectorID}, HeaderTimestamp: {"1614265330"}, HeaderSignature: {vectorSignature + " " + officialSignature}}
		body := vectorBody
		if tt.change != nil {
			tt.change(h)
		}
		if tt.body != "" {
			body = tt.body
		}
		if err := VerifyEd25519(key, h, []byte(body), vectorTime, DefaultTolerance); !errors.Is(err, tt.part) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want %v, %s", tt.name, err, tt.part, tt.want)
		}
	}
	if VerifyEd25519(Ed25519PublicKey{}, http.Header{}, nil, vectorTime, 0) == nil {
		t.Error("a request was verified without a key")
	}
}

func FuzzParseEd25519Key(f *testing.F) {
	f.Add(officialPrivate)
	f.Add("whsk_")
	f.Add("whpk_AAAA")
	f.Fuzz(func(t *testing.T, s string) {
		key, err := ParseEd25519Key(s)
		if err != nil {
			return
		}
		public, err := ParseEd25519PublicKey(key.Public())
		if err != nil || !ed25519.Verify(public.key, []byte("x"), ed25519.Sign(key.key, []byte("x"))) {
			t.Fatalf("%q: the pair does not fit: %v", s, err)
		}
	})
}
