package handstamptest

// Up says whether the store is up, for tests.
func (s *Store) Up() error { return s.up() }
