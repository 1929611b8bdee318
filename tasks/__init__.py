"""One module per step of a run, each a Prefect task: a name, retries where they help, a limit.

Tasks carry data between the library's pure decisions and its adapters; they decide nothing.
"""
