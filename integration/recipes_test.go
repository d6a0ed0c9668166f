package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// recipes are the scripts of the page about egress, each under the name in its second line.
func recipes(t *testing.T) map[string]string {
	t.Helper()
	page, err := os.ReadFile("../docs/egress.md")
	if err != nil {
		t.Fatal(err)
	}
	scripts := make(map[string]string)
	for _, block := range strings.Split(string(page), "```sh\n")[1:] {
		script, _, _ := strings.Cut(block, "```")
		_, rest, _ := strings.Cut(script, "\n# ")
		name, _, _ := strings.Cut(rest, ":")
		scripts[name] = script
	}
	return scripts
}

// kitchen is a machine of a receiver: the recipes are in its path, and stand-ins for the
// programs that they call.
type kitchen struct {
	t *testing.T
	*instance
	bin, dir string
}

func newKitchen(t *testing.T, c *instance) *kitchen {
	t.Helper()
	for _, tool := range []string{"sh", "curl", "sed", "sort", "grep"} {
		need(t, tool, "the Debian package of that name, or coreutils")
	}
	k := &kitchen{t: t, instance: c, bin: t.TempDir(), dir: t.TempDir()}
	for name, script := range recipes(t) {
		k.tool(name, script)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	k.tool("caddy", "#!/bin/sh\nexec '"+self+"' \"$@\"\n")
	// What the operator's own programs are called with.
	k.tool("note", "#!/bin/sh\necho \"$@\" >>"+k.in("noted")+"\n[ ! -e "+k.in("broken")+" ]\n")
	k.tool("nginx", "#!/bin/sh\necho nginx \"$@\" >>"+k.in("noted")+"\n")
	k.tool("aws", `#!/bin/sh
case "$2" in
get-managed-prefix-list-entries) cat `+k.in("entries")+` ;;
describe-managed-prefix-lists) echo 7 ;;
*) echo "$@" >>`+k.in("noted")+` ;;
esac
`)
	return k
}

func (k *kitchen) tool(name, script string) {
	k.t.Helper()
	if err := os.WriteFile(filepath.Join(k.bin, name), []byte(script), 0o700); err != nil {
		k.t.Fatal(err)
	}
}

func (k *kitchen) in(name string) string { return filepath.Join(k.dir, name) }

func (k *kitchen) write(name, text string) {
	k.t.Helper()
	if err := os.WriteFile(k.in(name), []byte(text), 0o600); err != nil {
		k.t.Fatal(err)
	}
}

// read returns a file, or nothing if there is none.
func (k *kitchen) read(name string) string {
	text, _ := os.ReadFile(k.in(name))
	return string(text)
}

// noted returns what was called since it was last asked.
func (k *kitchen) noted() string {
	text := k.read("noted")
	_ = os.Remove(k.in("noted"))
	return strings.TrimSpace(text)
}

// cook runs a command in the kitchen.
func (k *kitchen) cook(args ...string) result {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := k.command(ctx)
	cmd.Path, cmd.Args = filepath.Join(k.bin, args[0]), args
	cmd.Env = append(cmd.Env, "PATH="+k.bin+":"+os.Getenv("PATH"), "HOOKS_DIR="+k.dir)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if _, ok := errors.AsType[*exec.ExitError](err); !ok {
			k.t.Fatal(err)
		}
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

func (k *kitchen) mustCook(args ...string) {
	k.t.Helper()
	if r := k.cook(args...); r.code != 0 {
		k.t.Fatalf("%s: %s", strings.Join(args, " "), r)
	}
}

func TestReceiversFollowTheListByTheRecipes(t *testing.T) {
	t.Parallel()
	p := newPublisher(t)
	p.configure("region eu 127.0.0.1 2001:db8::1\n")
	p.start()
	k := newKitchen(t, p.instance)
	address := fmt.Sprintf("http://127.0.0.1:%d/addresses/egress.txt", p.listPort)
	follow := []string{"follow-egress", k.in("hooks.txt"), address + "?region=eu&scheduled=true", "note", "changed"}

	k.mustCook(follow...)
	if got, want := k.read("hooks.txt"), "127.0.0.1/32\n2001:db8::1/128\n"; got != want || k.noted() != "changed" {
		t.Errorf("the first list is %q; want %q, and a call", got, want)
	}
	k.mustCook(follow...)
	if got := k.noted(); got != "" {
		t.Errorf("nothing has changed, and %q was called", got)
	}

	// A change is followed; if what has to be done fails, it is done the next time.
	p.mustReload("region eu {\negress 127.0.0.1 127.0.0.3\negress 127.0.0.2 from 2126-01-01T00:00:00Z\n}\n")
	k.write("broken", "")
	if r := k.cook(follow...); r.code == 0 || k.noted() != "changed" {
		t.Errorf("the command fails: %s", r)
	}
	_ = os.Remove(k.in("broken"))
	k.mustCook(follow...)
	const list = "127.0.0.1/32\n127.0.0.2/32\n127.0.0.3/32\n"
	if got := k.read("hooks.txt"); got != list || k.noted() != "changed" {
		t.Errorf("the list is %q; want %q, and a call", got, list)
	}
	k.mustCook(follow...)
	if got := k.noted(); got != "" {
		t.Errorf("it was done, and %q was called", got)
	}

	// What is no list changes nothing.
	page := newReceiver(t)
	page.answer(func(w http.ResponseWriter, _ *arrival) { _, _ = w.Write([]byte("<html>Welcome</html>\n")) })
	for _, bad := range []string{address + "?region=nope", page.url(), fmt.Sprintf("http://127.0.0.1:%d/", freePort(t))} {
		if r := k.cook("follow-egress", k.in("hooks.txt"), bad, "note", "changed"); r.code == 0 || r.errors == "" {
			t.Errorf("%s: %s", bad, r)
		}
	}
	if got := k.read("hooks.txt"); got != list || k.noted() != "" {
		t.Errorf("what is no list has changed it to %q", got)
	}

	k.mustCook("hooks-to-nginx")
	if got, want := k.read("hooks.conf"), "allow 127.0.0.1/32;\nallow 127.0.0.2/32;\nallow 127.0.0.3/32;\ndeny all;\n"; got != want {
		t.Errorf("nginx includes %q; want %q", got, want)
	}
	if got := k.noted(); got != "nginx -t -q\nnginx -s reload" {
		t.Errorf("called: %q", got)
	}

	k.write("hooks.txt", list+"2001:db8::1/128\n")
	k.write("entries", "127.0.0.1/32\t127.0.0.9/32\n")
	k.mustCook("hooks-to-aws", "pl-1", k.in("hooks.txt"))
	if got, want := k.noted(), "ec2 modify-managed-prefix-list --prefix-list-id pl-1 --current-version 7 --add-entries Cidr=127.0.0.2/32 Cidr=127.0.0.3/32 --remove-entries Cidr=127.0.0.9/32"; got != want {
		t.Errorf("called: %q; want %q", got, want)
	}
	k.write("entries", "127.0.0.3/32\t127.0.0.1/32\t127.0.0.2/32\n")
	k.mustCook("hooks-to-aws", "pl-1", k.in("hooks.txt"))
	if got := k.noted(); got != "" {
		t.Errorf("nothing has changed, and %q was called", got)
	}
	k.write("entries", "\n")
	k.mustCook("hooks-to-aws", "pl-1", k.in("hooks.txt"))
	if got := k.noted(); !strings.Contains(got, "--add-entries Cidr=127.0.0.1/32 ") || strings.Contains(got, "--remove") {
		t.Errorf("called: %q", got)
	}
}

// The recipe for Caddy, with a Caddy: it lets in what the list says.
func TestReceiverWithCaddyFollowsTheList(t *testing.T) {
	t.Parallel()
	crm := prepare(t)
	k := newKitchen(t, crm)
	port := freePort(t)
	k.write("hooks.txt", "192.0.2.10/32\n2001:db8::10/128\n127.0.0.1/32\n")
	k.write("hooks.caddyfile", "@hooks remote_ip 203.0.113.1/32\n")
	k.write("Caddyfile", fmt.Sprintf("{\nadmin %s\n}\nhttp://:%d {\nbind 127.0.0.1\nimport %s\nhandle @hooks {\nrespond taken\n}\nrespond 403\n}\n",
		crm.admin(), port, k.in("hooks.caddyfile")))
	crm.write("Caddyfile", k.read("Caddyfile"))
	crm.spawn()
	status := func() int {
		return do(clientOf, mustRequest(t, fmt.Sprintf("http://127.0.0.1:%d/", port))).status
	}
	eventually(t, func() bool { return status() == http.StatusForbidden }, crm.log)
	k.mustCook("hooks-to-caddy")
	if got, want := k.read("hooks.caddyfile"), "@hooks remote_ip 192.0.2.10/32 2001:db8::10/128 127.0.0.1/32 \n"; got != want {
		t.Errorf("got %q; want %q", got, want)
	}
	eventually(t, func() bool { return status() == http.StatusOK }, crm.log)
	k.write("hooks.txt", "192.0.2.10/32\n")
	k.mustCook("hooks-to-caddy")
	eventually(t, func() bool { return status() == http.StatusForbidden }, crm.log)
}
