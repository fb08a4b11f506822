package graph

import (
	"context"
	"errors"
	"slices"

	"bottlebuild/cache"
)

// grounds says why the work of a step is done, when all that decides its output is
// known, and before its key becomes the latest of its address: what a plan could
// only say of its dependencies has come true by then, or has not. miss is why
// there is no entry.
func (r *Runner) grounds(ctx context.Context, s *Step, miss error) []Reason {
	r.explain(ctx, s, r.forced(s), miss)
	if errors.Is(miss, cache.ErrUncertain) {
		return append(slices.Clip(s.Reasons), uncertainReason(miss))
	}
	return s.Reasons
}
