"""Images by tag and by digest: as settings name them, as pods run them, as the chart joins them."""

from __future__ import annotations

import pytest

from vllm_flows.errors import ConfigurationError
from vllm_flows.images import Image, parse_image, parse_tag
from vllm_flows.settings import load_settings

HEX = "0123456789abcdef" * 4
DIGEST = f"sha256:{HEX}"


def joined(values: dict[str, str]) -> str:
    """Join repository and tag as the charts do."""
    return f"{values['repository']}:{values['tag']}"


@pytest.mark.parametrize(
    ("text", "image"),
    [
        ("vllm/vllm-openai", Image("vllm/vllm-openai")),
        ("vllm/vllm-openai:v0.11.0", Image("vllm/vllm-openai", "v0.11.0")),
        ("localhost:5000/vllm", Image("localhost:5000/vllm")),
        (f"localhost:5000/vllm@{DIGEST}", Image("localhost:5000/vllm", "", DIGEST)),
        (f"Host.example/a/b_c:v1@{DIGEST}", Image("Host.example/a/b_c", "v1", DIGEST)),
    ],
)
def test_a_reference_is_read_and_written_the_same(text: str, image: Image):
    assert parse_image(text) == image
    assert str(image) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not an image repository"),
        ("Vllm/Vllm", "is not an image repository"),
        ("https://host/vllm", "is not an image repository"),
        ("vllm:", "is not an image tag"),
        ("vllm:a b", "is not an image tag"),
        ("vllm@", "is not a digest"),
        ("vllm@sha256:abc", "is not a digest"),
        (f"vllm@{DIGEST}0", "is not a digest"),
        (f"vllm@{DIGEST.upper()}", "is not a digest"),
        (f"vllm@{DIGEST}@{DIGEST}", "is not a digest"),
    ],
)
def test_what_is_no_reference_is_refused_with_the_part_that_is_wrong(text: str, said: str):
    with pytest.raises(ValueError, match=said):
        parse_image(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("v1", ("v1", "")),
        (f"v1@{DIGEST}", ("v1", DIGEST)),
        (DIGEST, ("", DIGEST)),
        (f"@{DIGEST}", ("", DIGEST)),
    ],
)
def test_a_tag_may_bring_its_digest_or_be_one(text: str, found: tuple[str, str]):
    assert parse_tag(text) == found


@pytest.mark.parametrize(
    "text", ["a", "a:v1", f"a@{DIGEST}", f"a:v1@{DIGEST}", f"r.example:5000/a@{DIGEST}"]
)
def test_the_chart_joins_repository_and_tag_to_the_very_reference(text: str):
    image = parse_image(text)
    assert joined(image.chart_values) == (f"{text}:latest" if text == "a" else text)


def test_an_image_that_the_chart_knows_by_its_name_keeps_it():
    values = parse_image(f"lmcache/vllm-openai@{DIGEST}").chart_values
    assert values == {"repository": "lmcache/vllm-openai", "tag": f"latest@{DIGEST}"}


@pytest.mark.parametrize(
    ("image", "tag", "runs"),
    [
        (None, None, "vllm/vllm-openai:latest"),
        (None, "v1", "vllm/vllm-openai:v1"),
        (None, f"v1@{DIGEST}", f"vllm/vllm-openai:v1@{DIGEST}"),
        (None, DIGEST, f"vllm/vllm-openai@{DIGEST}"),
        (f"mine/vllm@{DIGEST}", None, f"mine/vllm@{DIGEST}"),
        (f"mine/vllm@{DIGEST}", "v1", f"mine/vllm:v1@{DIGEST}"),
        (f"mine/vllm@{DIGEST}", f"v1@{DIGEST}", f"mine/vllm:v1@{DIGEST}"),
    ],
)
def test_a_digest_may_stand_in_either_setting(image: str | None, tag: str | None, runs: str):
    assert str(load_settings(model_image=image, model_tag=tag).engine_image) == runs


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model_image": "vllm/vllm-openai:v1"}, "has a tag, which is another setting"),
        ({"model_image": "a b"}, "VLLM_MODEL_IMAGE: 'a b' is not an image repository"),
        ({"model_tag": "v1@sha256:1"}, "VLLM_MODEL_TAG: 'sha256:1' is not a digest"),
        (
            {"model_image": f"a@{DIGEST}", "model_tag": f"v1@sha256:{HEX[::-1]}"},
            "has another digest than VLLM_MODEL_IMAGE",
        ),
        ({"model_image": "A", "model_tag": DIGEST}, "VLLM_MODEL_IMAGE: 'A' is not an image"),
        ({"router_image": "router:"}, "VLLM_ROUTER_IMAGE: '' is not an image tag"),
    ],
)
def test_a_setting_that_names_no_image_is_refused_with_its_variable(
    settings: dict[str, object], said: str
):
    with pytest.raises(ConfigurationError) as refused:
        load_settings(**settings)
    assert said in refused.value.why


def test_only_what_moves_is_pulled_every_time():
    assert parse_image("a").pull_policy == parse_image("a:latest").pull_policy == "Always"
    for text in ("a:v1", f"a@{DIGEST}", f"a:latest@{DIGEST}"):
        assert parse_image(text).pull_policy == "IfNotPresent"
