"""The sandbox's Vault: HashiCorp's engines behind a small server of our own, over HTTP.

HashiCorp's, as Go modules: the KV engine in versions 1 and 2, with its real versions and
check-and-set; the AppRole and Kubernetes auth methods (the latter asks the sandbox's API
server to review tokens); from Vault's SDK the requests, answers and lifetimes. Simulated, in
`server/`: the seal (its keys unlock, they encrypt nothing), mounts, tokens, policies, response
wrapping, namespaces (a prefix of the mounts' paths). There is no lease, no audit, no identity.
"""
