package integration

import (
	"context"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestSessions runs what the page for operators shows of each command, line by line, against a
// Caddy of its own with three subscriptions: "crm" of order.*, which takes everything,
// "billing" of order.*, which fails with 404 and is tried once, and "archive" of invoice.*. Beside
// the commands of testscript there are
//
//	caddy ...      runs this Caddy, and adds --address to subcommands of relay
//	id NAME        sets NAME to the first event ID of the last output
//	settled EVENT  waits until no delivery of the event is pending
func TestSessions(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/sessions/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no sessions: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			well, sick := newReceiver(t), newReceiver(t)
			sick.answer(with(http.StatusNotFound))
			c := run(t, subscribed("crm", well, "topics order.*")+subscribed("billing", sick, "topics order.*", "retry off")+
				subscribed("archive", well, "topics invoice.*"))
			testscript.Run(t, testscript.Params{
				Files: []string{file},
				Setup: func(env *testscript.Env) error {
					env.Setenv("ADMIN", c.admin())
					env.Setenv("STORE", c.store())
					return nil
				},
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"caddy": func(ts *testscript.TestScript, neg bool, args []string) { c.session(ts, neg, args) },
					"id": func(ts *testscript.TestScript, _ bool, args []string) {
						ts.Setenv(args[0], regexp.MustCompile(`evt_\w+`).FindString(ts.ReadFile("stdout")))
					},
					"settled": func(_ *testscript.TestScript, _ bool, args []string) {
						eventually(t, func() bool {
							for _, d := range c.event(args[0]).Deliveries {
								if d.State == statePending {
									return false
								}
							}
							return true
						}, func() string { return args[0] + " is pending" })
					},
				},
			})
		})
	}
}

// session runs a command of a script.
func (c *instance) session(ts *testscript.TestScript, neg bool, args []string) {
	if args[0] == "relay" {
		args = append(args, "--address", c.admin())
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := c.command(ctx, args...)
	cmd.Dir = ts.Getenv("WORK")
	cmd.Stdout, cmd.Stderr = ts.Stdout(), ts.Stderr()
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		ts.Fatalf("it does not end")
	case err != nil && !neg:
		ts.Fatalf("%v", err)
	case err == nil && neg:
		ts.Fatalf("it succeeds")
	}
}
