package relay

import "context"

// Submit hands a request to the one who writes a store, which takes requests off queue, and
// returns what that sends as its answer. ctx is observed only until the request is handed
// over: its error means that it was not.
func Submit[R any](ctx context.Context, queue chan<- R, r R, answer <-chan error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case queue <- r:
	default: // only now, since some contexts set a timer when they are waited for
		select {
		case queue <- r:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return <-answer
}
