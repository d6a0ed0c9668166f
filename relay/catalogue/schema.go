package catalogue

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/caddyrelay/caddyrelay/relay/re2"
)

// maxSchemaSize is in bytes. It keeps what is no schema, such as a device, out of memory.
const maxSchemaSize = 4 << 20

// load reads and compiles a schema, with the files that it refers to.
func load(path string) (*jsonschema.Schema, json.RawMessage, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, nil, err
	}
	text, err := readFile(absolute)
	if err != nil {
		return nil, nil, err
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseLoader(files{})
	c.UseRegexpEngine(func(pattern string) (jsonschema.Regexp, error) { return re2.Compile(pattern) })
	schema, err := c.Compile(absolute)
	if err != nil {
		return nil, nil, plain(err)
	}
	return schema, text, nil
}

// readFile returns a JSON text.
func readFile(path string) (json.RawMessage, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxSchemaSize+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > maxSchemaSize:
		return nil, fmt.Errorf("the file has more than %d bytes", maxSchemaSize)
	case !json.Valid(text):
		return nil, notJSON(path, text)
	}
	return text, nil
}

func notJSON(path string, text []byte) error {
	var syntax *json.SyntaxError
	if err := json.Unmarshal(text, new(any)); errors.As(err, &syntax) {
		line := 1 + bytes.Count(text[:min(int(syntax.Offset), len(text))], []byte{'\n'})
		return fmt.Errorf("%s is not JSON: %w, on line %d", filepath.Base(path), err, line)
	}
	return fmt.Errorf("%s is not JSON", filepath.Base(path))
}

// files loads what a schema refers to: from files, and from nowhere else. Loading a
// configuration needs no network.
type files struct{}

// Load implements [jsonschema.URLLoader].
func (files) Load(address string) (any, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "file" {
		return nil, &remoteError{address}
	}
	path, err := jsonschema.FileLoader{}.ToFile(address)
	if err != nil {
		return nil, err
	}
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return jsonschema.UnmarshalJSON(bytes.NewReader(text))
}

// remoteError means that a schema refers to another machine.
type remoteError struct{ address string }

func (e *remoteError) Error() string {
	return fmt.Sprintf("it refers to %s, and schemas are not fetched over the network; save that beside it, and refer to it by its file name (a $ref is relative to $id, where the schema has one)", e.address)
}

// plain takes an error of the compiler out of its wrappings, where a person needs only
// its heart.
func plain(err error) error {
	var remote *remoteError
	var invalid *jsonschema.SchemaValidationError
	var wrong *jsonschema.ValidationError
	switch {
	case errors.As(err, &remote):
		return remote
	case errors.As(err, &invalid) && errors.As(invalid.Err, &wrong):
		fault := explain(wrong)[0]
		return fmt.Errorf("it is no JSON schema: at %q: %s", pointer(fault.Path), fault.Detail)
	}
	return err
}
