package postgres

import (
	"encoding/json"
	"fmt"
	"sync"

	"github.com/handstamp/handstamp/permission"
)

// tableCache keeps parsed role definitions by their exact text, so that a look-up of a session does not parse JSON. It
// cannot be stale: the text was read in the snapshot of the look-up.
type tableCache struct {
	mu     sync.RWMutex
	parsed map[string]permission.Table
}

// maxTables bounds the cache: one entry for each combination of roles that is in use.
const maxTables = 256

func (c *tableCache) parse(text string) (permission.Table, error) {
	c.mu.RLock()
	t, ok := c.parsed[text]
	c.mu.RUnlock()
	if ok {
		return t, nil
	}
	t, err := parseTable(text)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.parsed == nil || len(c.parsed) >= maxTables {
		c.parsed = make(map[string]permission.Table)
	}
	c.parsed[text] = t
	return t, nil
}

// parseTable reads {"role": ["permission", …], …}.
func parseTable(text string) (permission.Table, error) {
	table := permission.Table{}
	if text == "" || text == "{}" {
		return table, nil
	}
	var defs map[string][]string
	if err := json.Unmarshal([]byte(text), &defs); err != nil {
		return nil, fmt.Errorf("read role definitions: %w", errColumn)
	}
	for name, granted := range defs {
		table[name] = permission.NewSet(granted...)
	}
	return table, nil
}
