"""A simulated vLLM: its command line, its failures, its HTTP API, but no model.

It reads the weights it is pointed at and refuses what vLLM refuses, in vLLM's words (vLLM
0.32). Simulated is the answer: a made-up sentence that names the model and the revision. No
GPU is used and no memory is reserved.
"""
