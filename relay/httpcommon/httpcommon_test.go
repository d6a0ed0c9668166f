package httpcommon

import (
	"net/http"
	"testing"
)

func TestThePortIsThatOfTheScheme(t *testing.T) {
	for url, want := range map[string]string{
		"http://a.example/": "a.example:80", "https://a.example/": "a.example:443", "https://[2001:db8::1]/": "[2001:db8::1]:443",
		"https://a.example:8443/": "a.example:8443", "http://a.example:443/": "a.example:443",
	} {
		req, err := http.NewRequest(http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := Address(req); got != want {
			t.Errorf("%s: %s, want %s", url, got, want)
		}
	}
}
