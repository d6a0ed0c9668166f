package signature

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

const (
	textSecret = "It's a Secret to Everybody" // GitHub's documentation
	textOther  = "another secret of some length"
)

func sign(t testing.TB, s Signer, m Message) http.Header {
	t.Helper()
	h := http.Header{}
	if err := s.Sign(h, m); err != nil {
		t.Fatal(err)
	}
	return h
}

func must[S any](t testing.TB) func(S, error) S {
	return func(s S, err error) S {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

// The signature is in GitHub's documentation.
func TestGitHubMakesTheOfficialSignature(t *testing.T) {
	s := must[*HMAC](t)(NewGitHub(TimedSecret{Secret: textSecret}))
	h := sign(t, s, Message{ID: "evt_1", Time: vectorTime, Body: []byte("Hello, World!")})
	const want = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
	if got := h.Get("X-Hub-Signature-256"); got != want || len(h) != 1 {
		t.Errorf("got %v; want %s", h, want)
	}
}

// Computed apart from this code, by the description in Stripe's documentation.
func TestStripeMakesTheDocumentedSignature(t *testing.T) {
	const want = "t=1614265330,v1=10c96c6fd3f320fcfc264cdc4f476c15060ede8e8a08404cea2ddf3b72544a9c"
	m := Message{ID: "evt_1", Time: vectorTime, Body: []byte(vectorBody)}
	one := must[*Stripe](t)(NewStripe(TimedSecret{Secret: "whsec_test_secret"}))
	if got := sign(t, one, m).Get("Stripe-Signature"); got != want {
		t.Errorf("got %s; want %s", got, want)
	}
	two := must[*Stripe](t)(NewStripe(TimedSecret{Secret: "whsec_test_secret"}, TimedSecret{Secret: textOther}))
	h := sign(t, two, m)
	if got := h.Get("Stripe-Signature"); !strings.HasPrefix(got, want+",v1=") {
		t.Errorf("got %s; want two signatures", got)
	}
	for _, secret := range []string{"whsec_test_secret", textOther} {
		if err := VerifyStripe(secret, h, m.Body, vectorTime, DefaultTolerance); err != nil {
			t.Errorf("%s: %v", secret, err)
		}
	}
}

// Computed with "openssl dgst -hmac".
func TestHMACWritesWhatItIsTold(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    HMACOptions
		want string
	}{
		{"defaults", HMACOptions{}, "e6416d07bfe8709e7df1eac7ac9684b962b42f921b04f5ee467d3cb77d53713a"},
		{"sha512", HMACOptions{Algorithm: "sha512"}, "fce066b9ba796ead168e87f7d835a867c6e67d08297d626ef36981b91cf6210256ffdd72486cf22f6250890573e20437a9829d06e5d1b3d124c3de9123640487"},
		{"sha1", HMACOptions{Algorithm: "sha1"}, "2c25f175abe27fa5ad76c21c0552d84cb47ba07b"},
		{"base64", HMACOptions{Encoding: "base64"}, "5kFtB7/ocJ598erHrJaEuWK0L5IbBPXuRn08t31TcTo="},
		{"prefix", HMACOptions{Prefix: "v0="}, "v0=e6416d07bfe8709e7df1eac7ac9684b962b42f921b04f5ee467d3cb77d53713a"},
		{"standard", HMACOptions{Over: "standard"}, "59f72dc3d2e2ea8d36cfa8af5217794bb682a9c404d5d5f0eed79cff13e2d1f5"},
	} {
		tt.o.Header = "x-signature"
		s := must[*HMAC](t)(NewHMAC(tt.o, TimedSecret{Secret: textSecret}))
		h := sign(t, s, Message{ID: "evt_1", Time: vectorTime, Body: []byte(vectorBody)})
		if got := h.Get("X-Signature"); got != tt.want {
			t.Errorf("%s: %s; want %s", tt.name, got, tt.want)
		}
		if _, stamped := h["Webhook-Timestamp"]; stamped != (tt.o.Over == "standard") {
			t.Errorf("%s: header %v", tt.name, h)
		}
	}
}

func TestVerifyHMACSaysWhatIsWrong(t *testing.T) {
	standard := HMACOptions{Header: "X-Signature", Over: "standard", Prefix: "v0="}
	for _, tt := range []struct {
		name   string
		change func(http.Header)
		body   string
		now    time.Time
		part   error
		want   string
	}{
		{name: "right"},
		{name: "old", now: vectorTime.Add(time.Hour), part: ErrTimestamp, want: "webhook-timestamp is wrong: 1614265330"},
		{name: "no timestamp", change: func(h http.Header) { h.Del("Webhook-Timestamp") }, part: ErrTimestamp, want: "missing"},
		{name: "timestamp", change: func(h http.Header) { h.Set("Webhook-Timestamp", "x") }, part: ErrTimestamp, want: "not a whole number"},
		{name: "no id", change: func(h http.Header) { h.Del("Webhook-Id") }, part: ErrID, want: "missing"},
		{name: "another id", change: func(h http.Header) { h.Set("Webhook-Id", "evt_2") }, part: ErrMismatch, want: "webhook-id"},
		{name: "no signature", change: func(h http.Header) { h.Del("X-Signature") }, part: ErrSignature, want: "x-signature is wrong: it is missing"},
		{name: "no prefix", change: func(h http.Header) { h.Set("X-Signature", "v1=00") }, part: ErrSignature, want: `does not begin with "v0="`},
		{name: "another body", body: "{}", part: ErrMismatch, want: "the secret is another one, or the body"},
	} {
		h := sign(t, must[*HMAC](t)(NewHMAC(standard, TimedSecret{Secret: textSecret})), Message{ID: "evt_1", Time: vectorTime, Body: []byte(vectorBody)})
		body, now := vectorBody, vectorTime
		if tt.change != nil {
			tt.change(h)
		}
		if tt.body != "" {
			body = tt.body
		}
		if !tt.now.IsZero() {
			now = tt.now
		}
		err := VerifyHMAC(standard, textSecret, h, []byte(body), now, DefaultTolerance)
		if !errors.Is(err, tt.part) || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want %v, %s", tt.name, err, tt.part, tt.want)
		}
	}
}

