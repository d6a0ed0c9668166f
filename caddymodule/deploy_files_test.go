package caddymodule

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.yaml.in/yaml/v3"
)

// graceOf returns the grace_period of a Caddyfile.
func graceOf(t *testing.T, caddyfile string) time.Duration {
	t.Helper()
	found := regexp.MustCompile(`grace_period (\S+)`).FindStringSubmatch(caddyfile)
	if found == nil {
		t.Fatalf("there is no grace_period:\n%s", caddyfile)
	}
	return duration(t, found[1])
}

func duration(t *testing.T, text string) time.Duration {
	t.Helper()
	d, err := caddy.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// wantDeployable provisions a Caddyfile, with files in the place of its secrets.
func wantDeployable(t *testing.T, caddyfile string) {
	t.Helper()
	config := strings.ReplaceAll(supply(t, mustAdapt(t, caddyfile)), "unix//run/caddy", "unix/"+t.TempDir())
	if err := validate(config); err != nil {
		t.Errorf("%v\n%s", err, caddyfile)
	}
}

// packagedUnit is what Caddy's package brings, as far as it matters here.
const packagedUnit = `[Unit]
Description=Caddy
After=network-online.target
Requires=network-online.target

[Service]
Type=notify
User=nobody
ExecStart=/bin/true run --environ --config /etc/caddy/Caddyfile
ExecReload=/bin/true reload --config /etc/caddy/Caddyfile --force
TimeoutStopSec=5s
LimitNOFILE=1048576
PrivateTmp=true
ProtectSystem=full
AmbientCapabilities=CAP_NET_ADMIN CAP_NET_BIND_SERVICE

[Install]
WantedBy=multi-user.target
`

func TestSystemdDropIn(t *testing.T) {
	const file = "../deploy/systemd/relay.conf"
	text, caddyfile := readFile(t, file), readFile(t, "../deploy/systemd/Caddyfile")
	wantDeployable(t, caddyfile)
	if stop := directive(t, text, "TimeoutStopSec"); duration(t, stop) <= graceOf(t, caddyfile) {
		t.Errorf("TimeoutStopSec is %s, and grace_period %s", stop, graceOf(t, caddyfile))
	}
	credential, _, _ := strings.Cut(directive(t, text, "LoadCredential"), ":")
	if !strings.Contains(caddyfile, "{file./run/credentials/caddy.service/"+credential+"}") {
		t.Errorf("the Caddyfile does not read the credential %s", credential)
	}
	if dir := directive(t, text, "StateDirectory"); !strings.Contains(caddyfile, "storage badger /var/lib/"+dir+"\n") {
		t.Errorf("the Caddyfile does not store in /var/lib/%s", dir)
	}

	verifier := needTool(t, "systemd-analyze", "systemd")
	dir := t.TempDir()
	unit := filepath.Join(dir, "caddy.service")
	for path, content := range map[string]string{unit: packagedUnit, unit + ".d/relay.conf": text} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	verify := func() string {
		cmd := exec.Command(verifier, "verify", "--man=no", unit)
		cmd.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":")
		said, _ := cmd.CombinedOutput() // other units of this machine may be broken
		return oursOf(string(said))
	}
	if said := verify(); said != "" {
		t.Errorf("systemd-analyze verify: %s", said)
	}
	// It reads the drop-in at all.
	broken := strings.Replace(text, "TimeoutStopSec=45s", "TimeoutStopSec=soon", 1)
	if err := os.WriteFile(unit+".d/relay.conf", []byte(broken), 0o600); err != nil {
		t.Fatal(err)
	}
	if verify() == "" {
		t.Error("a broken drop-in is verified, too")
	}
}

// oursOf returns the lines that name the files of this test.
func oursOf(output string) string {
	var ours []string
	for line := range strings.Lines(output) {
		if strings.Contains(line, "relay.conf") {
			ours = append(ours, line)
		}
	}
	return strings.Join(ours, "")
}

