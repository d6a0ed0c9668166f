//go:build linux

package bench

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"
)

// wire is what deliveries are made over. It implements [flag.Value].
type wire string

const (
	wirePlain wire = ""
	wireHTTP1 wire = "h1"
	wireHTTP2 wire = "h2"
)

// String implements [flag.Value].
func (w wire) String() string { return string(w) }

// Set implements [flag.Value].
func (w *wire) Set(text string) error {
	got := wire(text)
	if got != wireHTTP1 && got != wireHTTP2 {
		return fmt.Errorf("%q is neither h1 nor h2", text)
	}
	*w = got
	return nil
}

func (w wire) scheme() string {
	if w == wirePlain {
		return "http"
	}
	return "https"
}

// protocols are those that the sink offers.
func (w wire) protocols() []string {
	if w == wireHTTP2 {
		return []string{"h2"}
	}
	return []string{"http/1.1"}
}

// newCertificate makes a certificate for 127.0.0.1 that is its own root, and writes it to
// the file.
func newCertificate(path string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
