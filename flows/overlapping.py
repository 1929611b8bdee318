"""Models whose older pods serve until the new ones were seen to answer, and then end well."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from flows.waits import sorted_out
from tasks.overlap import drain, hold, let_go, resume, set_aside, strategy_of
from vllm_flows.errors import RolloutError
from vllm_flows.names import engine_deployment
from vllm_flows.session import Session


def spare(kept: Collection[str]) -> None:
    """Refuse to stop pods while others have older ones beside new: the chart has one strategy.

    Kubernetes would end these at once, with what they are answering. Raises RolloutError.
    """
    if kept:
        raise RolloutError(
            f"the older replicas of {', '.join(sorted(kept))} serve beside new ones",
            why="with no room for old and new, this change would end them in the middle of "
            "what they answer",
            next_command=f"vllm-flows update {min(kept)}, then the same command again",
        )


@dataclass
class Overlap:
    """The models of one wave whose rollouts are `held`, with old and new pods side by side.

    Some may be held from the beginning, as a run left them that was interrupted.
    """

    session: Session
    held: set[str] = field(default_factory=set)

    def begin(self, names: Iterable[str]) -> None:
        """Hold the rollouts of those models whose new pods all start beside the old ones."""
        asked = {name: hold.submit(self.session, name, engine_deployment(name)) for name in names}
        both = {name for name, both in sorted_out(asked)[0].items() if both}
        self.let_go(asked.keys() - both)
        self.held |= both

    def relieve(self, names: Iterable[str]) -> None:
        """End the older pods of those that are held, and let their rollouts come to their end."""
        relieved = self.held & set(names)
        ended = {
            name: drain.submit(self.session, name, engine_deployment(name)) for name in relieved
        }
        sorted_out(ended)
        self.let_go(relieved)

    @contextmanager
    def turning(self, names: Iterable[str]) -> Iterator[None]:
        """End the newer pods of those that are held, well; the block gives them another template.

        Kubernetes would end them as soon as it is there, with what they are answering. It does so
        with those that could not be set aside. Where the block fails, they go on as before.
        """
        turned = {name: engine_deployment(name) for name in sorted(self.held & set(names))}
        before = {name: strategy_of(self.session, turned[name]) for name in turned}
        aside = {name: set_aside.submit(self.session, name, turned[name]) for name in turned}
        try:
            for name in sorted_out(aside)[1] if aside else ():
                # Paused, with both sides there, it would be scaled to the surge that helm writes.
                resume(self.session, turned[name], before[name])
            yield
            before.clear()  # helm wrote its own
        finally:
            for name, deployment in turned.items():
                resume(self.session, deployment, before.get(name))

    def let_go(self, names: Iterable[str]) -> None:
        """Let the rollouts go on as Kubernetes does by itself."""
        for name in sorted(self.held & set(names)):
            let_go(self.session, engine_deployment(name))
            self.held.remove(name)
