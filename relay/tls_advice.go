package relay

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"regexp"
	"strings"
)

// tlsAdvice ends the message about a handshake that failed with what may mend it; empty where
// nobody can tell. It is for the receiver of a subscription, whose words it names.
func tlsAdvice(err error) string {
	if wrong, ok := errors.AsType[x509.HostnameError](err); ok {
		if name := certifiedName(wrong.Certificate); name != "" {
			return "; if that is the receiver all the same, write: tls_server_name " + name
		}
		return ""
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "; the receiver has to send the certificates between its own and a known authority; one that is not public is named by: tls_trust_pool file <pem>"
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return "; the receiver has to renew it, unless this machine's clock is wrong"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "; the receiver does not speak TLS on this port: write http:// if that is meant, or another port"
	}
	for _, alert := range tlsAlerts {
		if strings.HasSuffix(err.Error(), "remote error: tls: "+alert.text) {
			return alert.advice
		}
	}
	return ""
}

const refusedCertificate = "; the receiver does not take the certificate of tls_client_auth: it has to know the authority, and to take this name"

// tlsAlerts are those of RFC 8446, section 6, that an operator can do something about, in the
// words of crypto/tls, which exports no others.
var tlsAlerts = []struct{ text, advice string }{
	{"certificate required", "; the receiver asks for a certificate of the relay: tls_client_auth <certificate file> <key file>"},
	{"bad certificate", refusedCertificate},
	{"unsupported certificate", refusedCertificate},
	{"revoked certificate", refusedCertificate},
	{"unknown certificate", refusedCertificate},
	{"unknown certificate authority", refusedCertificate},
	{"access denied", refusedCertificate},
	{"expired certificate", "; the certificate of tls_client_auth has to be renewed, and the configuration loaded again"},
	{"handshake failure", "; the receiver may ask for a certificate (tls_client_auth), or know no cipher that is safe today"},
	{"protocol version not supported", "; the receiver has to speak TLS 1.2 or 1.3"},
	{"unrecognized name", "; the receiver knows no such name; if it has another one, write: tls_server_name <name>"},
}

// certifiedNamePattern is what can be shown of a certificate, which is its owner's word alone.
var certifiedNamePattern = regexp.MustCompile(`^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$`)

// certifiedName returns a name that a certificate is for.
func certifiedName(certificate *x509.Certificate) string {
	for _, name := range certificate.DNSNames {
		if certifiedNamePattern.MatchString(name) {
			return name
		}
	}
	return ""
}
