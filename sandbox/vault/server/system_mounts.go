package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/go-secure-stdlib/parseutil"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

var mountFields = map[string]*framework.FieldSchema{
	"path":              {Type: framework.TypeString},
	"type":              {Type: framework.TypeString},
	"description":       {Type: framework.TypeString},
	"options":           {Type: framework.TypeKVPairs},
	"config":            {Type: framework.TypeMap},
	"default_lease_ttl": {Type: framework.TypeString},
	"max_lease_ttl":     {Type: framework.TypeString},
}

// mountPaths are sys/mounts, sys/auth and what clients ask to learn a mount's version.
func (c *core) mountPaths() []*framework.Path {
	var paths []*framework.Path
	for _, prefix := range []string{"mounts", "auth"} {
		paths = append(paths,
			handled(prefix+"/?", mountFields, map[logical.Operation]framework.OperationFunc{
				logical.ReadOperation: c.listMounts,
			}),
			handled(prefix+"/(?P<path>.+?)/tune", mountFields, map[logical.Operation]framework.OperationFunc{
				logical.ReadOperation: c.readTuning, logical.UpdateOperation: c.tune,
			}),
			handled(prefix+"/(?P<path>.+?)/?", mountFields, map[logical.Operation]framework.OperationFunc{
				logical.ReadOperation:   c.readMount,
				logical.UpdateOperation: c.addMount,
				logical.DeleteOperation: c.removeMount,
			}),
		)
	}
	return append(paths,
		handled("internal/ui/mounts/?", mountFields, map[logical.Operation]framework.OperationFunc{
			logical.ReadOperation: c.listVisibleMounts,
		}),
		handled("internal/ui/mounts/(?P<path>.+)", mountFields, map[logical.Operation]framework.OperationFunc{
			logical.ReadOperation: c.preflight,
		}),
	)
}

// mountPathOf is the whole path of the mount that a request names.
func mountPathOf(ctx context.Context, req *logical.Request, data *framework.FieldData) string {
	path := strings.Trim(data.Get("path").(string), "/") + "/"
	if strings.HasPrefix(req.Path, authPrefix) {
		path = authPrefix + path
	}
	return callerOf(ctx).namespace + path
}

func (c *core) listMounts(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	described := map[string]any{}
	auth := strings.HasPrefix(req.Path+"/", authPrefix)
	for path, each := range c.mounts.below(callerOf(ctx).namespace, auth) {
		described[path] = each.describe()
	}
	return &logical.Response{Data: described}, nil
}

func (c *core) readMount(ctx context.Context, req *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	path := mountPathOf(ctx, req, data)
	if found := c.mounts.get(path); found != nil {
		return &logical.Response{Data: found.describe()}, nil
	}
	return logical.ErrorResponse("No secret engine mount at %s", path), logical.ErrInvalidRequest
}

func (c *core) addMount(ctx context.Context, req *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	added := &mount{
		Path:        mountPathOf(ctx, req, data),
		Type:        data.Get("type").(string),
		Description: data.Get("description").(string),
		Options:     data.Get("options").(map[string]string),
	}
	if kind, short := strings.CutPrefix(added.Type, "kv-v"); short {
		added.Type, added.Options = "kv", map[string]string{"version": kind}
	}
	config := data.Get("config").(map[string]any)
	if err := added.tune(config["default_lease_ttl"], config["max_lease_ttl"]); err != nil {
		return logical.ErrorResponse("%s", err.Error()), logical.ErrInvalidRequest
	}
	// The engine lives longer than this request.
	if err := c.mounts.add(background, added); err != nil {
		return logical.ErrorResponse("%s", err.Error()), logical.ErrInvalidRequest
	}
	return nil, nil
}

func (c *core) removeMount(ctx context.Context, req *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	return nil, c.mounts.remove(ctx, mountPathOf(ctx, req, data))
}

func (c *core) readTuning(ctx context.Context, req *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	found := c.mounts.get(mountPathOf(ctx, req, data))
	if found == nil {
		return logical.ErrorResponse("cannot fetch sysview for path %q", data.Get("path")), logical.ErrInvalidRequest
	}
	view := systemView(found)
	return &logical.Response{Data: map[string]any{
		"description":       found.Description,
		"options":           found.Options,
		"default_lease_ttl": int(view.DefaultLeaseTTL().Seconds()),
		"max_lease_ttl":     int(view.MaxLeaseTTL().Seconds()),
		"force_no_cache":    false,
	}}, nil
}

func (c *core) tune(ctx context.Context, req *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	path := mountPathOf(ctx, req, data)
	if c.mounts.get(path) == nil {
		return logical.ErrorResponse("no mount at %s", path), logical.ErrInvalidRequest
	}
	err := c.mounts.retune(ctx, path, data.Raw["default_lease_ttl"], data.Raw["max_lease_ttl"])
	if err != nil {
		return logical.ErrorResponse("%s", err.Error()), logical.ErrInvalidRequest
	}
	return nil, nil
}

// tune sets lifetimes: numbers of seconds or texts such as "1h"; nil leaves one as it is.
func (m *mount) tune(defaultTTL, maxTTL any) error {
	for target, given := range map[*time.Duration]any{&m.DefaultTTL: defaultTTL, &m.MaxTTL: maxTTL} {
		if given == nil || given == "" {
			continue
		}
		ttl, err := parseutil.ParseDurationSecond(given)
		if err != nil {
			return fmt.Errorf("unable to parse the TTL %v", given)
		}
		*target = ttl
	}
	return nil
}

// listVisibleMounts lists the mounts in which the caller may do anything at all.
func (c *core) listVisibleMounts(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	who, err := c.identify(ctx, req, callerOf(ctx).namespace)
	if err != nil {
		return nil, err
	}
	described := map[string]any{}
	for name, auth := range map[string]bool{"secret": false, "auth": true} {
		visible := map[string]any{}
		for path, each := range c.mounts.below(who.namespace, auth) {
			if who.acl.touches(each.Path) {
				visible[path] = each.describe()
			}
		}
		described[name] = visible
	}
	return &logical.Response{Data: described}, nil
}

// preflight describes the mount that serves a path, to whom may do anything in it.
func (c *core) preflight(ctx context.Context, req *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	path := strings.TrimSuffix(data.Get("path").(string), "/") + "/"
	who, err := c.identify(ctx, req, callerOf(ctx).namespace)
	if err != nil {
		return nil, err
	}
	found, _ := c.mounts.find(who.namespace, path)
	if found == nil || !who.acl.touches(found.Path) {
		text := "preflight capability check returned 403, please ensure client's policies grant access to path %q"
		return logical.ErrorResponse(text, path), logical.ErrPermissionDenied
	}
	described := found.describe()
	described["path"] = strings.TrimPrefix(found.Path, who.namespace)
	return &logical.Response{Data: described}, nil
}
