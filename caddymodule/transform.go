package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/transform"
)

func init() {
	caddy.RegisterModule(new(TemplateTransform))
	caddy.RegisterModule(new(JQTransform))
}

// transformNamespace holds the guests of transform.
const transformNamespace = "relay.transforms"

// TransformProvider is implemented by modules in the namespace relay.transforms, whose inline
// key is engine. For a Caddyfile they also implement
// [github.com/caddyserver/caddy/v2/caddyconfig/caddyfile.Unmarshaler]: the first token is the
// engine, as in "transform <engine> ...".
type TransformProvider interface {
	// NewTransform compiles and returns the transformation. It is called once, after
	// Provision. Its errors are shown with the name of the subscription. What it returns may
	// be used until the last attempt has ended, which can be after the guest's Cleanup.
	NewTransform() (*relay.Transformation, error)
}

// TransformText is the text of a transformation with the content type of its result.
type TransformText struct {
	// The text. It is compiled when the configuration is loaded.
	Text string `json:"text"`

	// The content type of the result. What is sent as JSON must be JSON, or the attempt fails.
	ContentType string `json:"content_type,omitempty"`
}

// parse reads
//
//	<engine> <text> [<content type>]
func (t *TransformText) parse(d *caddyfile.Dispenser, compile func() error) error {
	d.Next()
	engine := d.Val()
	args := d.RemainingArgs()
	var err error
	switch {
	case len(args) == 0:
		err = errors.New("the text is missing; it usually stands in a heredoc: " + heredocExample(engine))
	case len(args) > 2:
		err = fmt.Errorf("there are %d arguments, but there may be two: the text, and the content type of the result; text with spaces stands in quotes or in a heredoc: %s", len(args), heredocExample(engine))
	case opensBlock(d):
		err = errors.New("it takes no block; write: " + heredocExample(engine))
	default:
		t.Text = args[0]
		if len(args) == 2 {
			t.ContentType = args[1]
			err = t.checkContentType()
		}
		if err == nil {
			err = compile()
		}
	}
	return placeWithin(d, "transform "+engine, err)
}

// heredocExample shows how a text of several lines is written.
func heredocExample(engine string) string {
	text := `{"id": {{ toJson .data.id }}}`
	if engine == "jq" {
		text = "{id: .data.id}"
	}
	return fmt.Sprintf("transform %s <<END, then the lines of the text, e.g. %s, then END application/json", engine, text)
}

func (t *TransformText) checkContentType() error {
	if t.ContentType == "" {
		return nil
	}
	if media, _, err := mime.ParseMediaType(t.ContentType); err != nil || !strings.Contains(media, "/") {
		return fmt.Errorf("%q is no content type; write e.g. application/json, text/plain or application/x-www-form-urlencoded", t.ContentType)
	}
	return nil
}

// made returns the transformation of a text, or why it cannot be.
func (t *TransformText) made(compiled transform.Transform, err error) (*relay.Transformation, error) {
	if err == nil {
		err = t.checkContentType()
	}
	if err != nil {
		return nil, err
	}
	return &relay.Transformation{Transform: compiled, ContentType: t.ContentType}, nil
}

// TemplateTransform makes the body by a [template of Go](https://pkg.go.dev/text/template),
// with the functions of [Sprig](https://masterminds.github.io/sprig/) but for those that ask
// the network or the environment. It sees one object: `.id .type .source .subject .time
// .data`. The content type is by default that of the event's data.
type TemplateTransform struct {
	TransformText
}

// CaddyModule returns the Caddy module information.
func (*TemplateTransform) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  transformNamespace + ".template",
		New: func() caddy.Module { return new(TemplateTransform) },
	}
}

// NewTransform implements [TransformProvider].
func (t *TemplateTransform) NewTransform() (*relay.Transformation, error) {
	compiled, err := transform.NewTemplate(t.Text)
	return t.made(compiled, err)
}

// UnmarshalCaddyfile reads the text and the content type.
func (t *TemplateTransform) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return t.parse(d, func() error { _, err := t.NewTransform(); return err })
}

// JQTransform makes the body by a [jq](https://jqlang.org) program. It sees one object: `.id
// .type .source .subject .time .data`, and has one result. The content type is by default
// `application/json`; with one that is no JSON, a result that is text is sent as it is.
type JQTransform struct {
	TransformText
}

// CaddyModule returns the Caddy module information.
func (*JQTransform) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  transformNamespace + ".jq",
		New: func() caddy.Module { return new(JQTransform) },
	}
}

// NewTransform implements [TransformProvider].
func (t *JQTransform) NewTransform() (*relay.Transformation, error) {
	contentType := t.ContentType
	if contentType == "" {
		contentType = "application/json"
	}
	compiled, err := transform.NewJQ(t.Text, contentType)
	made, err := t.made(compiled, err)
	if err == nil {
		made.ContentType = contentType
	}
	return made, err
}

// UnmarshalCaddyfile reads the program and the content type.
func (t *JQTransform) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return t.parse(d, func() error { _, err := t.NewTransform(); return err })
}

// loadTransform loads the guest and makes its transformation.
func (s *Settings) loadTransform(ctx caddy.Context) error {
	if s.TransformRaw == nil {
		return nil
	}
	var guest struct {
		Engine string `json:"engine"`
	}
	if err := json.Unmarshal(s.TransformRaw, &guest); err != nil {
		return fmt.Errorf("transform: %w", err)
	}
	loaded, err := ctx.LoadModule(s, "TransformRaw")
	if err != nil {
		return fmt.Errorf("transform: %w", err)
	}
	provider, ok := loaded.(TransformProvider)
	if !ok {
		return fmt.Errorf("transform: module %T is no relay transformation", loaded)
	}
	if s.transform, err = provider.NewTransform(); err != nil {
		return fmt.Errorf("transform %s: %w", guest.Engine, err)
	}
	return nil
}

// showTransform returns the engine with the content type, then the text. It is no secret: no
// placeholder of Caddy is replaced in it.
func showTransform(s *Settings) []string {
	var guest struct {
		Engine string `json:"engine"`
		TransformText
	}
	if s.TransformRaw == nil || json.Unmarshal(s.TransformRaw, &guest) != nil {
		return nil
	}
	first := strings.TrimSpace(guest.Engine + " " + guest.ContentType)
	return append([]string{first}, lines(guest.Text)...)
}

var (
	_ TransformProvider     = (*TemplateTransform)(nil)
	_ caddyfile.Unmarshaler = (*TemplateTransform)(nil)
	_ TransformProvider     = (*JQTransform)(nil)
	_ caddyfile.Unmarshaler = (*JQTransform)(nil)
)
