package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddyrelay/caddyrelay/relay/egress"
)

// proxyNamespace holds the guests of network_proxy, which are Caddy's own.
const proxyNamespace = "caddy.network_proxy"

// proxyURL is what Caddy's guest "url" is told.
type proxyURL struct {
	From string `json:"from"`
	URL  string `json:"url"`
}

// proxyURLOf returns the URL of the guest "url" as it is written, and false for any other.
func (r *Region) proxyURLOf() (string, bool) {
	var guest proxyURL
	if err := json.Unmarshal(r.NetworkProxyRaw, &guest); err != nil || guest.From != "url" {
		return "", false
	}
	return guest.URL, true
}

// parseProxy reads the line, and the block that another guest may have.
func (r *Region) parseProxy(d *caddyfile.Dispenser, args []string) (err error) {
	if len(args) > 0 && looksLikeURL(args[0]) {
		return errors.New("network_proxy: the word url is missing before it; write: network_proxy url <url>")
	}
	if r.NetworkProxyRaw, err = parseGuest(d, "network_proxy", proxyNamespace, "from", args); err != nil {
		return err
	}
	// Caddy's own guests do not look at how many arguments there are.
	switch {
	case args[0] == "url" && len(args) == 1:
		_, err := parseProxyURL("", nil)
		return err
	case args[0] == "url" && len(args) > 2, args[0] == "none" && len(args) > 1:
		return fmt.Errorf("network_proxy %s: too many arguments; write: network_proxy url <url>, or: network_proxy none", args[0])
	}
	return r.checkProxy()
}

// checkProxy judges the text of network_proxy.
func (r *Region) checkProxy() error {
	text, ok := r.proxyURLOf()
	if !ok {
		return nil
	}
	if _, bare := cutUser(text); hasPlaceholder(bare) {
		return nil // judged when it is resolved
	}
	_, err := parseProxyURL(text, func(s string) (string, error) { return s, nil })
	return err
}

// cutUser takes user name and password out of a URL. They may be placeholders, whatever
// these look like.
func cutUser(text string) (user, bare string) {
	scheme, rest, ok := strings.Cut(text, "://")
	i := strings.LastIndexByte(rest, '@')
	if !ok || i < 0 {
		return "", text
	}
	return rest[:i], scheme + "://" + rest[i+1:]
}

// parseProxyURL reads the URL of a proxy. What the placeholders in user name and password
// stand for is taken as it is, without escapes. No error shows anything of it.
func parseProxyURL(text string, resolve func(string) (string, error)) (*url.URL, error) {
	if text == "" {
		return nil, errors.New("network_proxy url: the URL is missing; write e.g. network_proxy url http://proxy.example.com:3128")
	}
	user, bare := cutUser(text)
	resolved, err := resolve(bare)
	if err != nil {
		return nil, fmt.Errorf("network_proxy url: %w", err)
	}
	u, err := url.Parse(strings.TrimSpace(resolved))
	if err != nil {
		return nil, errors.New("network_proxy url: that is no URL; write e.g. http://proxy.example.com:3128, with what is special in user name or password escaped (%40 is @)")
	}
	if err := egress.CheckProxy(u); err != nil {
		return nil, fmt.Errorf("network_proxy url: %w", err)
	}
	if user == "" {
		return u, nil
	}
	var parts [2]string
	name, password, has := strings.Cut(user, ":")
	for i, part := range []string{name, password} {
		if hasPlaceholder(part) {
			parts[i], err = resolve(part)
		} else {
			parts[i], err = url.PathUnescape(part)
		}
		if err != nil {
			return nil, fmt.Errorf("network_proxy url: user name and password: %w", err)
		}
	}
	u.User = url.User(parts[0])
	if has {
		u.User = url.UserPassword(parts[0], parts[1])
	}
	return u, nil
}

// proxyWarnings are about a password that can be seen.
func (r *Region) proxyWarnings() []string {
	text, _ := r.proxyURLOf()
	if user, _ := cutUser(text); user != "" && !hasPlaceholder(user) {
		return []string{fmt.Sprintf("region %q: network_proxy url: %s", r.Name, literalWarning)}
	}
	return nil
}

// loadProxy makes the guest of network_proxy choose the proxy of connections.
func (r *Region) loadProxy(ctx caddy.Context) (egress.Proxy, error) {
	if r.NetworkProxyRaw == nil {
		return nil, nil
	}
	if text, ok := r.proxyURLOf(); ok {
		return constantProxy(text)
	}
	guest, err := ctx.LoadModule(r, "NetworkProxyRaw")
	if err != nil {
		return nil, fmt.Errorf("network_proxy: %w", err)
	}
	producer, ok := guest.(caddy.ProxyFuncProducer)
	if !ok {
		return nil, fmt.Errorf("network_proxy: module %T chooses no proxy", guest)
	}
	choose := producer.ProxyFunc()
	if choose == nil { // as that of "none"
		return nil, nil
	}
	replacer := caddy.NewReplacer()
	return func(ctx context.Context, target *url.URL) (*url.URL, error) {
		ctx = context.WithValue(ctx, caddy.ReplacerCtxKey, replacer)
		req := &http.Request{Method: http.MethodPost, URL: target, Host: target.Host, Header: make(http.Header)}
		return choose(req.WithContext(ctx))
	}, nil
}

// constantProxy does what Caddy's guest "url" would do, but takes placeholders anywhere in
// the URL, and resolves them when other secrets are resolved.
func constantProxy(text string) (egress.Proxy, error) {
	u, err := parseProxyURL(text, resolve)
	if err != nil {
		return nil, err
	}
	return func(context.Context, *url.URL) (*url.URL, error) { return u, nil }, nil
}
