package main

import (
	"context"
	"slices"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// tokenFields are what a token may be asked for with.
var tokenFields = map[string]*framework.FieldSchema{
	"id":                {Type: framework.TypeString},
	"display_name":      {Type: framework.TypeString, Default: "token"},
	"policies":          {Type: framework.TypeCommaStringSlice},
	"meta":              {Type: framework.TypeKVPairs},
	"num_uses":          {Type: framework.TypeInt},
	"no_parent":         {Type: framework.TypeBool},
	"no_default_policy": {Type: framework.TypeBool},
	"renewable":         {Type: framework.TypeBool, Default: true},
	"ttl":               {Type: framework.TypeDurationSecond},
	"explicit_max_ttl":  {Type: framework.TypeDurationSecond},
	"period":            {Type: framework.TypeDurationSecond},
	"type":              {Type: framework.TypeString, Default: "service"},
	// What else other requests say.
	"token":     {Type: framework.TypeString},
	"accessor":  {Type: framework.TypeString},
	"increment": {Type: framework.TypeDurationSecond},
}

// tokenEngine is what is mounted at auth/token/.
func (c *core) tokenEngine(ctx context.Context, config *logical.BackendConfig) (logical.Backend, error) {
	made := &framework.Backend{
		BackendType:  logical.TypeCredential,
		PathsSpecial: &logical.Paths{Root: []string{"create-orphan", "revoke-orphan", "accessors", "accessors/"}},
		Paths: []*framework.Path{
			updated("create", tokenFields, c.createToken),
			updated("create-orphan", tokenFields, c.createOrphan),
			read("lookup-self", tokenFields, c.lookupSelf),
			updated("lookup", tokenFields, c.lookupToken),
			updated("lookup-accessor", tokenFields, c.lookupAccessor),
			updated("renew-self", tokenFields, c.renewSelf),
			updated("renew", tokenFields, c.renewToken),
			updated("revoke-self", tokenFields, c.revokeSelf),
			updated("revoke", tokenFields, c.revokeToken),
			updated("revoke-orphan", tokenFields, c.revokeOrphan),
			updated("revoke-accessor", tokenFields, c.revokeAccessor),
			{
				Pattern: "accessors/?",
				Operations: map[logical.Operation]framework.OperationHandler{
					logical.ListOperation: &framework.PathOperation{Callback: c.listAccessors},
				},
			},
		},
	}
	return made, made.Setup(ctx, config)
}

// updated is a path that is written to.
func updated(pattern string, fields map[string]*framework.FieldSchema, callback framework.OperationFunc) *framework.Path {
	return &framework.Path{
		Pattern: pattern + "$",
		Fields:  fields,
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.UpdateOperation: &framework.PathOperation{Callback: callback},
		},
	}
}

// read is a path that is read, by GET or, as Vault allows here, by POST.
func read(pattern string, fields map[string]*framework.FieldSchema, callback framework.OperationFunc) *framework.Path {
	path := updated(pattern, fields, callback)
	path.Operations[logical.ReadOperation] = &framework.PathOperation{Callback: callback}
	return path
}

func (c *core) createToken(ctx context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	return c.createChild(ctx, data, false)
}

func (c *core) createOrphan(ctx context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	return c.createChild(ctx, data, true)
}

func (c *core) createChild(ctx context.Context, data *framework.FieldData, orphan bool) (*logical.Response, error) {
	who := callerOf(ctx)
	made, refusal := tokenOfRequest(who, data, orphan)
	if refusal != "" {
		return logical.ErrorResponse("%s", refusal), logical.ErrInvalidRequest
	}
	warnings, err := c.issue(ctx, made, c.mounts.get("auth/token/"))
	if err != nil {
		return logical.ErrorResponse("%s", err.Error()), logical.ErrInvalidRequest
	}
	return &logical.Response{Auth: authOf(made), Warnings: warnings}, nil
}

// tokenOfRequest is the token that the caller asks for, or why it can't have it.
func tokenOfRequest(who caller, data *framework.FieldData, orphan bool) (made *token, refusal string) {
	policies := data.Get("policies").([]string)
	if len(policies) == 0 {
		policies = who.token.Policies
	}
	policies = withDefault(policies, data.Get("no_default_policy").(bool))
	if refusal := refusalOf(who, data, policies); refusal != "" {
		return nil, refusal
	}
	made = &token{
		ID:             data.Get("id").(string),
		Path:           "auth/token/create",
		DisplayName:    "token-" + data.Get("display_name").(string),
		Policies:       policies,
		Meta:           data.Get("meta").(map[string]string),
		Uses:           data.Get("num_uses").(int),
		TTL:            seconds(data, "ttl"),
		ExplicitMaxTTL: seconds(data, "explicit_max_ttl"),
		Period:         seconds(data, "period"),
		Renewable:      data.Get("renewable").(bool),
	}
	if !orphan && !data.Get("no_parent").(bool) {
		made.Parent = digest(who.token.ID)
	}
	return made, ""
}

