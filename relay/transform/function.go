package transform

import (
	"fmt"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig/v3"
)

// withheld are functions of Sprig that a transformation has no business with: they ask the
// environment or the network, or spend seconds on keys and passwords, which nothing could
// end.
var withheld = []string{
	"env", "expandenv", "getHostByName",
	"bcrypt", "htpasswd", "derivePassword", "genPrivateKey", "genCA", "genCAWithKey", "genSelfSignedCert",
	"genSelfSignedCertWithKey", "genSignedCert", "genSignedCertWithKey", "buildCustomCert", "encryptAES", "decryptAES",
}

// counted are functions of Sprig that make as much as a number says, which may come from an
// event. They are bounded by what a result may have at most.
var counted = template.FuncMap{
	"repeat": func(n int, s string) (string, error) {
		if n < 0 || n*max(len(s), 1) > MaxSize || n > MaxSize {
			return "", errCount("repeat", n)
		}
		return strings.Repeat(s, n), nil
	},
	"indent": func(n int, s string) (string, error) {
		if n < 0 || n > maxIndent {
			return "", errCount("indent", n)
		}
		return indent(n, s), nil
	},
	"nindent": func(n int, s string) (string, error) {
		if n < 0 || n > maxIndent {
			return "", errCount("nindent", n)
		}
		return "\n" + indent(n, s), nil
	},
	"until":        func(n int) ([]int, error) { return steps("until", 0, n, sign(n)) },
	"untilStep":    func(from, to, step int) ([]int, error) { return steps("untilStep", from, to, step) },
	"seq":          seq,
	"randAlpha":    bounded("randAlpha"),
	"randNumeric":  bounded("randNumeric"),
	"randAscii":    bounded("randAscii"),
	"randBytes":    boundedBytes,
	"randAlphaNum": bounded("randAlphaNum"),
}

// maxIndent is more than any text is indented, in spaces.
const maxIndent = 1000

func indent(n int, s string) string {
	pad := strings.Repeat(" ", n)
	return pad + strings.ReplaceAll(s, "\n", "\n"+pad)
}

func sign(n int) int {
	if n < 0 {
		return -1
	}
	return 1
}

// steps counts from one number towards another, which is not reached.
func steps(name string, from, to, step int) ([]int, error) {
	if step == 0 || (to-from)/step < 0 {
		return nil, nil
	}
	if n := (to - from) / step; n > MaxSize {
		return nil, errCount(name, n)
	}
	var list []int
	for i := from; step > 0 && i < to || step < 0 && i > to; i += step {
		list = append(list, i)
	}
	return list, nil
}

// seq counts as the command of that name does: seq <to>, seq <from> <to>, seq <from> <step>
// <to>; what is reached is part of it.
func seq(params ...int) (string, error) {
	from, step := 1, 1
	var to int
	switch len(params) {
	case 1:
		to = params[0]
	case 2:
		from, to = params[0], params[1]
	case 3:
		from, step, to = params[0], params[1], params[2]
	default:
		return "", nil
	}
	if len(params) < 3 && to < from {
		step = -1
	}
	list, err := steps("seq", from, to+sign(step), step)
	return strings.Trim(fmt.Sprint(list), "[]"), err
}

func errCount(name string, n int) error {
	return fmt.Errorf("%s: %d is too many", name, n)
}

var sprigFunctions = sprig.TxtFuncMap()

// bounded is a function of Sprig that makes so many characters.
func bounded(name string) func(int) (string, error) {
	made := sprigFunctions[name].(func(int) string)
	return func(n int) (string, error) {
		if n < 0 || n > maxIndent {
			return "", errCount(name, n)
		}
		return made(n), nil
	}
}

func boundedBytes(n int) (string, error) {
	if n < 0 || n > maxIndent {
		return "", errCount("randBytes", n)
	}
	return sprigFunctions["randBytes"].(func(int) (string, error))(n)
}

// functions are those that templates have.
var functions = func() template.FuncMap {
	all := sprig.TxtFuncMap()
	for _, name := range withheld {
		delete(all, name)
	}
	for name, f := range counted {
		all[name] = f
	}
	all[textFunction] = textOf
	return all
}()
