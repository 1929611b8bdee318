"""What `vllm-flows serve` offers is what prefect.yaml says."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule

from deployments import catalogue


def test_a_deployment_without_schedules_leaves_those_that_were_made_in_the_ui():
    sent = [one.model_dump(exclude_unset=True) for one in catalogue.deployments()]
    names = ["deploy", "update", "health", "uninstall", "rollback", "prune", "watch"]
    assert [one["name"] for one in sent] == names
    assert [one["name"] for one in sent if "schedules" in one] == ["health", "watch"]


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
def test_the_time_zone_of_the_nightly_checks_is_a_setting(
    zone: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("VLLM_TIMEZONE", zone)
    (health,) = [one for one in catalogue.deployments() if one.name == "health"]
    schedules = [one.schedule for one in health.schedules or []]
    assert [one.timezone for one in schedules if isinstance(one, CronSchedule)] == [zone] * 2


def test_schedules_of_prefect_yaml_are_served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    document = yaml.safe_load(catalogue.PREFECT_FILE.read_text())
    nightly = {"cron": "15 3 * * *", "timezone": "Asia/Tokyo", "active": False, "slug": "nightly"}
    document["deployments"][0]["schedules"] = [
        {**nightly, "parameters": {"namespace": "other"}},
        {"interval": 900},
    ]
    path = tmp_path / "prefect.yaml"
    path.write_text(yaml.safe_dump(document))
    monkeypatch.setattr(catalogue, "PREFECT_FILE", path)
    cron, interval = catalogue.deployments()[0].schedules or []
    assert isinstance(cron.schedule, CronSchedule)
    assert (cron.schedule.cron, cron.schedule.timezone) == ("15 3 * * *", "Asia/Tokyo")
    assert (cron.active, cron.slug, cron.parameters) == (False, "nightly", {"namespace": "other"})
    assert isinstance(interval.schedule, IntervalSchedule)
    assert interval.schedule.interval == timedelta(seconds=900)
    assert interval.active
