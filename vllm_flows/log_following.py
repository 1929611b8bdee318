"""Following the logs of pods that come and go: one reader each, and one that looks who is there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from vllm_flows.errors import ClusterError, NoRightError, VllmFlowsError
from vllm_flows.log_sources import Position, Source
from vllm_flows.waiting import Clock

_LOOK_SECONDS = 2.0
_MARGIN_SECONDS = 5.0
"""Read again than strictly needed: the node's clock and the line's way here take their time."""

Line = tuple[Source, bytes]
Read = Callable[[Source, "int | None", "float | None"], Iterator[bytes]]
"""Of a source its last so many lines, or those of the last so many seconds; then what follows."""


@dataclass(frozen=True)
class Look:
    """Whose logs there are now; `over`: nothing more will come when these have ended."""

    sources: tuple[Source, ...]
    over: bool = False


@dataclass
class _Reader:
    """One log: how far it was read and when that was, which runs were read to their end.

    `tail` are the lines to begin with, `failures` the times in a row that it could not be read.
    """

    tail: int | None
    position: Position = field(default_factory=Position)
    at: float | None = None
    reading: bool = False
    runs_read: int = -1
    failures: int = 0


@dataclass(frozen=True)
class _End:
    source: Source
    error: VllmFlowsError | None


@dataclass
class LogFollower:
    """Yields lines of all sources as they come; says who comes and goes.

    `several` is set once there was more than one at a time.
    """

    look: Callable[[], Look]
    read: Read
    say: Callable[[str], None]
    clock: Clock
    tail: int | None = None
    tick: float = 0.5
    """Seconds after which None is yielded when no line came."""

    def __post_init__(self) -> None:
        self._readers: dict[tuple[str, str], _Reader] = {}
        self._known: dict[str, Source] | None = None
        self._events: SimpleQueue[Line | _End] = SimpleQueue()
        self._over = False
        self.several = False
        self._said = ""
        self._due = float("-inf")

    def lines(self) -> Iterator[Line | None]:
        """Yield lines until what is followed is over; None now and then while there are none.

        Raises NoRightError, and what `look` raises that another look cannot help.
        """
        while True:
            if self.clock.now() >= self._due:
                self._look()
            if self._over and self._events.empty() and not self._at_work():
                return
            try:
                event = self._events.get(timeout=self.tick)
            except Empty:
                yield None
                continue
            if isinstance(event, _End):
                self._ended(event)
            else:
                yield event

    def _at_work(self) -> bool:
        return any(reader.reading for reader in self._readers.values())

    def _look(self) -> None:
        self._due = self.clock.now() + _LOOK_SECONDS
        try:
            found = self.look()
        except ClusterError as error:
            if not error.retryable:
                raise
            self._say_once(f"{error.what} ({error.why})")
            return
        self._over, self.several = found.over, self.several or len(found.sources) > 1
        self._tell(found.sources)
        first = self._known is None
        self._known = {source.pod: source for source in found.sources}
        for source in found.sources:
            self._start(source, self.tail if first else None)

    def _tell(self, now: tuple[Source, ...]) -> None:
        """Say who came, who went, whose container started anew, and what is waited for."""
        if self._known is not None:
            self._tell_changes(self._known, now)
        elif not now:
            self.say("there is no pod yet; waiting for one")
        waiting = [f"pod {source.pod}: {source.waits}" for source in now if source.waits]
        if waiting:
            self._say_once(f"waiting for {waiting[0]}")

    def _tell_changes(self, before: Mapping[str, Source], now: tuple[Source, ...]) -> None:
        for gone in before.keys() - {source.pod for source in now}:
            self.say(f"pod {gone} is gone{'' if now else '; waiting for the next one'}")
        for source in now:
            if source.pod not in before:
                self.say(f"now also from pod {source.pod}")
            elif source.runs > before[source.pod].runs:
                self.say(f"pod {source.pod} started anew; before: {source.ended}")

    def _say_once(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self.say(text)

    def _start(self, source: Source, tail: int | None) -> None:
        """Begin to read a log, or go on with it, unless all that there is was read."""
        key = (source.pod, source.container)
        reader = self._readers.setdefault(key, _Reader(tail))
        all_read = source.runs <= reader.runs_read and not source.running
        if reader.reading or all_read or source.waits:
            return
        reader.reading = True
        threading.Thread(target=self._run, args=(source, reader), daemon=True).start()

    def _run(self, source: Source, reader: _Reader) -> None:
        tail, seconds, error = reader.tail, None, None
        if reader.at is not None:
            tail, seconds = None, self.clock.now() - reader.at + _MARGIN_SECONDS
        try:
            for text in reader.position.after(self.read(source, tail, seconds)):
                reader.at, reader.failures = self.clock.now(), 0
                self._events.put((source, text))
        except VllmFlowsError as raised:
            error = raised
        finally:
            self._events.put(_End(source, error))

    def _ended(self, end: _End) -> None:
        """Take note of a log's end; the next look says whether there is more."""
        reader, error = self._readers[end.source.pod, end.source.container], end.error
        reader.reading = False
        if error is None:
            reader.runs_read, reader.failures = end.source.runs, 0
            return
        if isinstance(error, NoRightError):
            raise error
        reader.failures += 1
        if not error.retryable and reader.failures > 1:  # the first time the pod may just be gone
            self._say_once(f"{error.what} ({error.why})")
