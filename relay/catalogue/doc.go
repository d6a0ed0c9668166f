// Package catalogue knows the types of events that applications declare, and holds data
// against their JSON schemas.
package catalogue
