"""The automations of `automations/` on a Prefect server: there once, by name, however often.

Each namespace has its own, which hear of its runs and its models alone: what one is told by, and
what is disabled there, is nobody else's. What is `{{ here.… }}` in the files follows from it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast
from uuid import UUID

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.utilities.templating import apply_values

from deployments.places import Place
from vllm_flows.errors import ConfigurationError

_FOLDER = Path(__file__).with_name("automations")
_NO_BLOCK = "00000000-0000-0000-0000-000000000000"


def automate(place: Place, notify: str | None = None) -> list[str]:
    """Make or update the automations of a namespace, and return their names.

    `notify` is the notification block that is told, as TYPE/NAME; without it those that tell
    somebody are left alone. One that was disabled stays disabled. Raises ConfigurationError for a
    block that is not there.
    """
    with get_client(sync_client=True) as client:
        wanted = read("zombies", place)
        if notify:
            wanted += read("notifications", place, _block(client, notify))
        for one in wanted:
            _settle(client, one)
    return [one.name for one in wanted]


def read(name: str, place: Place, block: UUID | None = None) -> list[AutomationCore]:
    """Return the automations of a file for a namespace, with this block to tell people by.

    Their names are those of the file for the namespace whose deployments have theirs too.
    """
    text = (_FOLDER / f"{name}.yaml").read_text()
    shipped: dict[str, Any] = yaml.safe_load(text.replace(_NO_BLOCK, str(block or _NO_BLOCK)))
    here = {"here": {"namespace": place.namespace}}
    document = cast("dict[str, Any]", apply_values(shipped, here, remove_notset=False))
    found = [AutomationCore.model_validate(one) for one in document["automations"]]
    return [one.model_copy(update={"name": f"{one.name}{_ending(place)}"}) for one in found]


def _ending(place: Place) -> str:
    return f" ({place.namespace})" if place.suffix else ""


def _block(client: SyncPrefectClient, notify: str) -> UUID:
    kind, _, name = notify.partition("/")
    try:
        return client.read_block_document_by_name(name, kind).id
    except ObjectNotFound as error:
        raise ConfigurationError(
            f"there is no block {notify}", next_command="prefect block ls"
        ) from error


def _settle(client: SyncPrefectClient, wanted: AutomationCore) -> None:
    """Leave one automation of the name, as it is wanted; Prefect itself takes any number.

    One that is as it should be is not written: the server would forget what it waits for.
    """
    there = client.read_automations_by_name(wanted.name)
    if not there:
        client.create_automation(wanted)
        return
    first, *others = there
    settled = wanted.model_copy(update={"enabled": first.enabled})
    if AutomationCore.model_validate(first.model_dump()) != settled:
        client.update_automation(first.id, settled)
    for one in others:
        client.delete_automation(one.id)
