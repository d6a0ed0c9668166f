package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "relay",
		Usage: "<subcommand>",
		Short: "Try, watch and steer the webhook relay",
		Long: `
Subcommands talk to the admin API of a running Caddy, at --address or at the address
that the configuration names, and never to its database, but for doctor --storage and export --offline.

	caddy relay demo                  see it work, in a temporary folder
	caddy relay send order.paid '{"order":42}'
	caddy relay list deliveries --state failed --since 1h
	caddy relay show evt_...
	caddy relay doctor`,
		CobraFunc: relayCommand,
	})
}

// relayCommand fills in the command and its subcommands. Cobra prints no usage after an
// error: the error says what to do.
func relayCommand(cmd *cobra.Command) {
	cmd.SilenceUsage = true
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		var names []string
		for _, sub := range cmd.Commands() {
			names = append(names, sub.Name())
		}
		return fmt.Errorf("unknown subcommand %q%s; see: caddy relay --help", args[0], didYouMean(args[0], names))
	}
	cmd.PersistentPreRun = func(cmd *cobra.Command, _ []string) { cmd.SetOut(&plainWriter{to: cmd.OutOrStdout()}) }
	flags := cmd.PersistentFlags()
	flags.String("address", "", "the admin address of the running Caddy, as host:port or unix//path; default: as the configuration says, else localhost:2019")
	flags.StringP("config", "c", "", "the configuration file that names the admin address")
	flags.StringP("adapter", "a", "", "the adapter of the configuration file; default: by its name")
	flags.Bool("json", false, "print JSON")
	for _, sub := range []*cobra.Command{
		demoCommand(), sendCommand(), tailCommand(), listCommand(), showCommand(), egressCommand(), doctorCommand(),
		pauseCommand(), resumeCommand(), dropCommand(), replayCommand(), secretCommand(), verifyCommand(), sinkCommand(), healthCommand(),
		exportCommand(), importCommand(), benchCommand(),
	} {
		sub.SilenceUsage = true
		sub.Args = explained(sub.Args)
		cmd.AddCommand(sub)
	}
}

// explained says how a line is written whose number of arguments is wrong.
func explained(check cobra.PositionalArgs) cobra.PositionalArgs {
	if check == nil {
		return nil
	}
	return func(cmd *cobra.Command, args []string) error {
		if check(cmd, args) == nil {
			return nil
		}
		what := fmt.Sprintf("%q does not take so many arguments (%d)", cmd.Name(), len(args))
		if len(args) == 0 {
			what = fmt.Sprintf("something is missing behind %q", cmd.Name())
		}
		return fmt.Errorf("%s; write: %s", what, cmd.UseLine())
	}
}

// client speaks with the admin API of a running Caddy.
type client struct{ address string }

func newClient(cmd *cobra.Command) (*client, error) {
	address, err := cmd.Flags().GetString("address")
	if err != nil {
		return nil, err
	}
	config, err := cmd.Flags().GetString("config")
	if err != nil {
		return nil, err
	}
	adapter, err := cmd.Flags().GetString("adapter")
	if err != nil {
		return nil, err
	}
	if address, err = caddycmd.DetermineAdminAPIAddress(address, nil, config, adapter); err != nil {
		return nil, fmt.Errorf("finding the admin address: %w", err)
	}
	return &client{address: address}, nil
}

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 64 << 20

// replacedWithin is how long a reload takes to put another admin endpoint in the place of one.
const replacedWithin = 100 * time.Millisecond

// call makes a request and returns the body of its answer. A GET is made once more where the
// connection ended without an answer, as it may while a reload replaces the admin endpoint.
func (c *client) call(method, uri string, body []byte) ([]byte, error) {
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	resp, err := caddycmd.AdminAPIRequest(c.address, method, uri, nil, reader)
	if err != nil && method == http.MethodGet && wasCutOff(err) {
		time.Sleep(replacedWithin)
		resp, err = caddycmd.AdminAPIRequest(c.address, method, uri, nil, nil)
	}
	if err != nil {
		return nil, c.explain(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("reading the answer of the admin API at %s: %w", c.address, err)
	}
	return answer, nil
}

// wasCutOff reports whether a connection was made and has ended before an answer. Caddy's client
// leaves only the text of an error.
func wasCutOff(err error) bool {
	text := err.Error()
	return strings.HasSuffix(text, io.EOF.Error()) || strings.HasSuffix(text, syscall.ECONNRESET.Error())
}

// errNoAnswer means that nobody has answered, and not that an answer was an error.
var errNoAnswer = errors.New("no Caddy answers")

// explain makes words for people of an error of Caddy's client, which holds the answer's
// body as it came.
func (c *client) explain(err error) error {
	text, answered := strings.CutPrefix(err.Error(), "caddy responded with error: ")
	if !answered {
		return fmt.Errorf("%w at the admin address %s: %w; is it running, or is another --address right?", errNoAnswer, c.address, err)
	}
	status, body, _ := strings.Cut(text, ": ")
	var said struct {
		Error  string `json:"error"`
		Title  string `json:"title"`
		Detail string `json:"detail"`
	}
	if json.Unmarshal([]byte(body), &said) != nil {
		said.Error = body
	}
	message := said.Error
	if said.Title != "" {
		message = said.Title + ": " + said.Detail
	}
	if strings.TrimSpace(message) == "" && status == "HTTP 404" {
		message = "this Caddy was built without the relay"
	}
	return errors.New(plain(strings.TrimSpace(message)))
}

// get decodes the answer of a GET.
func (c *client) get(uri string, into any) error {
	body, err := c.call(http.MethodGet, uri, nil)
	if err != nil {
		return err
	}
	return decode(body, into)
}

func decode(body []byte, into any) error {
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("the admin API's answer is not what this command knows: %w", err)
	}
	return nil
}

// writeIndented prints a value as JSON.
func writeIndented(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// wantsJSON reports whether --json was given.
func wantsJSON(cmd *cobra.Command) bool {
	yes, err := cmd.Flags().GetBool("json")
	return err == nil && yes
}

// printJSON prints an answer as it came, indented.
func printJSON(w io.Writer, body []byte) error {
	var out bytes.Buffer
	if err := json.Indent(&out, body, "", "  "); err != nil {
		return fmt.Errorf("the admin API's answer is not JSON: %w", err)
	}
	_, err := fmt.Fprintln(w, strings.TrimSpace(out.String()))
	return err
}
