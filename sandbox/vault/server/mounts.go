package main

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-uuid"
	"github.com/hashicorp/vault/sdk/logical"
)

const (
	mountsKey  = "core/mounts"
	authPrefix = "auth/"
)

// mount is an engine at a path, such as `secret/` or `auth/approle/`.
type mount struct {
	Path        string            `json:"path"`
	Type        string            `json:"type"`
	Description string            `json:"description"`
	Options     map[string]string `json:"options"`
	UUID        string            `json:"uuid"`
	Accessor    string            `json:"accessor"`
	DefaultTTL  time.Duration     `json:"default_ttl"`
	MaxTTL      time.Duration     `json:"max_ttl"`

	backend logical.Backend
	view    logical.Storage
	builtin bool
}

// requestOf is the request as the engine sees it: its own part of the path, its own storage.
func (m *mount) requestOf(req *logical.Request, relative string) *logical.Request {
	asked := *req
	asked.Path, asked.Storage = relative, m.view
	asked.MountPoint, asked.MountType, asked.MountAccessor = m.Path, m.Type, m.Accessor
	return &asked
}

// describe is what the API says of a mount.
func (m *mount) describe() map[string]any {
	return map[string]any{
		"type":        m.Type,
		"description": m.Description,
		"options":     m.Options,
		"uuid":        m.UUID,
		"accessor":    m.Accessor,
		"local":       false,
		"seal_wrap":   false,
		"config": map[string]any{
			"default_lease_ttl": int(m.DefaultTTL.Seconds()),
			"max_lease_ttl":     int(m.MaxTTL.Seconds()),
			"force_no_cache":    false,
		},
	}
}

// mountTable has all mounts by their paths.
type mountTable struct {
	core    *core
	lock    sync.RWMutex
	entries map[string]*mount
}

// open makes the engines of all mounts, the system's own and those that are kept.
func (t *mountTable) open(ctx context.Context) error {
	t.entries = map[string]*mount{}
	kept := []*mount{
		{Path: "sys/", Type: "system", UUID: "system", Accessor: newIdentifier("system"), builtin: true},
		{Path: "auth/token/", Type: "token", UUID: "token", Accessor: newIdentifier("auth_token"), builtin: true},
	}
	var users []*mount
	if _, err := load(ctx, t.core.storage, mountsKey, &users); err != nil {
		return err
	}
	for _, each := range append(kept, users...) {
		if err := t.start(ctx, each); err != nil {
			return fmt.Errorf("%s: %w", each.Path, err)
		}
	}
	return nil
}

// close ends all engines.
func (t *mountTable) close(ctx context.Context) {
	for _, each := range t.entries {
		each.backend.Cleanup(ctx)
	}
	t.entries = nil
}

// find returns the mount that serves a path, and the path within it; nil when there is none.
// The system and the tokens are the same in every namespace; else a namespace is a prefix.
func (t *mountTable) find(namespace, path string) (found *mount, relative string) {
	t.lock.RLock()
	defer t.lock.RUnlock()
	if !strings.HasPrefix(path, "sys/") && !strings.HasPrefix(path, "auth/token/") {
		path = namespace + path
	}
	for prefix, each := range t.entries {
		if strings.HasPrefix(path, prefix) && (found == nil || len(prefix) > len(found.Path)) {
			found, relative = each, strings.TrimPrefix(path, prefix)
		}
	}
	return found, relative
}

// get returns the mount at exactly this path; nil when there is none.
func (t *mountTable) get(path string) *mount {
	t.lock.RLock()
	defer t.lock.RUnlock()
	return t.entries[path]
}

// below returns the mounts of a namespace, the auth methods or the others, by their paths in it.
func (t *mountTable) below(namespace string, auth bool) map[string]*mount {
	t.lock.RLock()
	defer t.lock.RUnlock()
	found := map[string]*mount{}
	for path, each := range t.entries {
		rest, inside := strings.CutPrefix(path, namespace)
		if !inside && !each.builtin {
			continue
		}
		if short, isAuth := strings.CutPrefix(rest, authPrefix); isAuth == auth {
			found[short] = each
		}
	}
	return found
}

// add mounts an engine and keeps that it is mounted.
func (t *mountTable) add(ctx context.Context, added *mount) error {
	if other, _ := t.find("", added.Path); other != nil {
		return fmt.Errorf("path is already in use at %s", other.Path)
	}
	identifier, err := uuid.GenerateUUID()
	if err != nil {
		return err
	}
	added.UUID, added.Accessor = identifier, newIdentifier(added.Type)
	t.lock.Lock()
	defer t.lock.Unlock()
	if err := t.start(ctx, added); err != nil {
		return err
	}
	return t.save(ctx)
}

// remove takes an engine away with all that it stored.
func (t *mountTable) remove(ctx context.Context, path string) error {
	t.lock.Lock()
	defer t.lock.Unlock()
	removed := t.entries[path]
	if removed == nil || removed.builtin {
		return nil
	}
	removed.backend.Cleanup(ctx)
	delete(t.entries, path)
	if err := logical.ClearView(ctx, viewOf(t.core.storage, removed)); err != nil {
		return err
	}
	return t.save(ctx)
}

// save keeps what is mounted; whoever calls it holds the lock.
func (t *mountTable) save(ctx context.Context) error {
	var users []*mount
	for each := range maps.Values(t.entries) {
		if !each.builtin {
			users = append(users, each)
		}
	}
	return keep(ctx, t.core.storage, mountsKey, users)
}

func (t *mountTable) start(ctx context.Context, started *mount) error {
	factory := t.factory(started.Type, strings.Contains("/"+started.Path, "/"+authPrefix))
	if factory == nil {
		return fmt.Errorf("plugin not found in the catalog: %s", started.Type)
	}
	started.view = viewOf(t.core.storage, started)
	backend, err := factory(ctx, &logical.BackendConfig{
		StorageView: started.view,
		Logger:      hclog.NewNullLogger(),
		System:      systemView(started),
		BackendUUID: started.UUID,
		Config:      started.Options,
	})
	if err != nil {
		return err
	}
	if backend == nil {
		return fmt.Errorf("the engine %s has no version %q", started.Type, started.Options["version"])
	}
	if err := backend.Initialize(ctx, &logical.InitializationRequest{Storage: started.view}); err != nil {
		return err
	}
	started.backend = backend
	t.entries[started.Path] = started
	return nil
}

func (t *mountTable) factory(kind string, auth bool) logical.Factory {
	switch {
	case kind == "system":
		return t.core.systemEngine
	case kind == "token":
		return t.core.tokenEngine
	case auth:
		return authEngines[kind]
	default:
		return secretEngines[kind]
	}
}

func viewOf(storage logical.Storage, of *mount) *logical.StorageView {
	return logical.NewStorageView(storage, "mount/"+of.UUID+"/")
}

func systemView(of *mount) logical.SystemView {
	view := logical.StaticSystemView{
		DefaultLeaseTTLVal: defaultTTL,
		MaxLeaseTTLVal:     maximumTTL,
		VersionString:      version,
	}
	if of.DefaultTTL > 0 {
		view.DefaultLeaseTTLVal = of.DefaultTTL
	}
	if of.MaxTTL > 0 {
		view.MaxLeaseTTLVal = of.MaxTTL
	}
	return view
}

// retune changes the lifetimes that a mount gives, for engines made from now on.
func (t *mountTable) retune(ctx context.Context, path string, defaultTTL, maxTTL any) error {
	t.lock.Lock()
	defer t.lock.Unlock()
	if err := t.entries[path].tune(defaultTTL, maxTTL); err != nil {
		return err
	}
	return t.save(ctx)
}
