package server

import "time"

// StreamBounds makes streams short and few.
type StreamBounds struct {
	Beat, Patience, Life time.Duration
	Limit                int
}

// BoundStreams changes what streams may cost, before there are any. What is zero stays.
func (s *Server) BoundStreams(b StreamBounds) {
	set := func(to *time.Duration, d time.Duration) {
		if d != 0 {
			*to = d
		}
	}
	set(&s.streams.beat, b.Beat)
	set(&s.streams.patience, b.Patience)
	set(&s.streams.life, b.Life)
	if b.Limit != 0 {
		s.streams.limit = b.Limit
	}
}

// StreamCount is how many streams there are.
func (s *Server) StreamCount() int { return s.streams.count() }

// BoundCalls changes how many calls of one caller are under way, before there are any.
func (s *Server) BoundCalls(asking, revoking int) {
	s.asking.limit, s.revoking.limit = asking, revoking
}