// directive is the value of a line of a unit.
func directive(t *testing.T, unit, name string) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^` + name + `=(.+)$`).FindStringSubmatch(unit)
	if found == nil {
		t.Fatalf("there is no %s=", name)
	}
	return found[1]
}

func TestDockerfile(t *testing.T) {
	text := readFile(t, "../deploy/docker/Dockerfile")
	instructions := []string{"ARG", "FROM", "RUN", "COPY", "VOLUME", "STOPSIGNAL", "HEALTHCHECK", "ENV", "USER", "ENTRYPOINT", "CMD", "LABEL", "WORKDIR", "EXPOSE"}
	stages := make(map[string]bool)
	last := ""
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if !slices.Contains(instructions, fields[0]) {
			t.Errorf("no instruction: %s", line)
		}
		if fields[0] == "FROM" {
			if last = fields[1]; len(fields) == 4 {
				stages[fields[3]] = true
			}
		}
		if from, ok := strings.CutPrefix(fields[1], "--from="); ok && !stages[from] {
			t.Errorf("there is no stage %q: %s", from, line)
		}
	}
	if len(stages) != 1 || last != "caddy:${CADDY_VERSION}" {
		t.Errorf("stages %v, and the image is made of %s", stages, last)
	}
	pinned := regexp.MustCompile(`caddyserver/caddy/v2 v(\S+)`).FindStringSubmatch(readFile(t, "../go.mod"))[1]
	if !strings.Contains(text, "ARG CADDY_VERSION="+pinned+"\n") {
		t.Errorf("the image is not of Caddy %s, which go.mod has", pinned)
	}
	wantKnownCommands(t, text)
}

// wantKnownCommands looks at the commands in a text, in the forms of a shell and of a list.
func wantKnownCommands(t *testing.T, text string) {
	t.Helper()
	found := regexp.MustCompile(`caddy"?,? "?relay"?,? "?([a-z]+)`).FindAllStringSubmatch(text, -1)
	if len(found) == 0 {
		t.Error("there is no command")
	}
	for _, f := range found {
		if !slices.Contains(knownCommands(), f[1]) {
			t.Errorf("there is no caddy relay %s", f[1])
		}
	}
}

func TestCompose(t *testing.T) {
	caddyfile := readFile(t, "../deploy/docker/Caddyfile")
	wantDeployable(t, caddyfile)
	var compose struct {
		Services map[string]struct {
			Network string   `yaml:"network_mode"`
			Grace   string   `yaml:"stop_grace_period"`
			Volumes []string `yaml:"volumes"`
			Secrets []string `yaml:"secrets"`
		}
		Volumes map[string]any
		Secrets map[string]any
	}
	readYAML(t, "../deploy/docker/compose.yaml", &compose)
	relay := compose.Services["relay"]
	if duration(t, relay.Grace) <= graceOf(t, caddyfile) || relay.Network != "host" {
		t.Errorf("%+v", relay)
	}
	for _, volume := range relay.Volumes {
		name, _, _ := strings.Cut(volume, ":")
		if _, declared := compose.Volumes[name]; !declared && !strings.HasPrefix(name, "./") {
			t.Errorf("the volume %s is not declared", name)
		}
	}
	for _, name := range relay.Secrets {
		if _, declared := compose.Secrets[name]; !declared || !strings.Contains(caddyfile, "{file./run/secrets/"+name+"}") {
			t.Errorf("the secret %s is not declared, or not used", name)
		}
	}
}

// object is what is read of each Kubernetes object.
type object struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   struct{ Name string }
	Data       map[string]string
	StringData map[string]string `yaml:"stringData"`
	Spec       struct {
		ServiceName string `yaml:"serviceName"`
		Selector    struct {
			MatchLabels map[string]string `yaml:"matchLabels"`
		}
		Template struct {
			Metadata struct{ Labels map[string]string }
			Spec     struct {
				Grace          int         `yaml:"terminationGracePeriodSeconds"`
				InitContainers []container `yaml:"initContainers"`
				Containers     []container
				Volumes        []struct {
					Name      string
					ConfigMap struct{ Name string } `yaml:"configMap"`
					Secret    struct {
						Name string `yaml:"secretName"`
					} `yaml:"secret"`
				}
			}
		}
		Claims []struct {
			Metadata struct{ Name string }
		} `yaml:"volumeClaimTemplates"`
	}
}

type container struct {
	Name          string
	RestartPolicy string `yaml:"restartPolicy"`
	VolumeMounts  []struct {
		Name      string
		MountPath string `yaml:"mountPath"`
	} `yaml:"volumeMounts"`
}

func TestKubernetesSidecar(t *testing.T) {
	const file = "../deploy/kubernetes/sidecar.yaml"
	raw := readFile(t, file)
	objects := make(map[string]object)
	for d := yaml.NewDecoder(bytes.NewReader([]byte(raw))); ; {
		var o object
		if err := d.Decode(&o); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if o.APIVersion == "" || o.Metadata.Name == "" {
			t.Errorf("%+v", o)
		}
		objects[o.Kind] = o
	}
	set, config, secret := objects["StatefulSet"], objects["ConfigMap"], objects["Secret"]
	caddyfile := config.Data["Caddyfile"]
	wantDeployable(t, caddyfile)
	wantKnownCommands(t, raw)
	pod := set.Spec.Template.Spec
	if time.Duration(pod.Grace)*time.Second <= graceOf(t, caddyfile) {
		t.Errorf("the pod has %d seconds to stop, and grace_period is %s", pod.Grace, graceOf(t, caddyfile))
	}
	if len(pod.InitContainers) != 1 || pod.InitContainers[0].RestartPolicy != "Always" {
		t.Fatalf("there is no native sidecar: %+v", pod.InitContainers)
	}
	if got := set.Spec.Selector.MatchLabels["app"]; got == "" || got != set.Spec.Template.Metadata.Labels["app"] || set.Spec.ServiceName != objects["Service"].Metadata.Name {
		t.Error("the StatefulSet does not select its pods, or has no service")
	}
	sources := make(map[string]string) // of volumes, by name
	for _, v := range pod.Volumes {
		sources[v.Name] = v.ConfigMap.Name + v.Secret.Name
		if name := sources[v.Name]; name != "" && name != config.Metadata.Name && name != secret.Metadata.Name {
			t.Errorf("there is no object %s", name)
		}
	}
	for _, claim := range set.Spec.Claims {
		sources[claim.Metadata.Name] = "claim"
	}
	mounted := make(map[string]string) // sources, by path
	for _, m := range pod.InitContainers[0].VolumeMounts {
		source, declared := sources[m.Name]
		if !declared {
			t.Errorf("there is no volume %s", m.Name)
		}
		mounted[m.MountPath] = source
	}
	if mounted["/data"] != "claim" || !strings.Contains(caddyfile, "storage badger /data/") {
		t.Error("accepted events are not on a volume claim")
	}
	for name := range secret.StringData {
		if !strings.Contains(caddyfile, "{file./run/secrets/relay/"+name+"}") {
			t.Errorf("the Caddyfile does not use the secret %s", name)
		}
	}
	for _, path := range regexp.MustCompile(`unix/(/[^\s\]]+)`).FindAllStringSubmatch(raw, -1) {
		if _, ok := mounted[filepath.Dir(path[1])]; !ok {
			t.Errorf("%s is on no volume", path[1])
		}
	}
}

// Each file is named where its use is explained.
func TestDeployedFilesAreExplained(t *testing.T) {
	pages := readFile(t, "../docs/deploy.md") + readFile(t, "../docs/alerts.md")
	files, err := filepath.Glob("../deploy/*/*")
	if err != nil || len(files) < 8 {
		t.Fatalf("%v: %v", files, err)
	}
	for _, file := range files {
		if name := strings.TrimPrefix(file, "../"); !strings.Contains(pages, name) && !strings.Contains(pages, filepath.Base(name)) &&
			!strings.HasSuffix(name, ".test.yml") && !strings.HasSuffix(name, "docker/Caddyfile") {
			t.Errorf("no page explains %s", name)
		}
	}
}
