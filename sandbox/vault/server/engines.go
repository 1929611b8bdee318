package main

import (
	kubernetes "github.com/hashicorp/vault-plugin-auth-kubernetes"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/sdk/logical"
)

// HashiCorp's own engines, by the names that mounts give them. The version of Vault that
// AppRole comes from is the last minor one under the Mozilla Public License.
var (
	secretEngines = map[string]logical.Factory{"kv": kv.Factory}
	authEngines   = map[string]logical.Factory{
		"approle":    approle.Factory,
		"kubernetes": kubernetes.Factory,
	}
)
