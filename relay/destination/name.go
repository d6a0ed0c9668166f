package destination

import (
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/net/idna"
)

// lookup maps a host name as people write it to the ASCII form that is looked up
// (UTS 46, non-transitional, so that faß.de is not fass.de). It is idna.Lookup but
// for two checks: STD 3 would refuse underscores, which receivers do use, and
// [checkName] has a rule for each ASCII character anyway; and two hyphens in the
// third and fourth place are refused by IDNA2008 but found in real names, so that
// browsers allow them (WHATWG URL, "domain to ASCII").
var lookup = idna.New(
	idna.MapForLookup(),
	idna.Transitional(false),
	idna.BidiRule(),
	idna.CheckHyphens(false),
	idna.StrictDomainName(false),
)

// canonicalName returns the ASCII form of a host name, without a final dot, or
// why it is none. It does not say whether the name may be dialled.
func canonicalName(host string) (name, reason string) {
	name, err := lookup.ToASCII(host)
	if err != nil {
		return "", "its name cannot be mapped to ASCII (" + strings.TrimPrefix(err.Error(), "idna: ") + ")"
	}
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	return name, checkName(name)
}

// checkName returns why name is not a host name (RFC 952, RFC 1123), or nothing.
// Underscores are let through, but not in the last label.
func checkName(name string) string {
	if len(name) > 253 {
		return fmt.Sprintf("its name has %d characters; at most 253 fit the DNS", len(name))
	}
	labels := strings.Split(name, ".")
	for i, label := range labels {
		switch {
		case label == "":
			return "its name has an empty label"
		case len(label) > 63:
			return fmt.Sprintf("its name has a label of %d characters; at most 63 fit the DNS", len(label))
		case label[0] == '-' || label[len(label)-1] == '-':
			return "its name has a label that begins or ends with a hyphen"
		}
		for _, c := range []byte(label) {
			switch {
			case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-':
			case c == '_' && i < len(labels)-1:
			default:
				return fmt.Sprintf("its name has the character %q; a host name has letters, digits and hyphens", rune(c))
			}
		}
	}
	return ""
}

// endsInNumber reports whether programs may read a name as an IPv4 address: its
// last label is a number, decimal or hexadecimal (WHATWG URL, "ends in a number").
// C libraries read 127.1, 2130706433 and 0x7f.1 as 127.0.0.1; Go's does not. Digits
// of other scripts count too, since some languages read them as numbers; no
// top-level domain consists of digits.
func endsInNumber(name string) bool {
	last := name[strings.LastIndexByte(name, '.')+1:]
	if strings.HasPrefix(last, "xn--") {
		unmapped, err := lookup.ToUnicode(last)
		return err == nil && strings.IndexFunc(unmapped, func(r rune) bool { return !unicode.IsDigit(r) }) < 0
	}
	digits, hex := strings.CutPrefix(last, "0x")
	for _, c := range []byte(digits) {
		if (c < '0' || c > '9') && (!hex || c < 'a' || c > 'f') {
			return false
		}
	}
	return last != ""
}

// specialNames are last labels that name nothing on the Internet, and what they
// are for: special-use names (RFC 6761 and its registry), names that ICANN keeps
// out of the root, and what common software puts there for itself.
var specialNames = map[string]string{
	"localhost":   "this machine (RFC 6761)",
	"localdomain": "this machine",
	"local":       "the local network (RFC 6762)",
	"internal":    "private networks (ICANN)",
	"test":        "tests (RFC 6761)",
	"example":     "examples (RFC 6761)",
	"invalid":     "names that never exist (RFC 6761)",
	"onion":       "Tor (RFC 7686)",
	"alt":         "names outside the DNS (RFC 9476)",
	"lan":         "private networks",
	"home":        "private networks",
	"corp":        "private networks",
	"intranet":    "private networks",
	"private":     "private networks",
	"svc":         "Kubernetes",
	"consul":      "Consul",
}

// privateName returns why a canonical name cannot be one on the Internet, or
// nothing. Whether its last label is in the public suffix list is not asked: the
// list ages, and new top-level domains come.
func privateName(name string) string {
	i := strings.LastIndexByte(name, '.')
	if use, ok := specialNames[name[i+1:]]; ok {
		return fmt.Sprintf("names that end in %q are for %s", name[i+1:], use)
	}
	if name == "home.arpa" || strings.HasSuffix(name, ".home.arpa") {
		return `names that end in "home.arpa" are for home networks (RFC 8375)`
	}
	if i < 0 {
		return "a name without a dot is not on the Internet"
	}
	return ""
}
