// Package expression evaluates what people write in CEL, the Common Expression Language,
// about events, and about answers that are waited for.
//
// Expressions are checked when they are compiled. What an event does not have, or has of
// another type than expected, shows only when they are evaluated: that is an error of
// the evaluation, and no match.
//
// The functions are those of CEL, its optional values (event.data.?name.orValue("")), and
// the extensions strings, lists, math and bindings. The cost of an evaluation is bounded.
package expression
