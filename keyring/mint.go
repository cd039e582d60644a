package keyring

import (
	"fmt"
	"time"

	"github.com/handstamp/handstamp/jwt"
)

// Seal makes a value token of the claims under the key that is active at now:
// signed, or with Options.Encrypt encrypted.
func (r *Ring) Seal(c jwt.Claims, now time.Time) (string, error) {
	if r.policy.encrypt {
		k, err := r.EncryptionKey(now)
		if err != nil {
			return "", fmt.Errorf("find the key to encrypt with: %w", err)
		}
		return jwt.Encrypt(k, c)
	}
	k, err := r.Signer(now)
	if err != nil {
		return "", fmt.Errorf("find the key to sign with: %w", err)
	}
	return jwt.Sign(k, c)
}
