"""`python -m sandbox.engine serve MODEL ...`: load and serve as `vllm serve` would.

VLLM_SANDBOX_LOAD_SECONDS (default 1) is how long loading takes at least,
VLLM_SANDBOX_TOKEN_SECONDS (default 0.005) how long each token of an answer takes.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from sandbox.engine import faults
from sandbox.engine import model as models
from sandbox.engine.arguments import parse


def main() -> int:
    """Run until SIGTERM; return the exit code."""
    arguments = parse(sys.argv[1:])
    _log("Simulated vLLM of the vllm-flows sandbox: no model is computed, answers are made up")
    try:
        loaded = _load(arguments)
    except models.EngineError as error:
        _log("Engine core initialization failed", level="ERROR")
        sys.stderr.write(f"{error}\n")
        return 1
    _serve(arguments, loaded)
    return 0


def _load(arguments: argparse.Namespace) -> models.LoadedModel:
    source = arguments.model_tag or arguments.model
    begun = time.monotonic()
    _log(f"vLLM API server: model={source} revision={arguments.revision} dtype={arguments.dtype}")
    folder = models.find_snapshot(source, arguments.revision)
    config = models.read_config(folder)
    length = models.check_config(
        config,
        max_model_len=arguments.max_model_len,
        parallel=arguments.tensor_parallel_size,
    )
    _log(f"Using max model len {length}")
    _log(f"Starting to load model {source}...")
    size = models.read_weights(folder)
    fault = faults.fault_of(config)
    faults.fail_to_load(fault)
    least = float(os.environ.get("VLLM_SANDBOX_LOAD_SECONDS", "1"))
    time.sleep(max(0.0, begun + least - time.monotonic()))
    seconds = time.monotonic() - begun
    _log(f"Loading weights took {seconds:.2f} seconds ({size} bytes)")
    return models.LoadedModel(source, models.revision_of(folder), length, size, fault)


def _serve(arguments: argparse.Namespace, loaded: models.LoadedModel) -> None:
    # The server is imported after the checks, so that a wrong start fails at once.
    from sandbox.engine.app import Engine, build_app
    from sandbox.engine.server import serve

    environment_key = os.environ.get("VLLM_API_KEY")
    names = arguments.served_model_name or [loaded.source]
    engine = Engine(
        loaded,
        names=faults.names_under(faults.Fault(loaded.fault), names),
        api_keys=arguments.api_key or ([environment_key] if environment_key else []),
        token_seconds=float(os.environ.get("VLLM_SANDBOX_TOKEN_SECONDS", "0.005")),
    )
    _log(f"Starting vLLM server on http://{arguments.host}:{arguments.port}")
    serve(
        build_app(engine),
        host=arguments.host,
        port=arguments.port,
        log_level=arguments.uvicorn_log_level or "info",
        shutdown_seconds=arguments.shutdown_timeout or 0,
    )


def _log(message: str, level: str = "INFO") -> None:
    stamp = time.strftime("%m-%d %H:%M:%S")
    sys.stdout.write(f"{level} {stamp} [sandbox] {message}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
