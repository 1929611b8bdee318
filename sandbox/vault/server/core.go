package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/go-multierror"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
)

// core is what a server is made of behind its HTTP API. Requests share its lock; who seals or
// unseals has it alone.
type core struct {
	lock     sync.RWMutex
	storage  logical.Storage
	sealing  *sealing
	mounts   *mountTable
	tokens   *tokenStore
	policies *policyStore
	wrapped  *wrapStore
}

// caller is who asks: the token, what it may do, and the namespace that the request named.
type caller struct {
	token     *token
	acl       acl
	namespace string // "" or with a slash at its end
}

type callerKey struct{}

// callerOf returns who asks; the system's and the tokens' own engines need it.
func callerOf(ctx context.Context) caller {
	who, _ := ctx.Value(callerKey{}).(caller)
	return who
}

func newCore(ctx context.Context, storage logical.Storage) (*core, error) {
	sealing, err := loadSealing(ctx, storage)
	if err != nil {
		return nil, err
	}
	made := &core{
		storage:  storage,
		sealing:  sealing,
		tokens:   &tokenStore{storage: storage},
		policies: &policyStore{storage: storage},
		wrapped:  &wrapStore{storage: storage},
	}
	made.mounts = &mountTable{core: made}
	return made, nil
}

// initialize makes the unseal keys and the root token. Like Vault it leaves the server sealed.
func (c *core) initialize(ctx context.Context, shares, threshold int) ([][]byte, *token, error) {
	c.lock.Lock()
	defer c.lock.Unlock()
	keys, err := c.sealing.initialize(ctx, c.storage, shares, threshold)
	if err != nil {
		return nil, nil, err
	}
	root := &token{Policies: []string{rootPolicy}, DisplayName: rootPolicy, Path: "auth/token/root"}
	return keys, root, c.tokens.create(ctx, root)
}

// unseal takes a key; when it was the last one needed, the mounts are made.
func (c *core) unseal(ctx context.Context, key string, reset bool) error {
	c.lock.Lock()
	defer c.lock.Unlock()
	if reset || !c.sealing.sealed {
		c.sealing.given = nil
		return nil
	}
	enough, err := c.sealing.give(key)
	if err != nil || !enough {
		return err
	}
	c.sealing.given = nil
	if err := c.mounts.open(ctx); err != nil {
		return err
	}
	c.sealing.sealed = false
	return nil
}

// seal ends every engine; what they stored stays.
func (c *core) seal(ctx context.Context) {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.mounts.close(ctx)
	c.sealing.sealed = true
}

// maySeal says whether this token may seal the server.
func (c *core) maySeal(ctx context.Context, req *logical.Request) error {
	c.lock.RLock()
	defer c.lock.RUnlock()
	if c.sealing.sealed {
		return consts.ErrSealed
	}
	who, err := c.identify(ctx, req, "")
	if err != nil {
		return err
	}
	return permit(who, req.Operation, req.Path, true)
}

// handle answers one request; the path is as the client sent it, without namespace.
func (c *core) handle(ctx context.Context, req *logical.Request, namespace string) (*logical.Response, error) {
	c.lock.RLock()
	defer c.lock.RUnlock()
	if c.sealing.sealed {
		return nil, consts.ErrSealed
	}
	path := req.Path
	resp, err := c.route(ctx, req, namespace)
	if err != nil || resp == nil || resp.IsError() || req.WrapInfo == nil {
		return resp, err
	}
	return c.wrapped.wrap(ctx, resp, req, path)
}

// route finds the engine of the path, makes sure that the caller may ask, and asks it.
func (c *core) route(ctx context.Context, req *logical.Request, namespace string) (*logical.Response, error) {
	path := namespace + req.Path
	mounted, relative := c.mounts.find(namespace, req.Path)
	if mounted != nil && special(mounted.backend.SpecialPaths(), relative, false) {
		ctx = context.WithValue(ctx, callerKey{}, caller{namespace: namespace})
		return c.ask(ctx, req, mounted, relative)
	}
	who, err := c.identify(ctx, req, namespace)
	if err != nil {
		return nil, err
	}
	ctx = context.WithValue(ctx, callerKey{}, who)
	if mounted == nil {
		if err := permit(who, req.Operation, path, false); err != nil {
			return nil, err
		}
		return logical.ErrorResponse("no handler for route %q. route entry not found.", path), logical.ErrUnsupportedPath
	}
	if err := c.tellCreation(ctx, req, mounted, relative); err != nil {
		return nil, err
	}
	sudo := special(mounted.backend.SpecialPaths(), relative, true)
	if err := permit(who, req.Operation, path, sudo); err != nil {
		return nil, err
	}
	return c.ask(ctx, req, mounted, relative)
}

// identify finds the caller by the request's token and counts its use.
func (c *core) identify(ctx context.Context, req *logical.Request, namespace string) (caller, error) {
	if req.ClientToken == "" {
		return caller{}, logical.ErrPermissionDenied
	}
	found, err := c.tokens.use(ctx, req.ClientToken)
	if err != nil {
		return caller{}, err
	}
	if found == nil {
		return caller{}, multierror.Append(logical.ErrPermissionDenied, logical.ErrInvalidToken)
	}
	allowed, err := c.policies.aclOf(ctx, found.Policies)
	req.ClientTokenAccessor, req.DisplayName = found.Accessor, found.DisplayName
	return caller{token: found, acl: allowed, namespace: namespace}, err
}

// tellCreation turns a write of what does not exist yet into the operation that policies call
// create; only some engines can tell.
func (c *core) tellCreation(ctx context.Context, req *logical.Request, mounted *mount, relative string) error {
	if req.Operation != logical.UpdateOperation {
		return nil
	}
	asked := mounted.requestOf(req, relative)
	known, exists, err := mounted.backend.HandleExistenceCheck(ctx, asked)
	if err != nil && !strings.Contains(err.Error(), logical.ErrUnsupportedPath.Error()) {
		return err
	}
	if known && !exists {
		req.Operation = logical.CreateOperation
	}
	return nil
}

// ask has the engine answer, and gives whom it let in a token.
func (c *core) ask(ctx context.Context, req *logical.Request, mounted *mount, relative string) (*logical.Response, error) {
	resp, err := mounted.backend.HandleRequest(ctx, mounted.requestOf(req, relative))
	if err != nil || resp == nil || resp.IsError() {
		return resp, err
	}
	if resp.Auth != nil && resp.Auth.ClientToken == "" {
		if err := c.admit(ctx, resp, mounted, req.Path); err != nil {
			return nil, err
		}
	}
	if resp.Secret != nil {
		resp.Secret.Renewable = false // nothing here has leases that live on
	}
	resp.MountType = mounted.Type
	return resp, nil
}

// permit returns Vault's refusal unless the caller may do this.
func permit(who caller, operation logical.Operation, path string, sudo bool) error {
	if who.acl.allows(operation, path, sudo) {
		return nil
	}
	return multierror.Append(nil, logical.ErrPermissionDenied)
}

// special says whether an engine marks the path: as one that needs sudo, or else as one that
// needs no token.
func special(paths *logical.Paths, relative string, root bool) bool {
	if paths == nil {
		return false
	}
	patterns := paths.Unauthenticated
	if root {
		patterns = paths.Root
	}
	return slices.ContainsFunc(patterns, func(pattern string) bool { return matches(pattern, relative) })
}

func newIdentifier(kind string) string {
	return fmt.Sprintf("%s_%s", kind, strings.ToLower(randomText(8)))
}
