"""The alert rules: that Prometheus can read them, and that they are of metrics and sections that there are."""

import re
import subprocess

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from steps.clients.metrics import Metrics
from tests import plans
from tests.sandbox import tekton
from tests.sandbox.runner import TEKTON

RULES = TEKTON / "reconciler" / "alerts" / "rules.yaml"
(GROUP,) = tekton.documents(RULES)[0]["spec"]["groups"]
ALERTS = {rule["alert"]: rule for rule in GROUP["rules"]}
METRICS = {
    *("apps_cd_build_info", "apps_cd_last_success_timestamp_seconds", "apps_cd_leader", "apps_cd_pairs"),
    *("apps_cd_passes_total", "apps_cd_pass_duration_seconds", "apps_cd_queue_length", "apps_cd_requests_total"),
    "apps_cd_runs_created_total",
}

each_alert = pytest.mark.parametrize("alert", ALERTS)


@each_alert
def test_an_expression_is_one_that_prometheus_reads_and_of_metrics_that_there_are(alert: str) -> None:
    from promql_parser import VectorSelector, parse, walk

    named: set[str | None] = set()

    def note(expression: object) -> None:
        if isinstance(expression, VectorSelector):
            named.add(expression.name)

    walk(parse(ALERTS[alert]["expr"]), note)
    assert named
    assert named <= METRICS


def test_the_metrics_are_those_of_the_reconciler() -> None:
    metrics = Metrics("1.2.3")
    metrics.show(plans.shown(plans.lived_in()))
    families = text_string_to_metric_families(metrics.text().decode())
    told = {f"{each.name}_total" if each.type == "counter" else each.name for each in families}
    assert {name for name in told if name.startswith("apps_cd_")} == METRICS


@each_alert
def test_an_alert_says_what_is_wrong_and_where_to_read_on(alert: str) -> None:
    rule = ALERTS[alert]
    assert re.fullmatch(r"AppsCd[A-Z]\w+", alert)
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert re.fullmatch(r"\d+[mh]", rule["for"])
    annotations = rule["annotations"]
    assert annotations.keys() == {"summary", "description", "runbook"}
    assert (annotations["summary"][-1], annotations["description"][-1]) == (".", ".")


def test_the_readme_has_the_section_that_alerts_name_and_each_of_them_is_in_it() -> None:
    (link,) = {rule["annotations"]["runbook"] for rule in ALERTS.values()}
    name, _, anchor = link.partition("#")
    readme = (TEKTON.parent / name).read_text(encoding="utf-8")
    sections = re.split(r"^#+ (.+)$", readme, flags=re.MULTILINE)[1:]
    texts = {title.lower().replace(" ", "-"): text for title, text in zip(sections[::2], sections[1::2], strict=True)}
    assert anchor in texts
    assert [alert for alert in ALERTS if f"`{alert}`" not in texts[anchor]] == []


def test_the_rules_are_a_file_of_prometheus_by_the_command_above_them() -> None:
    command = RULES.read_text(encoding="utf-8").partition(": sed ")[2].partition("\n")[0]
    done = subprocess.run(
        ["bash", "-c", f"sed {command}"], cwd=TEKTON.parent, capture_output=True, text=True, check=True
    )
    assert yaml.safe_load(done.stdout) == {"groups": [GROUP]}
