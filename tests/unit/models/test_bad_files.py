"""Every file in `bad/` is refused with exactly the text beside it."""

from pathlib import Path

import pytest

from vllm_flows.errors import ModelsFileError
from vllm_flows.models_file import parse_models

BAD_FILES = sorted((Path(__file__).parent / "bad").glob("*.yaml"))


@pytest.mark.parametrize("path", BAD_FILES, ids=lambda path: path.stem)
def test_a_bad_file_is_refused_with_every_problem_and_what_to_write_instead(path: Path) -> None:
    with pytest.raises(ModelsFileError) as caught:
        parse_models(path.read_text("utf-8"), "models.yaml")
    assert f"{caught.value.why}\n" == path.with_suffix(".txt").read_text("utf-8")


def test_every_bad_file_has_its_text_and_every_text_its_file() -> None:
    texts = {path.stem for path in (Path(__file__).parent / "bad").glob("*.txt")}
    assert {path.stem for path in BAD_FILES} == texts


def test_a_secret_among_the_extra_arguments_is_not_repeated() -> None:
    path = Path(__file__).parent / "bad" / "extra-arguments.yaml"
    assert "planted-secret" in path.read_text("utf-8")
    assert "planted-secret" not in path.with_suffix(".txt").read_text("utf-8")
