"""The names by which the sandbox's parts find each other."""

ADDRESS_ANNOTATION = "sandbox.vllm-flows.io/address"
"""Where a pod's server really listens: `127.0.0.1:PORT`."""

PROVISIONER = "sandbox.vllm-flows.io/local"
"""The StorageClass provisioner that the agent plays."""

NODE_ANNOTATION = "kwok.x-k8s.io/node"
"""Nodes with the value `fake` are the agent's."""

KUBECONFIG_VARIABLE = "VLLM_SANDBOX_KUBECONFIG"
"""Tells a simulated router which cluster it is in."""

SERVICE_ACCOUNT_VARIABLE = "VLLM_SANDBOX_SERVICE_ACCOUNT"
"""Tells a simulated router as which user it speaks to the API, so that RBAC applies."""
