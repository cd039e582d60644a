package importer_test

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/account/importer"
	"github.com/handstamp/handstamp/login/password"
	"github.com/handstamp/handstamp/store/memory"
)

// The whole way: a file with hashes of several systems, two of them hostile; the accounts log in with the passwords of
// there, and have hashes like everybody's afterwards.
func TestImportedUsersLogIn(t *testing.T) {
	store := memory.New()
	auth, err := handstamp.Open(t.Context(), store, handstamp.Options{PublicURL: "https://app.example.com", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = auth.Close() }()
	m, err := password.Open(auth, store, password.Options{Hasher: password.HasherOptions{
		Params: password.Params{MemoryKiB: 64, Iterations: 1, Parallelism: 1}, InsecureCost: true,
	}})
	if err != nil {
		t.Fatal(err)
	}
	firebase := password.Firebase{
		SignerKey: "jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==", SaltSeparator: "Bw==", Rounds: 8, MemCost: 14,
	}
	const file = `{"id":"php-1","email":"php@example.org","password_hash":"$2y$05$qqIjigueHab2mQlWwfrWO.RUF7ao2GDz4ngJ6Kgi4nJRAuKASOYTe"}
{"id":"net-1","email":"net@example.org","password_hash":"AQAAAAIAAAAyAAAAEOMwvh3+FZxqkdMBz2ekgGhwQ4B6pZWND6zgESBuWiHw"}
{"id":"evil-1","email":"evil@example.org","password_hash":"$2y$31$qqIjigueHab2mQlWwfrWO.RUF7ao2GDz4ngJ6Kgi4nJRAuKASOYTe"}
{"id":"evil-2","email":"evil2@example.org","password_hash":"$argon2id$v=19$m=4194304,t=1000,p=255$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"}
{"id":"fire-1","email":"fire@example.org","password_hash":"lSrfV15cpx95_sZS2W9c9Kp6i_LVgQNDNC_qzrCnh1SAyZvqmZqAjTdn3aoItz-VHjoZilo78198JAdRuid5lQ==","password_salt":"42xEC-ixf3L2lw=="}
`
	opt := importer.Options{Format: importer.JSONL, JoinSalt: firebase.Stored, CheckHash: func(s string) error { _, _, err := password.Inspect(s); return err }}
	r, err := importer.Import(t.Context(), strings.NewReader(file), opt, m.Accounts())
	if err != nil || r.Created != 3 || r.Broken != 2 || r.Problems[0].Line != 3 || r.Problems[1].Line != 4 || strings.Contains(r.Problems[0].Error()+r.Problems[1].Error(), "$2y$31") {
		t.Fatalf("%+v, %v", r, err)
	}
	for u, tc := range map[handstamp.UserID][2]string{
		"php-1": {"php@example.org", "correct horse"}, "net-1": {"net@example.org", "my password"}, "fire-1": {"fire@example.org", "user1password"},
	} {
		if _, err := m.Login(t.Context(), account.Address(tc[0]), tc[1]+"x", handstamp.StartOptions{}); err == nil {
			t.Errorf("%s logs in with a wrong password", u)
		}
		for range 2 {
			if _, err := m.Login(t.Context(), account.Address(tc[0]), tc[1], handstamp.StartOptions{}); err != nil {
				t.Errorf("%s: %v", u, err)
			}
		}
		c, err := m.Accounts().Users().Credential(t.Context(), u, account.MethodPassword)
		if err != nil || !strings.HasPrefix(c.Data, "$argon2id$v=19$m=64,") {
			t.Errorf("%s: %+v, %v", u, c, err)
		}
	}
	r, err = importer.Import(t.Context(), strings.NewReader(file), opt, m.Accounts())
	if err != nil || r.Same != 3 || r.Broken != 2 || r.Conflicts != 0 {
		t.Errorf("again: %+v, %v", r, err)
	}
}
