# What the External Secrets Operator needs, by the ClusterSecretStore `vault-secret-store`: to read.
#   vault policy write vllm-external-secrets external-secrets.hcl
path "secret/data/vllm/huggingface" {
  capabilities = ["read"]
}

path "secret/data/vllm/api-key" {
  capabilities = ["read"]
}
