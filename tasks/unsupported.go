package tasks

import (
	"errors"
	"fmt"

	"bottlebuild/tasks/backend"
)

// unsupported reports what a machine asks for that no backend does yet, so that
// nothing of a bottle file is ignored in silence.
func unsupported(p Machine, be backend.Backend) error {
	var errs []error
	refuse := func(set bool, what string) {
		if set {
			errs = append(errs, fmt.Errorf("machine %s: %s: %w (%s): remove it", p.Name, what, backend.ErrUnsupported, be.Name()))
		}
	}
	refuse(len(p.Secrets) > 0, "secrets")
	refuse(p.Restart != "" && p.Restart != RestartNever, "restart = "+p.Restart)
	refuse(p.OnError == OnErrorKeep, "on_error = "+p.OnError)
	refuse(len(p.Checks) > 0, "check")
	for i, pr := range p.Provision {
		refuse(len(pr.Env) > 0 || pr.Timeout > 0 || pr.Retries > 0 || pr.ContinueOnError,
			fmt.Sprintf("provision[%d]: env, timeout, retries, continue_on_error", i))
	}
	return errors.Join(errs...)
}
