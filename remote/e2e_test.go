package remote_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/keyring"
	"github.com/handstamp/handstamp/remote"
	"github.com/handstamp/handstamp/server"
	"github.com/handstamp/handstamp/store/sqlite"
)

// TestTwoNodesBehindOneAddress: over real connections, with two nodes on one database, and requests that go now to one and
// now to the other: what ends at one of them is refused by another service within the bound, with the stream and without,
// and no check is refused that should not be.
func TestTwoNodesBehindOneAddress(t *testing.T) {
	file := filepath.Join(t.TempDir(), "fleet.db")
	var nodes []*node
	var turn, silent atomic.Int64
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == streamPath && silent.Load() != 0 {
			http.Error(w, "no streams here", http.StatusBadGateway)
			return
		}
		nodes[int(turn.Add(1))%len(nodes)].server.ServeHTTP(w, r)
	}))
	front.StartTLS()
	t.Cleanup(front.Close)
	for _, host := range []string{"a", "b"} {
		store, err := sqlite.Open(t.Context(), file, sqlite.Options{})
		must(t, err)
		t.Cleanup(func() { must(t, store.Close()) })
		n := &node{host: host}
		n.ring, err = keyring.Open(t.Context(), store.Keys(), keyring.Options{Secrets: secrets()})
		must(t, err)
		n.auth, err = handstamp.Open(t.Context(), store, handstamp.Options{
			PublicURL: front.URL, Secrets: secrets(), Keys: n.ring, Logger: quiet(), Name: host,
		})
		must(t, err)
		t.Cleanup(func() { must(t, n.auth.Close()) })
		n.accounts = account.New(n.auth, store)
		n.server, err = server.Handler(n.auth, n.accounts, server.Options{PublicURL: front.URL, Keys: n.ring, Logger: quiet()})
		must(t, err)
		t.Cleanup(n.server.EndStreams)
		nodes = append(nodes, n)
	}
	f := &fleet{t: t, nodes: nodes}
	key := f.newKey("handstamp.revocations", "handstamp.introspect")
	roots := transportFor(front).TLSClientConfig.RootCAs
	v, err := remote.OpenWith(t.Context(), front.URL, key, remote.Options{
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}, // also over HTTP/2
		Verifier:  handstamp.Options{Logger: quiet()},
	})
	must(t, err)
	t.Cleanup(func() { must(t, v.Close()) })
	for _, streams := range []bool{true, false} {
		if !streams {
			silent.Store(1)
			front.CloseClientConnections()
		}
		var took []time.Duration
		for round := range 18 {
			g := f.logInAt(nodes[round%2], modes()[round%3], "ada")
			eventually(t, 5*time.Second, v, text(g), "yes")
			time.Sleep(time.Duration(round*97%230) * time.Millisecond) // any moment between two renewals
			_, err := nodes[(round+1)%2].auth.EndSession(t.Context(), g.Session.ID, handstamp.EndOptions{})
			must(t, err)
			took = append(took, eventually(t, bound, v, text(g), refused(g.Session.Mode)))
		}
		slices.Sort(took)
		t.Logf("streams: %v: p50 %v, p90 %v, max %v", streams, took[len(took)/2], took[len(took)*9/10], took[len(took)-1])
	}
}
