package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/caddyrelay/caddyrelay/relay/egress"
)

// Times of tokens.
const (
	// fetchTimeout bounds one request for a token, whoever waits for it.
	fetchTimeout = 10 * time.Second
	// refreshBefore is how long before its end a token is replaced, while it still serves; a
	// tenth of its life if that is less.
	refreshBefore = time.Minute
	// lastUse is how long before its end a token is sent for the last time, for clocks that
	// differ and requests that take their time; a twentieth of its life if that is less.
	lastUse = 10 * time.Second
	// failurePause is how long a failure is told again before the server is asked again.
	failurePause = time.Second
	// refusalPause is the least time between two tokens that are given up because an endpoint
	// has refused them: an endpoint that refuses all shall not make the server issue one for
	// each attempt.
	refusalPause = time.Minute
)

// OAuth2Options are a client's credentials and where they count. All but Scopes and Audience
// are required.
type OAuth2Options struct {
	TokenURL               *url.URL
	ClientID, ClientSecret string
	Scopes                 []string
	// Audience names the API that the token is for, where the server wants to know.
	Audience string
	// Transport makes the requests.
	Transport http.RoundTripper
	UserAgent string
}

// OAuth2 are tokens that a server issues to a client (RFC 6749, section 4.4). One token
// serves all requests until shortly before it ends, and one request at a time asks for the
// next.
type OAuth2 struct {
	// config belongs to the fetch that is under way.
	config clientcredentials.Config
	// withClient adds the client that asks to a context, where the library looks for it.
	withClient func(context.Context) context.Context

	mu      sync.Mutex
	current *oauth2.Token
	// refresh and expiry are when current is to be replaced, and not to be sent any more;
	// zero where it does not say when it ends.
	refresh, expiry time.Time
	pending         *fetch
	// failure is the error of the last request, told until failureEnds.
	failure     error
	failureEnds time.Time
	refused     time.Time
}

// fetch is a request for a token that is under way.
type fetch struct {
	done  chan struct{}
	token *oauth2.Token
	err   error
}

// NewOAuth2 returns an authorizer. It asks for the first token when that is needed.
func NewOAuth2(o OAuth2Options) *OAuth2 {
	config := clientcredentials.Config{
		ClientID: o.ClientID, ClientSecret: o.ClientSecret, TokenURL: o.TokenURL.String(), Scopes: o.Scopes,
		AuthStyle: oauth2.AuthStyleInHeader,
	}
	if o.Audience != "" {
		config.EndpointParams = url.Values{"audience": {o.Audience}}
	}
	client := egress.NewClient(o.Transport, o.UserAgent)
	return &OAuth2{config: config, withClient: func(ctx context.Context) context.Context {
		return context.WithValue(ctx, oauth2.HTTPClient, client)
	}}
}

// String and GoString keep secret and token out of logs and errors.
func (o *OAuth2) String() string { return masked }

// GoString is as String.
func (o *OAuth2) GoString() string { return masked }

// Authorize implements [Authorizer].
func (o *OAuth2) Authorize(ctx context.Context, h http.Header) error {
	token, err := o.token(ctx)
	if err != nil {
		return err
	}
	h[field] = []string{token.Type() + " " + token.AccessToken}
	return nil
}

// Refused implements [Authorizer]: the token is given up, once. If its successor is refused,
// too, it is not the token.
func (o *OAuth2) Refused(h http.Header) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.current == nil || len(h[field]) != 1 || h[field][0] != o.current.Type()+" "+o.current.AccessToken {
		return // it was replaced meanwhile
	}
	now := time.Now()
	if !o.refused.IsZero() && now.Sub(o.refused) < refusalPause {
		return
	}
	o.refused, o.current = now, nil
}

// token returns the current token, or waits for the next one.
func (o *OAuth2) token(ctx context.Context) (*oauth2.Token, error) {
	o.mu.Lock()
	now := time.Now()
	token := o.current
	if token != nil && (o.refresh.IsZero() || now.Before(o.refresh)) {
		o.mu.Unlock()
		return token, nil
	}
	serves := token != nil && now.Before(o.expiry)
	if o.pending == nil {
		if now.Before(o.failureEnds) {
			err := o.failure
			o.mu.Unlock()
			if serves {
				return token, nil
			}
			return nil, err
		}
		o.pending = &fetch{done: make(chan struct{})}
		go o.fetch(o.pending)
	}
	pending := o.pending
	o.mu.Unlock()
	if serves {
		return token, nil // the next one is on its way
	}
	select {
	case <-pending.done:
		return pending.token, pending.err
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for a token: %w", context.Cause(ctx))
	}
}

