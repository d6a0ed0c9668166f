//go:build unix

// Package postgrestest runs real PostgreSQL servers for tests: each with a data directory
// and a port of its own, as an unprivileged user, with the programs that the system has
// installed. Nothing of a server that is installed as a service is touched.
package postgrestest

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for a server.
const patience = 60 * time.Second

// Server is a PostgreSQL server. Its superuser is "relay"; whoever reaches its socket or
// its port on the loopback needs no password.
type Server struct {
	// Dir holds the data and the socket.
	Dir  string
	Port int

	bin      string
	user     *syscall.Credential
	settings []string

	cmd    *exec.Cmd
	exited chan struct{}
}

// Find returns the directory with the programs of the newest PostgreSQL, or an error that
// names what is missing.
func Find() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	newest, version := "", 0
	for _, path := range found {
		dir := filepath.Dir(path)
		if n, err := strconv.Atoi(filepath.Base(filepath.Dir(dir))); err == nil && n > version {
			newest, version = dir, n
		}
	}
	if newest != "" {
		return newest, nil
	}
	if path, err := exec.LookPath("postgres"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path), nil
		}
	}
	return "", errors.New("no PostgreSQL: neither is postgres in PATH, nor is there /usr/lib/postgresql/*/bin/postgres; on Debian: apt-get install postgresql-15")
}

// New makes a server and starts it with these settings, such as "fsync=off". It is stopped
// and removed when the test ends. The test is skipped where there is no PostgreSQL.
func New(t testing.TB, settings ...string) *Server {
	t.Helper()
	s, err := create(settings)
	return s.first(t, err)
}

// first starts a server that was just made, unless err says why it was not.
func (s *Server) first(t testing.TB, err error) *Server {
	t.Helper()
	if s == nil {
		t.Skip(err)
	}
	t.Cleanup(s.remove)
	if err == nil {
		err = s.startFirst()
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// shared is the server that the tests of one binary share.
var shared struct {
	once   sync.Once
	server *Server
	err    error
}

// Shared returns a server for all tests of this binary, which is started by the first of
// them. TestMain must call Stop when all have ended.
func Shared(t testing.TB) *Server {
	t.Helper()
	shared.once.Do(func() {
		if shared.server, shared.err = create(nil); shared.err == nil {
			shared.err = shared.server.startFirst()
		}
	})
	switch {
	case shared.server == nil:
		t.Skip(shared.err)
	case shared.err != nil:
		t.Fatal(shared.err)
	}
	return shared.server
}

// Stop ends the shared server, if there is one, and removes it.
func Stop() {
	if shared.server != nil {
		shared.server.remove()
	}
}

// create makes the data directory. Without PostgreSQL it returns no server.
func create(settings []string) (*Server, error) {
	s, err := prepare(settings)
	if err == nil {
		err = s.initdb()
	}
	return s, err
}

// prepare makes the directory of a server, with nothing in it.
func prepare(settings []string) (*Server, error) {
	bin, err := Find()
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin}
	if s.user, err = unprivileged(); err != nil {
		return nil, err
	}
	if s.Dir, err = os.MkdirTemp(base(), "relaypg"); err != nil {
		return nil, err
	}
	if s.user != nil {
		if err := os.Chown(s.Dir, int(s.user.Uid), int(s.user.Gid)); err != nil {
			return s, err
		}
	}
	s.settings = settings
	return s, nil
}

func (s *Server) initdb(further ...string) error {
	args := append([]string{"--username=relay", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "-D", s.data()}, further...)
	out, err := s.command("initdb", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return nil
}

// base is where data lies: in memory if possible, since here nobody pulls the plug.
func base() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return os.TempDir()
}

// unprivileged is who runs the server: PostgreSQL refuses root.
func unprivileged() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	users, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"postgres", "nobody"} {
		for line := range strings.SplitSeq(string(users), "\n") {
			fields := strings.Split(line, ":")
			if len(fields) < 4 || fields[0] != name {
				continue
			}
			uid, err1 := strconv.ParseUint(fields[2], 10, 32)
			gid, err2 := strconv.ParseUint(fields[3], 10, 32)
			if err1 == nil && err2 == nil {
				return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
			}
		}
	}
	return nil, errors.New("no user to run PostgreSQL as: it refuses root, and there is neither postgres nor nobody")
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func (s *Server) data() string { return filepath.Join(s.Dir, "data") }
func (s *Server) log() string  { return filepath.Join(s.Dir, "log") }

