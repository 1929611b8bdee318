"""`install` of 20 models whose weights are on their volumes, beside raw `helm upgrade --install`.

Both onto a namespace without a release, in turn, as whole processes, until every engine is ready.
Ours also makes the plan, takes the lock, asks the Hub about every model and gets a completion and
a stream from each; the peer does none of it.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from bench._installations import Bench, bench

ROUNDS = 3
MODELS = 20


def main() -> None:
    """Measure and print the figure."""
    with tempfile.TemporaryDirectory() as folder, bench("install", Path(folder)) as made:
        made.models(MODELS)
        print(
            f"{MODELS} models: weights fetched and served in {made.ours('install', '--yes'):.0f} s"
        )
        made.keep_values()
        ratios = [pair(made) for _ in range(ROUNDS)]
    print(
        f"install: FIGURE {statistics.median(ratios):.2f} times the seconds of `helm upgrade "
        f"--install --wait` for {MODELS} models whose weights are there (median of {ROUNDS} pairs)"
    )


def pair(made: Bench) -> float:
    """Time both, each from an empty namespace; return the ratio."""
    made.ours("uninstall", "--yes")
    mine = made.ours("install", "--yes")
    made.ours("uninstall", "--yes")
    theirs = made.raw_upgrade()
    print(f"install {mine:.2f} s, helm {theirs:.2f} s")
    return mine / theirs


if __name__ == "__main__":
    main()
