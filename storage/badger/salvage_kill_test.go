package badger

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// The test binary salvages a store, and kills itself at a step.
const (
	salvageEnv = "CADDYRELAY_TEST_SALVAGE"
	tokenEnv   = "CADDYRELAY_TEST_TOKEN"
	stepEnv    = "CADDYRELAY_TEST_STEP"
)

func salvageChild(dir string) {
	last, err := strconv.Atoi(os.Getenv(stepEnv))
	if err != nil {
		fmt.Println("error", err)
		os.Exit(2)
	}
	steps := 0
	s, err := Open(dir, Options{AcceptLoss: os.Getenv(tokenEnv), onStep: func(step string) {
		if steps++; steps == last {
			fmt.Println("killed at", step)
			self, _ := os.FindProcess(os.Getpid())
			_ = self.Kill()
			select {}
		}
	}})
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		fmt.Println("error", err)
		os.Exit(2)
	}
}

// TestSalvageSurvivesKill kills a salvage at each of its steps. What is there then is the
// damaged store as it was, or the new one as a whole.
func TestSalvageSurvivesKill(t *testing.T) {
	w := newWreck(t, nil)
	tables, err := filepath.Glob(filepath.Join(w.dir, "*"+tableSuffix))
	if err != nil || len(tables) == 0 {
		t.Fatal(err)
	}
	if err := os.Truncate(tables[0], 5000); err != nil {
		t.Fatal(err)
	}
	before := contents(t, w.dir)
	counts := make(map[string]int)
	step := 1
	if counted(1, 0) == 1 {
		step += rand.IntN(3)
	}
	for ; ; step += counted(4, 1) {
		dir := copyDirectory(t, w.dir)
		_, err := Open(dir, Options{})
		damage, ok := errors.AsType[*DamageError](err)
		if !ok {
			t.Fatalf("Open: %v, want a DamageError", err)
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), salvageEnv+"="+dir, tokenEnv+"="+damage.Token, stepEnv+"="+strconv.Itoa(step))
		out, err := cmd.CombinedOutput()
		what := strings.TrimSpace(string(out))
		if err != nil && !strings.HasPrefix(what, "killed at") {
			t.Fatalf("step %d: %v: %s", step, err, what)
		}
		s, openErr := Open(dir, Options{})
		if again, ok := errors.AsType[*DamageError](openErr); ok {
			counts["old"]++
			if after := contents(t, dir); again.Token != damage.Token || after != before {
				t.Fatalf("%s: the token is %s, was %s; the files are\n%s\nwere\n%s", what, again.Token, damage.Token, after, before)
			}
			s, openErr = Open(dir, Options{AcceptLoss: damage.Token})
		} else {
			counts["new"]++
		}
		if openErr != nil {
			t.Fatalf("%s: Open: %v", what, openErr)
		}
		gone := w.compare(t, s, what, nil)
		if counts["gone"] != 0 && counts["gone"] != gone {
			t.Errorf("%s: %d events are gone, %d in other rounds", what, gone, counts["gone"])
		}
		counts["gone"] = gone
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if report, err := Verify(dir, Options{}); err != nil || !report.Sound() {
			t.Fatalf("%s: Verify: %+v, %v", what, report, err)
		}
		kept, err := os.ReadFile(filepath.Join(dir, damagedPrefix+damage.Token, lostName))
		if err != nil || !strings.Contains(string(kept), "The store in "+dir) {
			t.Fatalf("%s: %s: %q, %v", what, lostName, kept, err)
		}
		_ = os.RemoveAll(dir)
		if what == "" { // it came to its end
			break
		}
	}
	t.Logf("%d steps: %v", step-1, counts)
	if counts["old"] == 0 || counts["new"] < 2 {
		t.Error("the kills show nothing")
	}
}

// TestVerifyAmidSalvage: where a crash has left all files in the directories of a salvage there is
// a store, and doctor finds it.
func TestVerifyAmidSalvage(t *testing.T) {
	for _, stage := range []string{stageDone, stageMoving} {
		s := openAt(t, t.TempDir(), nil)
		put(t, s, 3)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		in := filepath.Join(s.dir, salvagePrefix+"0123456789ab"+stage)
		if err := os.Mkdir(in, 0o700); err != nil {
			t.Fatal(err)
		}
		o := Options{}
		o.setDefaults()
		if err := moveFiles(s.dir, in, &o); err != nil {
			t.Fatal(err)
		}
		if report, err := Verify(s.dir, Options{}); err != nil || !report.Sound() || report.Events != 3 {
			t.Errorf("%s: %+v, %v", stage, report, err)
		}
	}
}
