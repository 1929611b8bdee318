"""The node agent: what a kubelet and a container runtime do, for simulated nodes.

It runs the containers of the pods that are bound to these nodes as local processes, follows
their probes and reports their status through the API. Simulated are:

- images: a table says which program an image's name stands for; nothing is pulled
- the network: a pod's address is made up; its server listens on a port of 127.0.0.1, to which
  port-forwards and the simulated router are led
- volumes: a mount is a directory on this machine, and its path is replaced wherever it stands
  in an argument or an environment variable; readOnly is not enforced, and a claim's volume can
  be used on every node whatever its access mode
- isolation: there is none, but for the environment, the home and the temporary directory

Probes are httpGet only. Sidecar init containers, ephemeral containers, lifecycle hooks, exec,
attach and mounted service account tokens are not there.
"""
