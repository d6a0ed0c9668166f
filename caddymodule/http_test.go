package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay/signature"
)

func TestIntakeNeedsTheOption(t *testing.T) {
	err := validate(mustAdapt(t, "http://:4665 {\n\tbind 127.0.0.1\n\trelay_intake\n}\n"))
	if err == nil || !strings.Contains(err.Error(), "relay_intake needs the relay itself; write the global option") {
		t.Errorf("got %v", err)
	}
}

func TestSinkNeedsNoOption(t *testing.T) {
	if err := validate(mustAdapt(t, "http://:4666 {\n\tbind 127.0.0.1\n\trelay_sink\n}\n")); err != nil {
		t.Error(err)
	}
}

func TestHandlersJudgeTheirJSON(t *testing.T) {
	for _, c := range []struct{ handler, want string }{
		{`{"handler": "relay_intake", "max_event_size": 2000000}`, "relay_intake: max_event_size: 2000000 bytes are not possible"},
		{`{"handler": "relay_intake", "accept": ["github"]}`, `relay_intake: accept: unknown system "github"`},
		{`{"handler": "relay_intake", "hosts": ["a/b"]}`, "relay_intake: hosts: "},
		{`{"handler": "relay_intake", "type_from": [{}]}`, "relay_intake: type_from: "},
		{`{"handler": "relay_intake", "tokens": ["{env.NO_SUCH_VARIABLE}"]}`, "relay_intake: token: {env.NO_SUCH_VARIABLE} is not set"},
		{`{"handler": "relay_intake", "tokens": [""]}`, "relay_intake: token: the value is empty"},
		{`{"handler": "relay_sink", "secret": "{env.NO_SUCH_VARIABLE}"}`, "relay_sink: secret: {env.NO_SUCH_VARIABLE} is not set"},
		{`{"handler": "relay_sink", "secret": "short"}`, "relay_sink: the secret"},
		{`{"handler": "relay_sink", "fail_share": 2}`, "relay_sink: the share"},
		{`{"handler": "relay_sink", "delay": -1}`, "relay_sink: the delay"},
	} {
		err := validate(`{"admin": {"disabled": true}, "apps": {"relay": {}, "http": {"servers": {"a": {"routes": [{"handle": [` + c.handler + `]}]}}}}}`)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\ngot:  %v\nwant: %s", c.handler, err, c.want)
		}
	}
}

