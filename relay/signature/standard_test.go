package signature

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// The message and the first secret are in the test suites of the Standard Webhooks
// libraries (Go, Java, JavaScript, PHP, Python, Ruby, C#) and of Svix, with the
// first signature. The others were computed apart from this code.
const (
	vectorSecret    = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	vectorSignature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	vectorEmptyBody = "v1,v48jdbgvh29KJz2Qc+ghw8G6vG3nAKnujWBg8oM/62A="
	vectorID        = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	vectorBody      = `{"test": 2432232314}`

	otherSecret    = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
	otherSignature = "v1,78nXHjpFP0tVJQW5D0SBwmVyyW87BV/rL6MgfM/Bw44="
)

var vectorTime = time.Unix(1614265330, 0)

func mustStandard(t testing.TB, secrets ...TimedSecret) *Standard {
	t.Helper()
	s, err := NewStandard(secrets...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustSecret(t testing.TB, s string) StandardSecret {
	t.Helper()
	secret, err := ParseStandardSecret(s)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

func TestStandardMakesTheOfficialSignatures(t *testing.T) {
	for _, tt := range []struct {
		name    string
		secrets []string
		body    string
		want    string
	}{
		{"official", []string{vectorSecret}, vectorBody, vectorSignature},
		{"bare base64", []string{strings.TrimPrefix(vectorSecret, "whsec_")}, vectorBody, vectorSignature},
		{"empty body", []string{vectorSecret}, "", vectorEmptyBody},
		{"another secret", []string{otherSecret}, vectorBody, otherSignature},
		{"rotation", []string{vectorSecret, otherSecret}, vectorBody, vectorSignature + " " + otherSignature},
		{"rotation, turned", []string{otherSecret, vectorSecret}, vectorBody, otherSignature + " " + vectorSignature},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var secrets []TimedSecret
			for _, s := range tt.secrets {
				secrets = append(secrets, TimedSecret{Secret: s})
			}
			signer := mustStandard(t, secrets...)
			// Twice and a third time: the hashes are used again.
			for range 3 {
				h := http.Header{}
				if err := signer.Sign(h, Message{ID: vectorID, Time: vectorTime, Body: []byte(tt.body)}); err != nil {
					t.Fatal(err)
				}
				if got := h.Get("webhook-id"); got != vectorID {
					t.Errorf("webhook-id: %s", got)
				}
				if got := h.Get("webhook-timestamp"); got != "1614265330" {
					t.Errorf("webhook-timestamp: %s", got)
				}
				if got := h.Get("webhook-signature"); got != tt.want {
					t.Errorf("webhook-signature: %s\nwant: %s", got, tt.want)
				}
			}
		})
	}
}

func TestStandardRotates(t *testing.T) {
	from, until := vectorTime.Add(-time.Hour), vectorTime.Add(time.Hour)
	signer := mustStandard(
		t,
		TimedSecret{Secret: vectorSecret, Until: until},
		TimedSecret{Secret: otherSecret, From: from},
	)
	count := func(at time.Time) string {
		h := http.Header{}
		if err := signer.Sign(h, Message{ID: vectorID, Time: at}); err != nil {
			t.Fatal(err)
		}
		var valid []string
		for _, s := range []string{vectorSecret, otherSecret} {
			if Verify(mustSecret(t, s), h, nil, at, time.Second) == nil {
				valid = append(valid, s)
			}
		}
		if got := len(strings.Fields(h.Get(HeaderSignature))); got != len(valid) {
			t.Errorf("at %s: %d signatures, and %d secrets verify", at, got, len(valid))
		}
		return strings.Join(valid, " ")
	}
	for _, tt := range []struct {
		at   time.Time
		want string
	}{
		{from.Add(-time.Second), vectorSecret},
		{from, vectorSecret + " " + otherSecret}, // the first moment of the new one
		{until.Add(-time.Second), vectorSecret + " " + otherSecret},
		{until, otherSecret}, // and the last of the old one is over
	} {
		if got := count(tt.at); got != tt.want {
			t.Errorf("at %s valid: %q; want %q", tt.at, got, tt.want)
		}
	}
}

func TestStandardNeverSendsUnsigned(t *testing.T) {
	signer := mustStandard(
		t,
		TimedSecret{Secret: vectorSecret, Until: vectorTime},
		TimedSecret{Secret: otherSecret, From: vectorTime.Add(time.Hour)},
	)
	h := http.Header{"X": {"y"}}
	err := signer.Sign(h, Message{ID: vectorID, Time: vectorTime})
	if !errors.Is(err, ErrNoSecret) || !strings.Contains(err.Error(), "2021-02-25T15:02:10Z") {
		t.Errorf("error: %v", err)
	}
	if len(h) != 1 {
		t.Errorf("the header was changed: %v", h)
	}
}

func TestStandardRefusesIDs(t *testing.T) {
	signer := mustStandard(t, TimedSecret{Secret: vectorSecret})
	for _, id := range []string{"", "evt.1"} {
		h := http.Header{}
		if err := signer.Sign(h, Message{ID: id, Time: vectorTime}); !errors.Is(err, ErrID) || len(h) != 0 {
			t.Errorf("id %q: %v, header %v", id, err, h)
		}
	}
}

func TestNewStandardSaysWhichSecret(t *testing.T) {
	good := TimedSecret{Secret: vectorSecret}
	for _, tt := range []struct {
		name    string
		secrets []TimedSecret
		want    string
	}{
		{"none", nil, "there is no secret to sign with; make one with: caddy relay secret"},
		{"one", []TimedSecret{{Secret: "whsec_"}}, "nothing follows whsec_"},
		{"second", []TimedSecret{good, {Secret: "whsec_"}}, "secret 2 of 2: nothing follows whsec_"},
		{"never valid", []TimedSecret{good, {Secret: vectorSecret, From: vectorTime, Until: vectorTime}}, "secret 2 of 2: it is never valid: until (2021-"},
	} {
		if _, err := NewStandard(tt.secrets...); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: %v; want %s", tt.name, err, tt.want)
		}
	}
}

