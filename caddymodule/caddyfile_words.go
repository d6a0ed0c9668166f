package caddymodule

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// vocabulary holds the words that may stand in a block.
type vocabulary map[string]word

// word is one line of a block, or a line with a block of its own.
type word struct {
	// usage is the line as it should be, for errors.
	usage string
	// least and most bound the number of arguments; most < 0: any number.
	least, most int
	// many says that the word may stand more than once.
	many bool
	// block says that parse reads the block that may follow.
	block bool
	// blank says that an argument may be empty, as one that is text for people.
	blank bool
	// parse takes the arguments. Its error gets file and line of the word, unless it
	// has them already.
	parse func(args []string) error
}

// parseBlock reads the block that may follow the cursor. Each word consumes exactly
// its own line, so that the order of lines never decides what is accepted.
func parseBlock(d *caddyfile.Dispenser, within string, words vocabulary) error {
	nesting := d.Nesting()
	first := make(map[string]spot)
	for d.NextBlock(nesting) {
		name := d.Val()
		w, ok := words[name]
		if !ok {
			return place(d, unknownWord(within, name, words))
		}
		if at, again := first[name]; again && !w.many {
			return place(d, fmt.Errorf("%s: %q stands twice (first %s); leave out one of them", within, name, at.seenFrom(d)))
		}
		first[name] = here(d)
		args, err := w.line(d, name)
		at := *d
		if err == nil {
			err = place(d, w.parse(args))
		}
		if err == nil && !w.blank && slices.Contains(args, "") {
			// Often it was "{$VAR}". The word had nothing better to say.
			err = place(&at, fmt.Errorf("%s: %q has an empty argument; write: %s (%s)", within, name, w.usage, unsetHint))
		}
		if err != nil {
			return err
		}
	}
	if d.Nesting() > nesting {
		return place(d, fmt.Errorf("%s: the block is not closed; a \"}\" is missing", within))
	}
	return nil
}

// spot is where something stands. With import that may be in another file.
type spot struct {
	file string
	line int
}

func here(d *caddyfile.Dispenser) spot { return spot{d.File(), d.Line()} }

// seenFrom says it to somebody who reads at the cursor.
func (s spot) seenFrom(d *caddyfile.Dispenser) string {
	if s.file == d.File() {
		return fmt.Sprintf("on line %d", s.line)
	}
	return fmt.Sprintf("in %s:%d", s.file, s.line)
}

// nestedBlock is parseBlock whose errors begin with what the block is about. Those of a
// whole option or directive need not: Caddy adds its name.
func nestedBlock(d *caddyfile.Dispenser, within string, words vocabulary) error {
	err := parseBlock(d, within, words)
	if err == nil || strings.HasPrefix(err.Error(), within) {
		return err
	}
	return fmt.Errorf("%s: %w", within, err)
}

// line reads the arguments of the word under the cursor.
func (w word) line(d *caddyfile.Dispenser, name string) ([]string, error) {
	args := d.RemainingArgs()
	switch {
	case len(args) < w.least:
		return nil, place(d, fmt.Errorf("%q lacks an argument; write: %s (%s)", name, w.usage, unsetHint))
	case w.most == 0 && len(args) > 0:
		return nil, place(d, fmt.Errorf("%q takes no argument; write: %s", name, w.usage))
	case w.most >= 0 && len(args) > w.most:
		// None of them is shown: any could be a secret.
		return nil, place(d, fmt.Errorf("%q has %d arguments, but takes at most %d; write: %s (text with spaces stands in quotes)", name, len(args), w.most, w.usage))
	case !w.block && opensBlock(d):
		return nil, place(d, fmt.Errorf("%q takes no block; write: %s", name, w.usage))
	}
	for _, arg := range args {
		if left := leftOver.FindString(arg); left != "" {
			return nil, place(d, fmt.Errorf("%q: nothing was given for %s; the import of this snippet has too few arguments", name, left))
		}
	}
	return args, nil
}

// leftOver finds arguments of a snippet that its import did not give. Caddy leaves them
// as they are.
var leftOver = regexp.MustCompile(`\{args\[\d*\]\}`)

// unsetHint explains what vanished: Caddy replaces {$VAR} before anybody sees it.
const unsetHint = "if it comes from {$VAR}, that variable is not set where Caddy reads the Caddyfile"

// opensBlock reports whether a block begins after the cursor. It moves nothing.
func opensBlock(d *caddyfile.Dispenser) bool {
	probe := *d
	return !probe.NextLine() && probe.Next() && probe.Val() == "{"
}

// placedError is an error that names file and line.
type placedError struct{ error }

func (e placedError) Unwrap() error { return e.error }

// place adds the file and line of the cursor to an error that has none.
func place(d *caddyfile.Dispenser, err error) error {
	var placed placedError
	if err == nil || errors.As(err, &placed) {
		return err
	}
	return placedError{d.WrapErr(err)}
}

// placeWithin is place for an error that does not say yet what it is about.
func placeWithin(d *caddyfile.Dispenser, within string, err error) error {
	if err == nil {
		return nil
	}
	return place(d, fmt.Errorf("%s: %w", within, err))
}

// bareBlock parses the word and the block of a directive or option that takes no
// arguments of its own.
func bareBlock(d *caddyfile.Dispenser, words vocabulary) error {
	d.Next()
	name := d.Val()
	if args := d.RemainingArgs(); len(args) > 0 {
		return place(d, fmt.Errorf("%s takes no arguments; its options stand in a block, each on a line of its own", name))
	}
	return parseBlock(d, name, words)
}

// parseDuration reads a duration that must be longer than zero.
func parseDuration(name, text string) (Duration, error) {
	d, err := caddy.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%s: %q is no duration; %s", name, text, durationHint)
	}
	return Duration(d), checkDuration(name, d)
}

func checkDuration(name string, d time.Duration) error {
	if d <= 0 {
		return fmt.Errorf("%s: %s is not longer than zero", name, d)
	}
	return nil
}

// durationWord is a word that sets a duration.
func durationWord(name string, target *Duration) word {
	return word{usage: name + " <duration>", least: 1, most: 1, parse: func(args []string) (err error) {
		*target, err = parseDuration(name, args[0])
		return err
	}}
}
