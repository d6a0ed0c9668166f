package relay_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/signature"
	"github.com/caddyrelay/caddyrelay/relay/transform"
)

func templated(t testing.TB, text, contentType string) *relay.Transformation {
	t.Helper()
	made, err := transform.NewTemplate(text)
	if err != nil {
		t.Fatal(err)
	}
	return &relay.Transformation{Transform: made, ContentType: contentType}
}

// What a transformation makes is what is sent and signed, in each format.
func TestTransformationsMakeTheBody(t *testing.T) {
	for _, tt := range []struct {
		format      relay.Format
		text        string
		contentType string
		want, media string
	}{
		{relay.FormatData, `{"entry": {{ toJson .data.sys.id }}}`, "", `{"entry": "e1"}`, "application/json"},
		{relay.FormatData, `entry={{ urlquery .subject }}`, "application/x-www-form-urlencoded", `entry=Zo%C3%AB`, "application/x-www-form-urlencoded"},
		{relay.FormatData, ``, "text/plain", ``, "text/plain"},
		{relay.FormatBinary, `{"a":1}`, "application/vnd.a+json", `{"a":1}`, "application/vnd.a+json"},
		{relay.FormatContentful, `{"a":1}`, "", `{"a":1}`, "application/vnd.contentful.management.v1+json"},
		{relay.FormatContentful, `{"a":1}`, "application/json", `{"a":1}`, "application/json"},
		{relay.FormatPhraseanet, `{"a":1}`, "application/vnd.phraseanet.event+json", `{"a":1}`, "application/vnd.phraseanet.event+json"},
	} {
		run(t, func(w *world) {
			secret := signature.NewStandardSecret()
			signer, err := signature.NewStandard(signature.TimedSecret{Secret: secret})
			if err != nil {
				t.Fatal(err)
			}
			var to receiver
			s := subscription("crm", &to)
			s.Format, s.Transform, s.Signers = tt.format, templated(t, tt.text, tt.contentType), []signature.Signer{signer}
			w.plan(s)
			w.post(full())
			w.wait(time.Second)
			got := to.all()[0]
			if got.body != tt.want || got.header.Get("Content-Type") != tt.media {
				t.Errorf("%s, %s: %s %s; want %s %s", tt.format, tt.text, got.header.Get("Content-Type"), got.body, tt.media, tt.want)
			}
			if tt.format == relay.FormatContentful && !strings.HasSuffix(got.header.Get("X-Contentful-Crn"), "/entries/e1") {
				t.Errorf("CRN %q; want that of the event", got.header.Get("X-Contentful-Crn"))
			}
			parsed, err := signature.ParseStandardSecret(secret)
			if err != nil {
				t.Fatal(err)
			}
			if err := signature.Verify(parsed, got.header, []byte(got.body), got.at, time.Minute); err != nil {
				t.Error(err)
			}
		})
	}
	run(t, func(w *world) {
		var to receiver
		s := subscription("crm", &to)
		s.Format, s.Transform = relay.FormatStructured, templated(t, `{"a":1}`, "")
		w.plan(s)
		w.post(full())
		w.wait(time.Second)
		if got := to.all()[0].body; !strings.HasSuffix(got, `"datacontenttype":"application/json","data":{"a":1}}`) {
			t.Errorf("%s; want what was made as the data", got)
		}
	})
}

// What cannot be transformed is retried, so that a configuration that is mended delivers it.
func TestTransformationsThatFailAreMendedByTheConfiguration(t *testing.T) {
	for text, want := range map[string]string{
		`{{ .data.n.x }}`:    "transform: line 1:8: executing",
		`{"a": }`:            "transform: the result is sent as JSON, and is none: it is wrong from byte 7",
		`{{ fail "no" }}`:    "no",
		`{{ index .id 99 }}`: "index out of range",
	} {
		run(t, func(w *world) {
			var to receiver
			s := subscription("crm", &to)
			s.Transform = templated(t, text, "")
			w.plan(s)
			id := w.publish("a", `{"n":1}`).ID
			w.wait(time.Second)
			d := w.delivery(id)
			if d.State != relay.StateRetrying || d.Attempts[0].ErrorKind != relay.KindTransform || !strings.Contains(d.Attempts[0].Error, want) || len(to.all()) != 0 {
				t.Errorf("%s: %+v, %d requests; want %s", text, d, len(to.all()), want)
			}
			mended := subscription("crm", &to)
			mended.Transform = templated(t, `{{ toJson .data }}`, "")
			w.plan(mended)
			w.wait(time.Hour)
			w.expect(id, relay.StateDelivered, "", 2)
		})
	}
}

// transformFunc is a transformation of a guest.
type transformFunc func(context.Context, transform.Input) ([]byte, error)

func (f transformFunc) Apply(ctx context.Context, in transform.Input) ([]byte, error) {
	return f(ctx, in)
}

func TestTransformationsOfGuestsAreContained(t *testing.T) {
	for kind, f := range map[relay.ErrorKind]transformFunc{
		relay.KindPanic:     func(context.Context, transform.Input) ([]byte, error) { panic("guest") },
		relay.KindTransform: func(context.Context, transform.Input) ([]byte, error) { return nil, errors.New("no") },
	} {
		run(t, func(w *world) {
			var to receiver
			s := subscription("crm", &to)
			s.Retry = relay.RetryPolicy{Off: true}
			s.Transform = &relay.Transformation{Transform: f}
			w.plan(s)
			id := w.publish("a", `{}`).ID
			w.wait(time.Second)
			if d := w.delivery(id); d.State != relay.StateFailed || d.Attempts[0].ErrorKind != kind {
				t.Errorf("%s: %+v", kind, d)
			}
		})
	}
}

// A stop cuts a transformation like any attempt: it is made again and not charged.
func TestAStopDuringATransformationIsNotCharged(t *testing.T) {
	run(t, func(w *world) {
		var to receiver
		s := subscription("crm", &to)
		s.Transform = &relay.Transformation{Transform: transformFunc(func(ctx context.Context, _ transform.Input) ([]byte, error) {
			<-ctx.Done()
			return nil, fmt.Errorf("stopped: %w", ctx.Err())
		})}
		w.plan(s)
		id := w.publish("a", `{}`).ID
		w.wait(time.Second)
		w.restart()
		w.plan(subscription("crm", &to))
		w.wait(time.Second)
		w.expect(id, relay.StateDelivered, "", 1)
	})
}
