"""The command line `vllm-flows`: one module for each group of verbs.

Read verbs use the library; verbs that change the cluster run a flow, which is imported only then.
"""
