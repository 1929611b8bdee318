"""What External Secrets does, for the sandbox: Secrets made from what Vault holds.

Simulated: the controller and the definitions of its resources are ours. They follow version 2
of the External Secrets Operator in what people and programs see of it: the fields used
here, conditions with their reasons and messages, events, labels and annotations, who owns a
Secret, when it is refreshed and retried. Real: the Kubernetes API, its garbage collection,
and Vault's HTTP API, which it reads like any other client. Of the operator's providers there
is Vault alone, of its templates the type and the metadata.
"""
