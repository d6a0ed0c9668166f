//go:build linux

package bench

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// options are those of one run of the command.
type options struct {
	rounds   int
	duration time.Duration
	warmup   time.Duration
	posters  int
	size     int
	rate     float64
	fanout   int
	others   int
	backlog  int
	// events is how many are posted, however long that takes; 0: as many as come within the
	// duration. Some quantities of -grow set it.
	events int
	steady bool
	// syncDelay is added to each sync of Caddy's.
	syncDelay time.Duration
	// grow is measured at these values; nil: nothing grows.
	grow   *quantity
	values []int
	// label tells the measurements of a growth apart.
	label string
	// points are the options at each of them.
	points []options
	// files were measured before; nothing is measured then.
	files    []string
	report   bool
	plot     string
	brief    bool
	tls      wire
	systems  []system
	caddy    string
	dir      string
	json     string
	profile  string
	postgres string
	// relays are the numbers of relays on one database that are compared.
	relays relayCounts
	// childProgram and childArguments start the roles; empty: this program without any.
	childProgram   string
	childArguments []string
}

// Bounds of the options.
const (
	maxPosters = 4096
	maxFanout  = 1000
	maxSize    = 500 << 10 // intake takes 512 KiB by default
	maxOthers  = 100_000
	maxBacklog = 20_000_000 // the sink's memory: 8 bytes for each
)

// builtCaddy is where ./xcaddy.sh builds.
const builtCaddy = "./caddy"

func defaultOptions() options {
	return options{
		rounds: 3, duration: 8 * time.Second, warmup: time.Second,
		posters: 64, size: 1024, fanout: 1, caddy: builtCaddy, dir: ".",
	}
}

func parseOptions(args []string) (options, error) {
	o := defaultOptions()
	names, grow, values := "", "", ""
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.IntVar(&o.rounds, "rounds", o.rounds, "rounds; each measures every system once, every other one in reverse order")
	flags.DurationVar(&o.duration, "duration", o.duration, "the measured window of each system in each round")
	flags.DurationVar(&o.warmup, "warmup", o.warmup, "load before the window")
	flags.IntVar(&o.posters, "posters", o.posters, "keep-alive connections, each with one request under way at most")
	flags.IntVar(&o.size, "size", o.size, "bytes of each event's body")
	flags.Float64Var(&o.rate, "rate", o.rate, "post so many events a second by the clock, answered or not (0: as fast as answers come)")
	flags.IntVar(&o.fanout, "fanout", o.fanout, "subscriptions that each event is delivered to")
	flags.IntVar(&o.others, "others", o.others, "further subscriptions, to which no event is delivered")
	flags.IntVar(&o.backlog, "backlog", o.backlog, "post so many events while the subscription is paused; the window is then the time in which they are delivered")
	flags.BoolVar(&o.steady, "steady", o.steady, "keep records for a minute and the store below "+steadyMaxSize+", and compare the end of the window with its beginning; meant for -duration 30m")
	flags.DurationVar(&o.syncDelay, "sync-delay", 0, "make each sync of Caddy's take so much longer, as a slower disk would; takes strace")
	flags.Var(&o.tls, "tls", "deliveries over TLS with this protocol, h1 or h2, connections kept (default: without TLS)")
	flags.StringVar(&grow, "grow", "", "measure over a range of one quantity: "+QuantityNames())
	flags.StringVar(&values, "values", "", "the values of -grow, by commas (default: five or six over the whole range)")
	flags.StringVar(&names, "systems", "", "what is measured, by commas: "+systemNames()+" (default: what the mode compares)")
	flags.StringVar(&o.caddy, "caddy", o.caddy, "Caddy built by ./xcaddy.sh; if the value is empty, or "+builtCaddy+" is missing, this program is Caddy itself")
	flags.StringVar(&o.dir, "dir", o.dir, "where the temporary folder with the stores is made; the disk counts")
	flags.StringVar(&o.postgres, "postgres", "", "DSN of a database for relay-postgres, which makes a schema in it and removes that again")
	flags.Var(&o.relays, "relays", "measure so many relays on the one database of -postgres, or several numbers by commas; posts are spread over them")
	flags.StringVar(&o.json, "json", o.json, "also write everything to this file")
	flags.BoolVar(&o.brief, "brief", false, "in the file of -json, only medians, without the rounds")
	flags.StringVar(&o.plot, "plot", "", "draw growths into this folder: that of -grow, or those of the files that are given")
	flags.BoolVar(&o.report, "report", false, "measure nothing: print Markdown of the files that are given, which -json has written")
	flags.StringVar(&o.profile, "profile", o.profile, "write pprof profiles of each Caddy to <this>-<system>.<kind>.pprof, during the first round")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, errors.New("see -help")
	}
	o.files = flags.Args()
	if err := errors.Join(o.checkFiles(grow), o.check()); err != nil {
		return o, err
	}
	switch {
	case grow != "":
		return o, o.growOver(grow, values, names)
	case values != "":
		return o, errValues
	}
	return o, o.choose(names)
}

var errValues = errors.New("-values are those of -grow; give both")

// checkFiles judges what is said of files that were measured before.
func (o *options) checkFiles(grow string) error {
	switch given := len(o.files) > 0; {
	case given && !o.report && o.plot == "":
		return fmt.Errorf("%q is one argument too many; see -help", o.files[0])
	case o.report && !given:
		return errors.New("-report takes files that -json has written")
	case o.plot != "" && !given && grow == "":
		return errors.New("-plot draws growths: give -grow, or files that -grow and -json have written")
	case given && (grow != "" || o.json != ""):
		return errors.New("files are shown, and nothing is measured: leave out -grow and -json")
	case o.brief && o.json == "":
		return errors.New("-brief is about the file of -json")
	case o.profile != "" && grow != "":
		return errors.New("-profile and -grow do not go together")
	}
	if info, err := os.Stat(o.plot); o.plot != "" && (err != nil || !info.IsDir()) {
		return fmt.Errorf("-plot: %s is no folder", o.plot)
	}
	return nil
}

