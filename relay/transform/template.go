package transform

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"
)

// Template makes a body by a template of Go (text/template) with the functions of Sprig, but
// for those that ask the network or the environment, or make keys and hashes of passwords.
//
// What the event does not have is empty, as is null; an object or array that is printed is
// JSON.
type Template struct {
	template *template.Template
}

// templateName stands in errors.
const templateName = "template"

// NewTemplate compiles a template.
func NewTemplate(text string) (*Template, error) {
	t, err := template.New(templateName).Funcs(functions).Parse(text)
	if err != nil {
		return nil, placed(err)
	}
	for _, each := range t.Templates() {
		if each.Tree != nil {
			prepare(each.Root)
		}
	}
	return &Template{t}, nil
}

// placed tells the line in the way of people.
func placed(err error) error {
	text := strings.TrimPrefix(err.Error(), "template: ")
	return errors.New(strings.Replace(text, templateName+":", "line ", 1))
}

// Apply implements [Transform].
func (t *Template) Apply(ctx context.Context, in Input) ([]byte, error) {
	object, err := in.object(templateNumber)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, MaxTime, errTooSlow())
	defer cancel()
	out := &output{ctx: ctx}
	if err := t.template.Execute(out, object); err != nil {
		if out.err != nil {
			return nil, out.err
		}
		return nil, placed(err)
	}
	return out.Bytes(), nil
}

// templateNumber makes numbers that can be compared and printed: whole ones stay exact,
// others become float64, and what fits into neither stays as it was written.
func templateNumber(n json.Number) any {
	if i, err := strconv.ParseInt(string(n), 10, 64); err == nil {
		return i
	}
	if strings.ContainsAny(string(n), ".eE") {
		if f, err := n.Float64(); err == nil && !math.IsInf(f, 0) {
			return f
		}
	}
	return n
}

// output is what a template writes to. It ends a template that writes too much or takes too
// long, since a template itself cannot be stopped.
type output struct {
	bytes.Buffer
	ctx context.Context
	err error
}

// Write implements [io.Writer].
func (o *output) Write(p []byte) (int, error) {
	switch {
	case o.ctx.Err() != nil:
		o.err = context.Cause(o.ctx)
	case o.Len()+len(p) > MaxSize:
		o.err = errTooLarge()
	default:
		return o.Buffer.Write(p)
	}
	return 0, o.err
}

// prepare changes a parsed template in two ways. Each round of a loop and each template that
// is called begins with writing nothing, so that the output can end it. And what is printed
// goes through textOf.
func prepare(list *parse.ListNode) {
	if list == nil {
		return
	}
	for _, node := range list.Nodes {
		switch n := node.(type) {
		case *parse.ActionNode:
			if len(n.Pipe.Decl) == 0 {
				n.Pipe.Cmds = append(n.Pipe.Cmds, &parse.CommandNode{
					NodeType: parse.NodeCommand, Pos: n.Pos,
					Args: []parse.Node{parse.NewIdentifier(textFunction).SetPos(n.Pos)},
				})
			}
		case *parse.IfNode:
			prepare(n.List)
			prepare(n.ElseList)
		case *parse.WithNode:
			prepare(n.List)
			prepare(n.ElseList)
		case *parse.RangeNode:
			prepare(n.List)
			prepare(n.ElseList)
		}
	}
	list.Nodes = append([]parse.Node{&parse.TextNode{NodeType: parse.NodeText, Pos: list.Pos}}, list.Nodes...)
}

// textFunction is the name of textOf. A template that calls it gets what it would get anyway.
const textFunction = "_text"

// textOf returns what is printed of a value.
func textOf(v any) (any, error) {
	switch v := v.(type) {
	case nil:
		return "", nil
	case map[string]any, []any:
		text, err := marshal(v)
		if err != nil {
			return nil, fmt.Errorf("printing it as JSON: %w", err)
		}
		return text, nil
	default:
		return v, nil
	}
}

// marshal writes JSON that is not meant for a page.
func marshal(v any) (string, error) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return strings.TrimSuffix(b.String(), "\n"), err
}
