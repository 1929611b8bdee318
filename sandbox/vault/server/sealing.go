package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"

	"github.com/hashicorp/vault/sdk/logical"
)

const (
	sealKey     = "core/seal"
	shareLength = 33 // bytes, as long as the shares of Vault's own seal
)

var (
	errKeyForm  = errors.New("'key' must be a valid hex or base64 string")
	errWrongKey = errors.New("failed to decrypt keys from storage: the key is not one of this server's")
	errShares   = errors.New("invalid seal configuration: there must be at least as many shares as the threshold, and one")
)

// sealConfiguration is what is kept of the unseal keys: how many are needed, and a digest of each.
type sealConfiguration struct {
	Threshold int      `json:"threshold"`
	Digests   []string `json:"digests"`
}

// sealing is whether the server answers. The keys unlock it; they encrypt nothing.
type sealing struct {
	configuration sealConfiguration
	sealed        bool
	given         []string // digests of the keys of an unsealing under way
}

// loadSealing begins sealed, as Vault does.
func loadSealing(ctx context.Context, storage logical.Storage) (*sealing, error) {
	made := &sealing{sealed: true}
	_, err := load(ctx, storage, sealKey, &made.configuration)
	return made, err
}

func (s *sealing) initialized() bool {
	return s.configuration.Threshold > 0
}

// initialize makes the unseal keys and returns them; they are kept nowhere.
func (s *sealing) initialize(ctx context.Context, storage logical.Storage, shares, threshold int) ([][]byte, error) {
	if threshold < 1 || shares < threshold {
		return nil, errShares
	}
	keys := make([][]byte, shares)
	configuration := sealConfiguration{Threshold: threshold}
	for index := range keys {
		keys[index] = make([]byte, shareLength)
		if _, err := rand.Read(keys[index]); err != nil {
			return nil, err
		}
		configuration.Digests = append(configuration.Digests, digest(string(keys[index])))
	}
	s.configuration = configuration
	return keys, keep(ctx, storage, sealKey, configuration)
}

// give takes one unseal key; true when there are enough.
func (s *sealing) give(text string) (bool, error) {
	key, err := hex.DecodeString(text)
	if err != nil {
		if key, err = base64.StdEncoding.DecodeString(text); err != nil {
			return false, errKeyForm
		}
	}
	given := digest(string(key))
	if !slices.Contains(s.configuration.Digests, given) {
		s.given = nil
		return false, errWrongKey
	}
	if !slices.Contains(s.given, given) {
		s.given = append(s.given, given)
	}
	return len(s.given) >= s.configuration.Threshold, nil
}

// digest is how a secret that only has to be recognised is kept.
func digest(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}
