"""`python -m sandbox.router`: find the engines of a namespace and balance over them."""

from __future__ import annotations

import logging
import os
import sys
import threading
from pathlib import Path

import uvicorn

from sandbox.agent.api import Api
from sandbox.agent.names import KUBECONFIG_VARIABLE, SERVICE_ACCOUNT_VARIABLE
from sandbox.router.app import Router, build_app
from sandbox.router.arguments import parse
from sandbox.router.discovery import Discovery, ask_models


def main() -> None:
    """Run until SIGTERM."""
    arguments = parse(sys.argv[1:])
    logging.basicConfig(format="[%(asctime)s] %(levelname)s: %(message)s")
    logging.getLogger("sandbox").setLevel(logging.INFO)
    api = Api(
        Path(os.environ[KUBECONFIG_VARIABLE]),
        impersonate=os.environ.get(SERVICE_ACCOUNT_VARIABLE, ""),
    )
    ask = ask_models(os.environ.get("VLLM_API_KEY"), arguments.backend_health_check_timeout_seconds)
    discovery = Discovery(ask)
    threading.Thread(
        target=discovery.follow,
        args=(api, arguments.k8s_namespace, arguments.k8s_label_selector),
        daemon=True,
    ).start()
    uvicorn.run(
        build_app(Router(discovery)),
        host=arguments.host,
        port=arguments.port,
        log_level=arguments.log_level,
    )


if __name__ == "__main__":
    main()