// growOver sets the values of a quantity, and what is measured at each.
func (o *options) growOver(name, values, systems string) (err error) {
	if o.grow, err = quantityNamed(name); err != nil {
		return fmt.Errorf("-grow: %w", err)
	}
	if o.values = o.grow.values; values != "" {
		if o.values, err = parseValues(values); err != nil {
			return fmt.Errorf("-values: %w", err)
		}
	}
	if systems == "" {
		systems = o.grow.systems
	}
	for _, value := range o.values {
		at := *o
		at.label = fmt.Sprintf("%s %s, ", name, o.grow.write(float64(value)))
		o.grow.set(&at, value)
		if err := errors.Join(at.check(), at.choose(systems)); err != nil {
			return fmt.Errorf("-grow %s at %d: %w", name, value, err)
		}
		o.points = append(o.points, at)
	}
	return nil
}

func (o *options) check() error {
	switch {
	case o.rounds < 1:
		return errors.New("-rounds must be 1 or more")
	case o.duration <= 0 || o.warmup < 0:
		return errors.New("-duration must be longer than zero, -warmup not below it")
	case o.posters < 1 || o.posters > maxPosters:
		return fmt.Errorf("-posters must be from 1 to %d", maxPosters)
	case o.size < minSize || o.size > maxSize:
		return fmt.Errorf("-size must be from %d (an id has to fit) to %d", minSize, maxSize)
	case o.fanout < 1 || o.fanout > maxFanout:
		return fmt.Errorf("-fanout must be from 1 to %d", maxFanout)
	case o.rate < 0:
		return errors.New("-rate must be positive, or 0 for no pacing")
	case o.others < 0 || o.others > maxOthers:
		return fmt.Errorf("-others must be from 0 to %d", maxOthers)
	case o.syncDelay < 0 || o.syncDelay > maxSyncDelay:
		return fmt.Errorf("-sync-delay must be from 0s to %s", maxSyncDelay)
	case o.backlog < 0 || o.backlog > maxBacklog:
		return fmt.Errorf("-backlog must be from 0 to %d", maxBacklog)
	}
	return o.checkModes()
}

// checkModes refuses modes that do not go together: what would be compared is one thing.
func (o *options) checkModes() error {
	var modes []string
	for name, on := range map[string]bool{"-rate": o.rate > 0, "-fanout": o.fanout > 1, "-others": o.others > 0, "-backlog": o.backlog > 0, "-steady": o.steady, "-relays": len(o.relays) > 0} {
		if on {
			modes = append(modes, name)
		}
	}
	if len(modes) > 1 {
		slices.Sort(modes)
		return fmt.Errorf("%s do not go together; give one of them", strings.Join(modes, " and "))
	}
	return nil
}

// choose sets the systems: those named, else those that the mode is about.
func (o *options) choose(names string) error {
	if names == "" {
		switch {
		case o.fanout > 1: // reverse_proxy delivers to one receiver only
			names = "relay,relay-defaults,client"
		case o.rate > 0:
			names = "relay,proxy,commit"
		case len(o.relays) > 0:
			names = o.relays.systems()
		case o.others > 0:
			names = "relay,relay-alone"
		case o.backlog > 0:
			names = "relay,relay-backlog"
		case o.steady:
			names = "relay"
		case o.tls != wirePlain:
			names = "relay,proxy"
		case o.postgres != "":
			names = "relay,relay-postgres"
		default:
			names = "relay,proxy,relay-defaults,proxy-defaults"
		}
	}
	for name := range strings.SplitSeq(names, ",") {
		s, ok := systemNamed(strings.TrimSpace(name))
		switch {
		case !ok:
			return fmt.Errorf("-systems: %q is none of %s", name, systemNames())
		case o.fanout > 1 && s.kind == kindProxy:
			return fmt.Errorf("-systems: %s delivers to one receiver and cannot fan out", s.name)
		case o.tls != wirePlain && s.kind == kindClient:
			return fmt.Errorf("-systems: %s does not speak TLS", s.name)
		case s.relays > 0 && len(o.relays) == 0:
			return fmt.Errorf("-systems: %s is what -relays measures", s.name)
		case s.relays == 0 && len(o.relays) > 0:
			return fmt.Errorf("-systems: %s is not what -relays measures", s.name)
		case o.postgres == "" && s.postgres:
			return fmt.Errorf("-systems: %s needs -postgres, the DSN of a database", s.name)
		case o.backlog == 0 && s.backlog:
			return fmt.Errorf("-systems: %s needs -backlog, the number of events", s.name)
		}
		o.systems = append(o.systems, s)
	}
	return nil
}

// caddyCommand returns the program that is Caddy: the binary, or none if it is this
// program.
func (o *options) caddyCommand() (path string, self bool, err error) {
	if o.caddy != "" {
		info, err := os.Stat(o.caddy)
		if err == nil && (info.IsDir() || info.Mode().Perm()&0o111 == 0) {
			return "", false, fmt.Errorf("-caddy: %s is no program", o.caddy)
		}
		if err == nil {
			return o.caddy, false, nil
		}
		if !errors.Is(err, os.ErrNotExist) || o.caddy != builtCaddy {
			return "", false, fmt.Errorf("-caddy: %w", err)
		}
	}
	path, err = os.Executable()
	if err != nil {
		return "", false, fmt.Errorf("finding this program, to be Caddy: %w", err)
	}
	return path, true, nil
}