// fetch asks for a token. It belongs to nobody in particular: whoever has asked for it may
// give up, and others still get it.
func (o *OAuth2) fetch(f *fetch) {
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	token, err := o.ask(o.withClient(ctx))
	if err == nil {
		err = check(token)
	}
	if err != nil {
		f.err = fmt.Errorf("asking for a token: %w", explain(err))
	} else {
		f.token = token
	}

	o.mu.Lock()
	defer o.mu.Unlock()
	defer close(f.done)
	o.pending = nil
	now := time.Now()
	if f.err != nil {
		o.failure, o.failureEnds = f.err, now.Add(failurePause)
		return
	}
	o.current, o.failure, o.failureEnds = token, nil, time.Time{}
	o.refresh, o.expiry = time.Time{}, time.Time{}
	if !token.Expiry.IsZero() {
		life := token.Expiry.Sub(now)
		o.refresh = token.Expiry.Add(-min(refreshBefore, life/10))
		o.expiry = token.Expiry.Add(-min(lastUse, life/20))
	}
}

// ask makes the request. Where the client is refused, the secret goes once more, in the body:
// some servers take it there alone. Which way it was that worked is kept. A server that
// fails, or asks to be left alone, is not asked twice.
func (o *OAuth2) ask(ctx context.Context) (*oauth2.Token, error) {
	token, err := o.config.Token(ctx)
	if o.config.AuthStyle == oauth2.AuthStyleInParams || !refusesClient(err) {
		return token, err
	}
	o.config.AuthStyle = oauth2.AuthStyleInParams
	if token, err = o.config.Token(ctx); err != nil {
		o.config.AuthStyle = oauth2.AuthStyleInHeader
	}
	return token, err
}

// refusesClient reports an answer that may be about where the secret stood. RFC 6749, section
// 5.2, has 400 and 401 for it; other servers have other ways.
func refusesClient(err error) bool {
	answer, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		return false
	}
	status := answer.Response.StatusCode
	return status < 300 || status >= 400 && status < 500 && status != http.StatusTooManyRequests
}

// check refuses a token that cannot be sent.
func check(token *oauth2.Token) error {
	for _, text := range []string{token.Type(), token.AccessToken} {
		if text == "" || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return errors.New("the answer's token has characters that cannot be sent")
		}
	}
	if strings.EqualFold(token.Type(), "mac") {
		return errors.New("the answer's token is of the type mac, which the relay does not know; it knows bearer tokens")
	}
	return nil
}

// explain makes words of an error of the token server, without the body of its answer,
// which may hold anything.
func explain(err error) error {
	answer, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		// It names the URL, whose query could be secret.
		if unreached, ok := errors.AsType[*url.Error](err); ok {
			return unreached.Err
		}
		if text := err.Error(); strings.HasPrefix(text, "oauth2: ") {
			return fmt.Errorf("the answer is not what RFC 6749 says: %s; is token_url right?", strings.TrimPrefix(text, "oauth2: "))
		}
		return err
	}
	text := "the server answered " + answer.Response.Status
	if answer.ErrorCode != "" {
		text += ", " + printable(answer.ErrorCode)
		if answer.ErrorDescription != "" {
			text += ": " + printable(answer.ErrorDescription)
		}
	}
	return errors.New(text + mend(answer.Response.StatusCode, answer.ErrorCode))
}

// mend says what to do about an answer that is no token.
func mend(status int, code string) string {
	switch {
	case code == "invalid_client", code == "unauthorized_client":
		return "; are client_id and client_secret those of this server?"
	case status >= 300 && status <= 399:
		return "; redirects are not followed: let token_url be the URL that it leads to"
	case code == "" && (status == http.StatusNotFound || status == http.StatusMethodNotAllowed):
		return "; is token_url right?"
	}
	return ""
}

// printable cuts a text from outside to what can be shown in a line.
func printable(text string) string {
	const most = 200
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text[:min(len(text), most)])
}
