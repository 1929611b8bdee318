"""What can go wrong with the sandbox itself, in the form of every other error of the product."""

from __future__ import annotations

from vllm_flows.errors import VllmFlowsError


class SandboxError(VllmFlowsError):
    """The sandbox could not do what it was asked; the text says why and what to run next."""


class ChecksumError(SandboxError):
    """A downloaded file is not the one its publisher describes; it was thrown away."""


class UnavailableError(SandboxError):
    """A program could not be had in one way (a download, say); another way may still work."""
