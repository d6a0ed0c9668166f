package console

import (
	"errors"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddyrelay/caddyrelay/relay"
)

// tryPage is the form of an event that is made by hand.
type tryPage struct {
	Type, Data string
	Error      string
	// Checked says that Would has been found out.
	Checked bool
	Would   []string
	More    int
}

// askTry shows the form, filled in with an event that there is, if one is named.
func (v *visit) askTry() error {
	p := tryPage{Type: v.query("type"), Data: "{\n  \n}"}
	if id := v.query("event"); id != "" && len(v.redact) == 0 && v.payloads {
		e, err := v.engine.Event(v.context(), id)
		if err != nil {
			return err
		}
		if p.Type = e.Type; relay.CheckType(e.Type) != nil {
			p.Type = ""
		}
		p.Data = string(indented(e.Data))
	}
	return v.show("try", "Try it", &p)
}

// try says which subscriptions an event would be meant for, or sends it.
func (v *visit) try() error {
	p := tryPage{Type: v.form("type"), Data: v.r.PostFormValue("data")}
	if err := checkEvent(p.Type, p.Data); err != nil {
		p.Error = sentence(err.Error())
		return v.show("try", "Try it", &p)
	}
	if v.form("do") == "send" {
		id, err := v.options.Setup.Publish(v.context(), p.Type, []byte(p.Data))
		if err == nil {
			return v.goOn("events/" + id + "?done=sent")
		}
		p.Error = err.Error()
		return v.show("try", "Try it", &p)
	}
	p.Checked, p.Would = true, v.engine.Would(&relay.Event{Type: p.Type, ContentType: "application/json", Data: []byte(p.Data), Size: len(p.Data)})
	if n := len(p.Would); n > othersShown {
		p.Would, p.More = p.Would[:othersShown], n-othersShown
	}
	return v.show("try", "Try it", &p)
}

// checkEvent says what is wrong with an event, before it is asked what it would do.
func checkEvent(typ, data string) error {
	if err := relay.CheckType(typ); err != nil {
		return err
	}
	switch {
	case strings.TrimSpace(data) == "":
		return errors.New("the data is missing; write null if there is none")
	case len(data) > relay.MaxDataSize:
		return errors.New("the data is too large")
	case !jsontext.Value(data).IsValid():
		return errors.New("the data is no JSON")
	}
	return nil
}
