package caddymodule

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyrelay/caddyrelay/relay"
)

// hasPlaceholder reports whether a value holds something to be resolved.
func hasPlaceholder(value string) bool {
	_, rest, ok := strings.Cut(value, "{")
	return ok && strings.Contains(rest, "}")
}

// hasSecretPlaceholder is hasPlaceholder without those of an event, which hide nothing.
func hasSecretPlaceholder(value string) bool {
	text, err := relay.ParseText(value)
	return err == nil && hasPlaceholder(text.Literals())
}

// resolve returns the value with its placeholders replaced. What it returns may be
// secret: it must never be written into a field that is marshalled.
func resolve(value string) (string, error) {
	if value == "" {
		return "", errors.New("the value is empty")
	}
	resolved, err := caddy.NewReplacer().ReplaceOrErr(value, true, true)
	if err != nil {
		return "", explainPlaceholder(value, err)
	}
	return resolved, nil
}

// explainPlaceholder says why a placeholder is empty, since Caddy's replacer does not
// tell an empty value from a missing one.
func explainPlaceholder(value string, err error) error {
	for rest := value; ; {
		_, after, found := strings.Cut(rest, "{")
		key, next, closed := strings.Cut(after, "}")
		if !found || !closed {
			return err
		}
		rest = next
		if name, ok := strings.CutPrefix(key, "env."); ok {
			switch text, set := os.LookupEnv(name); {
			case !set:
				return fmt.Errorf("{%s} is not set; set the variable where Caddy is started, e.g. with Environment= or EnvironmentFile= of its systemd unit", key)
			case text == "":
				return fmt.Errorf("{%s} is set, but empty; give the variable a value where Caddy is started", key)
			}
		}
		if path, ok := strings.CutPrefix(key, "file."); ok {
			if why := explainFile(key, path); why != nil {
				return why
			}
		}
	}
}

func explainFile(key, path string) error {
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("{%s} cannot be read: there is no such file; create it, or correct the path", key)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("{%s} cannot be read by user %q: permission denied; let that user read it", key, userName())
	case err != nil:
		return fmt.Errorf("{%s} cannot be read by user %q: %w", key, userName(), err)
	case len(strings.TrimSpace(string(text))) == 0:
		return fmt.Errorf("{%s} is empty; write the value into the file", key)
	}
	return nil
}

func userName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return fmt.Sprint(os.Getuid())
}

// literalWarning is logged where a secret stands in the configuration itself.
const literalWarning = `a secret is written in clear and will appear in "caddy adapt", autosave.json and /config/; use {file./path} or {env.NAME}`
