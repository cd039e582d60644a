package fault

import "strconv"

func itoa(n int) string { return strconv.Itoa(n) }
