package postgres

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// text is a string of anybody's making in a column of type json. JSON holds only valid
// UTF-8, and the server's functions for it fail on the character NUL: such a string is kept
// as {"base64": ...}.
type text string

type binaryText struct {
	Base64 string `json:"base64"`
}

// MarshalJSON implements [json.Marshaler].
func (t text) MarshalJSON() ([]byte, error) {
	if !plain(string(t)) {
		return json.Marshal(binaryText{base64.StdEncoding.EncodeToString([]byte(t))})
	}
	return json.Marshal(string(t))
}

// UnmarshalJSON implements [json.Unmarshaler].
func (t *text) UnmarshalJSON(raw []byte) error {
	if len(raw) > 0 && raw[0] == '{' {
		var b binaryText
		if err := json.Unmarshal(raw, &b); err != nil {
			return err
		}
		decoded, err := base64.StdEncoding.DecodeString(b.Base64)
		*t = text(decoded)
		return err
	}
	return json.Unmarshal(raw, (*string)(t))
}

// plain reports whether the server takes a string as it is.
func plain(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

// column is a string as a column of type text takes it.
func column(s string) string {
	if plain(s) {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