// refusalOf is why the caller can't have such a token; only with sudo may it have any.
func refusalOf(who caller, data *framework.FieldData, policies []string) string {
	if data.Get("type").(string) != "service" {
		return "the sandbox's server makes service tokens only"
	}
	if who.acl.root || slices.Contains(who.acl.capabilities("auth/token/create"), "sudo") {
		return ""
	}
	for _, name := range policies {
		if name != defaultPolicy && !slices.Contains(who.token.Policies, name) {
			return "child policies must be subset of parent"
		}
	}
	if data.Get("no_parent").(bool) || data.Get("id").(string) != "" || seconds(data, "period") > 0 {
		return "root or sudo privileges required to create such a token"
	}
	return ""
}

func seconds(data *framework.FieldData, name string) time.Duration {
	return time.Duration(data.Get(name).(int)) * time.Second
}

func (c *core) lookupSelf(ctx context.Context, _ *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	return describeToken(callerOf(ctx).token), nil
}

func (c *core) lookupToken(ctx context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	found, resp, err := c.named(ctx, data)
	if found == nil {
		return resp, err
	}
	return describeToken(found), nil
}

func (c *core) lookupAccessor(ctx context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	found, err := c.tokens.findByAccessor(ctx, data.Get("accessor").(string))
	if found == nil {
		return logical.ErrorResponse("invalid accessor"), orInvalid(err)
	}
	described := describeToken(found)
	described.Data["id"] = ""
	return described, nil
}

func (c *core) renewSelf(ctx context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	return c.renew(ctx, callerOf(ctx).token, seconds(data, "increment"), c.mounts.get("auth/token/"))
}

func (c *core) renewToken(ctx context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	found, resp, err := c.named(ctx, data)
	if found == nil {
		return resp, err
	}
	return c.renew(ctx, found, seconds(data, "increment"), c.mounts.get("auth/token/"))
}

func (c *core) revokeSelf(ctx context.Context, _ *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	return nil, c.tokens.revoke(ctx, callerOf(ctx).token, false)
}

func (c *core) revokeToken(ctx context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	found, resp, err := c.named(ctx, data)
	if found == nil {
		return resp, err
	}
	return nil, c.tokens.revoke(ctx, found, false)
}

func (c *core) revokeOrphan(ctx context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	found, resp, err := c.named(ctx, data)
	if found == nil {
		return resp, err
	}
	return nil, c.tokens.revoke(ctx, found, true)
}

func (c *core) revokeAccessor(ctx context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	found, err := c.tokens.findByAccessor(ctx, data.Get("accessor").(string))
	if found == nil {
		return logical.ErrorResponse("invalid accessor"), orInvalid(err)
	}
	return nil, c.tokens.revoke(ctx, found, false)
}

func (c *core) listAccessors(ctx context.Context, _ *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	accessors, err := c.tokens.accessors(ctx)
	return logical.ListResponse(accessors), err
}

// named is the token that a request names, or the answer that there is none.
func (c *core) named(ctx context.Context, data *framework.FieldData) (*token, *logical.Response, error) {
	found, err := c.tokens.find(ctx, data.Get("token").(string))
	if err != nil || found != nil {
		return found, nil, err
	}
	return nil, logical.ErrorResponse("bad token"), logical.ErrPermissionDenied
}

func orInvalid(err error) error {
	if err != nil {
		return err
	}
	return logical.ErrInvalidRequest
}

// describeToken is what a lookup says of a token.
func describeToken(one *token) *logical.Response {
	var expires any
	if !one.Expires.IsZero() {
		expires = one.Expires
	}
	return &logical.Response{Data: map[string]any{
		"id":               one.ID,
		"accessor":         one.Accessor,
		"policies":         one.Policies,
		"path":             one.Path,
		"meta":             one.Meta,
		"display_name":     one.DisplayName,
		"num_uses":         one.Uses,
		"orphan":           one.Parent == "",
		"creation_time":    one.Created.Unix(),
		"creation_ttl":     int64(one.TTL.Seconds()),
		"issue_time":       one.Created,
		"expire_time":      expires,
		"ttl":              int64(one.left(time.Now()).Seconds()),
		"explicit_max_ttl": int64(one.ExplicitMaxTTL.Seconds()),
		"period":           int64(one.Period.Seconds()),
		"renewable":        one.Renewable,
		"type":             "service",
		"entity_id":        "",
	}}
}
