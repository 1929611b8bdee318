"""What a log says of a run that ends for a reason we know: its text, once, and no traceback.

Prefect logs an exception where it is raised and wherever it comes through, each time with a
traceback. Of our own errors the text says it all: what failed, why, and what to run next.
`PREFECT_LOGGING_LEVEL=DEBUG` leaves the tracebacks there.
"""

from __future__ import annotations

import logging

from vllm_flows.errors import VllmFlowsError

_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")
_TOLD = "told_in_prefects_log"


class PlainErrors(logging.Filter):
    """Puts the error's own text in place of the traceback; lets each error pass once."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether the record is to be logged, its text changed where it has an error of ours.

        One error may be raised by a task, and again by its flow: it is the same object then.
        """
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, VllmFlowsError) or logging.getLogger(record.name).isEnabledFor(
            logging.DEBUG
        ):
            return True
        if getattr(error, _TOLD, False):
            return False
        setattr(error, _TOLD, True)
        record.msg, record.args, record.exc_info = str(error), (), None
        return True


def tell_errors_plainly() -> None:
    """Let the logs of all runs of this process be so, however often it is asked for."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(one, PlainErrors) for one in logger.filters):
            logger.addFilter(PlainErrors())
