package integration

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestInANetworkNamespace runs itself again in a network namespace, in which addresses
// can come and go and public ones can be had.
func TestInANetworkNamespace(t *testing.T) {
	inANetworkNamespace(t, testInNamespace, "HTTP_PROXY=http://"+proxyAddress, "NO_PROXY=", "no_proxy=", "http_proxy=")
}

// inANetworkNamespace runs the test that calls it again, in a process with a network of its
// own, and there calls test: nothing leaves it, and it ends with the process. Mounts are its
// own, too. It needs root and ip, of iproute2. The test must have subtests.
func inANetworkNamespace(t *testing.T, test func(*testing.T), env ...string) {
	t.Helper()
	if os.Getenv(inNamespace) != "" {
		test(t)
		return
	}
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root to make a network namespace")
	}
	need(t, "ip", "iproute2")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	timeout := "5m"
	if long() {
		timeout = "15m"
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout="+timeout)
	cmd.Env = append(append(os.Environ(), inNamespace+"=1"), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) {
		t.Skip("needs to be allowed to make a network namespace")
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()+"/") {
		t.Fatalf("%v:\n%s", err, out)
	}
	if testing.Verbose() {
		t.Logf("%s", out)
	}
}

// testInNamespace has the addresses that its tests need on the loopback interface, which
// is all that this namespace has. 10.77.0.2 and 10.77.0.4 are the regions', 10.77.0.3 is
// never to be used although it is there.
func testInNamespace(t *testing.T) {
	ip(t, "link set lo up")
	for _, address := range []string{"10.77.0.2", "10.77.0.3", "10.77.0.9", "10.77.0.10", "169.254.169.254", "93.184.215.14"} {
		ip(t, "addr add "+address+"/32 dev lo")
	}
	t.Run("missing egress address", testMissingEgressAddress)
	t.Run("egress address removed under a connection", testEgressAddressRemovedUnderAConnection)
	t.Run("family without an address", testFamilyWithoutAnAddress)
	t.Run("proxy of the environment", testProxyOfTheEnvironment)
	t.Run("metadata address", testMetadataAddress)
	t.Run("names", testNames)
	t.Run("planned change", testPlannedChange)
	t.Run("resolvers of a region", testResolversOfARegion)
	t.Run("proxy of a region", testProxyOfARegion)
	t.Run("doctor", testDoctor)
}

// ip runs the command of that name.
func ip(t *testing.T, args string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", args, err, out)
	}
}

// testProxyOfTheEnvironment runs in a namespace of its own: Go's own client never uses a
// proxy for a loopback address, so that there another one is needed.
func testProxyOfTheEnvironment(t *testing.T) {
	proxy := newReceiverOn(t, proxyAddress)
	r := newReceiverOn(t, fmt.Sprintf("10.77.0.9:%d", freePort(t)))

	// The control: in this environment a program that minds it would go to the proxy.
	req, err := http.NewRequest(http.MethodPost, r.url(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if to, err := http.ProxyFromEnvironment(req); err != nil || to == nil || to.Host != proxyAddress {
		t.Fatalf("the environment names the proxy %v (%v)", to, err)
	}

	env := []string{}
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"} {
		env = append(env, name+"=http://"+proxyAddress)
	}
	c := run(t, fmt.Sprintf("region eu 10.77.0.2\nsubscription crm %s {\nallow_ips 10.77.0.9\n}", r.url()), withEnv(env...))
	c.wantDelivery(c.accept("order.paid", `1`).ID, "crm", stateDelivered, "")
	if got := r.wantExactly(1); got[0].peer != "10.77.0.2" {
		t.Errorf("the delivery came from %s; want 10.77.0.2", got[0].peer)
	}
	proxy.wantSilence("the proxy of the environment")
}

// testMetadataAddress has the address that clouds tell secrets on, on this machine.
func testMetadataAddress(t *testing.T) {
	metadata := newReceiverOn(t, "169.254.169.254:80")
	own := newReceiverOn(t, fmt.Sprintf("93.184.215.14:%d", freePort(t)))
	for _, target := range []string{metadata.url(), own.url()} {
		c := prepare(t)
		c.configure("subscription crm " + target)
		if res := c.caddy("run", "--config", c.path("Caddyfile")); res.code == 0 || !strings.Contains(res.errors, "is refused") {
			t.Errorf("%s: %s; want it refused", target, res)
		}
	}
	metadata.wantSilence("the metadata address")
	own.wantSilence("an address of this machine")
}

// proxyAddress is where the proxy variables point in the namespace.
const proxyAddress = "10.77.0.10:3128"

// inNamespace is set in the process that tests in a network namespace.
const inNamespace = "CADDYRELAY_TEST_IN_NAMESPACE"
