// Package auth puts the credentials of a subscription into its requests.
package auth

import (
	"context"
	"encoding/base64"
	"net/http"
)

// Authorizer adds credentials to requests. It may be used by many goroutines at once.
type Authorizer interface {
	// Authorize sets the credentials in the header of a request. It may ask a server for them
	// and wait until ctx ends; an error means that the request must not be made.
	Authorize(ctx context.Context, h http.Header) error
	// Refused is told that a request with this header was answered with 401.
	Refused(h http.Header)
}

// field is the header field of credentials (RFC 9110, section 11.6.2).
const field = "Authorization"

// Fixed are credentials that do not change.
type Fixed struct {
	values []string
}

// NewBasic returns those of a user (RFC 7617). The name has no colon.
func NewBasic(user, password string) *Fixed {
	return &Fixed{[]string{"Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))}}
}

// NewBearer returns a token (RFC 6750).
func NewBearer(token string) *Fixed { return &Fixed{[]string{"Bearer " + token}} }

// Authorize implements [Authorizer].
func (f *Fixed) Authorize(_ context.Context, h http.Header) error {
	h[field] = f.values[:1:1]
	return nil
}

// Refused implements [Authorizer]. Nothing can be done about it.
func (f *Fixed) Refused(http.Header) {}

// String and GoString keep the credentials out of logs and errors.
func (f *Fixed) String() string { return masked }

// GoString is as String.
func (f *Fixed) GoString() string { return masked }

const masked = "[credentials]"
