package openapitest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Exchange is a request with its answer.
type Exchange struct {
	Method string
	// Path is escaped, as in a request line.
	Path   string
	Header http.Header
	Body   []byte

	Status       int
	AnswerHeader http.Header
	Answer       []byte
}

// Case is a way in which an operation can be answered.
type Case struct {
	// Operation is a method and a template of a path.
	Operation string
	Status    int
	// Problem is the type of a problem, empty for other answers.
	Problem string
}

func (c Case) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s: %d %s", c.Operation, c.Status, c.Problem))
}

// unspoken are header fields of answers that need not be documented: HTTP's own.
var unspoken = []string{"Allow", "Cache-Control", "Connection", "Content-Length", "Content-Type", "Date", "Server", "X-Content-Type-Options"}

const problemMedia = "application/problem+json"

// Check holds an exchange against the document. It returns which case it was; that has
// no Operation if the document has none for the request, which must have been refused
// then. A request that was taken must be as documented, one that was refused need not.
func (d *Document) Check(e Exchange) (Case, error) {
	seen := Case{Status: e.Status}
	if e.AnswerHeader.Get("Content-Type") == problemMedia && e.Method != http.MethodHead {
		seen.Problem = problemType(e.Answer)
	}
	template, parameters := d.route(e.Path)
	if template == "" || !slices.Contains(methods, e.Method) || d.at("paths", template, strings.ToLower(e.Method)) == nil {
		return seen, d.checkUnknown(template, e)
	}
	seen.Operation = e.Method + " " + template
	operation := []string{"paths", template, strings.ToLower(e.Method)}
	err := d.checkAnswer(append(operation, "responses", strconv.Itoa(e.Status)), e)
	if e.Status < http.StatusMultipleChoices {
		err = errors.Join(err, d.checkParameters(operation, parameters, e), d.checkBody(append(operation, "requestBody"), e))
	}
	if err != nil {
		return seen, fmt.Errorf("%s: %w", seen, err)
	}
	return seen, nil
}

func problemType(answer []byte) string {
	value, _ := jsonschema.UnmarshalJSON(bytes.NewReader(answer))
	object, _ := value.(map[string]any)
	text, _ := object["type"].(string)
	return text
}

// checkUnknown is for what the document has no operation for.
func (d *Document) checkUnknown(template string, e Exchange) error {
	if e.Status < http.StatusBadRequest {
		return fmt.Errorf("%s %s is answered %d, but is not in the document", e.Method, e.Path, e.Status)
	}
	if template != "" && e.Status == http.StatusMethodNotAllowed {
		if got, want := e.AnswerHeader.Get("Allow"), d.allowed(template); got != want {
			return fmt.Errorf("%s %s: Allow is %q; the document has %q", e.Method, e.Path, got, want)
		}
	}
	if e.Method == http.MethodHead {
		return nil
	}
	return d.Validate("Problem", e.Answer)
}

func (d *Document) checkAnswer(path []string, e Exchange) error {
	response, ok := d.at(path...).(map[string]any)
	if !ok {
		return fmt.Errorf("the status is not in the document: %s", e.Answer)
	}
	headers, _ := response["headers"].(map[string]any)
	var faults []error
	for name := range headers {
		object, _ := d.at(append(path, "headers", name)...).(map[string]any)
		values := e.AnswerHeader.Values(name)
		if len(values) == 0 {
			if object["required"] == true {
				faults = append(faults, fmt.Errorf("the header field %s is missing", name))
			}
			continue
		}
		if err := d.validate(append(path, "headers", name, "schema"), values[0]); err != nil {
			faults = append(faults, fmt.Errorf("the header field %s: %w", name, err))
		}
	}
	known := append(slices.Collect(maps.Keys(headers)), unspoken...)
	for name := range e.AnswerHeader {
		if !slices.ContainsFunc(known, func(k string) bool { return strings.EqualFold(k, name) }) {
			faults = append(faults, fmt.Errorf("the header field %s is not in the document", name))
		}
	}
	if e.Method == http.MethodHead {
		return errors.Join(faults...)
	}
	return errors.Join(append(faults, d.checkContent(append(path, "content"), e.AnswerHeader, e.Answer))...)
}

