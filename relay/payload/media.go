package payload

import (
	"errors"
	"mime"
	"strings"
)

// IsJSON reports whether a content type declares JSON: its subtype is json, or built on it
// (RFC 6839 section 3.1). None at all is taken for JSON.
func IsJSON(contentType string) bool {
	if contentType == "" || contentType == "application/json" {
		return true
	}
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return false
	}
	_, subtype, _ := strings.Cut(media, "/")
	return subtype == "json" || strings.HasSuffix(subtype, "+json")
}
