package filter

import (
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// value is what a scalar of the data is compared with.
type value struct {
	text string
	// kind is that of the scalar, or 0 where any that is written so will do.
	kind jsontext.Kind
	// number is the value of a text that is one in JSON.
	number *decimal
}

// valueOf is the value of a text of unknown kind.
func valueOf(text string) value {
	v := value{text: text}
	if n, ok := parseDecimal(text); ok {
		v.number = &n
	}
	return v
}

// typedValue is a value of one kind.
func typedValue(kind jsontext.Kind, text string) value {
	v := valueOf(text)
	v.kind = kind
	if kind != jsontext.KindNumber {
		v.number = nil
	}
	return v
}

// is compares with a scalar: the value of a string, or the text of anything else.
func (v *value) is(kind jsontext.Kind, text []byte) bool {
	if v.kind != 0 && v.kind != kind {
		return false
	}
	if string(text) == v.text {
		return true
	}
	return kind == jsontext.KindNumber && v.number != nil && v.number.is(text)
}

// decimal is a number without loss: 0.digits × 10^power, with a sign.
type decimal struct {
	negative bool
	digits   string // neither begins nor ends with 0; empty for zero
	power    int64
}

// maxExponent bounds the exponents that are understood. No two numbers beyond it are
// equal, unless they are written alike.
const maxExponent = 1 << 32

// parseDecimal reads what is a number in JSON.
func parseDecimal(text string) (decimal, bool) {
	raw := jsontext.Value(text)
	if text == "" || strings.TrimSpace(text) != text || raw.Kind() != jsontext.KindNumber || !raw.IsValid() {
		return decimal{}, false
	}
	negative, mantissa, exponent, ok := split([]byte(text))
	if !ok {
		return decimal{}, false
	}
	var digits []byte
	whole := int64(0) // digits before the point, from the first that counts
	pointed := false
	for _, c := range mantissa {
		switch {
		case c == '.':
			pointed = true
		case len(digits) == 0 && c == '0':
			if pointed {
				whole--
			}
		default:
			digits = append(digits, c)
			if !pointed {
				whole++
			}
		}
	}
	for len(digits) > 0 && digits[len(digits)-1] == '0' {
		digits = digits[:len(digits)-1]
	}
	if len(digits) == 0 {
		return decimal{}, true
	}
	return decimal{negative: negative, digits: string(digits), power: whole + exponent}, true
}

// split takes a number of JSON apart.
func split(text []byte) (negative bool, mantissa []byte, exponent int64, ok bool) {
	if text[0] == '-' {
		negative, text = true, text[1:]
	}
	for i, c := range text {
		if c != 'e' && c != 'E' {
			continue
		}
		mantissa, text = text[:i], text[i+1:]
		below := false
		if len(text) > 0 && (text[0] == '-' || text[0] == '+') {
			below, text = text[0] == '-', text[1:]
		}
		for _, c := range text {
			exponent = exponent*10 + int64(c-'0')
			if exponent > maxExponent {
				return false, nil, 0, false
			}
		}
		if below {
			exponent = -exponent
		}
		return negative, mantissa, exponent, true
	}
	return negative, text, 0, true
}

// is compares with a number of JSON, without making another decimal of it.
func (d *decimal) is(text []byte) bool {
	if len(text) == 0 {
		return false
	}
	negative, mantissa, exponent, ok := split(text)
	if !ok {
		return false
	}
	matched, whole, pointed := 0, int64(0), false
	begun := false
	for _, c := range mantissa {
		switch {
		case c == '.':
			pointed = true
			continue
		case !begun && c == '0':
			if pointed {
				whole--
			}
			continue
		}
		begun = true
		if !pointed {
			whole++
		}
		switch {
		case matched < len(d.digits) && d.digits[matched] == c:
			matched++
		case matched == len(d.digits) && c == '0':
		default:
			return false
		}
	}
	if !begun { // it is zero, of either sign
		return d.digits == ""
	}
	return matched == len(d.digits) && negative == d.negative && whole+exponent == d.power
}
