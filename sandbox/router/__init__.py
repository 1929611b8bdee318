"""A simulated router of the vLLM production stack: finds ready engines, balances over them.

It takes the real router's command line and answers as the real one does (version 0.1.12).
Simulated is the network: an engine is reached at the address in its pod's annotation.
Requests go to the engines in turn, whatever the routing logic asked for.
"""
