package caddymodule

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pair writes a certificate that signs itself, and its key, and returns the files.
func pair(t testing.TB, until time.Time) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "relay"}, NotBefore: until.Add(-48 * time.Hour), NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certificate, key = filepath.Join(dir, "relay.crt"), filepath.Join(dir, "relay.key")
	for file, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: raw}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, key
}

// withTLS is the configuration of two subscriptions with these fields, beside a third without.
func withTLS(fields string) string {
	return `{"regions": [{"name": "eu", "egress": [{"address": "192.0.2.10"}]}], "subscriptions": [
		{"name": "crm", "url": "https://crm.example.com/", ` + fields + `},
		{"name": "erp", "url": "https://erp.example.com/", ` + fields + `},
		{"name": "log", "url": "https://log.example.com/"}]}`
}

func quote(t *testing.T, text string) string {
	t.Helper()
	quoted, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(quoted)
}

func TestTLSIsOfTheRoute(t *testing.T) {
	certificate, key := pair(t, time.Now().Add(time.Hour))
	t.Setenv("CERTIFICATE", certificate)
	a := mustProvision(t, withTLS(`"tls_client_auth": {"certificate_file": "{env.CERTIFICATE}", "key_file": `+quote(t, key)+`},
		"tls_trust_pool": {"provider": "file", "pem_files": [`+quote(t, certificate)+`]}, "tls_server_name": "hooks.example.com"`))
	crm, erp, log := a.plan.Subscription("crm"), a.plan.Subscription("erp"), a.plan.Subscription("log")
	if crm.Transport != erp.Transport || crm.Transport == log.Transport || len(a.transports) != 2 {
		t.Errorf("%d transports; want one for the two that are equal, and another", len(a.transports))
	}
	for _, s := range a.Subscriptions {
		config, err := s.effective.clientConfig(a.ctx)
		switch {
		case err != nil:
			t.Error(err)
		case s.Name == "log":
			if config != nil {
				t.Error("a subscription without these words has what others say")
			}
		case len(config.Certificates) != 1 || config.RootCAs == nil || config.ServerName != "hooks.example.com" || config.InsecureSkipVerify:
			t.Errorf("%s: %+v", s.Name, config)
		}
	}
	shown, err := json.Marshal(a)
	if err != nil || strings.Contains(string(shown), certificate+`","key_file`) {
		t.Errorf("the placeholder is gone from the configuration: %s, %v", shown, err)
	}
}

// Each word is taken from the defaults apart.
func TestTLSOfDefaults(t *testing.T) {
	certificate, _ := pair(t, time.Now().Add(time.Hour))
	a := mustProvision(t, `{"defaults": {"tls_trust_pool": {"provider": "file", "pem_files": [`+quote(t, certificate)+`]}},
		"subscriptions": [{"name": "crm", "url": "https://crm.example.com/", "tls_server_name": "a.example.com"}, {"name": "erp", "url": "https://crm.example.com/"}]}`)
	if len(a.transports) != 2 {
		t.Fatalf("%d transports", len(a.transports))
	}
	for _, s := range a.Subscriptions {
		if config, err := s.effective.clientConfig(a.ctx); err != nil || config.RootCAs == nil {
			t.Errorf("%s: %v, %v; want the trust pool of the defaults", s.Name, config, err)
		}
	}
}

func TestTLSFilesAreJudgedInProvision(t *testing.T) {
	certificate, key := pair(t, time.Now().Add(time.Hour))
	_, otherKey := pair(t, time.Now().Add(time.Hour))
	for _, tt := range []struct{ fields, want string }{
		{`"tls_client_auth": {"certificate_file": "/nowhere.crt", "key_file": ` + quote(t, key) + `}`, "tls_client_auth: loading client certificate key pair: open /nowhere.crt: no such file"},
		{`"tls_client_auth": {"certificate_file": ` + quote(t, certificate) + `, "key_file": ` + quote(t, otherKey) + `}`, "tls_client_auth: loading client certificate key pair: tls: private key does not match public key"},
		{`"tls_client_auth": {"certificate_file": ` + quote(t, certificate) + `, "key_file": "{env.UNSET}"}`, "tls_client_auth: {env.UNSET} is not set"},
		{`"tls_client_auth": {"certificate_file": "a.crt"}`, "tls_client_auth: both files are needed"},
		{`"tls_trust_pool": {"provider": "file", "pem_files": ["/nowhere.pem"]}`, "tls_trust_pool: failed to load ca module"},
		{`"tls_trust_pool": {"provider": "file", "pem_files": [` + quote(t, key) + `]}`, "tls_trust_pool: there is no certificate in it"},
		{`"tls_trust_pool": {"provider": "fil"}`, `tls_trust_pool: unknown module "fil" — did you mean "file"?`},
		{`"tls_trust_pool": {}`, "tls_trust_pool: a name must follow"},
		{`"tls_server_name": "https://a.example.com"`, `tls_server_name: "https://a.example.com" is no host name`},
	} {
		_, err := provision(t, withTLS(tt.fields))
		if err == nil || !strings.HasPrefix(err.Error(), `subscription "crm": `) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s\ngot:  %v\nwant: %s", tt.fields, err, tt.want)
		}
	}
}

func TestACertificateThatHasEndedIsAWarning(t *testing.T) {
	for until, want := range map[time.Duration]string{
		-time.Hour: "the certificate was valid until", 72 * time.Hour: "the certificate is valid from", time.Hour: "",
	} {
		certificate, key := pair(t, time.Now().Add(until))
		a := mustProvision(t, withTLS(`"tls_client_auth": {"certificate_file": `+quote(t, certificate)+`, "key_file": `+quote(t, key)+`}`))
		found := 0
		for _, text := range a.warnings() {
			if strings.Contains(text, "tls_client_auth: ") {
				found++
				if want == "" || !strings.Contains(text, want) {
					t.Errorf("%s: %s", until, text)
				}
			}
		}
		if (found == 2) != (want != "") {
			t.Errorf("%s: %d warnings", until, found)
		}
	}
}

// certificateEnd is when a certificate of a test ends, however slow the machine.
func certificateEnd() time.Time { return time.Now().Add(time.Hour) }
