package caddymodule

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
)

// trustPoolNamespace holds the guests of tls_trust_pool, which are Caddy's.
const trustPoolNamespace = "tls.ca_pool.source"

// ClientCertificate is what the relay shows to servers that ask for a certificate.
type ClientCertificate struct {
	// The file of the certificate and its chain, in PEM. `{env.*}` and `{file.*}` are replaced.
	CertificateFile string `json:"certificate_file"`

	// The file of its private key, in PEM. `{env.*}` and `{file.*}` are replaced.
	KeyFile string `json:"key_file"`
}

func (c *ClientCertificate) check() error {
	if c != nil && (c.CertificateFile == "" || c.KeyFile == "") {
		return errors.New("tls_client_auth: both files are needed; write: tls_client_auth <certificate file> <key file>")
	}
	return nil
}

// checkServerName takes nothing for the host of the URL.
func checkServerName(name string) error {
	if strings.ContainsAny(name, " /:@") && !hasPlaceholder(name) {
		return fmt.Errorf("tls_server_name: %q is no host name; write it without scheme and port, e.g. hooks.example.com", name)
	}
	return nil
}

// tlsKey is equal for settings whose connections may be used for one another; empty if
// there is nothing that differs from the default.
func (s *Settings) tlsKey() string {
	if s.TLSClientAuth == nil && s.TLSTrustPoolRaw == nil && s.TLSServerName == "" {
		return ""
	}
	return string(caddyconfig.JSON([]any{s.TLSClientAuth, s.TLSTrustPoolRaw, s.TLSServerName}, nil))
}

// clientConfig makes the TLS configuration of connections, by the code of reverse_proxy. It
// reads the files. It is nil if nothing is set.
func (s *Settings) clientConfig(ctx caddy.Context) (*tls.Config, error) {
	if s.tlsKey() == "" {
		return nil, nil //nolint:nilnil // nothing is a valid choice
	}
	var config reverseproxy.TLSConfig
	for _, text := range []struct {
		word, value string
		into        *string
	}{
		{"tls_server_name", s.TLSServerName, &config.ServerName},
		{"tls_client_auth", s.certificateFile(), &config.ClientCertificateFile},
		{"tls_client_auth", s.keyFile(), &config.ClientCertificateKeyFile},
	} {
		if text.value == "" {
			continue
		}
		resolved, err := resolve(text.value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", text.word, err)
		}
		*text.into = resolved
	}
	// Apart, so that an error names the word.
	made, err := config.MakeTLSClientConfig(ctx)
	if err != nil {
		return nil, fmt.Errorf("tls_client_auth: %w; write the file of the certificate, then that of its private key, both in PEM", err)
	}
	if s.TLSTrustPoolRaw == nil {
		return made, nil
	}
	pool := reverseproxy.TLSConfig{CARaw: s.TLSTrustPoolRaw}
	trusting, err := pool.MakeTLSClientConfig(ctx)
	if err == nil && trusting.RootCAs.Equal(x509.NewCertPool()) {
		err = errors.New("there is no certificate in it, so that no server could be verified; name files in PEM that hold the authority's certificate (-----BEGIN CERTIFICATE-----)")
	}
	if err != nil {
		return nil, fmt.Errorf("tls_trust_pool: %w", err)
	}
	if made == nil {
		return trusting, nil
	}
	made.RootCAs = trusting.RootCAs
	return made, nil
}

func (s *Settings) certificateFile() string {
	if s.TLSClientAuth == nil {
		return ""
	}
	return s.TLSClientAuth.CertificateFile
}

func (s *Settings) keyFile() string {
	if s.TLSClientAuth == nil {
		return ""
	}
	return s.TLSClientAuth.KeyFile
}

// certificateWarning tells of a certificate that servers will refuse.
func certificateWarning(config *tls.Config, now time.Time) string {
	if config == nil {
		return ""
	}
	for _, c := range config.Certificates {
		switch leaf := c.Leaf; {
		case leaf == nil:
		case now.After(leaf.NotAfter):
			return fmt.Sprintf("tls_client_auth: the certificate was valid until %s: servers will refuse it; replace the file, and reload", leaf.NotAfter.UTC().Format(time.RFC3339))
		case now.Before(leaf.NotBefore):
			return fmt.Sprintf("tls_client_auth: the certificate is valid from %s: until then servers will refuse it", leaf.NotBefore.UTC().Format(time.RFC3339))
		}
	}
	return ""
}

// tlsWords are the words of reverse_proxy that make sense here.
func tlsWords(d *caddyfile.Dispenser, s *Settings) vocabulary {
	return vocabulary{
		"tls_client_auth": {usage: "tls_client_auth <certificate file> <key file>", least: 2, most: 2, parse: func(args []string) error {
			s.TLSClientAuth = &ClientCertificate{CertificateFile: args[0], KeyFile: args[1]}
			return s.TLSClientAuth.check()
		}},
		"tls_trust_pool": {usage: "tls_trust_pool <module> ...", most: -1, block: true, parse: func(args []string) error {
			raw, err := parseTrustPool(d, args)
			s.TLSTrustPoolRaw = raw
			return err
		}},
		"tls_server_name": {usage: "tls_server_name <name>", least: 1, most: 1, parse: func(args []string) error {
			s.TLSServerName = args[0]
			return checkServerName(s.TLSServerName)
		}},
	}
}

func parseTrustPool(d *caddyfile.Dispenser, args []string) (json.RawMessage, error) {
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	if strings.ContainsAny(name, "/.") {
		return nil, fmt.Errorf("tls_trust_pool: %q is no module; for a file in PEM write: tls_trust_pool file %s", name, name)
	}
	if err := checkGuest("tls_trust_pool", trustPoolNamespace, name); err != nil {
		return nil, err
	}
	raw, err := parseGuest(d, "tls_trust_pool", trustPoolNamespace, "provider", args)
	if err != nil {
		return nil, placedError{fmt.Errorf("tls_trust_pool: %w", err)} // Caddy's own modules name the place
	}
	return raw, nil
}

// checkTrustPool refuses what is no trust pool.
func checkTrustPool(raw json.RawMessage) error {
	return checkInline("tls_trust_pool", trustPoolNamespace, "provider", raw)
}

var _ caddytls.CA // what guests of tls_trust_pool are
