package payload

import (
	"mime"
	"strings"
)

// IsJSON reports whether a content type is JSON or built on it (RFC 6839 section 3.1). None
// at all is taken for JSON.
func IsJSON(contentType string) bool {
	if contentType == "" || contentType == "application/json" {
		return true
	}
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil && media == "" {
		return false
	}
	return media == "application/json" || strings.HasSuffix(media, "+json")
}
