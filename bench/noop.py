"""A second `install` with nothing to change, beside a second raw `helm upgrade --install --wait`.

Both against the same release in one sandbox, in turn, as whole processes, with 100 models and with
one. Ours also asks the Hub about every model and gets a completion and a stream from each; the
peer does neither.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from bench._installations import Bench, bench

ROUNDS = 5
MANY = 100


def main() -> None:
    """Measure and print the figure."""
    with tempfile.TemporaryDirectory() as folder, bench("noop", Path(folder)) as made:
        one = ratio(made, 1)
        many = ratio(made, int(sys.argv[1]) if sys.argv[1:] else MANY)
    print(
        f"noop: FIGURE {many:.2f} times the seconds of `helm upgrade --install --wait` for {MANY} "
        f"models with nothing to change, {one:.2f} times for one (medians of {ROUNDS} pairs)"
    )


def ratio(made: Bench, count: int) -> float:
    """Install so many models, then time both commands in turn; return the median of the ratios."""
    made.models(count)
    print(f"{count} models: installed in {made.ours('install', '--yes'):.0f} s")
    made.keep_values()
    pairs = [(made.ours("install", "--yes"), made.raw_upgrade()) for _ in range(ROUNDS)]
    for mine, theirs in pairs:
        print(f"{count} models: install {mine:.2f} s, helm {theirs:.2f} s")
    return statistics.median(mine / theirs for mine, theirs in pairs)


if __name__ == "__main__":
    main()
