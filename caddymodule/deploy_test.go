package caddymodule

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/intake"
)

const (
	rulesFile     = "../deploy/prometheus/relay.rules.yml"
	ruleTestsFile = "../deploy/prometheus/relay.rules.test.yml"
	dashboardFile = "../deploy/grafana/relay.json"
)

// rules are the alerts as Prometheus reads them.
type rules struct {
	Groups []struct {
		Rules []struct {
			Alert       string
			Expr        string
			Annotations map[string]string
		}
	}
}

func readYAML(t *testing.T, file string, into any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(readFile(t, file)), into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

func readFile(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// needTool returns the path of a program, or skips the test and names the package that
// brings it.
func needTool(t *testing.T, name, of string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		lacks := t.Skipf
		if os.Getenv("CI") != "" { // .ci/run installs it
			lacks = t.Fatalf
		}
		lacks("needs %s, of the Debian package %s", name, of)
	}
	return path
}

func TestAlertsDoAsTheirTestsSay(t *testing.T) {
	promtool := needTool(t, "promtool", "prometheus")
	for _, args := range [][]string{{"check", "rules", rulesFile}, {"test", "rules", ruleTestsFile}} {
		if out, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// Each alert is tested, says which command mends it, and has a section that explains it.
func TestAlertsAreTestedAndExplained(t *testing.T) {
	var r rules
	readYAML(t, rulesFile, &r)
	tests, page := readFile(t, ruleTestsFile), readFile(t, "../docs/alerts.md")
	known := knownCommands()
	count := 0
	for _, group := range r.Groups {
		for _, rule := range group.Rules {
			count++
			if strings.Count(tests, "alertname: "+rule.Alert) < 2 {
				t.Errorf("%s has no test in which it fires, and one in which it does not", rule.Alert)
			}
			if !strings.Contains(page, "\n## "+rule.Alert+"\n") {
				t.Errorf("alerts.md has no section of %s", rule.Alert)
			}
			if link := rule.Annotations["runbook_url"]; !strings.HasSuffix(link, "/docs/alerts.md#"+strings.ToLower(rule.Alert)) {
				t.Errorf("%s: the runbook is %q", rule.Alert, link)
			}
			if rule.Annotations["summary"] == "" {
				t.Errorf("%s has no summary", rule.Alert)
			}
			for _, found := range namedCommand.FindAllStringSubmatch(rule.Annotations["description"], -1) {
				if !slices.Contains(known, found[1]) {
					t.Errorf("%s names caddy relay %s, which there is not", rule.Alert, found[1])
				}
			}
		}
	}
	if sections := strings.Count(page, "\n## Relay"); count == 0 || sections != count {
		t.Errorf("%d alerts, and %d sections about alerts", count, sections)
	}
}

// knownCommands are the subcommands of caddy relay.
func knownCommands() []string {
	cmd := &cobra.Command{Use: "relay"}
	relayCommand(cmd)
	var names []string
	for _, sub := range cmd.Commands() {
		names = append(names, sub.Name())
	}
	return names
}

var namedCommand = regexp.MustCompile(`caddy relay ([a-z]+)`)

// TestDeployedMetricsExist: rules and dashboard use names and values that there are.
func TestDeployedMetricsExist(t *testing.T) {
	names := metricNames(t)
	for _, file := range []string{rulesFile, ruleTestsFile, dashboardFile} {
		text := readFile(t, file)
		if !strings.Contains(text, "caddy_relay_") {
			t.Errorf("%s names no metric", file)
		}
		for _, name := range unknownMetrics(text, names) {
			t.Errorf("%s: there is no metric %s", file, name)
		}
		for label, values := range labelValues() {
			matcher := regexp.MustCompile(`\b` + label + `=~?\\?"([^"\\$]+)\\?"`)
			for _, found := range matcher.FindAllStringSubmatch(text, -1) {
				for alternative := range strings.SplitSeq(found[1], "|") {
					pattern := regexp.MustCompile("^(?:" + alternative + ")$")
					if !slices.ContainsFunc(values, pattern.MatchString) {
						t.Errorf("%s: %s is never %q", file, label, alternative)
					}
				}
			}
		}
	}
}

// labelValues are those of labels that do not come from the configuration.
func labelValues() map[string][]string {
	known := map[string][]string{
		"outcome": {
			string(relay.OutcomeDelivered), string(relay.OutcomeRetry), string(relay.OutcomeFailed), string(relay.OutcomeCut),
		},
		"operation": storageOperations,
		"part":      {"events", "logs", "attempts", "other"},
	}
	for _, s := range relay.States {
		if s.Finished() {
			known["result"] = append(known["result"], string(s))
		}
	}
	for _, s := range relay.SubscriptionStates {
		known["state"] = append(known["state"], string(s))
	}
	for _, p := range intake.ProblemTypes() {
		known["reason"] = append(known["reason"], p.Slug)
	}
	return known
}

// panel is a part of a dashboard of Grafana.
type panel struct {
	ID      int
	Type    string
	Title   string
	GridPos struct{ H, W, X, Y int }
	Targets []struct{ Expr string }
}

func TestDashboardIsWhole(t *testing.T) {
	var board struct {
		UID        string
		Title      string
		Panels     []panel
		Templating struct{ List []struct{ Name string } }
	}
	text := readFile(t, dashboardFile)
	if err := json.Unmarshal([]byte(text), &board); err != nil {
		t.Fatal(err)
	}
	ids := make(map[int]bool)
	rows := 0
	for i, p := range board.Panels {
		if ids[p.ID] {
			t.Errorf("two panels have the id %d", p.ID)
		}
		ids[p.ID] = true
		if p.Type == "row" {
			rows++
			continue
		}
		if p.Title == "" || len(p.Targets) == 0 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %d: %+v", p.ID, p)
		}
		for _, other := range board.Panels[:i] {
			a, b := p.GridPos, other.GridPos
			if a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("%q lies over %q", p.Title, other.Title)
			}
		}
	}
	if rows != 4 {
		t.Errorf("%d rows, want 4: overview, subscriptions, egress, storage", rows)
	}
	// Every metric has its place on it.
	for _, name := range metricNames(t) {
		if !strings.Contains(text, name) {
			t.Errorf("the dashboard does not show %s", name)
		}
	}
	var variables []string
	for _, v := range board.Templating.List {
		variables = append(variables, v.Name)
	}
	for _, found := range regexp.MustCompile(`\$\{?([a-z]+)`).FindAllStringSubmatch(text, -1) {
		if !slices.Contains(variables, found[1]) && !strings.HasPrefix(found[0], "$__") {
			t.Errorf("the dashboard uses $%s, which it does not declare", found[1])
		}
	}
}

// TestDashboardQueriesAreUnderstood gives each query to promtool, as a recording rule.
func TestDashboardQueriesAreUnderstood(t *testing.T) {
	promtool := needTool(t, "promtool", "prometheus")
	var board struct{ Panels []panel }
	if err := json.Unmarshal([]byte(readFile(t, dashboardFile)), &board); err != nil {
		t.Fatal(err)
	}
	var list []map[string]string
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			expr := strings.NewReplacer("$__rate_interval", "5m").Replace(target.Expr)
			list = append(list, map[string]string{"record": "dashboard:query", "expr": expr})
		}
	}
	out, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": list}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "dashboard.yml")
	if err := os.WriteFile(file, out, 0o600); err != nil {
		t.Fatal(err)
	}
	if said, err := exec.Command(promtool, "check", "rules", "--lint=none", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, said)
	}
}
