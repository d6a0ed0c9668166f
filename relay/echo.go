package relay

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"html"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// hidden stands where an answer repeats a secret of its request. It is shorter than any of them.
const hidden = "***"

// leastSecret is the length in bytes from which on a secret is looked for in an answer.
const leastSecret = 4

// credentialFields are the header fields that usually hold what nobody else should see.
var credentialFields = []string{"Authorization", "Cookie", "Proxy-Authorization", "X-Api-Key"}

// HoldsCredentials reports whether a header field usually holds what nobody else should see.
func HoldsCredentials(field string) bool {
	return slices.Contains(credentialFields, http.CanonicalHeaderKey(field))
}

// hideEcho takes the secrets of a request out of the beginning of its answer: some endpoints
// send back what they got, and secrets are not stored. The excerpt is changed in place.
func (s *Subscription) hideEcho(excerpt []byte, sent http.Header) []byte {
	if len(excerpt) == 0 || s.Auth == nil && len(s.Header) == 0 {
		return excerpt
	}
	for _, secret := range s.secretsIn(sent) {
		for _, form := range written(secret) {
			excerpt = bytes.ReplaceAll(excerpt, []byte(form), []byte(hidden))
			excerpt = hideBegun(excerpt, form)
		}
	}
	return excerpt
}

// hideBegun takes out the beginning of a secret with which an excerpt was cut.
func hideBegun(excerpt []byte, secret string) []byte {
	for n := min(len(secret)-1, len(excerpt)); n >= leastSecret; n-- {
		if begin := len(excerpt) - n; string(excerpt[begin:]) == secret[:n] {
			return append(excerpt[:begin], hidden...)
		}
	}
	return excerpt
}

// secretsIn returns the secrets that a request carries in its header, the longest first, so that
// none is hidden in part.
func (s *Subscription) secretsIn(sent http.Header) (all []string) {
	for _, field := range credentialFields {
		for _, value := range sent[field] {
			all = append(all, secretsOf(value)...)
		}
	}
	for _, rule := range s.Header {
		if rule.Secret {
			all = append(all, sent[rule.Field]...)
		}
	}
	all = slices.DeleteFunc(all, func(secret string) bool { return len(secret) < leastSecret })
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
	return all
}

// secretsOf returns what is secret in a field of credentials: what stands after the scheme (RFC
// 9110, section 11.4), and the password in it (RFC 7617).
func secretsOf(value string) []string {
	scheme, secret, ok := strings.Cut(value, " ")
	if !ok {
		return []string{value}
	}
	all := []string{secret}
	if strings.EqualFold(scheme, "Basic") {
		if pair, err := base64.StdEncoding.DecodeString(secret); err == nil {
			_, password, _ := strings.Cut(string(pair), ":")
			all = append(all, password)
		}
	}
	return all
}

// written returns a secret in the ways in which pages and documents write it.
func written(secret string) []string {
	forms := []string{secret, url.QueryEscape(secret), html.EscapeString(secret), strings.ReplaceAll(secret, "/", `\/`)}
	if quoted, err := json.Marshal(secret); err == nil {
		forms = append(forms, string(quoted[1:len(quoted)-1]))
	}
	slices.Sort(forms)
	return slices.Compact(forms)
}