// TestEventIsDelivered is the main job, in one process: an application posts an event, a
// sink that fails the first attempt by accident gets it signed, by a Caddyfile alone.
func TestEventIsDelivered(t *testing.T) {
	secret := newSecret(t, "SECRET")
	t.Setenv("TOKEN", "t-0123456789")
	startCaddy(t)
	dir, intakePort, sinkPort := t.TempDir(), freePort(t), freePort(t)
	// Short, since the path of a socket has at most about a hundred characters.
	socketDir, err := os.MkdirTemp("", "relay")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(socketDir) })
	socket := filepath.Join(socketDir, "admin")
	config := mustAdapt(t, fmt.Sprintf(`{
	admin unix/%s
	persist_config off
	storage file_system %s
	relay {
		storage badger %s
		region local 127.0.0.1
		subscription sink http://127.0.0.1:%d/hook order.* {
			allow_ips 127.0.0.1
			sign standard {env.SECRET}
			retry 10ms 10ms 10ms
		}
	}
}
http://:%d {
	bind 127.0.0.1
	relay_intake {
		token {env.TOKEN}
	}
}
http://:%d {
	bind 127.0.0.1
	relay_sink {
		secret {env.SECRET}
		fail 0.5
	}
}
`, socket, filepath.Join(dir, "caddy"), filepath.Join(dir, "store"), sinkPort, intakePort, sinkPort))
	if err := caddy.Load([]byte(config), true); err != nil {
		t.Fatal(err)
	}

	post := func(token string) (int, string) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
			fmt.Sprintf("http://127.0.0.1:%d/v1/events/order.paid", intakePort), strings.NewReader(`{"id": 1}`))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Authorization", "Bearer "+token)
		return do(t, http.DefaultClient, request)
	}
	if status, _ := post("wrong"); status != http.StatusUnauthorized {
		t.Errorf("a wrong token got %d", status)
	}
	status, body := post("t-0123456789")
	if status != http.StatusAccepted || !strings.Contains(body, `"matched":["sink"]`) {
		t.Fatalf("got %d %s", status, body)
	}
	if status, _ = post("t-0123456789"); status != http.StatusAccepted {
		t.Fatalf("got %d", status)
	}

	var records string
	eventually(t, func() bool {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/", sinkPort), nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Accept", "application/json")
		_, records = do(t, http.DefaultClient, request)
		return strings.Count(records, `"simulated":false`) >= 2
	}, func() string { return "the sink did not get both events: " + records })
	if !strings.Contains(records, `"verified":true`) || strings.Contains(records, `"verified":false`) {
		t.Errorf("signatures are wrong: %s", records)
	}

	// What /config/ shows is what was written.
	admin := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/config/", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, shown := do(t, admin, request)
	if !strings.Contains(shown, "{env.SECRET}") || !strings.Contains(shown, "{env.TOKEN}") {
		t.Errorf("/config/ does not show the placeholders: %s", shown)
	}
	if strings.Contains(shown, secret) || strings.Contains(shown, "t-0123456789") {
		t.Errorf("/config/ shows a secret: %s", shown)
	}
	if _, err := signature.ParseStandardSecret(secret); err != nil {
		t.Fatal(err)
	}
}

func do(t *testing.T, client *http.Client, request *http.Request) (int, string) {
	t.Helper()
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// TestIntakeAnswers503WithoutAnEngine: handlers of a configuration outlive it, and the
// listener may be open although another app did not start.
func TestIntakeAnswers503WithoutAnEngine(t *testing.T) {
	c := startCaddy(t)
	c.load(config{})
	stopped := c.app()
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	neverStarted := mustProvision(t, `{}`)
	if err := neverStarted.Cleanup(); err != nil {
		t.Fatal(err)
	}
	for name, a := range map[string]*App{"stopped": stopped, "never started": neverStarted} {
		h := new(Intake)
		if err := h.build(a, zap.NewNop()); err != nil {
			t.Fatal(err)
		}
		for path, method := range map[string]string{"/v1/events/order.paid": http.MethodPost, "/readyz": http.MethodGet} {
			request := httptest.NewRequestWithContext(
				context.WithValue(t.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}),
				method, "http://localhost"+path, strings.NewReader("{}"))
			request.Header.Set("Content-Type", "application/json")
			recorder := httptest.NewRecorder()
			if err := h.ServeHTTP(recorder, request, nil); err != nil {
				t.Fatal(err)
			}
			if recorder.Code != http.StatusServiceUnavailable {
				t.Errorf("%s: %s answered %d %s; want 503", name, path, recorder.Code, recorder.Body)
			}
		}
	}
}

func TestDirectiveOrder(t *testing.T) {
	var config struct {
		Apps struct {
			HTTP struct {
				Servers map[string]struct {
					Routes []struct {
						Handle []struct{ Handler string }
					}
				}
			}
		}
	}
	adapted := mustAdapt(t, "{\n\trelay\n}\nhttp://:4665 {\n\trespond x\n\trelay_intake\n\trelay_sink\n\tencode\n}\n")
	if err := json.Unmarshal([]byte(adapted), &config); err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, route := range config.Apps.HTTP.Servers["srv0"].Routes {
		for _, h := range route.Handle {
			order = append(order, h.Handler)
		}
	}
	if got := strings.Join(order, " "); got != "encode relay_sink relay_intake static_response" {
		t.Errorf("order: %s", got)
	}
}
