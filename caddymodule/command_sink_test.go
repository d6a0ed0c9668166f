package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/signature"
	"github.com/caddyrelay/caddyrelay/relay/sink"
)

// receiving runs a sink on a free port; end stops it and returns what it printed.
func receiving(t *testing.T, options sink.Options, asJSON bool) (url string, end func() string) {
	t.Helper()
	var out bytes.Buffer
	printer := &sinkPrinter{out: &out, json: asJSON}
	options.OnRequest = printer.print
	handler, err := sink.New(options)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	notes, to := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- runSink(ctx, "127.0.0.1:0", handler, to) }()
	line := make([]byte, 1000)
	n, err := notes.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, notes) }()
	return regexp.MustCompile(`http://\S+/`).FindString(string(line[:n])), func() string {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		return out.String()
	}
}

func deliverTo(t *testing.T, url, secret, id string) int {
	t.Helper()
	body := []byte(`{"order":1}`)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Relay-Event", "order.paid")
	r.Header.Set("Relay-Subscription", "crm")
	r.Header.Set("Relay-Attempt", "1")
	r.Header.Set(signature.HeaderID, id)
	if secret != "" {
		signer, err := signature.NewStandard(signature.TimedSecret{Secret: secret})
		if err == nil {
			err = signer.Sign(r.Header, signature.Message{ID: id, Time: time.Now(), Body: body})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}

func TestSinkVerifiesAndPrints(t *testing.T) {
	secret := newSecret(t, "SINK_SECRET")
	options, err := sinkOptions("{env.SINK_SECRET}", "", "")
	if err != nil {
		t.Fatal(err)
	}
	url, end := receiving(t, options, false)
	if got := deliverTo(t, url, secret, "evt_1"); got != http.StatusOK && got != http.StatusNoContent {
		t.Errorf("a signed one is answered %d", got)
	}
	if got := deliverTo(t, url, "", "evt_2"); got != http.StatusUnauthorized {
		t.Errorf("one without a signature is answered %d", got)
	}
	lines := strings.Split(end(), "\n")
	if len(lines) != 3 || !strings.Contains(lines[0], "signature verified  evt_1") || !strings.Contains(lines[1], "answered 401") {
		t.Errorf("printed are %q", lines)
	}
	for _, line := range lines {
		if strings.Contains(line, secret) {
			t.Errorf("the secret is printed: %s", line)
		}
	}
}

func TestSinkFailsOnDemandAndPrintsJSON(t *testing.T) {
	options, err := sinkOptions("", "1:500", "1ms")
	if err != nil {
		t.Fatal(err)
	}
	url, end := receiving(t, options, true)
	if got := deliverTo(t, url, "", "evt_1"); got != http.StatusInternalServerError {
		t.Errorf("answered %d", got)
	}
	var r sink.Record
	if err := json.Unmarshal([]byte(end()), &r); err != nil || !r.Simulated || r.Subscription != "crm" {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestSinkSaysWhatIsWrong(t *testing.T) {
	for _, bad := range []struct {
		args []string
		want string
	}{
		{[]string{"sink", "--fail", "often"}, "for example 0.2:503"},
		{[]string{"sink", "--fail", "0.2:teapot"}, "for example 0.2:503"},
		{[]string{"sink", "--fail", "2"}, "from 0 (none) to 1"},
		{[]string{"sink", "--delay", "long"}, "for example 300ms"},
		{[]string{"sink", "--secret", "{env.NO_SUCH_SECRET}"}, "NO_SUCH_SECRET"},
		{[]string{"sink", "--secret", "short"}, "secret"},
		{[]string{"sink", "--listen", "nowhere:99999"}, "--listen"},
		{[]string{"sink", "here"}, "does not take so many arguments (1); write: relay sink"},
	} {
		if _, err := command(t, "", bad.args...); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%v: %v; want %q", bad.args, err, bad.want)
		}
	}
}