func TestStandardVerifiesWithTheReferenceLibrary(t *testing.T) {
	// The library knows no clock but the machine's.
	now := time.Now()
	for range 20 {
		text := NewStandardSecret()
		theirs, err := standardwebhooks.NewWebhook(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, body := range []string{"", vectorBody, "\x00\xff not text\r\n", strings.Repeat("x", 100_000)} {
			h := http.Header{}
			// The second secret: a library must find its own among several.
			signer := mustStandard(t, TimedSecret{Secret: vectorSecret}, TimedSecret{Secret: text})
			if err := signer.Sign(h, Message{ID: "evt_1", Time: now, Body: []byte(body)}); err != nil {
				t.Fatal(err)
			}
			if err := theirs.Verify([]byte(body), h); err != nil {
				t.Errorf("they refuse ours: %v", err)
			}

			signature, err := theirs.Sign("evt_1", now, []byte(body))
			if err != nil {
				t.Fatal(err)
			}
			h.Set("webhook-signature", signature)
			if err := Verify(mustSecret(t, text), h, []byte(body), now, DefaultTolerance); err != nil {
				t.Errorf("we refuse theirs: %v", err)
			}
		}
	}
}

func TestStandardSignsFromManyGoroutines(t *testing.T) {
	signer := mustStandard(t, TimedSecret{Secret: vectorSecret}, TimedSecret{Secret: otherSecret})
	secret := mustSecret(t, otherSecret)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				body := fmt.Append(nil, g, i)
				h := http.Header{}
				if err := signer.Sign(h, Message{ID: fmt.Sprint("evt_", g, i), Time: vectorTime, Body: body}); err != nil {
					t.Error(err)
				}
				if err := Verify(secret, h, body, vectorTime, DefaultTolerance); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// Header fields that the next signer or a transform adds must not write into those
// of the signature.
func TestStandardFieldsStandApart(t *testing.T) {
	h := http.Header{}
	if err := mustStandard(t, TimedSecret{Secret: vectorSecret}).Sign(h, Message{ID: vectorID, Time: vectorTime, Body: []byte(vectorBody)}); err != nil {
		t.Fatal(err)
	}
	h.Add(HeaderID, "second")
	h.Add(HeaderTimestamp, "second")
	if got := h.Get(HeaderTimestamp) + " " + h.Get(HeaderSignature); got != "1614265330 "+vectorSignature {
		t.Errorf("got %s", got)
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	timed := TimedSecret{Secret: vectorSecret}
	secret := mustSecret(t, vectorSecret)
	for _, v := range []any{timed, &timed, []TimedSecret{timed}, secret, mustStandard(t, timed)} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
			text := fmt.Sprintf(verb, v)
			// The text of the secret, and its first bytes as numbers.
			leaks := strings.Contains(text, "MfKQ9r8G") || strings.Contains(text, "49 242") || strings.Contains(text, "0xf2")
			if leaks || !strings.Contains(text, masked) {
				t.Errorf("%s of %T prints %s", verb, v, text)
			}
		}
	}
}

// Two allocations: the text of the fields, and their slices. The header map has
// its room already, as that of an attempt has.
func TestStandardSignAllocatesLittle(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops values under the race detector")
	}
	signer := mustStandard(t, TimedSecret{Secret: vectorSecret}, TimedSecret{Secret: otherSecret})
	h, m := make(http.Header, 8), Message{ID: vectorID, Time: vectorTime, Body: []byte(vectorBody)}
	if n := testing.AllocsPerRun(1000, func() {
		delete(h, HeaderSignature) // each attempt has a header of its own
		if err := signer.Sign(h, m); err != nil {
			t.Fatal(err)
		}
	}); n > 2 {
		t.Errorf("Sign allocates %v times", n)
	}
}

func BenchmarkStandardSign(b *testing.B) {
	for _, size := range []int{100, 1 << 10, 64 << 10} {
		for _, secrets := range []int{1, 2} {
			b.Run(fmt.Sprintf("body=%d/secrets=%d", size, secrets), func(b *testing.B) {
				timed := []TimedSecret{{Secret: vectorSecret}, {Secret: otherSecret}}
				signer := mustStandard(b, timed[:secrets]...)
				h := make(http.Header, 8)
				m := Message{ID: vectorID, Time: vectorTime, Body: bytes.Repeat([]byte("x"), size)}
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					delete(h, HeaderSignature)
					if err := signer.Sign(h, m); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