func (d *Document) checkParameters(operation []string, inPath map[string]string, e Exchange) error {
	list, _ := d.at(append(operation, "parameters")...).([]any)
	var faults []error
	for i := range list {
		parameter, _ := d.resolve(list[i]).(map[string]any)
		name, _ := parameter["name"].(string)
		values := e.Header.Values(name)
		if parameter["in"] == "path" {
			values = []string{inPath[name]}
		}
		for _, value := range values {
			if err := d.validate(append(operation, "parameters", strconv.Itoa(i), "schema"), value); err != nil {
				faults = append(faults, fmt.Errorf("the parameter %s: %w", name, err))
			}
		}
		if len(values) == 0 && parameter["required"] == true {
			faults = append(faults, fmt.Errorf("the parameter %s is missing", name))
		}
	}
	return errors.Join(faults...)
}

func (d *Document) checkBody(path []string, e Exchange) error {
	object, ok := d.at(path...).(map[string]any)
	switch {
	case !ok && len(e.Body) > 0:
		return errors.New("the operation has no body")
	case len(e.Body) == 0 && object["required"] == true:
		return errors.New("the body is missing")
	case len(e.Body) == 0:
		return nil
	}
	return d.checkContent(append(path, "content"), e.Header, e.Body)
}

// checkContent holds a body against the schema of its media type.
func (d *Document) checkContent(path []string, header http.Header, body []byte) error {
	content, _ := d.at(path...).(map[string]any)
	media, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return fmt.Errorf("Content-Type %q: %w", header.Get("Content-Type"), err)
	}
	entry := mediaRange(content, media, header)
	if entry == "" {
		return fmt.Errorf("the content type %q is not in the document: %s", media, slices.Sorted(maps.Keys(content)))
	}
	path = append(path, entry)
	object, _ := d.at(path...).(map[string]any)
	if object["x-item-schema"] != nil {
		return d.checkItems(append(path, "x-item-schema"), body)
	}
	if media != "application/json" && !strings.HasSuffix(media, "+json") {
		return d.validate(append(path, "schema"), string(body))
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return err
	}
	return d.validate(append(path, "schema"), value)
}

// mediaRange finds the entry for a media type. One that has x-when-header is for requests
// with one of these header fields, and goes before all but formats of CloudEvents.
func mediaRange(content map[string]any, media string, header http.Header) string {
	special, _ := content["*/*"].(map[string]any)
	when, conditional := special["x-when-header"].([]any)
	present := slices.ContainsFunc(when, func(name any) bool { return header.Get(fmt.Sprint(name)) != "" })
	if present && !strings.HasPrefix(media, "application/cloudevents") {
		return "*/*"
	}
	candidates := []string{media}
	if strings.HasSuffix(media, "+json") {
		candidates = append(candidates, "application/*+json")
	}
	if !conditional {
		candidates = append(candidates, "*/*")
	}
	for _, entry := range candidates {
		if content[entry] != nil {
			return entry
		}
	}
	return ""
}

// checkItems holds each line of NDJSON against a schema.
func (d *Document) checkItems(path []string, body []byte) error {
	for line := range bytes.Lines(body) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(line))
		if err != nil {
			return err
		}
		if err := d.validate(path, value); err != nil {
			return fmt.Errorf("line %s: %w", line, err)
		}
	}
	return nil
}

// Cases lists all that the document has.
func (d *Document) Cases() []Case {
	var all []Case
	paths, _ := d.at("paths").(map[string]any)
	for template := range paths {
		for _, method := range methods {
			responses, _ := d.at("paths", template, strings.ToLower(method), "responses").(map[string]any)
			for code := range responses {
				status, _ := strconv.Atoi(code)
				c := Case{Operation: method + " " + template, Status: status}
				types := d.problemTypes("paths", template, strings.ToLower(method), "responses", code, "content", problemMedia, "schema")
				if len(types) == 0 {
					all = append(all, c)
				}
				for _, c.Problem = range types {
					all = append(all, c)
				}
			}
		}
	}
	return all
}

// problemTypes are those that a schema lists.
func (d *Document) problemTypes(path ...string) []string {
	schema, _ := d.at(path...).(map[string]any)
	var types []string
	parts, _ := schema["allOf"].([]any)
	for _, part := range append(parts, schema) {
		object, _ := part.(map[string]any)
		properties, _ := object["properties"].(map[string]any)
		kind, _ := properties["type"].(map[string]any)
		list, _ := kind["enum"].([]any)
		for _, value := range list {
			if text, ok := value.(string); ok {
				types = append(types, text)
			}
		}
	}
	return types
}
