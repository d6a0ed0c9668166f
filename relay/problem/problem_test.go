package problem

import (
	"net/http/httptest"
	"testing"
)

func TestProblem(t *testing.T) {
	for status, want := range map[int]string{
		404: `{"title":"Not Found","status":404,"detail":"there is no \"a\""}` + "\n",
		599: `{"title":"Failure","status":599,"detail":"there is no \"a\""}` + "\n", // RFC 9457 wants a title, and this has no name
	} {
		w := httptest.NewRecorder()
		Write(w, status, `there is no "a"`)
		if w.Code != status || w.Body.String() != want {
			t.Errorf("%d: %s", w.Code, w.Body)
		}
		if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
			t.Error(got)
		}
		if w.Header().Get("Cache-Control") != "no-store" {
			t.Error("an error may be kept by a cache")
		}
	}
}
