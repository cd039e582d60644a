package bubbletest_test

import (
	"testing"
	"time"

	"github.com/handstamp/handstamp/internal/bubbletest"
)

// TestTimersTogether runs timers of a bubble in as many goroutines as may: some are received when they are already due,
// others call a function. With synctest.Test instead of bubbletest.Test the detector of Go 1.26 dies of it.
func TestTimersTogether(t *testing.T) {
	for range 20 {
		bubbletest.Test(t, func(t *testing.T) {
			end := time.Now().Add(100 * time.Millisecond)
			for range 20 {
				go func() {
					for time.Now().Before(end) {
						due := time.NewTimer(time.Millisecond)
						time.Sleep(time.Millisecond)
						<-due.C
					}
				}()
				go func() {
					for time.Now().Before(end) {
						called := make(chan struct{})
						time.AfterFunc(time.Millisecond, func() { close(called) })
						<-called
					}
				}()
			}
			time.Sleep(time.Second)
		})
	}
}
