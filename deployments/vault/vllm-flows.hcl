# What `vllm-flows set-…`, `get-…` and `delete-…` need in Vault: the two paths, and nothing else of
# the engine. A version is written by check-and-set, so the one before is read; a value that is
# deleted is a new version without it. The mount `secret` and the paths are those of VLLM_VAULT_…
#   vault policy write vllm-flows vllm-flows.hcl
path "secret/data/vllm/huggingface" {
  capabilities = ["create", "read", "update"]
}

path "secret/data/vllm/api-key" {
  capabilities = ["create", "read", "update"]
}

# To look up, renew and end its own token, and to unwrap a SecretID, is in Vault's policy `default`,
# which every token has unless it was made without.
