"""The domain library: what should be served, what is there, and what to do about it.

It imports no Prefect. Decisions are pure functions of data; each outside system has one
adapter module (`hub`, `cluster`, `helm`, `completions`), the only one that imports its client.
"""
