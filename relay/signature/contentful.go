package signature

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Header fields of Contentful's request verification.
const (
	HeaderContentfulSignature     = "X-Contentful-Signature"
	HeaderContentfulSignedHeaders = "X-Contentful-Signed-Headers"
	HeaderContentfulTimestamp     = "X-Contentful-Timestamp"
)

// ContentfulTolerance is how old a request may be for Contentful's own verifier.
const ContentfulTolerance = 30 * time.Second

// Contentful signs as Contentful does for its request verification: HMAC-SHA256, with the
// text of the secret as the key, over the method, the path, some header fields and the
// body. Signed are Content-Type and all fields that begin with X-Contentful-, Webhook- or
// Relay-; others, such as User-Agent, may be changed on the way.
//
// The path is written as Contentful's toolkit for Node.js writes it, which encodes what is
// encoded already: a query twice, a % in the path once more. Contentful's samples for
// other languages do not agree with that: they leave the path as it is, those for Go and
// Python without the query. A URL without query and without % means the same to all.
//
// Source: @contentful/node-apps-toolkit, src/requests; contentful-labs/request-verification-examples
type Contentful struct {
	keys []timed[[]byte]
}

// NewContentful returns a signer with the given secrets, of 64 characters each. There is
// room for one signature: of those valid at the time of a message the newest one signs.
func NewContentful(secrets ...TimedSecret) (*Contentful, error) {
	keys, err := parseEach(secrets, parseContentful)
	if err != nil {
		return nil, err
	}
	return &Contentful{keys: keys}, nil
}

// String and GoString keep the secrets out of logs and errors.
func (s *Contentful) String() string { return "contentful " + masked }

// GoString is as String.
func (s *Contentful) GoString() string { return s.String() }

// Sign sets the three header fields. It fails with [ErrNoSecret] if no secret is valid at
// m.Time.
func (s *Contentful) Sign(h http.Header, m Message) error {
	key, err := newest(s.keys, m.Time)
	if err != nil {
		return err
	}
	names := []string{strings.ToLower(HeaderContentfulSignedHeaders), strings.ToLower(HeaderContentfulTimestamp)}
	for field := range h {
		if name := strings.ToLower(field); signedByContentful(name) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	list := strings.Join(names, ",")
	stamp := strconv.FormatInt(m.Time.UnixMilli(), 10)
	h[HeaderContentfulSignedHeaders] = []string{list}
	h[HeaderContentfulTimestamp] = []string{stamp}
	h[HeaderContentfulSignature] = []string{contentfulSignature(key.key, m.Method, m.URL.RequestURI(), h, names, m.Body)}
	return nil
}

func signedByContentful(name string) bool {
	switch name {
	case strings.ToLower(HeaderContentfulSignature), fieldSignature:
		return false
	case "content-type":
		return true
	}
	return strings.HasPrefix(name, "x-contentful-") || strings.HasPrefix(name, "webhook-") || strings.HasPrefix(name, "relay-")
}

func contentfulSignature(key []byte, method, uri string, h http.Header, names []string, body []byte) string {
	fields := make([]string, len(names))
	for i, name := range names {
		fields[i] = name + ":" + strings.TrimSpace(strings.Join(h[http.CanonicalHeaderKey(name)], ", "))
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(method + "\n" + contentfulPath(uri) + "\n" + strings.Join(fields, ";") + "\n"))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}

// Characters that JavaScript's functions leave alone, beside letters and digits.
const (
	unescapedInComponent = "-_.!~*'()"                          // querystring.escape
	unescapedInURI       = unescapedInComponent + ";,/?:@&=+$#" // encodeURI (ECMA-262, section 19.2.6)
)

// contentfulPath writes path and query as the toolkit does: it splits at question marks,
// drops what follows the second, escapes the query, and then the whole.
func contentfulPath(uri string) string {
	path, rest, _ := strings.Cut(uri, "?")
	query, _, _ := strings.Cut(rest, "?")
	if query != "" {
		path += "?" + escapeExcept(query, unescapedInComponent)
	}
	return escapeExcept(path, unescapedInURI)
}

func escapeExcept(s, unescaped string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte(unescaped, c) >= 0 {
			b.WriteByte(c)
			continue
		}
		const digits = "0123456789ABCDEF"
		b.Write([]byte{'%', digits[c>>4], digits[c&15]})
	}
	return b.String()
}

// VerifyContentful checks a request as Contentful's toolkit does. The uri is path and query
// as they came in the request line. Errors are as those of [Verify].
func VerifyContentful(secret, method, uri string, h http.Header, body []byte, now time.Time, tolerance time.Duration) error {
	key, err := parseContentful(secret)
	if err != nil {
		return err
	}
	found, err := single(h, HeaderContentfulSignature, ErrSignature)
	if err != nil {
		return err
	}
	list, err := single(h, HeaderContentfulSignedHeaders, ErrSignature)
	if err != nil {
		return err
	}
	names := strings.Split(list, ",")
	for _, field := range []string{HeaderContentfulSignedHeaders, HeaderContentfulTimestamp} {
		if name := strings.ToLower(field); !slices.Contains(names, name) {
			return wrong(ErrSignature, strings.ToLower(HeaderContentfulSignedHeaders), "it does not list %s, which must be signed", name)
		}
	}
	stamp, err := single(h, HeaderContentfulTimestamp, ErrTimestamp)
	if err != nil {
		return err
	}
	field := strings.ToLower(HeaderContentfulTimestamp)
	ms, err := strconv.ParseUint(stamp, 10, 48)
	if err != nil {
		return wrong(ErrTimestamp, field, "%q is not a whole number of milliseconds since 1970, e.g. 1614265330000", stamp)
	}
	matches := func(body []byte) bool {
		return hmac.Equal([]byte(contentfulSignature(key, method, uri, h, names, body)), []byte(found))
	}
	if !matches(body) {
		return mismatch(body, "the method, the path, a header field that is listed or the body", matches)
	}
	return checkAge(field, stamp, time.UnixMilli(int64(ms)).UTC(), now, tolerance)
}
