package integration

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// files writes a certificate and its key as the configuration names them.
func files(t testing.TB, c tls.Certificate) (certificate, key string) {
	t.Helper()
	raw, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certificate, key = filepath.Join(dir, "client.crt"), filepath.Join(dir, "client.key")
	for file, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: c.Certificate[0]}, key: {Type: "PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, key
}

// newMutualReceiver listens with a certificate of the authority, for certain names, and wants
// one of the clients' authority.
func newMutualReceiver(t testing.TB, server, clients *authority, version uint16, names ...string) *receiver {
	t.Helper()
	r := &receiver{t: t, address: fmt.Sprintf("127.0.0.1:%d", freePort(t)), reply: with(http.StatusOK)}
	r.tls = &tls.Config{
		Certificates: []tls.Certificate{server.issue(func(c *x509.Certificate) {
			if len(names) > 0 {
				c.IPAddresses, c.DNSNames = nil, names
			}
		})},
		MaxVersion: version,
	}
	if clients != nil {
		r.tls.ClientCAs, r.tls.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		r.tls.ClientCAs.AddCert(clients.certificate)
	}
	r.up()
	t.Cleanup(r.down)
	return r
}

func clientCertificate(c *x509.Certificate) {
	c.ExtKeyUsage, c.IPAddresses = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, nil
}

// A receiver knows the relay by its certificate, and the relay knows the receiver by an
// authority that nobody else trusts.
func TestMutualTLSWithPrivateAuthorities(t *testing.T) {
	t.Parallel()
	servers, clients, strangers := newAuthority(t), newAuthority(t), newAuthority(t)
	ca, _ := files(t, tls.Certificate{Certificate: [][]byte{servers.certificate.Raw}, PrivateKey: servers.key})
	certificate, key := files(t, clients.issue(clientCertificate))
	ended, endedKey := files(t, clients.issue(func(c *x509.Certificate) {
		clientCertificate(c)
		c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	}))
	unknown, unknownKey := files(t, strangers.issue(clientCertificate))
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		mutual := newMutualReceiver(t, servers, clients, version)
		named := newMutualReceiver(t, servers, nil, version, "hooks.example.com")
		trust := "tls_trust_pool file " + ca
		c := run(t, subscribed("right", mutual, trust, "tls_client_auth "+certificate+" "+key)+
			subscribed("named", named, trust, "tls_server_name hooks.example.com")+
			subscribed("none", mutual, trust, "retry off")+
			subscribed("ended", mutual, trust, "tls_client_auth "+ended+" "+endedKey, "retry off")+
			subscribed("unknown", mutual, trust, "tls_client_auth "+unknown+" "+unknownKey, "retry off")+
			subscribed("untrusted", mutual, "tls_client_auth "+certificate+" "+key, "retry off")+
			subscribed("unnamed", named, trust, "retry off"))
		id := c.accept("order.paid", `{"order":1}`).ID
		for _, name := range []string{"right", "named"} {
			c.wantDelivery(id, name, stateDelivered, "")
		}
		for _, name := range []string{"none", "ended", "unknown", "untrusted", "unnamed"} {
			d := c.wantDelivery(id, name, stateFailed, anyReason)
			if a := d.Attempts[0]; a.ErrorKind != "tls" {
				t.Errorf("%s, version %x: %s, %s; want tls", name, version, a.ErrorKind, a.Error)
			}
		}
		if log := c.log(); !strings.Contains(log, `subscription \"ended\": tls_client_auth: the certificate was valid until`) {
			t.Error("no warning about the certificate that has ended")
		}
		mutual.wantExactly(1)
	}
}
