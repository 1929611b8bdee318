package main

import (
	"context"
	"net/http"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

var wrappingFields = map[string]*framework.FieldSchema{"token": {Type: framework.TypeString}}

func (c *core) wrappingPaths() []*framework.Path {
	return []*framework.Path{
		updated("wrapping/wrap", nil, c.wrapData),
		updated("wrapping/unwrap", wrappingFields, c.unwrap),
		read("wrapping/lookup", wrappingFields, c.lookupWrapping),
		updated("wrapping/rewrap", wrappingFields, c.rewrap),
	}
}

// wrappingTokenOf is the token that a request names, or the one it is made with.
func wrappingTokenOf(req *logical.Request, data *framework.FieldData) string {
	if named := data.Get("token").(string); named != "" {
		return named
	}
	return req.ClientToken
}

// wrapData answers with what it was sent; the wrapping itself is done to every answer alike.
func (c *core) wrapData(_ context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	if req.WrapInfo == nil {
		return logical.ErrorResponse("endpoint requires response wrapping to be used"), logical.ErrInvalidRequest
	}
	return &logical.Response{Data: req.Data}, nil
}

func (c *core) unwrap(ctx context.Context, req *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	opened, err := c.wrapped.open(ctx, wrappingTokenOf(req, data))
	if err != nil {
		return nil, err
	}
	return &logical.Response{Data: map[string]any{
		logical.HTTPContentType: "application/json",
		logical.HTTPStatusCode:  http.StatusOK,
		logical.HTTPRawBody:     string(opened.Content),
	}}, nil
}

func (c *core) lookupWrapping(ctx context.Context, req *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	found, err := c.wrapped.look(ctx, wrappingTokenOf(req, data))
	if err != nil {
		return nil, err
	}
	return &logical.Response{Data: map[string]any{
		"creation_path": found.Info.CreationPath,
		"creation_time": found.Info.CreationTime.Format(time.RFC3339Nano),
		"creation_ttl":  int(found.Info.TTL.Seconds()),
	}}, nil
}

// rewrap opens a parcel and puts its content into a new one.
func (c *core) rewrap(ctx context.Context, req *logical.Request, data *framework.FieldData) (*logical.Response, error) {
	opened, err := c.wrapped.open(ctx, wrappingTokenOf(req, data))
	if err != nil {
		return nil, err
	}
	opened.Info.Token, opened.Info.CreationTime = "hvs."+randomText(24), time.Now()
	return c.wrapped.store(ctx, *opened)
}
