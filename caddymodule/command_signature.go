package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddyrelay/caddyrelay/relay/signature"
)

func verifyCommand() *cobra.Command {
	v := new(verification)
	cmd := &cobra.Command{
		Use:   "verify --secret <secret> --header 'name: value'... < body",
		Short: "Verify the signature of a request as its receiver does",
		Long: `Verifies the body on standard input, byte for byte as it came, and says which part is wrong:
the id, the timestamp, the signature's form, the body or the secret.

The scheme is told by the header fields, or by --scheme. An ed25519 signature is verified
with the public key (whpk_...). sign contentful also signs the method and the URL. For sign
hmac give the options that the configuration gives.`,
		Example: `  caddy relay verify --secret whsec_... --header 'webhook-id: evt_...' \
    --header 'webhook-timestamp: 1795306389' --header 'webhook-signature: v1,...' < body
  caddy relay verify --secret "$SECRET" --header 'x-hub-signature-256: sha256=...' < body
  caddy relay verify --scheme hmac --field X-Signature --encoding base64 --secret "$SECRET" \
    --header 'x-signature: ...' < body`,
		Args: cobra.NoArgs,
		RunE: v.run,
	}
	flags := cmd.Flags()
	flags.StringVar(&v.secret, "secret", "", "the secret that the receiver has")
	flags.StringArrayVar(&v.lines, "header", nil, "a header field of the request, as 'name: value'; may be repeated")
	flags.StringVar(&v.scheme, "scheme", "", "how it is signed: "+strings.Join(verifiable, ", "))
	flags.DurationVar(&v.tolerance, "tolerance", -1, "how old the request may be; 0: any age (default: 5m, for contentful 30s)")
	flags.StringVar(&v.method, "method", http.MethodPost, "contentful: the method of the request")
	flags.StringVar(&v.url, "url", "/", "contentful: the URL of the request, or path and query")
	flags.StringVar(&v.hmac.Header, "field", "", "hmac: the field of the signature")
	flags.StringVar(&v.hmac.Algorithm, "algorithm", "", "hmac: sha256, sha512 or sha1")
	flags.StringVar(&v.hmac.Encoding, "encoding", "", "hmac: hex or base64")
	flags.StringVar(&v.hmac.Prefix, "prefix", "", "hmac: what stands before the signature")
	flags.StringVar(&v.hmac.Over, "over", "", "hmac: body or standard")
	return cmd
}

// verifiable are the schemes that the command knows.
var verifiable = []string{"standard", "standard_ed25519", "contentful", "github", "stripe", "hmac"}

// maxVerifiedBody is more than any delivery has, in bytes.
const maxVerifiedBody = 16 << 20

// verification is one run of the command.
type verification struct {
	secret, scheme, method, url string
	lines                       []string
	tolerance                   time.Duration
	hmac                        signature.HMACOptions
}

func (v *verification) run(cmd *cobra.Command, _ []string) error {
	header, err := v.header()
	if err != nil {
		return err
	}
	body, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), maxVerifiedBody))
	if err != nil {
		return fmt.Errorf("reading the body from standard input: %w", err)
	}
	if v.scheme == "" {
		v.scheme = v.guess(header)
	}
	err = v.verify(header, body, time.Now())
	if wantsJSON(cmd) {
		verdict := struct {
			Verified bool   `json:"verified"`
			Scheme   string `json:"scheme"`
			Part     string `json:"part,omitempty"`
			Error    string `json:"error,omitempty"`
		}{Verified: err == nil, Scheme: v.scheme}
		if err != nil {
			verdict.Part, verdict.Error = partOf(err), err.Error()
		}
		if err := writeIndented(cmd.OutOrStdout(), verdict); err != nil {
			return err
		}
		return err
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "verified (%s): the request was signed with this secret, and nothing was changed\n", v.scheme)
	return err
}

func (v *verification) header() (http.Header, error) {
	h := make(http.Header)
	for _, line := range v.lines {
		name, value, ok := strings.Cut(line, ":")
		if !ok || strings.TrimSpace(name) == "" {
			return nil, fmt.Errorf("--header %q: write it as 'name: value'", line)
		}
		h.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	return h, nil
}

// guess tells the scheme by the fields that are there.
func (v *verification) guess(h http.Header) string {
	switch {
	case v.hmac.Header != "":
		return "hmac"
	case strings.HasPrefix(v.secret, "whpk_"):
		return "standard_ed25519"
	case h.Get(signature.HeaderSignature) != "":
		return "standard"
	}
	for field, scheme := range vendorFields {
		if h.Get(field) != "" {
			return scheme
		}
	}
	return "standard"
}

func (v *verification) verify(h http.Header, body []byte, now time.Time) error {
	if v.secret == "" {
		return errors.New("--secret is missing; give the secret that the receiver has")
	}
	tolerance := v.tolerance
	switch {
	case tolerance >= 0:
	case v.scheme == "contentful":
		tolerance = signature.ContentfulTolerance
	default:
		tolerance = signature.DefaultTolerance
	}
	err := v.by(h, body, now, tolerance)
	if errors.Is(err, signature.ErrTimestamp) && tolerance > 0 {
		if v.by(h, body, now, 0) == nil {
			return fmt.Errorf("%w; all else is right (--tolerance 0 takes a request of any age)", err)
		}
	}
	return err
}

func (v *verification) by(h http.Header, body []byte, now time.Time, tolerance time.Duration) error {
	switch v.scheme {
	case "standard":
		secret, err := signature.ParseStandardSecret(v.secret)
		if err != nil {
			return err
		}
		return signature.Verify(secret, h, body, now, tolerance)
	case "standard_ed25519":
		key, err := signature.ParseEd25519PublicKey(v.secret)
		if err != nil {
			return err
		}
		return signature.VerifyEd25519(key, h, body, now, tolerance)
	case "contentful":
		u, err := url.Parse(v.url)
		if err != nil {
			return errors.New("--url: this is no URL; give that of the request, or path and query, e.g. /hooks?a=b")
		}
		return signature.VerifyContentful(v.secret, v.method, u.RequestURI(), h, body, now, tolerance)
	case "github":
		return signature.VerifyHMAC(signature.GitHub, v.secret, h, body, now, tolerance)
	case "stripe":
		return signature.VerifyStripe(v.secret, h, body, now, tolerance)
	case "hmac":
		if v.hmac.Header == "" {
			return errors.New("--field is missing; name the header field of the signature, as in sign hmac { header <name> }")
		}
		return signature.VerifyHMAC(v.hmac, v.secret, h, body, now, tolerance)
	}
	return fmt.Errorf("--scheme: there is no %q%s", v.scheme, didYouMean(v.scheme, slices.Clone(verifiable)))
}

// partOf names the part of the request that is wrong, in a word.
func partOf(err error) string {
	for part, sentinel := range map[string]error{
		"id": signature.ErrID, "timestamp": signature.ErrTimestamp, "signature": signature.ErrSignature, "content": signature.ErrMismatch,
	} {
		if errors.Is(err, sentinel) {
			return part
		}
	}
	return "secret"
}
