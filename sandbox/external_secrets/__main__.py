"""`python -m sandbox.external_secrets --kubeconfig FILE --ready FILE`: do External Secrets' part.

Writes the file READY when it follows the cluster. VLLM_SANDBOX_STORE_SECONDS (default 300) is
how often a store is looked at when nothing changes.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from sandbox.agent.api import Api
from sandbox.agent.events import Recorder
from sandbox.external_secrets.controller import Controller
from sandbox.external_secrets.definitions import GROUP


def main() -> None:
    """Run until told to stop; everything it knows is in the cluster."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.external_secrets", description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--ready", type=Path, required=True, help="file to write when it follows")
    arguments = parser.parse_args()
    api = Api(arguments.kubeconfig)
    version = api.get(f"/apis/{GROUP}")["preferredVersion"]["version"]
    controller = Controller(api, Recorder(api, "external-secrets"), version)
    controller.start()
    arguments.ready.write_text(f"{os.getpid()}\n", encoding="ascii")
    controller.work()


if __name__ == "__main__":
    main()
