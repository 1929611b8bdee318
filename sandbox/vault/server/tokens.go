package main

import (
	"context"
	"crypto/rand"
	"math/big"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

const (
	tokenPrefix    = "core/token/"
	accessorPrefix = "core/accessor/"
	alphabet       = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

	// Vault's own defaults for mounts that set none: 32 days.
	defaultTTL = 768 * time.Hour
	maximumTTL = 768 * time.Hour
)

// token is a service token as it is kept; durations are whole seconds to its users.
type token struct {
	ID             string            `json:"id"`
	Accessor       string            `json:"accessor"`
	Parent         string            `json:"parent"` // digest of its parent's id
	Path           string            `json:"path"`
	DisplayName    string            `json:"display_name"`
	Policies       []string          `json:"policies"`
	Meta           map[string]string `json:"meta"`
	Uses           int               `json:"uses"` // left; 0 is any number
	Created        time.Time         `json:"created"`
	Expires        time.Time         `json:"expires"` // zero: never
	TTL            time.Duration     `json:"ttl"`
	MaxTTL         time.Duration     `json:"max_ttl"`
	ExplicitMaxTTL time.Duration     `json:"explicit_max_ttl"`
	Period         time.Duration     `json:"period"`
	Renewable      bool              `json:"renewable"`
}

func (t *token) isRoot() bool {
	return slices.Contains(t.Policies, rootPolicy)
}

// left is the time the token has; 0 for one that never expires.
func (t *token) left(now time.Time) time.Duration {
	if t.Expires.IsZero() {
		return 0
	}
	return t.Expires.Sub(now)
}

type tokenStore struct {
	storage logical.Storage
	lock    sync.Mutex
}

// create gives a token an id (unless it has one) and an accessor, and keeps it.
func (s *tokenStore) create(ctx context.Context, made *token) error {
	s.lock.Lock()
	defer s.lock.Unlock()
	if made.ID == "" {
		made.ID = "hvs." + randomText(24)
	}
	made.Accessor = randomText(24)
	made.Created = time.Now()
	if made.TTL > 0 {
		made.Expires = made.Created.Add(made.TTL)
	}
	if err := keep(ctx, s.storage, accessorPrefix+made.Accessor, digest(made.ID)); err != nil {
		return err
	}
	return s.save(ctx, made)
}

// find returns a live token; nil when there is none of this id. An expired one is revoked.
func (s *tokenStore) find(ctx context.Context, id string) (*token, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.live(ctx, digest(id))
}

// findByAccessor is find by the name that gives no access.
func (s *tokenStore) findByAccessor(ctx context.Context, accessor string) (*token, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	var key string
	if found, err := load(ctx, s.storage, accessorPrefix+accessor, &key); !found {
		return nil, err
	}
	return s.live(ctx, key)
}

// use returns a live token and counts its use; the last use ends it.
func (s *tokenStore) use(ctx context.Context, id string) (*token, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	found, err := s.live(ctx, digest(id))
	if found == nil || err != nil || found.Uses == 0 {
		return found, err
	}
	if found.Uses == 1 {
		return found, s.remove(ctx, found)
	}
	found.Uses--
	return found, s.save(ctx, found)
}

// update keeps a token that was changed.
func (s *tokenStore) update(ctx context.Context, changed *token) error {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.save(ctx, changed)
}

// revoke ends a token and, unless they shall be orphans, all that it made.
func (s *tokenStore) revoke(ctx context.Context, ended *token, keepChildren bool) error {
	s.lock.Lock()
	defer s.lock.Unlock()
	if !keepChildren {
		return s.removeTree(ctx, ended)
	}
	children, err := s.children(ctx, digest(ended.ID))
	if err != nil {
		return err
	}
	for _, child := range children {
		child.Parent = ""
		if err := s.save(ctx, child); err != nil {
			return err
		}
	}
	return s.remove(ctx, ended)
}

// accessors lists the accessors of all tokens.
func (s *tokenStore) accessors(ctx context.Context) ([]string, error) {
	return s.storage.List(ctx, accessorPrefix)
}

func (s *tokenStore) live(ctx context.Context, key string) (*token, error) {
	var found token
	if ok, err := load(ctx, s.storage, tokenPrefix+key, &found); !ok {
		return nil, err
	}
	if !found.Expires.IsZero() && !time.Now().Before(found.Expires) {
		return nil, s.removeTree(ctx, &found)
	}
	return &found, nil
}

func (s *tokenStore) removeTree(ctx context.Context, ended *token) error {
	children, err := s.children(ctx, digest(ended.ID))
	if err != nil {
		return err
	}
	for _, child := range children {
		if err := s.removeTree(ctx, child); err != nil {
			return err
		}
	}
	return s.remove(ctx, ended)
}

func (s *tokenStore) children(ctx context.Context, parent string) ([]*token, error) {
	keys, err := s.storage.List(ctx, tokenPrefix)
	if err != nil {
		return nil, err
	}
	var found []*token
	for _, key := range keys {
		var one token
		if ok, err := load(ctx, s.storage, tokenPrefix+key, &one); err != nil {
			return nil, err
		} else if ok && one.Parent == parent {
			found = append(found, &one)
		}
	}
	return found, nil
}

func (s *tokenStore) save(ctx context.Context, one *token) error {
	return keep(ctx, s.storage, tokenPrefix+digest(one.ID), one)
}

func (s *tokenStore) remove(ctx context.Context, one *token) error {
	if err := s.storage.Delete(ctx, accessorPrefix+one.Accessor); err != nil {
		return err
	}
	return s.storage.Delete(ctx, tokenPrefix+digest(one.ID))
}

func randomText(length int) string {
	text := make([]byte, length)
	for index := range text {
		number, err := rand.Int(rand.Reader, big.NewInt(int64(len(alphabet))))
		if err != nil {
			panic(err) // no randomness, no tokens
		}
		text[index] = alphabet[number.Int64()]
	}
	return string(text)
}
