package redis

import (
	"context"
	"crypto/tls"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/handstamp/handstamp"
)

// Options of [Dial]. The zero value is right for nearly everybody.
type Options struct {
	// Prefix is what all keys begin with: those who share one share everything. 1 to 64 letters, digits and - _ . : /;
	// empty is the URL's prefix parameter, or else "handstamp:".
	Prefix string
	// Timeout bounds one call of Redis, with what is tried again within it; 50 ms to 10 s. 0 is 1 s: who asked over HTTP
	// hears of a Redis that does not answer in less than 3.
	Timeout time.Duration
	// Cache says that the client is for [NewCache] only: then it does not matter whether the server evicts keys.
	Cache bool
	// TLS replaces what a rediss:// URL says of certificates. A connection in clear stays one.
	TLS *tls.Config
}

// The defaults and bounds of Options.
const (
	defaultPrefix  = "handstamp:"
	maxPrefix      = 64
	defaultTimeout = time.Second
	leastTimeout   = 50 * time.Millisecond
	maxTimeout     = 10 * time.Second
)

// Client is a connection to Redis or Valkey that was found good. It is safe for concurrent use; make it with [Dial].
type Client struct {
	conn    rueidis.Client
	scripts map[string]*rueidis.Lua
	root    string // {prefix}: what every key and the channel begin with
	place   []string
	timeout time.Duration
	hosts   string

	cache      bool // keys may be evicted
	durability handstamp.Durability
	note       string
}

// Close ends the connection and waits for calls that are under way.
func (c *Client) Close() { c.conn.Close() }

// Durability is what the server's own configuration promises for a write that it acknowledged, as [Dial] found it.
func (c *Client) Durability() handstamp.Durability { return c.durability }

// Note says in a sentence why the durability is what it is, for start-up messages.
func (c *Client) Note() string { return c.note }

// Ready says whether the server answers.
func (c *Client) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	return c.explain("ask", c.conn.Do(ctx, c.conn.B().Exists().Key(c.place[0]).Build()).Error())
}

//go:embed lua/*.lua
var scriptFiles embed.FS

func loadScripts() (map[string]*rueidis.Lua, error) {
	all := make(map[string]*rueidis.Lua)
	entries, err := fs.ReadDir(scriptFiles, "lua")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		text, err := fs.ReadFile(scriptFiles, "lua/"+e.Name())
		if err != nil {
			return nil, err
		}
		name := strings.TrimSuffix(e.Name(), ".lua")
		switch name {
		case "find", "many": // they write nothing; they are run by primaries like the others
			all[name] = rueidis.NewLuaScriptReadOnly(string(text))
		case "claim", "release", "prune", "purge": // doing it twice is doing it once, so a broken connection is no error yet
			all[name] = rueidis.NewLuaScriptRetryable(string(text))
		default:
			all[name] = rueidis.NewLuaScript(string(text))
		}
	}
	return all, nil
}

// run runs a script. The first key of all of them is the place of the records, which also says on which slot they are.
func (c *Client) run(ctx context.Context, script string, args ...string) ([]answer, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("ask Redis: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	result := c.scripts[script].Exec(ctx, c.conn, c.place, args)
	if err := result.Error(); err != nil {
		return nil, c.explain("run a script", err)
	}
	if n, err := result.AsInt64(); err == nil {
		return []answer{{number: n}}, nil
	}
	if text, err := result.ToString(); err == nil {
		return []answer{{text: text, there: true}}, nil
	}
	parts, err := result.ToArray()
	if err != nil {
		return nil, errAnswer
	}
	out := make([]answer, len(parts))
	for i := range parts {
		if parts[i].IsNil() {
			continue
		}
		text, err := parts[i].ToString()
		if err != nil {
			return nil, errAnswer
		}
		out[i] = answer{text: text, there: true}
	}
	return out, nil
}

// answer is one part of what a script says.
type answer struct {
	text   string
	number int64
	there  bool
}

// errAnswer says that the server answered what none of the scripts says.
var errAnswer = errors.New("redis: an answer of an unexpected form")

// explain makes an error of one line that says what to do. What a server says of a mistake may hold a user's name, and no
// password.
func (c *Client) explain(what string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, rueidis.ErrClosing) {
		return fmt.Errorf("%s: the connection to Redis at %s is closed", what, c.hosts)
	}
	said, isRedis := rueidis.IsRedisErr(err)
	if !isRedis {
		return fmt.Errorf("%s (Redis at %s): %w", what, c.hosts, err)
	}
	return fmt.Errorf("%s (Redis at %s): %s", what, c.hosts, advice(said.Error()))
}

// advice turns what a server says into what to do about it.
func advice(said string) string {
	code, _, _ := strings.Cut(said, " ")
	switch code {
	case "WRONGPASS":
		return "it refuses the user or the password: check both, and percent-encode special characters in the URL"
	case "NOAUTH":
		return "it wants a password: redis://[user]:password@host"
	case "NOPERM":
		return "this user may not do that; it needs +@read +@write +@scripting +@pubsub +@connection +info +time on the keys and channels of the prefix: " + said
	case "LOADING":
		return "it still loads its data; try again"
	case "MASTERDOWN", "READONLY":
		return "it is a replica: give the address of the primary"
	case "OOM":
		return "its memory is full: raise maxmemory"
	case "MISCONF":
		return "it cannot write to its disk and so refuses writes: look at its log"
	case "CLUSTERDOWN":
		return "the Cluster does not serve all slots"
	case "MOVED":
		return "it is a node of a Cluster: add ?cluster=true to the URL"
	default:
		return said
	}
}
