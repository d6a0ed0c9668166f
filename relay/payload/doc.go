// Package payload reads parts of an event's JSON without copying or changing it.
package payload
