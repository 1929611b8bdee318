"""The verbs for the API's addresses and for what it lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.listed import listed_in
from cli.options import Options
from cli.output import emit, note, output_option

if TYPE_CHECKING:
    from vllm_flows.endpoints import Endpoint
    from vllm_flows.session import Session


@click.command()
@output_option
@click.pass_obj
def endpoints(options: Options, *, form: str) -> None:
    """Show where the router and each model are reached, and how."""
    from vllm_flows import endpoints as found
    from vllm_flows.names import ROUTER_DEPLOYMENT
    from vllm_flows.observe import ENGINE_SELECTOR, deployed_models
    from vllm_flows.session import Session

    session = Session.open(options.settings())
    cluster, settings = session.cluster, session.settings
    engines = cluster.find("Deployment", ENGINE_SELECTOR)
    router = cluster.get("Deployment", ROUTER_DEPLOYMENT)
    seen = found.Found(
        settings.namespace,
        settings.router_enabled,
        cluster.find("Service"),
        [*engines, *([router] if router else [])],
        cluster.find("Pod"),
    )
    models = dict.fromkeys([*listed_in(settings).names, *sorted(deployed_models(engines))])
    rows = found.endpoints(seen, models)
    emit([one.row for one in rows] if form == "table" else [one.data for one in rows], form)
    _explain(session, rows)


def _explain(session: Session, rows: list[Endpoint]) -> None:
    """Say how they are reached from outside, and give an example."""
    from vllm_flows.endpoints import curl_example

    outside = session.settings.router_url
    if outside:
        note(f"from outside: {outside} (VLLM_ROUTER_URL)")
        note(f"  {curl_example(outside, key=any(one.key for one in rows))}")
    served = [one for one in rows if one.url]
    if not served:
        note("nothing is deployed; next: vllm-flows install")
        return
    first = served[0]
    note(f"from this machine: {first.outside}, and then")
    note(f"  {curl_example('http://127.0.0.1:8000', key=first.key)}")
    note("in the cluster:")
    note(f"  {curl_example(first.url, key=first.key)}")
    silent = [one.name for one in served if not one.ready]
    if silent:
        note(f"no ready pod is behind {', '.join(silent)}; next: vllm-flows wait")


@click.command("list-api-models")
@output_option
@click.pass_obj
def list_api_models(options: Options, *, form: str) -> None:
    """Show which models the API itself lists, and which are missing."""
    from vllm_flows.api_models import compared, listed_models, why_missing
    from vllm_flows.session import Session

    session = Session.open(options.settings())
    wanted = listed_in(session.settings).names
    rows = compared(listed_models(session), wanted)
    emit([one.row for one in rows] if form == "table" else [one.data for one in rows], form)
    missing = [one.name for one in rows if not one.listed]
    if missing:
        found = why_missing(session, missing)
        why = f" ({found.what}; {found.why})" if found else ""
        helps = found.next_command if found else f"vllm-flows wait {missing[0]}"
        note(f"{', '.join(missing)}: not in the API's list{why}; next: {helps}")
    if not rows:
        note("the API lists no model; next: vllm-flows install")