// command is a program of PostgreSQL, run as the server's user.
func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir = s.Dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "PGHOST=" + s.Dir, "PGUSER=relay"}
	if s.Port != 0 { // initdb comes before there is one
		cmd.Env = append(cmd.Env, "PGPORT="+strconv.Itoa(s.Port))
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.user}
	return cmd
}

// Set replaces the settings that the server gets at its next start.
func (s *Server) Set(settings ...string) { s.settings = settings }

// arguments are those of the server's program.
func (s *Server) arguments() []string {
	args := []string{
		"-D", s.data(), "-k", s.Dir, "-p", strconv.Itoa(s.Port), "-c", "listen_addresses=127.0.0.1",
		"-c", "shared_buffers=64MB", "-c", "max_connections=80", "-c", "max_wal_size=256MB",
	}
	for _, setting := range s.settings {
		args = append(args, "-c", setting)
	}
	return args
}

// startFirst chooses a port and starts the server. A port that is free may be somebody
// else's when the server comes to it: then it is another one.
func (s *Server) startFirst() (err error) {
	for range 5 {
		if s.Port, err = freePort(); err != nil {
			return err
		}
		if err = s.start(); err == nil || !strings.Contains(err.Error(), "could not bind") {
			return err
		}
		if err := os.Remove(s.log()); err != nil {
			return err
		}
	}
	return err
}

// start runs the server and waits until it answers.
func (s *Server) start() error {
	cmd := s.command("postgres", s.arguments()...)
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	dieWithParent(cmd.SysProcAttr)
	started := make(chan error, 1)
	s.cmd, s.exited = cmd, make(chan struct{})
	go func(exited chan struct{}) {
		runtime.LockOSThread() // the kernel takes the end of the thread for that of the parent
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(exited)
		}
	}(s.exited)
	if err := <-started; err != nil {
		return err
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		select {
		case <-s.exited:
			text, _ := os.ReadFile(s.log())
			s.cmd = nil
			return fmt.Errorf("PostgreSQL did not start:\n%s", text)
		default:
		}
		err := s.command("pg_isready").Run()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("PostgreSQL does not answer: %w", err)
		}
	}
}

// Start starts a server again that was killed.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
}

// Kill ends the server at once, with all its processes and without any cleaning up.
func (s *Server) Kill() { s.end(syscall.SIGQUIT) }

func (s *Server) end(signal syscall.Signal) {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(signal)
	select {
	case <-s.exited:
	case <-time.After(patience):
		_ = s.cmd.Process.Kill()
		<-s.exited
	}
	s.cmd = nil
}

func (s *Server) remove() {
	s.end(syscall.SIGQUIT)
	_ = os.RemoveAll(s.Dir)
}

// DSN names a database of the server, reached by its port.
func (s *Server) DSN(database string) string {
	return fmt.Sprintf("postgres://relay@127.0.0.1:%d/%s?sslmode=disable", s.Port, database)
}

// SocketDSN names a database of the server, reached by its socket.
func (s *Server) SocketDSN(database string) string {
	return fmt.Sprintf("postgres://relay@/%s?host=%s&port=%d", database, url.QueryEscape(s.Dir), s.Port)
}

// Query runs SQL in a database as the superuser, and returns what psql prints of it.
func (s *Server) Query(t testing.TB, database, sql string) string {
	t.Helper()
	out, err := s.command("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql).CombinedOutput()
	if err != nil {
		t.Fatalf("psql: %v\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// Script runs SQL and commands of psql, as a person would who types them.
func (s *Server) Script(t testing.TB, database, text string) {
	t.Helper()
	cmd := s.command("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database)
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("psql: %v\n%s", err, out)
	}
}

// RequirePasswords makes a role need its password on the port.
func (s *Server) RequirePasswords(t testing.TB, role string) {
	t.Helper()
	path := filepath.Join(s.data(), "pg_hba.conf")
	rules, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append([]byte("host all "+role+" all scram-sha-256\n"), rules...), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Reload(t)
}

// Reload makes the server read its configuration again, and waits until new connections have
// it.
func (s *Server) Reload(t testing.TB) {
	t.Helper()
	const loaded = "select pg_conf_load_time()"
	before := s.Query(t, "postgres", loaded)
	s.Query(t, "postgres", "select pg_reload_conf()")
	for deadline := time.Now().Add(patience); s.Query(t, "postgres", loaded) == before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("PostgreSQL does not read its configuration again")
		}
	}
}
