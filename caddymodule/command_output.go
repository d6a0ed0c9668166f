package caddymodule

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// plainWriter writes texts for people and JSON to a terminal. What senders, receivers and the
// names of their certificates say is part of both, and could move the cursor, change the title,
// or turn the direction of a line around: what is not printable is written as \u001b. That
// means the same in JSON, where such characters only stand in texts.
type plainWriter struct {
	to io.Writer
	// cut is the beginning of a character whose end comes with the next write.
	cut []byte
}

// Write implements [io.Writer].
func (w *plainWriter) Write(b []byte) (int, error) {
	text := b
	if len(w.cut) > 0 {
		text = append(w.cut, b...)
	}
	whole := len(text)
	for i := 1; i < utf8.UTFMax && i <= len(text); i++ {
		if last := text[len(text)-i:]; utf8.RuneStart(last[0]) {
			if !utf8.FullRune(last) {
				whole -= i
			}
			break
		}
	}
	w.cut = append([]byte(nil), text[whole:]...)
	if _, err := io.WriteString(w.to, plain(string(text[:whole]))); err != nil {
		return 0, err
	}
	return len(b), nil
}

// plain returns a text with what is not printable written out, but for line breaks and tabs.
func plain(text string) string {
	clean := func(r rune) bool { return unicode.IsPrint(r) && r != utf8.RuneError || r == '\n' || r == '\t' }
	if strings.IndexFunc(text, func(r rune) bool { return !clean(r) }) < 0 {
		return text
	}
	var out strings.Builder
	for _, r := range text {
		switch {
		case clean(r) || r == utf8.RuneError: // which also stands for bytes that are no character
			out.WriteRune(r)
		case r > 0xFFFF:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&out, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return out.String()
}
