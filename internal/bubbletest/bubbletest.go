// Package bubbletest runs a test in a testing/synctest bubble, so that it survives the race detector of Go 1.26.
//
// There, all timers of a bubble share one record of the race detector, and a goroutine that receives from a timer that
// is already due runs that timer itself: two threads change the record at once, and the test binary dies of a signal in
// the detector. TestTimersTogether shows it within a second. So under the detector a bubble has one P at a time. What is
// not ordered is still found, since the detector compares what is ordered, not what ran in parallel, and shuffles what
// runs next; what needs two threads at one moment is for tests outside of bubbles. Go 1.27 has no such record; when go.mod says 1.27, this package can go, and tests call
// [testing/synctest.Test] themselves.
//
// It is for tests only: nothing that is built into the binary or imported by an application uses it.
package bubbletest
