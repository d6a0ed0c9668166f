package http1

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// read is how the rest of the package sees an answer.
type read struct {
	Status string
	Code   int
	Header http.Header
	Length int64
	Close  bool
	Body   string
	Err    string
}

func readOf(resp *http.Response) read {
	body, err := io.ReadAll(resp.Body)
	return read{resp.Status, resp.StatusCode, resp.Header, resp.ContentLength, resp.Close, string(body), fmt.Sprint(err)}
}

// bothWays reads an answer by this package, which may leave it, and by net/http.
func bothWays(t *testing.T, text, method string) (plain bool) {
	t.Helper()
	req := &http.Request{Method: method}
	c := &conn{r: bufio.NewReaderSize(strings.NewReader(text), bufferSize)}
	here, err := c.readPlain(req)
	if here == nil {
		if there := c.r.Buffered(); err == nil && there != min(len(text), bufferSize) {
			t.Errorf("%q: %d bytes are left of what was not read", text, there)
		}
		return false
	}
	theirs := bufio.NewReaderSize(strings.NewReader(text), bufferSize)
	there, err := http.ReadResponse(theirs, req)
	if err != nil {
		t.Fatalf("%q is read, and net/http says %v", text, err)
	}
	if a, b := readOf(here), readOf(there); !reflect.DeepEqual(a, b) {
		t.Errorf("%q:\n%+v\nand to net/http\n%+v", text, a, b)
	}
	if a, b := c.r.Buffered(), theirs.Buffered(); a != b {
		t.Errorf("%q: %d bytes are left behind it, and by net/http %d", text, a, b)
	}
	return true
}

func TestPlainAnswersAreReadAsNetHTTPReadsThem(t *testing.T) {
	for _, text := range []string{
		fine, fine + fine,
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 204 No Content\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\nmore",
		"HTTP/1.1 503 \r\nretry-after:\t120 \r\ncontent-length: 3\r\nConnection: keep-alive\r\n\r\nnoX",
		"HTTP/1.1 599\r\nContent-Length: 007\r\n\r\nshort",
		"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 2\r\nConnection: keep-alive\r\nX-Empty:\r\n\r\nok",
	} {
		if !bothWays(t, text, http.MethodPost) {
			t.Errorf("%q is left to net/http", text)
		}
	}
}

// TestTheSameHeaderIsReadOnce: answers on one connection, with the header of the last one and
// without, are those that net/http reads.
func TestTheSameHeaderIsReadOnce(t *testing.T) {
	const two = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
	long := "HTTP/1.1 200 OK\r\nX-Long: " + strings.Repeat("x", rememberMost) + "\r\nContent-Length: 2\r\n\r\n"
	texts := []string{two + "ok", two + "no", "HTTP/1.1 503 Busy\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n", two + "ab", two + "cd", long + "ok", long + "no", two + "ef"}
	c := &conn{r: bufio.NewReaderSize(strings.NewReader(strings.Join(texts, "")), bufferSize), shared: true}
	var kept http.Header
	for i, text := range texts {
		req := &http.Request{Method: http.MethodPost}
		here, err := c.readPlain(req)
		if here == nil || here.Request != req {
			t.Fatalf("answer %d: %+v, %v", i, here, err)
		}
		there, err := http.ReadResponse(bufio.NewReader(strings.NewReader(text)), req)
		if err != nil {
			t.Fatal(err)
		}
		same := kept != nil && reflect.ValueOf(here.Header).Pointer() == reflect.ValueOf(kept).Pointer()
		if want := i == 1 || i == 4; same != want {
			t.Errorf("answer %d has the header of the one before: %t, want %t", i, same, want)
		}
		kept = here.Header
		if a, b := readOf(here), readOf(there); !reflect.DeepEqual(a, b) {
			t.Errorf("answer %d:\n%+v\nand to net/http\n%+v", i, a, b)
		}
	}
	c = &conn{r: bufio.NewReader(strings.NewReader(two + "ok" + two)), shared: true}
	if first, _ := c.readPlain(&http.Request{Method: http.MethodPost}); first == nil || readOf(first).Body != "ok" {
		t.Fatal("the first answer is not read")
	}
	if head, err := c.readPlain(&http.Request{Method: http.MethodHead}); head != nil || err != nil {
		t.Errorf("the answer to HEAD is taken for one with a body: %+v, %v", head, err)
	}
}

// Whatever could be read in two ways is read in one: by net/http.
func TestOtherAnswersAreLeftToNetHTTP(t *testing.T) {
	for what, text := range map[string]string{
		"chunks":              "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"chunks and a length": "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"two lengths":         "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nthanks",
		"a list of lengths":   "HTTP/1.1 200 OK\r\nContent-Length: 6, 6\r\n\r\nthanks",
		"a negative length":   "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
		"a signed length":     "HTTP/1.1 200 OK\r\nContent-Length: +6\r\n\r\nthanks",
		"a huge length":       "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
		"no length":           "HTTP/1.1 200 OK\r\n\r\nthanks",
		"204 with a length":   "HTTP/1.1 204 x\r\nContent-Length: 6\r\n\r\nthanks",
		"another protocol":    "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
		"interim":             "HTTP/1.1 103 x\r\n\r\n" + fine,
		"a status of two":     "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
		"a status of four":    "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
		"close":               "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
		"bare line feeds":     "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
		"a bare LF in a line": "HTTP/1.1 200 OK\r\nX: a\nContent-Length: 0\r\n\r\n",
		"a folded line":       "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
		"space before colon":  "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
		"no colon":            "HTTP/1.1 200 OK\r\nContent-Length 0\r\n\r\n",
		"no name":             "HTTP/1.1 200 OK\r\n: 0\r\nContent-Length: 0\r\n\r\n",
		"a NUL":               "HTTP/1.1 200 OK\r\nX: \x00\r\nContent-Length: 0\r\n\r\n",
		"a field twice":       "HTTP/1.1 200 OK\r\nX: a\r\nx: b\r\nContent-Length: 0\r\n\r\n",
		"many fields":         "HTTP/1.1 200 OK\r\n" + manyFields(17) + "\r\n",
		"half a header":       "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n",
		"nothing":             "",
	} {
		if bothWays(t, text, http.MethodPost) {
			t.Errorf("%s: %q is read here", what, text)
		}
	}
	if bothWays(t, fine, http.MethodHead) {
		t.Error("the answer to HEAD has no body")
	}
}

func manyFields(n int) string {
	fields := map[string]string{"Content-Length: 0\r\n": ""}
	for i := range n - 1 {
		fields[fmt.Sprintf("X-%d: a\r\n", i)] = ""
	}
	return strings.Join(slices.Sorted(maps.Keys(fields)), "")
}

func FuzzPlainAnswer(f *testing.F) {
	for _, seed := range []string{fine, fine + fine, "HTTP/1.1 204 \r\n\r\n", "HTTP/1.1 503 x\r\nRetry-After: 1\r\nContent-Length: 3\r\nConnection: Keep-Alive\r\n\r\nno"} {
		f.Add(seed, http.MethodPost)
	}
	f.Fuzz(func(t *testing.T, text, method string) { bothWays(t, text, method) })
}
