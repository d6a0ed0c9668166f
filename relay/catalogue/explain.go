package catalogue

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// maxNumber bounds the length and the exponent of numbers that are checked. The
// validator calculates exactly: a few digits of an exponent would cost it megabytes.
const maxNumber = 400

// decode reads data for the validator. Numbers stay as they are written.
func decode(data []byte) (any, *Fault) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		return nil, &Fault{Detail: "is not JSON, which the schema of its type is about"}
	}
	if path, found := hugeNumber(value, nil); found {
		return nil, &Fault{Path: path, Detail: fmt.Sprintf("the number has more than %d digits, or an exponent as large; send it as a string", maxNumber)}
	}
	return value, nil
}

// hugeNumber finds a number beyond maxNumber, if there is one.
func hugeNumber(value any, path []string) (at []string, found bool) {
	path = path[:len(path):len(path)] // each append below makes a path of its own
	switch v := value.(type) {
	case json.Number:
		return path, isHuge(string(v))
	case []any:
		for i, element := range v {
			if at, found = hugeNumber(element, append(path, strconv.Itoa(i))); found {
				return at, true
			}
		}
	case map[string]any:
		for name, member := range v {
			if at, found = hugeNumber(member, append(path, name)); found {
				return at, true
			}
		}
	}
	return nil, false
}

func isHuge(number string) bool {
	if len(number) > maxNumber {
		return true
	}
	at := strings.IndexAny(number, "eE")
	if at < 0 {
		return false
	}
	exponent, err := strconv.Atoi(number[at+1:])
	return err != nil || exponent > maxNumber || exponent < -maxNumber
}

var english = message.NewPrinter(language.English)

// maxFaults bounds how many faults are listed: the data chooses their number.
const maxFaults = 100

// explain lists what is wrong, down to the single member. Of alternatives it tells what
// is wrong with the nearest: that of all would be about shapes that nobody meant.
func explain(e *jsonschema.ValidationError) []Fault {
	if len(e.Causes) == 0 {
		return []Fault{{e.InstanceLocation, short(e.ErrorKind.LocalizedString(english))}}
	}
	switch e.ErrorKind.(type) {
	case *kind.OneOf, *kind.AnyOf:
		return nearest(e)
	}
	var faults []Fault
	for _, cause := range e.Causes {
		if faults = append(faults, explain(cause)...); len(faults) >= maxFaults {
			return faults[:maxFaults]
		}
	}
	return faults
}

func nearest(e *jsonschema.ValidationError) []Fault {
	at := 0
	for i, cause := range e.Causes {
		if distance(cause) < distance(e.Causes[at]) {
			at = i
		}
	}
	detail := fmt.Sprintf("fits none of %d alternatives; what follows is wrong with number %d, the nearest", len(e.Causes), at+1)
	return append([]Fault{{e.InstanceLocation, detail}}, explain(e.Causes[at])...)
}

// distance counts what would have to be changed for the data to be right.
func distance(e *jsonschema.ValidationError) int {
	if missing, ok := e.ErrorKind.(*kind.Required); ok {
		return len(missing.Missing)
	}
	if len(e.Causes) == 0 {
		return 1
	}
	sum := 0
	for _, cause := range e.Causes {
		sum += distance(cause)
	}
	return sum
}

// short bounds a sentence that may hold parts of the data.
func short(text string) string {
	const longest = 300
	if len(text) <= longest {
		return text
	}
	return strings.ToValidUTF8(text[:longest], "") + "..."
}

// pointer is a JSON Pointer (RFC 6901).
func pointer(path []string) string {
	var b strings.Builder
	escape := strings.NewReplacer("~", "~0", "/", "~1")
	for _, name := range path {
		b.WriteString("/" + escape.Replace(name))
	}
	return b.String()
}
