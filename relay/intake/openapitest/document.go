// Package openapitest holds requests and their answers against an OpenAPI 3.1 document:
// against all of it, so that what is not documented is as wrong as what is documented
// otherwise. It knows as much of OpenAPI as the intake's document uses. It is for tests.
package openapitest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Document is an OpenAPI document. It may be used by many goroutines.
type Document struct {
	root any

	mu       sync.Mutex
	compiler *jsonschema.Compiler
	schemas  map[string]*jsonschema.Schema
}

// address is a name for the document, which is nowhere fetched from.
const address = "https://openapi.invalid/document.json"

// New reads a document. It fails if a reference leads nowhere, or a schema is none.
func New(text []byte) (*Document, error) {
	root, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	d := &Document{root: root, compiler: jsonschema.NewCompiler(), schemas: make(map[string]*jsonschema.Schema)}
	d.compiler.DefaultDraft(jsonschema.Draft2020) // OpenAPI 3.1.0, section 4.8.24
	d.compiler.AssertFormat()
	if err := d.compiler.AddResource(address, root); err != nil {
		return nil, err
	}
	if version, _ := d.at("openapi").(string); !strings.HasPrefix(version, "3.1.") {
		return nil, fmt.Errorf("the document is of version %q; want 3.1", version)
	}
	return d, errors.Join(d.verify(nil, root)...)
}

// verify follows each reference, compiles each schema and checks the examples beside it.
func (d *Document) verify(path []string, value any) (faults []error) {
	fail := func(err error) {
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", pointer(path), err))
		}
	}
	switch v := value.(type) {
	case []any:
		for i, element := range v {
			faults = append(faults, d.verify(append(path[:len(path):len(path)], strconv.Itoa(i)), element)...)
		}
	case map[string]any:
		if at, ok := v["$ref"].(string); ok {
			_, err := d.follow(at)
			fail(err)
		}
		if schema, ok := v["schema"].(map[string]any); ok && (len(path) == 0 || path[len(path)-1] != "properties") {
			at := append(path[:len(path):len(path)], "schema")
			_, err := d.schema(at)
			fail(err)
			if example, ok := v["example"]; ok && err == nil {
				fail(d.validate(at, example))
			}
			if examples, ok := schema["examples"].([]any); ok && err == nil {
				for _, example := range examples {
					fail(d.validate(at, example))
				}
			}
		}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			faults = append(faults, d.verify(append(path[:len(path):len(path)], name), v[name])...)
		}
	}
	return faults
}

// at returns what stands at a path, nil if there is nothing. References on the way are
// followed.
func (d *Document) at(path ...string) any {
	value := d.root
	for _, name := range path {
		object, _ := d.resolve(value).(map[string]any)
		value = object[name]
	}
	return d.resolve(value)
}

// resolve follows a reference, if value is one.
func (d *Document) resolve(value any) any {
	object, _ := value.(map[string]any)
	if at, ok := object["$ref"].(string); ok {
		value, _ = d.follow(at)
	}
	return value
}

func (d *Document) follow(reference string) (any, error) {
	path, ok := strings.CutPrefix(reference, "#/")
	if !ok {
		return nil, fmt.Errorf("%s leads out of the document", reference)
	}
	value := d.root
	for name := range strings.SplitSeq(path, "/") {
		object, ok := value.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s leads nowhere", reference)
		}
		value, ok = object[strings.NewReplacer("~1", "/", "~0", "~").Replace(name)]
		if !ok {
			return nil, fmt.Errorf("%s leads nowhere", reference)
		}
	}
	return d.resolve(value), nil
}

// pointer makes a JSON Pointer of a path.
func pointer(path []string) string {
	var b strings.Builder
	for _, name := range path {
		b.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name))
	}
	return b.String()
}

// schema compiles the schema at a path, once.
func (d *Document) schema(path []string) (*jsonschema.Schema, error) {
	at := pointer(d.origin(path))
	d.mu.Lock()
	defer d.mu.Unlock()
	if known := d.schemas[at]; known != nil {
		return known, nil
	}
	compiled, err := d.compiler.Compile(address + "#" + (&url.URL{Path: at}).EscapedPath())
	if err == nil {
		d.schemas[at] = compiled
	}
	return compiled, err
}

// origin is a path without references on the way: those of OpenAPI are none of a schema's.
func (d *Document) origin(path []string) []string {
	var real []string
	value := d.root
	for _, name := range path {
		object, _ := value.(map[string]any)
		if list, ok := value.([]any); ok {
			if i, err := strconv.Atoi(name); err == nil && i < len(list) {
				value = list[i]
			}
		} else {
			value = object[name]
		}
		real = append(real, name)
		for {
			object, _ := value.(map[string]any)
			at, ok := object["$ref"].(string)
			if !ok {
				break
			}
			value, _ = d.follow(at)
			real = strings.Split(strings.TrimPrefix(at, "#/"), "/")
		}
	}
	return real
}

func (d *Document) validate(path []string, value any) error {
	compiled, err := d.schema(path)
	if err != nil {
		return err
	}
	return compiled.Validate(value)
}

// Validate holds a JSON text against a schema of the components.
func (d *Document) Validate(component string, text []byte) error {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	return d.validate([]string{"components", "schemas", component}, value)
}

// methods are those that a path item can have, in the order of an Allow.
var methods = []string{http.MethodDelete, http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPatch, http.MethodPost, http.MethodPut, http.MethodTrace}

// route finds the template of a path, and what its parameters are.
func (d *Document) route(path string) (template string, parameters map[string]string) {
	all, _ := d.at("paths").(map[string]any)
	for template := range all {
		if parameters, ok := match(template, path); ok {
			return template, parameters
		}
	}
	return "", nil
}

func match(template, path string) (map[string]string, bool) {
	want, got := strings.Split(template, "/"), strings.Split(path, "/")
	if len(want) != len(got) {
		return nil, false
	}
	parameters := make(map[string]string)
	for i, segment := range want {
		name, isParameter := strings.CutPrefix(segment, "{")
		value, err := url.PathUnescape(got[i])
		switch {
		case err != nil:
			return nil, false
		case isParameter && value != "":
			parameters[strings.TrimSuffix(name, "}")] = value
		case segment != got[i]:
			return nil, false
		}
	}
	return parameters, true
}

// allowed lists the methods of a path, as Allow does.
func (d *Document) allowed(template string) string {
	item, _ := d.at("paths", template).(map[string]any)
	var all []string
	for _, method := range methods {
		if item[strings.ToLower(method)] != nil {
			all = append(all, method)
		}
	}
	return strings.Join(all, ", ")
}