func TestVerifyStripeSaysWhatIsWrong(t *testing.T) {
	right := sign(t, must[*Stripe](t)(NewStripe(TimedSecret{Secret: textSecret})), Message{Time: vectorTime, Body: []byte(vectorBody)}).Get(HeaderStripe)
	for _, tt := range []struct {
		name, value, body string
		now               time.Time
		part              error
		want              string
	}{
		{name: "right", value: right},
		{name: "with v0", value: right + ",v0=00"},
		{name: "old", value: right, now: vectorTime.Add(time.Hour), part: ErrTimestamp, want: "stripe-signature is wrong: 1614265330"},
		{name: "missing", part: ErrSignature, want: "is the delivery signed at all"},
		{name: "no time", value: "v1=00", part: ErrTimestamp, want: "t=<seconds> is missing"},
		{name: "two times", value: "t=1,t=2,v1=00", part: ErrTimestamp, want: "twice"},
		{name: "bad time", value: "t=x,v1=00", part: ErrTimestamp, want: "not a whole number"},
		{name: "no signature", value: "t=1614265330,v0=00", part: ErrSignature, want: "v1=<signature> is missing"},
		{name: "another time", value: strings.Replace(right, "1614265330", "1614265331", 1), part: ErrMismatch, want: "the body or the time t"},
		{name: "another body", value: right, body: "{}", part: ErrMismatch},
	} {
		h, body, now := http.Header{}, vectorBody, vectorTime
		if tt.value != "" {
			h.Set(HeaderStripe, tt.value)
		}
		if tt.body != "" {
			body = tt.body
		}
		if !tt.now.IsZero() {
			now = tt.now
		}
		err := VerifyStripe(textSecret, h, []byte(body), now, DefaultTolerance)
		if !errors.Is(err, tt.part) || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want %v, %s", tt.name, err, tt.part, tt.want)
		}
	}
}

