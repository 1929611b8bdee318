package main

import (
	"context"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// systemEngine is what is mounted at sys/, as far as the server has it.
func (c *core) systemEngine(ctx context.Context, config *logical.BackendConfig) (logical.Backend, error) {
	made := &framework.Backend{
		BackendType: logical.TypeLogical,
		PathsSpecial: &logical.Paths{
			Root: []string{"auth/*"},
			// What needs no policy: who asks for mounts is looked at where they are answered.
			Unauthenticated: []string{
				"wrapping/lookup", "wrapping/unwrap", "internal/ui/mounts", "internal/ui/mounts/*",
			},
		},
		Paths: framework.PathAppend(c.mountPaths(), c.policyPaths(), c.wrappingPaths(), c.capabilityPaths()),
	}
	return made, made.Setup(ctx, config)
}

// handled is a path of the system with what may be done there.
func handled(pattern string, fields map[string]*framework.FieldSchema, callbacks map[logical.Operation]framework.OperationFunc) *framework.Path {
	path := &framework.Path{
		Pattern:    pattern + "$",
		Fields:     fields,
		Operations: map[logical.Operation]framework.OperationHandler{},
	}
	for operation, callback := range callbacks {
		path.Operations[operation] = &framework.PathOperation{Callback: callback}
	}
	return path
}

var capabilityFields = map[string]*framework.FieldSchema{
	"path":  {Type: framework.TypeCommaStringSlice},
	"paths": {Type: framework.TypeCommaStringSlice},
	"token": {Type: framework.TypeString},
}

func (c *core) capabilityPaths() []*framework.Path {
	return []*framework.Path{
		updated("capabilities-self", capabilityFields, c.capabilitiesSelf),
		updated("capabilities", capabilityFields, c.capabilitiesOf),
	}
}

func (c *core) capabilitiesSelf(ctx context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	return describeCapabilities(callerOf(ctx).acl, data), nil
}

func (c *core) capabilitiesOf(ctx context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	found, resp, err := c.named(ctx, data)
	if found == nil {
		return resp, err
	}
	allowed, err := c.policies.aclOf(ctx, found.Policies)
	return describeCapabilities(allowed, data), err
}

func describeCapabilities(allowed acl, data *framework.FieldData) *logical.Response {
	paths := append(data.Get("paths").([]string), data.Get("path").([]string)...)
	described := map[string]any{}
	for _, path := range paths {
		described[path] = allowed.capabilities(path)
	}
	if len(paths) == 1 {
		described["capabilities"] = described[paths[0]]
	}
	return &logical.Response{Data: described}
}

var policyFields = map[string]*framework.FieldSchema{
	"name":   {Type: framework.TypeString},
	"policy": {Type: framework.TypeString},
}

// policyPaths has policies under the older and the newer path; they differ in two field names.
func (c *core) policyPaths() []*framework.Path {
	var paths []*framework.Path
	for _, prefix := range []string{"policy", "policies/acl"} {
		list := map[logical.Operation]framework.OperationFunc{
			logical.ReadOperation: c.listPolicies, logical.ListOperation: c.listPolicies,
		}
		one := map[logical.Operation]framework.OperationFunc{
			logical.ReadOperation:   c.readPolicy,
			logical.UpdateOperation: c.writePolicy,
			logical.DeleteOperation: c.deletePolicy,
		}
		paths = append(paths, handled(prefix+"/?", policyFields, list))
		paths = append(paths, handled(prefix+"/(?P<name>.+)", policyFields, one))
	}
	return paths
}

func (c *core) listPolicies(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	names, err := c.policies.names(ctx)
	resp := logical.ListResponse(names)
	if strings.HasPrefix(req.Path, "policy") {
		resp.Data["policies"] = names
	}
	return resp, err
}

func (c *core) readPolicy(ctx context.Context, req *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	name := strings.ToLower(data.Get("name").(string))
	text, found, err := c.policies.get(ctx, name)
	if !found {
		return nil, err
	}
	field := "policy"
	if strings.HasPrefix(req.Path, "policy") {
		field = "rules"
	}
	return &logical.Response{Data: map[string]any{"name": name, field: text}}, err
}

func (c *core) writePolicy(ctx context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	name := strings.ToLower(data.Get("name").(string))
	if name == rootPolicy {
		return logical.ErrorResponse("cannot update %q policy", name), logical.ErrInvalidRequest
	}
	if err := c.policies.put(ctx, name, data.Get("policy").(string)); err != nil {
		return logical.ErrorResponse("%s", err.Error()), logical.ErrInvalidRequest
	}
	return nil, nil
}

func (c *core) deletePolicy(ctx context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	name := strings.ToLower(data.Get("name").(string))
	if name == rootPolicy || name == defaultPolicy {
		return logical.ErrorResponse("cannot delete %q policy", name), logical.ErrInvalidRequest
	}
	return nil, c.policies.delete(ctx, name)
}
