"""`python -m sandbox.hub`: serve the sample repositories until told to stop."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import uvicorn

from sandbox.hub.access import TOKEN_VARIABLE
from sandbox.hub.app import Hub, build_app
from sandbox.hub.repository import Store


def main() -> None:
    """Read the command line and the token, generate the repositories, serve."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.hub", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder for the repositories")
    parser.add_argument("--rate", type=int, help="bytes per second of each download")
    parser.add_argument("--log-level", default="info", help="uvicorn's log level")
    arguments = parser.parse_args()
    hub = Hub(Store(arguments.data), os.environ[TOKEN_VARIABLE], rate=arguments.rate)
    uvicorn.run(
        build_app(hub),
        host=arguments.host,
        port=arguments.port,
        log_level=arguments.log_level,
        timeout_graceful_shutdown=1,
    )


if __name__ == "__main__":
    main()
