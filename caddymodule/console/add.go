package console

import (
	"fmt"
	"strings"

	"github.com/caddyrelay/caddyrelay/relay"
)

// addPage is the form of a new subscription. It saves nothing: what comes out of it is
// lines for the Caddyfile.
type addPage struct {
	Name, URL, Topics, Region     string
	Description, Headers, Filters string
	Auth, User, AuthSecret        string
	Sign                          string
	Regions                       []string
	Error                         string
	Block                         string
	Looked                        int
	Matched                       []*relay.Event
}

// Auths are the values of Auth.
func (*addPage) Auths() []choice {
	return []choice{{"", "none"}, {"basic", "basic"}, {"bearer", "bearer"}}
}

func (v *visit) askAdd() error {
	p := addPage{Sign: "WEBHOOK_SECRET"}
	return v.addForm(&p)
}

func (v *visit) addForm(p *addPage) error {
	for _, r := range v.options.Setup.Regions() {
		p.Regions = append(p.Regions, r.Name)
	}
	return v.show("add", "Add a webhook", p)
}

// add judges what was filled in, and shows which events of late would have been meant for
// it.
func (v *visit) add() error {
	p := addPage{
		Name: v.form("name"), URL: v.form("url"), Topics: v.form("topics"), Region: v.form("region"), Description: v.form("description"),
		Headers: v.form("headers"), Filters: v.form("filters"), Auth: v.form("auth"), User: v.form("user"), AuthSecret: v.form("auth_secret"), Sign: v.form("sign"),
	}
	block, err := p.block()
	if err != nil {
		p.Error = sentence(err.Error())
		return v.addForm(&p)
	}
	draft, err := v.options.Setup.Draft(block)
	if err != nil {
		p.Error = sentence(err.Error())
		return v.addForm(&p)
	}
	p.Block = block
	listed, _, err := v.engine.Events(v.context(), relay.EventQuery{Limit: pageSize})
	if err != nil {
		return err
	}
	for _, l := range listed {
		e, err := v.engine.Event(v.context(), l.Event.ID)
		if err != nil {
			continue // it was removed meanwhile, or cannot be read
		}
		if p.Looked++; draft.Wants(e) {
			p.Matched = append(p.Matched, e)
		}
	}
	return v.addForm(&p)
}

// block writes the lines of the Caddyfile.
func (p *addPage) block() (string, error) {
	var out strings.Builder
	fmt.Fprintf(&out, "subscription %s %s", token(p.Name), token(p.URL))
	for _, topic := range strings.Fields(p.Topics) {
		out.WriteString(" " + token(topic))
	}
	out.WriteString(" {\n")
	line := func(words ...string) {
		for i := range words {
			words[i] = token(words[i])
		}
		out.WriteString("\t" + strings.Join(words, " ") + "\n")
	}
	if p.Description != "" {
		line("description", p.Description)
	}
	if p.Region != "" {
		line("region", p.Region)
	}
	for text := range strings.Lines(p.Filters) {
		if words := strings.Fields(text); len(words) > 0 {
			line(append([]string{"filter"}, words...)...)
		}
	}
	for text := range strings.Lines(p.Headers) {
		if strings.TrimSpace(text) == "" {
			continue
		}
		name, value, ok := strings.Cut(text, ":")
		if !ok {
			return "", fmt.Errorf("header %q: write a field and its value, e.g. X-Team: shop", strings.TrimSpace(text))
		}
		line("header", strings.TrimSpace(name), strings.TrimSpace(value))
	}
	if err := p.secrets(line); err != nil {
		return "", err
	}
	out.WriteString("}")
	return out.String(), nil
}

// secrets writes the lines that need one: the names of variables, and never a secret.
func (p *addPage) secrets(line func(...string)) error {
	secret, err := variable(p.AuthSecret)
	switch {
	case p.Auth == "":
	case err != nil:
		return fmt.Errorf("auth: %w", err)
	case p.Auth == "basic":
		line("auth", "basic", p.User, secret)
	default:
		line("auth", p.Auth, secret)
	}
	if p.Sign == "" {
		return nil
	}
	if secret, err = variable(p.Sign); err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	line("sign", "standard", secret)
	return nil
}

// variable returns the placeholder of an environment variable.
func variable(name string) (string, error) {
	for i, c := range name {
		letter := c == '_' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return "", fmt.Errorf("%.40q is no name of an environment variable; give the name of one that holds the secret, and not the secret itself", name)
		}
	}
	if name == "" {
		return "", fmt.Errorf("the name of the environment variable that holds the secret is missing")
	}
	return "{env." + name + "}", nil
}

// token writes a word of the Caddyfile so that it stays one.
func token(text string) string {
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), " ")
	if text == "" || strings.ContainsAny(text, " \t\"`#{}\\") && !strings.HasPrefix(text, "{env.") {
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
	}
	return text
}
