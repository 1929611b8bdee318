"""The domain library: what should be served, what is there, and what to do about it.

It imports no Prefect. Decisions are pure functions of data; each outside system has one
adapter (`hub` with `hub_client`, `cluster`, `helm`, `completions`), which alone imports its client.
"""
