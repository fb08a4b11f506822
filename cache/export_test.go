package cache

import "time"

// SetUseInterval changes how old a time of use may be, for a test.
func SetUseInterval(d time.Duration) (restore func()) {
	old := useInterval
	useInterval = d
	return func() { useInterval = old }
}
