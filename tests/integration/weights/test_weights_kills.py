"""The weights program killed again and again, and on volumes that are really full."""

from __future__ import annotations

import random
import signal
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from vllm_flows import weights_job
from vllm_flows.weights_job import PERMANENT

if TYPE_CHECKING:
    from conftest import Program

KILLS = 10
SEED = 20_260_105


def test_ten_kills_leave_the_same_volume_and_fetch_hardly_a_byte_twice(program: Program):
    total, begun = program.order.total, program.sent()
    seeded = random.Random(SEED)  # noqa: S311 -- the same points every time
    for step in range(KILLS):
        # One in each tenth: a point that is passed already would kill a program that only starts.
        point = int(0.95 * total * (step + seeded.random()) / KILLS)
        with program.start() as process:
            while program.sent() - begun < point and process.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.002)
            process.kill()
        assert process.returncode == -signal.SIGKILL
        assert not program.order.marker.exists()
    with program.start() as process:
        pass
    assert process.returncode == 0
    assert program.order.marker.exists()
    assert program.sent() - begun - total < 0.05 * total
    expected = {file.name: file.sha256 for file in program.order.files if file.sha256}
    assert expected.items() <= program.hashes().items()
    assert {path.name for path in program.order.blobs.iterdir()} == {
        file.etag for file in program.order.files
    }


def on_tmpfs(program: Program, options: str) -> int:
    """Run the program with a tmpfs of its own as the volume; return its exit code."""
    script = f'mount -t tmpfs -o {options} none "$HF_HUB_CACHE" && exec "$@"'
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    if subprocess.run([*command, "true"], env=program.environment, check=False).returncode:
        pytest.skip("this machine lets nobody mount a tmpfs")
    words = [*command, *program.command]
    return subprocess.run(words, env=program.environment, check=False).returncode


def test_a_volume_that_is_too_small_is_refused_before_the_first_byte(program: Program):
    begun = program.sent()
    assert on_tmpfs(program, "size=4m") == PERMANENT
    assert "are still to come; give the model a larger pvcStorage" in str(program.last_word())
    assert program.sent() == begun


def test_a_volume_that_runs_full_says_so(program: Program):
    """A tmpfs with bytes left but no inode: the kernel's own "No space left on device"."""
    assert on_tmpfs(program, "size=100m,nr_inodes=12") == PERMANENT
    assert "the volume is full and" in str(program.last_word())


def test_a_second_program_leaves_the_volume_to_the_first(program: Program):
    with program.start() as first:
        while not list(program.order.blobs.glob("*.part")):
            with suppress(subprocess.TimeoutExpired):
                first.wait(0.01)
        with program.start() as second:
            pass
    assert (first.returncode, second.returncode) == (0, weights_job.TEMPORARY)
    assert program.order.marker.exists()
