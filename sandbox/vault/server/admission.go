package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// admit makes the token of somebody whom an auth method has let in, and puts it into the answer.
func (c *core) admit(ctx context.Context, resp *logical.Response, mounted *mount, path string) error {
	auth := resp.Auth
	made := &token{
		Path:           path,
		DisplayName:    displayName(mounted, auth.DisplayName),
		Policies:       withDefault(auth.Policies, auth.NoDefaultPolicy),
		Meta:           auth.Metadata,
		Uses:           auth.NumUses,
		TTL:            auth.TTL,
		MaxTTL:         auth.MaxTTL,
		ExplicitMaxTTL: auth.ExplicitMaxTTL,
		Period:         auth.Period,
		Renewable:      auth.Renewable,
	}
	warnings, err := c.issue(ctx, made, mounted)
	resp.Warnings = append(resp.Warnings, warnings...)
	resp.Auth = authOf(made)
	return err
}

// issue reckons the lifetime of a new token as Vault does, and creates it. A root token that
// asked for no lifetime has no end.
func (c *core) issue(ctx context.Context, made *token, mounted *mount) (warnings []string, err error) {
	if !made.isRoot() || made.TTL > 0 {
		view := systemView(mounted)
		made.TTL, warnings, err = framework.CalculateTTL(
			view, 0, made.TTL, made.Period, made.MaxTTL, made.ExplicitMaxTTL, time.Time{},
		)
		if err != nil {
			return nil, err
		}
	}
	return warnings, c.tokens.create(ctx, made)
}

// renew gives a token more time, as much as is left of its greatest age.
func (c *core) renew(ctx context.Context, renewed *token, increment time.Duration, mounted *mount) (*logical.Response, error) {
	if renewed.Expires.IsZero() {
		return logical.ErrorResponse("invalid lease ID"), logical.ErrInvalidRequest
	}
	if !renewed.Renewable {
		return logical.ErrorResponse("lease is not renewable"), logical.ErrInvalidRequest
	}
	ttl, warnings, err := framework.CalculateTTL(
		systemView(mounted), increment, renewed.TTL, renewed.Period, renewed.MaxTTL,
		renewed.ExplicitMaxTTL, renewed.Created,
	)
	if err != nil {
		return logical.ErrorResponse("%s", err.Error()), logical.ErrInvalidRequest
	}
	renewed.Expires = time.Now().Add(ttl)
	return &logical.Response{Auth: authOf(renewed), Warnings: warnings}, c.tokens.update(ctx, renewed)
}

// displayName begins with the mount, as Vault's do: "approle", "kubernetes-default-app".
func displayName(mounted *mount, name string) string {
	prefix := strings.ReplaceAll(strings.Trim(mounted.Path, "/"), "/", "-")
	if _, short, inside := strings.Cut(prefix, "auth-"); inside {
		prefix = short
	}
	if name == "" {
		return prefix
	}
	return prefix + "-" + name
}

// authOf is the part of an answer that hands over a token.
func authOf(one *token) *logical.Auth {
	auth := &logical.Auth{
		ClientToken:   one.ID,
		Accessor:      one.Accessor,
		DisplayName:   one.DisplayName,
		Policies:      one.Policies,
		TokenPolicies: one.Policies,
		Metadata:      one.Meta,
		NumUses:       one.Uses,
		Orphan:        one.Parent == "",
		TokenType:     logical.TokenTypeService,
	}
	auth.Renewable = one.Renewable
	if !one.Expires.IsZero() {
		auth.TTL = time.Until(one.Expires).Round(time.Second)
	}
	return auth
}

func withDefault(names []string, without bool) []string {
	policies := slices.Clone(names)
	if !without && !slices.Contains(policies, rootPolicy) {
		policies = append(policies, defaultPolicy)
	}
	slices.Sort(policies)
	return slices.Compact(policies)
}
