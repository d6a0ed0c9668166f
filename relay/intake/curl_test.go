package intake

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
)

// curlFiles are the files of documented commands.
var curlFiles = map[string]string{
	"order.json.gz":   "\x1f\x8b",
	"large.json":      `"` + strings.Repeat("x", 600<<10) + `"`,
	"many-fields.txt": manyFields(101),
	"orders.ndjson":   "{\"type\":\"order.paid\",\"data\":1}\n{\"type\":\"order.paid\",\"data\":2}\n",
}

// parseCurl makes the request that a documented command line makes.
func parseCurl(t *testing.T, command string) ask {
	t.Helper()
	words := shellWords(t, command)
	if len(words) == 0 || words[0] != "curl" {
		t.Fatalf("no command of curl: %s", command)
	}
	a := ask{method: http.MethodGet}
	body := func(text, contentType string) {
		a.body = text
		if name, ok := strings.CutPrefix(text, "@"); ok {
			a.body = curlFile(t, name)
		}
		if a.method == http.MethodGet {
			a.method = http.MethodPost
		}
		if !strings.Contains(a.header, "Content-Type:") {
			a.header += "Content-Type: " + contentType + "\n"
		}
	}
	for i := 1; i < len(words); i++ {
		next := func() string {
			if i++; i == len(words) {
				t.Fatalf("%s: the value of %s is missing", command, words[i-1])
			}
			return words[i]
		}
		switch word := words[i]; word {
		case "-i", "-s":
		case "--limit-rate":
			next()
		case "-X":
			a.method = next()
		case "-H":
			a.addHeader(t, next())
		case "--json":
			body(next(), "application/json")
		case "-d", "--data-binary":
			body(next(), "application/x-www-form-urlencoded")
		default:
			target, err := url.Parse(word)
			if err != nil || target.Scheme != "http" {
				t.Fatalf("%s: %q is not known", command, word)
			}
			a.path = target.EscapedPath()
			if a.host == "" {
				a.host = target.Host
			}
		}
	}
	return a
}

func (a *ask) addHeader(t *testing.T, line string) {
	t.Helper()
	if name, ok := strings.CutPrefix(line, "@"); ok {
		a.header += curlFile(t, name)
		return
	}
	if host, ok := strings.CutPrefix(line, "Host: "); ok {
		a.host = host
		return
	}
	a.header += line + "\n"
}

func curlFile(t *testing.T, name string) string {
	t.Helper()
	text, ok := curlFiles[name]
	if !ok {
		t.Fatalf("there is no file %s", name)
	}
	return text
}

// shellWords splits a command line as a shell does: with '...', $'...', "..." and lines
// that end in a backslash. Nothing is expanded.
func shellWords(t *testing.T, line string) []string {
	t.Helper()
	line = strings.ReplaceAll(line, "\\\n", " ")
	var words []string
	var word strings.Builder
	within := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\'' || c == '"' || c == '$' && strings.HasPrefix(line[i:], "$'"):
			escaped := c == '$'
			if escaped {
				i++
				c = '\''
			}
			end := strings.IndexByte(line[i+1:], c)
			if end < 0 {
				t.Fatalf("%s: a quote is not closed", line)
			}
			text := line[i+1 : i+1+end]
			if escaped {
				var err error
				if text, err = strconv.Unquote(`"` + strings.ReplaceAll(text, `"`, `\"`) + `"`); err != nil {
					t.Fatalf("%s: %v", line, err)
				}
			}
			word.WriteString(text)
			within = true
			i += 1 + end
		case c == ' ' || c == '\n':
			if within {
				words = append(words, word.String())
				word.Reset()
			}
			within = false
		default:
			word.WriteByte(c)
			within = true
		}
	}
	if within {
		words = append(words, word.String())
	}
	return words
}