// Whatever is signed, what each scheme writes can be verified and sent.
func FuzzSigners(f *testing.F) {
	f.Add("evt_1", int64(1614265330), []byte(vectorBody), "/hook?a=b", "application/json")
	f.Add("a b\r\n", int64(-1), []byte{0, 0xff}, "/%2F", "x;y")
	f.Fuzz(func(t *testing.T, id string, unix int64, body []byte, uri, contentType string) {
		u, err := url.ParseRequestURI(uri)
		if err != nil || unix < 0 || unix > 1e11 || strings.ContainsAny(id+contentType, "\r\n") || strings.ContainsAny(id, ".") || id == "" {
			return
		}
		at := time.Unix(unix, 0)
		h := http.Header{"Content-Type": {contentType}, "X-Contentful-Topic": {id}}
		private, public := NewEd25519Pair()
		over := HMACOptions{Header: "X-Sum", Over: "standard", Encoding: "base64"}
		for _, s := range []Signer{
			mustStandard(t, TimedSecret{Secret: vectorSecret}),
			must[*StandardEd25519](t)(NewStandardEd25519(TimedSecret{Secret: private})),
			must[*HMAC](t)(NewGitHub(TimedSecret{Secret: textSecret})),
			must[*HMAC](t)(NewHMAC(over, TimedSecret{Secret: textSecret})),
			must[*Stripe](t)(NewStripe(TimedSecret{Secret: textSecret})),
			must[*Contentful](t)(NewContentful(TimedSecret{Secret: contentfulSecret})),
		} {
			if err := s.Sign(h, Message{ID: id, Time: at, Body: body, Method: "POST", URL: u}); err != nil {
				t.Fatalf("%v: %v", s, err)
			}
		}
		for field, values := range h {
			if len(values) != 1 || strings.ContainsAny(values[0], "\r\n") {
				t.Fatalf("%s: %q", field, values)
			}
		}
		key := must[Ed25519PublicKey](t)(ParseEd25519PublicKey(public))
		for scheme, err := range map[string]error{
			"standard":         Verify(mustSecret(t, vectorSecret), h, body, at, time.Second),
			"standard_ed25519": VerifyEd25519(key, h, body, at, time.Second),
			"github":           VerifyHMAC(GitHub, textSecret, h, body, at, 0),
			"hmac":             VerifyHMAC(over, textSecret, h, body, at, time.Second),
			"stripe":           VerifyStripe(textSecret, h, body, at, time.Second),
			"contentful":       VerifyContentful(contentfulSecret, "POST", u.RequestURI(), h, body, at, time.Second),
		} {
			if err != nil {
				t.Errorf("%s: %v", scheme, err)
			}
		}
	})
}

func TestHMACOptionsAreChecked(t *testing.T) {
	for _, tt := range []struct {
		want string
		o    HMACOptions
	}{
		{"header missing; name the field", HMACOptions{}},
		{`header: "X Y" is no name`, HMACOptions{Header: "X Y"}},
		{`header: "X:" is no name`, HMACOptions{Header: "X:"}},
		{`algorithm: "md5" is not possible; write one of sha256, sha512, sha1`, HMACOptions{Header: "X", Algorithm: "md5"}},
		{`encoding: "HEX" is not possible; write one of hex, base64`, HMACOptions{Header: "X", Encoding: "HEX"}},
		{`over: "id" is not possible; write one of body, standard`, HMACOptions{Header: "X", Over: "id"}},
		{"prefix: only visible ASCII", HMACOptions{Header: "X", Prefix: "a\nb"}},
		{"prefix: only visible ASCII ", HMACOptions{Header: "X", Prefix: "é"}},
	} {
		if _, err := NewHMAC(tt.o, TimedSecret{Secret: textSecret}); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%+v: %v; want %s", tt.o, err, tt.want)
		}
	}
}

