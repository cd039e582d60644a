package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/handstamp/handstamp/internal/config"
)

// reloadEvery is how often the certificate's files are looked at. Their content decides, not their times: tools that
// renew certificates replace files, links and whole directories.
const reloadEvery = 2 * time.Second

// certPair is the certificate of the public listener, taken from its files again when they change.
type certPair struct {
	files   config.TLS
	log     *slog.Logger
	current atomic.Pointer[tls.Certificate]
	seen    [sha256.Size]byte // of the files' content that was looked at last, good or bad
}

func loadPair(files config.TLS, log *slog.Logger) (*certPair, error) {
	p := &certPair{files: files, log: log}
	if _, err := p.reload(time.Now()); err != nil {
		return nil, err
	}
	return p, nil
}

// reload reads the files and takes what is in them if it is new and good. What is not good changes nothing.
func (p *certPair) reload(now time.Time) (changed bool, err error) {
	cert, err := os.ReadFile(p.files.Cert)
	if err != nil {
		return false, fmt.Errorf("read tls.cert: %w", err)
	}
	key, err := os.ReadFile(p.files.Key)
	if err != nil {
		return false, fmt.Errorf("read tls.key: %w", err)
	}
	sum := sha256.Sum256(bytes.Join([][]byte{cert, key}, []byte{0}))
	if sum == p.seen {
		return false, nil
	}
	p.seen = sum
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return false, fmt.Errorf("tls.cert and tls.key are no pair of a certificate and its key: %w", err)
	}
	if now.After(pair.Leaf.NotAfter) && p.current.Load() != nil {
		return false, errors.New("the new certificate has expired already")
	}
	p.current.Store(&pair)
	return true, nil
}

func (p *certPair) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return p.current.Load(), nil },
	}
}

// watch looks at the files until stop is called. A pair that is half written is bad at the first look and good at the
// next one.
func (p *certPair) watch(every time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		failing := ""
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			failing = p.look(failing)
		}
	})
	return func() { cancel(); done.Wait() }
}

// look reloads once and logs what is new: a failure is said once, not every two seconds.
func (p *certPair) look(failing string) string {
	changed, err := p.reload(time.Now())
	switch {
	case err != nil && err.Error() != failing:
		p.log.Error("the new TLS certificate is not used; the old one stays", "error", err)
		return err.Error()
	case changed:
		p.log.Info("the TLS certificate was reloaded", "not_after", p.current.Load().Leaf.NotAfter)
		return ""
	}
	return failing
}
