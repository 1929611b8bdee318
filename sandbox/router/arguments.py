"""The command line of the production stack's router; most of it has no effect here."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

_ROUTING = "roundrobin session kvaware prefixaware disaggregated_prefill"
_WITHOUT_EFFECT = (
    "--root-path --k8s-service-discovery-type --static-backends --static-models "
    "--static-aliases --static-model-types --static-model-labels "
    "--static-backend-health-check-interval --static-backend-health-check-timeout-seconds "
    "--k8s-watcher-timeout-seconds --lmcache-controller-port --lmcache-controller-reply-port "
    "--lmcache-controller-heartbeat-port --session-key --callbacks --request-rewriter "
    "--file-storage-class --file-storage-path --batch-processor --engine-stats-interval "
    "--request-stats-window --log-stats-interval --dynamic-config-yaml --dynamic-config-json "
    "--feature-gates --log-format --sentry-dsn --sentry-traces-sample-rate "
    "--sentry-profile-session-sample-rate --otel-endpoint --otel-service-name "
    "--prefill-model-labels --decode-model-labels --kv-aware-threshold "
    "--prefix-min-match-length --max-instance-failover-reroute-attempts "
    "--lmcache-health-check-interval --lmcache-worker-timeout --external-providers-config"
)
_SWITCHES = "--static-backend-health-checks --enable-batch-api --log-stats --otel-secure"


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line; exits the process with 2 when it is wrong."""
    parser = argparse.ArgumentParser(prog="vllm-router", allow_abbrev=False)
    parser.add_argument("--host", default="0.0.0.0")  # noqa: S104 -- the router's own default
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--service-discovery", choices=["k8s"], required=True)
    parser.add_argument("--k8s-namespace", default="default")
    parser.add_argument("--k8s-label-selector", default="")
    parser.add_argument("--k8s-port", type=int, default=8000)
    parser.add_argument("--routing-logic", choices=_ROUTING.split(), required=True)
    parser.add_argument("--backend-health-check-timeout-seconds", type=float, default=10)
    parser.add_argument("--log-level", default="info")
    for flag in _WITHOUT_EFFECT.split():
        parser.add_argument(flag)
    for flag in _SWITCHES.split():
        parser.add_argument(flag, action="store_true")
    return parser.parse_args(argv)
