package signature

import (
	"encoding/base64"
	"strings"
	"testing"
)

// base64Of is standard base64 of n bytes that use the whole alphabet.
func base64Of(n int) string {
	key := make([]byte, n)
	for i := range key {
		key[i] = byte(255 - 7*i)
	}
	return base64.StdEncoding.EncodeToString(key)
}

func TestParseStandardSecretTakes(t *testing.T) {
	for _, n := range []int{MinStandardKey, 25, 26, 32, 63, MaxStandardKey} {
		for _, prefix := range []string{"whsec_", ""} {
			secret, err := ParseStandardSecret(prefix + base64Of(n))
			if err != nil || len(secret.key) != n {
				t.Errorf("%q and %d bytes: %d bytes, %v", prefix, n, len(secret.key), err)
			}
		}
	}
}

func TestParseStandardSecretRefuses(t *testing.T) {
	good := "whsec_" + base64Of(32)
	for _, tt := range []struct{ name, secret, want string }{
		{"empty", "", "empty"},
		{"prefix alone", "whsec_", "nothing follows whsec_"},
		{"one letter", "w", "not a multiple of four"},
		{"no base64", "whsec_%", "not standard base64"},
		{"no base64 of the right length", "whsec_%%%%" + base64Of(30), "not standard base64"},
		{"wrong length", "whsec_wronglength", "not standard base64"},
		{"placeholder that was not replaced", "{env.SECRET}", "not"},
		{"other prefix", "hwsec_" + base64Of(32), "another prefix than whsec_"},
		{"prefix twice", "whsec_" + good, "another prefix than whsec_"},
		{"prefix in capitals", strings.ToUpper(good[:6]) + good[6:], "another prefix than whsec_"},
		{"short", "whsec_" + base64Of(23), "too short: it holds 23 bytes, and Standard Webhooks wants 24 to 64"},
		{"long by one", "whsec_" + base64Of(65), "too long: it holds 65 bytes"},
		{"long", "whsec_" + base64Of(67), "too long"},
		{"endless", "whsec_" + strings.Repeat("A", 1<<20), "too long"},
		{"private", "whsk_" + base64Of(64), "private key for ed25519"},
		{"public", "whpk_" + base64Of(32), "public key"},
		{"space before", " " + good, "white space"},
		{"space after", good + " ", "white space"},
		{"line break", good + "\n", "line break at the end of its file"},
		{"line break within", good[:20] + "\r\n" + good[20:], "white space"},
		{"URL-safe -", "whsec_" + base64.URLEncoding.EncodeToString([]byte(strings.Repeat("\xfb", 33))), "URL-safe base64"},
		{"URL-safe _", "whsec_" + base64.URLEncoding.EncodeToString([]byte(strings.Repeat("\xff", 33))), "URL-safe base64"},
		{"without padding", strings.TrimRight(good, "="), "lacks the ="},
		{"cut", good[:len(good)-5], "it was cut"},
		{"padding within", "whsec_QQ==" + base64Of(30), "not standard base64"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			secret, err := ParseStandardSecret(tt.secret)
			if err == nil || secret.key != nil {
				t.Fatalf("taken: %d bytes, %v", len(secret.key), err)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v\nwant: %s", err, tt.want)
			}
			if !strings.HasSuffix(err.Error(), "; make one with: caddy relay secret") {
				t.Errorf("no way out: %v", err)
			}
			if body := strings.TrimSpace(tt.secret); len(body) > 16 && strings.Contains(err.Error(), body[10:16]) {
				t.Errorf("the secret shows: %v", err)
			}
		})
	}
}

func TestNewStandardSecretIsTaken(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		text := NewStandardSecret()
		if !strings.HasPrefix(text, "whsec_") || seen[text] {
			t.Fatalf("%d secrets, then %s", len(seen), text)
		}
		seen[text] = true
		if secret := mustSecret(t, text); len(secret.key) != 32 {
			t.Fatalf("%d bytes", len(secret.key))
		}
	}
}

func FuzzParseStandardSecret(f *testing.F) {
	for _, s := range []string{vectorSecret, otherSecret[6:], "whsec_", "whsk_AAAA", "whsec_%", "a\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		secret, err := ParseStandardSecret(s)
		if err != nil {
			return
		}
		if n := len(secret.key); n < MinStandardKey || n > MaxStandardKey {
			t.Fatalf("%q: %d bytes", s, n)
		}
		again, err := ParseStandardSecret("whsec_" + base64.StdEncoding.EncodeToString(secret.key))
		if err != nil || string(again.key) != string(secret.key) {
			t.Fatalf("%q: not the same again: %v", s, err)
		}
	})
}
