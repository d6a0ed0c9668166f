// Package filter decides by values in the data of events.
//
// A filter is a path into the data, an operator and values: currency in EUR USD. Filters
// of Contentful's webhook definitions are read as they are.
//
//   - A path that leads nowhere is no match, with not as well: what is not there cannot be
//     told to differ. Only exists asks about that, and not exists is its opposite.
//   - An array matches where one of its elements does; with not, where none does.
//   - Data that is no JSON matches no filter at all.
package filter
