package redis

// StopAt has fn called between the steps of each unit: "committed", when the base has committed and Redis has heard of
// nothing, "planned", before each try to write to Redis, and "written". If fn returns an error the unit stops there, as a process that dies does.
func (s *Store) StopAt(fn func(step string) error) { s.steps = fn }