// Of secrets that overlap the new one signs, where there is room for one signature, in
// whatever order they stand.
func TestTheNewestSecretSigns(t *testing.T) {
	at := vectorTime
	older := TimedSecret{Secret: "the old secret, 16+", Until: at.Add(time.Hour)}
	endless := TimedSecret{Secret: "the new secret, 16+"}
	planned := TimedSecret{Secret: "the planned one, 16+", From: at.Add(time.Minute)}
	for _, tt := range []struct {
		name    string
		secrets []TimedSecret
		at      time.Time
		want    TimedSecret
	}{
		{"one that ends and one that does not", []TimedSecret{older, endless}, at, endless},
		{"turned", []TimedSecret{endless, older}, at, endless},
		{"before its from", []TimedSecret{endless, planned}, at, endless},
		{"from its from", []TimedSecret{endless, planned}, at.Add(time.Minute), planned},
		{"turned, from its from", []TimedSecret{planned, endless}, at.Add(time.Minute), planned},
		{"the one that lasts longer", []TimedSecret{older, {Secret: endless.Secret, Until: at.Add(2 * time.Hour)}}, at, endless},
		{"equal: the first", []TimedSecret{endless, {Secret: textOther}}, at, endless},
	} {
		signer := must[*HMAC](t)(NewGitHub(tt.secrets...))
		h := sign(t, signer, Message{ID: "evt_1", Time: tt.at, Body: []byte("x")})
		if err := VerifyHMAC(GitHub, tt.want.Secret, h, []byte("x"), tt.at, 0); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestNoSchemeSendsUnsigned(t *testing.T) {
	over := func(secret string) []TimedSecret {
		return []TimedSecret{{Secret: secret, Until: vectorTime}, {Secret: secret, From: vectorTime.Add(time.Hour)}}
	}
	key, _ := NewEd25519Pair()
	for name, s := range map[string]Signer{
		"standard":         mustStandard(t, over(vectorSecret)...),
		"standard_ed25519": must[*StandardEd25519](t)(NewStandardEd25519(over(key)...)),
		"github":           must[*HMAC](t)(NewGitHub(over(textSecret)...)),
		"stripe":           must[*Stripe](t)(NewStripe(over(textSecret)...)),
		"contentful":       must[*Contentful](t)(NewContentful(over(contentfulSecret)...)),
		"hmac":             must[*HMAC](t)(NewHMAC(HMACOptions{Header: "X", Over: "standard"}, over(textSecret)...)),
	} {
		h := http.Header{"X-Other": {"y"}}
		err := s.Sign(h, Message{ID: "evt_1", Time: vectorTime, Method: "POST", URL: &url.URL{Path: "/"}})
		if !errors.Is(err, ErrNoSecret) || !strings.Contains(err.Error(), "2021-02-25T15:02:10Z") || len(h) != 1 {
			t.Errorf("%s: %v, header %v", name, err, h)
		}
	}
}

func TestSchemesRefuseSecrets(t *testing.T) {
	private, public := NewEd25519Pair()
	text := func(s string) error { _, err := NewGitHub(TimedSecret{Secret: s}); return err }
	stripe := func(s string) error { _, err := NewStripe(TimedSecret{Secret: s}); return err }
	contentful := func(s string) error { _, err := NewContentful(TimedSecret{Secret: s}); return err }
	ed25519 := func(s string) error { _, err := NewStandardEd25519(TimedSecret{Secret: s}); return err }
	pub := func(s string) error { _, err := ParseEd25519PublicKey(s); return err }
	for _, tt := range []struct {
		name   string
		parse  func(string) error
		secret string
		want   string
	}{
		{"github", text, "", "the secret is empty"},
		{"github", text, "fifteen letters", "too short: it has 15 characters, and at least 16"},
		{"github", text, textSecret + "\n", "begins or ends with white space"},
		{"github", text, "two\nlines of some length", "control character"},
		{"github", text, private, "private key for sign standard_ed25519"},
		{"github", text, public, "public key, which is no secret"},
		{"stripe", stripe, "whsec_", "too short"},
		{"contentful", contentful, "", "empty"},
		{"contentful", contentful, contentfulSecret[1:], "has 63 characters, and Contentful's have exactly 64"},
		{"contentful", contentful, contentfulSecret[1:] + "!", "a character that Contentful's do not have"},
		{"contentful", contentful, vectorSecret, "has 38 characters"},
		{"ed25519", ed25519, "", "the key is empty"},
		{"ed25519", ed25519, vectorSecret, "begins with whsec_: that is a secret for symmetric signatures, for sign standard"},
		{"ed25519", ed25519, public, "begins with whpk_: that is the public key, for receivers, and cannot sign"},
		{"ed25519", ed25519, "whsk_", "nothing follows whsk_"},
		{"ed25519", ed25519, private[5:], "does not begin with whsk_"},
		{"ed25519", ed25519, private + "\n", "white space"},
		{"ed25519", ed25519, "whsk_%%%%", "not standard base64"},
		{"ed25519", ed25519, "whsk_" + base64Of(31), "holds 31 bytes, and must hold 64 (seed and public key) or 32"},
		{"ed25519", ed25519, "whsk_" + strings.Repeat("A", 1<<20), "too long"},
		{"ed25519", ed25519, "whsk_" + base64Of(64), "do not belong together"},
		{"public", pub, private, "that is the private key, which stays with the sender"},
		{"public", pub, vectorSecret, "symmetric"},
		{"public", pub, "whpk_" + base64Of(33), "holds 33 bytes, and must hold 32"},
	} {
		err := tt.parse(tt.secret)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s, %.12q: %v; want %s", tt.name, tt.secret, err, tt.want)
			continue
		}
		if !strings.Contains(err.Error(), "make ") {
			t.Errorf("%s: no way out: %v", tt.name, err)
		}
		if len(tt.secret) > 20 && strings.Contains(err.Error(), tt.secret[10:16]) {
			t.Errorf("%s: the secret shows: %v", tt.name, err)
		}
	}
}

// Both versions stand in one field, in whatever order the signers come.
func TestStandardVersionsStandSideBySide(t *testing.T) {
	symmetric := mustStandard(t, TimedSecret{Secret: vectorSecret})
	asymmetric := must[*StandardEd25519](t)(NewStandardEd25519(TimedSecret{Secret: officialPrivate}))
	for _, signers := range [][]Signer{{symmetric, asymmetric}, {asymmetric, symmetric}} {
		h := http.Header{}
		for _, s := range signers {
			if err := s.Sign(h, Message{ID: vectorID, Time: vectorTime, Body: []byte(vectorBody)}); err != nil {
				t.Fatal(err)
			}
		}
		parts := strings.Fields(h.Get(HeaderSignature))
		if len(parts) != 2 || len(h[HeaderSignature]) != 1 {
			t.Fatalf("%q", h[HeaderSignature])
		}
		if err := Verify(mustSecret(t, vectorSecret), h, []byte(vectorBody), vectorTime, DefaultTolerance); err != nil {
			t.Error(err)
		}
		key := must[Ed25519PublicKey](t)(ParseEd25519PublicKey(officialPublic))
		if err := VerifyEd25519(key, h, []byte(vectorBody), vectorTime, DefaultTolerance); err != nil {
			t.Error(err)
		}
	}
}

func TestSchemesDoNotPrintSecrets(t *testing.T) {
	key := must[Ed25519Key](t)(ParseEd25519Key(officialPrivate))
	for _, v := range []any{
		key, must[*StandardEd25519](t)(NewStandardEd25519(TimedSecret{Secret: officialPrivate})),
		must[*HMAC](t)(NewGitHub(TimedSecret{Secret: textSecret})),
		must[*Stripe](t)(NewStripe(TimedSecret{Secret: textSecret})),
		must[*Contentful](t)(NewContentful(TimedSecret{Secret: contentfulSecret})),
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
			if text := fmt.Sprintf(verb, v); !strings.Contains(text, masked) || strings.Contains(text, "Secret to") {
				t.Errorf("%s of %T prints %s", verb, v, text)
			}
		}
	}
}
