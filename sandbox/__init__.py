"""A Kubernetes to try vllm-flows on, without Docker, root or a GPU.

Real: etcd, the API server, the controller manager, the scheduler, kubectl and helm.
Simulated: the nodes and their GPUs (KWOK keeps them alive), the containers (local processes
started by the node agent), vLLM, the router and the Hub.
"""
