"""What the API itself lists, beside what models.yaml says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from vllm_flows.asking import advised
from vllm_flows.completion_checks import Card
from vllm_flows.errors import CompletionError, NotDeployedError, NotReadyError, VllmFlowsError
from vllm_flows.model_problems import printable
from vllm_flows.reaching import deployed_names, reached_api
from vllm_flows.refused_key import explaining_refusals
from vllm_flows.router_key import why_unknown
from vllm_flows.session import Session

_LONGEST = 100
_FEW = 3


@dataclass(frozen=True)
class ApiModel:
    """A model that the API lists (`card`), that models.yaml does (`wanted`), or both."""

    name: str
    card: Card | None
    wanted: bool

    @property
    def listed(self) -> bool:
        """Whether the API lists it."""
        return self.card is not None

    @property
    def state(self) -> str:
        """What it is, in a word or four."""
        if not self.listed:
            return "missing"
        return "listed" if self.wanted else "not in models.yaml"

    @property
    def data(self) -> dict[str, Any]:
        """Return it as JSON and YAML show it."""
        return {
            "name": self.name,
            "state": self.state,
            "listed": self.listed,
            "inModelsFile": self.wanted,
            "source": self.card.root if self.card else None,
            "maxModelLen": self.card.max_model_len if self.card else None,
        }

    @property
    def row(self) -> dict[str, Any]:
        """Return it as a row of the table."""
        return {
            "model": printable(self.name, _LONGEST),
            "state": self.state,
            "context": (self.card and self.card.max_model_len) or "-",
            "source": printable((self.card and self.card.root) or "-", _LONGEST),
        }


def compared(cards: Sequence[Card], wanted: Iterable[str]) -> list[ApiModel]:
    """Return the wanted models in their order, then those that only the API knows. Pure."""
    found = {card.name: card for card in cards}
    names = list(dict.fromkeys(wanted))
    known = [ApiModel(name, found.get(name), wanted=True) for name in names]
    others = [card for card in found.values() if card.name not in names]
    return known + [ApiModel(card.name, card, wanted=False) for card in others]


def listed_models(session: Session) -> list[Card]:
    """Ask the API what it lists; without a router each model that is deployed.

    Raises CompletionError, NotDeployedError or NotReadyError when the API cannot be asked.
    """
    if session.shared_api:
        with reached_api(session) as api, explaining_refusals(session), advised("router-logs"):
            return api.listed()
    cards: list[Card] = []
    for name in deployed_names(session):
        try:
            with reached_api(session, name) as api:
                cards += api.listed()
        except (CompletionError, NotDeployedError, NotReadyError):
            continue  # it is missing from the answer, which is what is asked
    return cards


def why_missing(session: Session, missing: Sequence[str]) -> VllmFlowsError | None:
    """Return the key, or the router, that keeps models from the list, by the first few of them.

    None where none does, as far as can be seen now.
    """
    return next(filter(None, (why_unknown(session, name) for name in missing[:_FEW])), None)
