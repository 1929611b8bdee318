package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/hashicorp/hcl"
	"github.com/hashicorp/vault/sdk/logical"
)

const (
	policyPrefix  = "core/policy/"
	rootPolicy    = "root"
	defaultPolicy = "default"
)

// capabilities that a policy may name, as Vault's documentation lists them.
var knownCapabilities = []string{
	"deny", "create", "read", "update", "patch", "delete", "list", "sudo", "subscribe", "recover",
}

// What the policy that every token has allows: what concerns the token itself.
const defaultRules = `
path "auth/token/lookup-self" { capabilities = ["read"] }
path "auth/token/renew-self" { capabilities = ["update"] }
path "auth/token/revoke-self" { capabilities = ["update"] }
path "sys/capabilities-self" { capabilities = ["update"] }
path "sys/wrapping/wrap" { capabilities = ["update"] }
path "sys/wrapping/rewrap" { capabilities = ["update"] }
`

// rule is what a policy says of the paths that match its pattern.
type rule struct {
	Pattern      string   `hcl:",key"`
	Capabilities []string `hcl:"capabilities"`
	Unknown      []string `hcl:",unusedKeys"`
}

type policyStore struct {
	storage logical.Storage
}

// parseRules reads the text of a policy. Of what Vault knows it takes paths with capabilities.
func parseRules(text string) ([]rule, error) {
	var document struct {
		Rules []rule `hcl:"path"`
	}
	if err := hcl.Decode(&document, text); err != nil {
		return nil, fmt.Errorf("failed to parse policy: %w", err)
	}
	for _, each := range document.Rules {
		if len(each.Unknown) > 0 {
			return nil, fmt.Errorf("path %q: the sandbox's server knows no %q", each.Pattern, each.Unknown[0])
		}
		for _, capability := range each.Capabilities {
			if !slices.Contains(knownCapabilities, capability) {
				return nil, fmt.Errorf("path %q: invalid capability %q", each.Pattern, capability)
			}
		}
	}
	return document.Rules, nil
}

func (p *policyStore) put(ctx context.Context, name, text string) error {
	if _, err := parseRules(text); err != nil {
		return err
	}
	return keep(ctx, p.storage, policyPrefix+name, text)
}

func (p *policyStore) get(ctx context.Context, name string) (text string, found bool, err error) {
	if name == rootPolicy {
		return "", true, nil
	}
	found, err = load(ctx, p.storage, policyPrefix+name, &text)
	if !found && name == defaultPolicy {
		return defaultRules, true, err
	}
	return text, found, err
}

func (p *policyStore) delete(ctx context.Context, name string) error {
	return p.storage.Delete(ctx, policyPrefix+name)
}

func (p *policyStore) names(ctx context.Context) ([]string, error) {
	kept, err := p.storage.List(ctx, policyPrefix)
	names := append(kept, rootPolicy, defaultPolicy)
	slices.Sort(names)
	return slices.Compact(names), err
}

// aclOf returns what the policies of these names allow together; a missing one allows nothing.
func (p *policyStore) aclOf(ctx context.Context, names []string) (acl, error) {
	made := acl{rules: map[string][]string{}}
	for _, name := range names {
		if name == rootPolicy {
			made.root = true
		}
		text, _, err := p.get(ctx, name)
		if err != nil {
			return acl{}, err
		}
		rules, err := parseRules(text)
		if err != nil {
			return acl{}, err
		}
		for _, each := range rules {
			made.rules[each.Pattern] = append(made.rules[each.Pattern], each.Capabilities...)
		}
	}
	return made, nil
}
