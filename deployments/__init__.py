"""How the flows are run for real: the deployments that `vllm-flows serve` offers."""
