import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from steps import VERSION
from tests.sandbox.github import GitHub
from tests.sandbox.kubernetes import Fault
from tests.steps.conftest import ROOT, Outcome, Run, are_gone, hurry, running
from tests.steps.reconciling import STATE, WEBHOOK_SECRET, World
from tests.steps.remotes import TEMPLATE

GOLDEN = ROOT / "tests" / "golden" / "reconcile"
LIST = "/repos/kubeflow/manifests/pulls"


@pytest.fixture
def world(tmp_path: Path, github: GitHub, run: Run, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    # What GitHub is waited for takes no time.
    hurry(monkeypatch)
    world = World(tmp_path, github, run, monkeypatch)
    with world.kubernetes:
        world.said()
        yield world


# What is told


def test_a_dry_run_tells_the_plan_and_writes_nothing(world: World, golden: Callable[[Path, str], None]) -> None:
    before = world.kubernetes.object("configmaps", STATE)
    for name, flags in {
        "table": {"format": "table"},
        "json": {"format": "json"},
        "argument": {"format": "table", "app": "web"},
    }.items():
        outcome = world.told(dry_run="true", **flags)
        assert (outcome.code, outcome.problem) == (0, "")
        golden(GOLDEN / name, outcome.stdout)
    assert world.writes() == []
    assert (world.runs(), world.kubernetes.names("events")) == ([], [])
    assert world.kubernetes.object("configmaps", STATE) == before


def test_once_tells_what_was_done(world: World, golden: Callable[[Path, str], None]) -> None:
    outcome = world.told(once="true", format="table")
    assert (outcome.code, outcome.problem) == (0, "create: RunCreated")
    golden(GOLDEN / "created", outcome.stdout)


def test_the_whole_argument_of_one_pair_is_told(world: World, golden: Callable[[Path, str], None]) -> None:
    world.configure("web", "api")
    world.build("api", "1")
    world.give("api", "v0")
    world.once()
    world.fail(next(run for run in world.runs() if run.startswith("web")))
    world.now += 60
    outcome = world.told(dry_run="true", format="table", app="web,main")
    assert (outcome.code, outcome.problem) == (0, "")
    golden(GOLDEN / "argument-of-a-failure", outcome.stdout)


# What is done


def test_a_run_is_created_once_and_nothing_is_written_when_nothing_moved(world: World) -> None:
    report = world.once()
    assert (report.code, report.reasons, report.pair["createAttempt"]) == (0, {"web": "create"}, 1)
    [name] = world.runs()
    assert world.writes() == ["update configmaps 200", "create pipelineruns 201", "create events 201"]
    made = world.kubernetes.object("pipelineruns", name)
    assert made["metadata"]["annotations"] == {
        "apps-cd/application": "web",
        "apps-cd/version": "main",
        "apps-cd/source-commit": world.first,
        "apps-cd/image-tag": f"vmain-g{world.first[:8]}",
    }
    again = world.once()
    assert (again.code, again.reasons, again.pair["createAttempt"]) == (0, {"web": "running"}, None)
    assert (world.writes(), world.runs()) == ([], [name])


def test_passes_with_nothing_moved_write_nothing_but_the_lease_and_github_says_304(world: World) -> None:
    world.once()
    world.said()
    with world.started():
        world.until(lambda: world.count("list", "pipelineruns") >= 1)
        world.said()
        world.until(lambda: world.count("list", "pipelineruns") >= 3)
        calls, asked = world.said()
    lease = ["get leases 200", "update leases 200"]
    first = calls.index("get configmaps 200")
    assert calls[first : first + 6] == ["get configmaps 200", "list pipelineruns 200", *lease, *lease]
    assert [each for each in calls if each.split()[0] != "get" and "leases" not in each] == [
        "list pipelineruns 200"
    ] * 3
    assert asked[-2:] == [f"GET {LIST} 304"] * 2


def test_a_run_that_ended_with_a_pull_request_is_followed_until_it_is_merged(world: World) -> None:
    world.once()
    page = world.propose(world.first)
    world.succeed(world.runs()[0], page=page)
    world.said()
    opened = world.once()
    assert (opened.reasons, opened.pair["pullRequest"]) == (
        {"web": "pull-request-open"},
        "GITHUB/kubeflow/manifests/pull/1",
    )
    world.say("PUT", "pulls/1/merge", merge_method="merge")
    world.said()
    assert world.once().reasons == {"web": "up-to-date"}
    assert (world.once().reasons, world.writes()) == ({"web": "up-to-date"}, [])
    assert len(world.runs()) == 1


def test_a_pull_request_is_enough_when_its_run_is_deleted_and_nothing_is_remembered(world: World) -> None:
    world.once()
    world.propose(world.first)
    world.kubernetes.delete("pipelineruns", world.runs()[0])
    world.kubernetes.change("configmaps", STATE, {"data": None})
    assert (world.once().reasons, world.runs()) == ({"web": "pull-request-open"}, [])


def test_a_failed_run_does_not_start_a_new_one_each_pass_as_it_once_did(world: World) -> None:
    """Defect 3: a failed run left the application outdated, so that a new one started every ten minutes for ever."""
    world.once()
    world.fail(world.runs()[0])
    reasons, names = [], []
    for _ in range(3 * 6):
        world.now += 600
        report = world.once()
        reasons.append(report.pair["reason"])
        for name in world.runs():
            if name not in names:
                names.append(name)
                if len(names) > 1:
                    world.fail(name)
    first = names[0]
    assert names == [first, f"{first}-r2", f"{first}-r3"]
    assert [reason for reason, before in zip(reasons, [None, *reasons], strict=False) if reason != before] == [
        "backing-off",
        "create",
        "backing-off",
        "create",
        "stalled",
    ]


def test_a_failing_run_is_tried_three_times_with_growing_delays_and_then_said_to_be_stalled_once(world: World) -> None:
    told = []
    world.once()
    [first] = world.runs()
    for attempt, delay in ((2, 900), (3, 3600)):
        world.fail(world.runs()[-1])
        world.now += delay - 1
        told.append(world.once().reasons["web"])
        world.now += 1
        told.append(world.once().reasons["web"])
        annotations = world.kubernetes.object("pipelineruns", f"{first}-r{attempt}")["metadata"]["annotations"]
        assert (annotations["apps-cd/first-attempt"], annotations["apps-cd/attempt"]) == (first, str(attempt))
    assert told == ["backing-off", "create"] * 2
    world.fail(world.runs()[-1])
    world.now += 30 * 86400
    world.said()
    report = world.once()
    assert (report.reasons, report.problem) == ({"web": "stalled"}, "stalled: Stalled")
    assert world.runs() == [first, f"{first}-r2", f"{first}-r3"]
    event = world.kubernetes.object("events", f"{first}.stalled")
    assert (event["type"], event["reason"], event["regarding"]["name"]) == ("Warning", "Stalled", f"{first}-r3")
    words = "3 runs of this commit have failed, so it is tried no more until there is another commit or configuration, or what failed is forgotten."
    assert event["note"].endswith(words)
    assert world.statuses(world.first) == [("apps-cd/main/web", "failure", words)]
    world.said()
    again = world.once()
    assert (again.reasons, again.problem, world.writes()) == ({"web": "stalled"}, "", [])


def test_past_the_deletion_of_runs_the_configmap_knows_how_often_they_failed(world: World) -> None:
    world.once()
    world.fail(world.runs()[0])
    assert world.once().reasons == {"web": "backing-off"}
    [first] = world.runs()
    world.kubernetes.delete("pipelineruns", first)
    assert (world.once().reasons, world.runs()) == ({"web": "backing-off"}, [])
    world.now += 900
    assert (world.once().reasons, world.runs()) == ({"web": "create"}, [f"{first}-r2"])


def test_a_newer_commit_cancels_the_older_run(world: World) -> None:
    world.once()
    [old] = world.runs()
    newer = world.build("web", "2")
    world.said()
    report = world.once()
    assert (report.reasons, report.pair["cancel"]) == ({"web": "create"}, [world.plain(old)])
    assert world.writes() == [
        "update configmaps 200",
        "patch pipelineruns 200",
        "create pipelineruns 201",
        "create events 201",
    ]
    cancelled = world.kubernetes.object("pipelineruns", old)
    assert cancelled["spec"]["status"] == "CancelledRunFinally"
    assert cancelled["metadata"]["annotations"]["apps-cd/superseded-by"] == newer
    assert [name.split("-")[2] for name in sorted(world.runs(), key=lambda name: name == old)] == [
        newer[:8],
        world.first[:8],
    ]
    assert (world.once().reasons, world.writes()) == ({"web": "running"}, [])


def test_a_newer_commit_outruns_a_run_that_cannot_be_cancelled(world: World) -> None:
    world.once()
    [older] = world.runs()
    world.kubernetes.forbidden.add(("patch", "pipelineruns"))
    world.build("web", "2")
    report = world.once()
    assert (report.code, report.reasons, report.pair["createAttempt"]) == (1, {"web": "refused"}, 1)
    assert report.pair["explanation"][-1].startswith("cannot patch pipelineruns web-main-")
    [newer] = set(world.runs()) - {older}
    assert report.pair["run"] == world.plain(newer)
    assert world.once().reasons == {"web": "refused"}
    assert set(world.runs()) == {older, newer}


def test_what_a_person_has_closed_does_not_come_back(world: World) -> None:
    world.once()
    page = world.propose(world.first)
    world.succeed(world.runs()[0], page=page)
    world.say("PATCH", "pulls/1", state="closed")
    world.said()
    report = world.once()
    assert (report.reasons, report.problem) == ({"web": "vetoed"}, "vetoed: Vetoed")
    [name] = world.runs()
    event = world.kubernetes.object("events", f"{name}.vetoed")
    assert (event["type"], event["reason"]) == ("Normal", "Vetoed")
    world.kubernetes.delete("pipelineruns", name)
    world.said()
    assert (world.once().reasons, world.runs(), world.writes()) == ({"web": "vetoed"}, [], [])
    world.build("web", "2")
    assert (world.once().reasons, len(world.runs())) == ({"web": "create"}, 1)


def test_a_run_that_is_there_already_is_as_good_as_one_that_was_created(world: World) -> None:
    world.kubernetes.faults.append(Fault("lost", "create", "pipelineruns"))
    lost = world.once()
    assert (lost.code, lost.reasons) == (1, {"web": "unreachable"})
    [name] = world.runs()
    made = world.kubernetes.object("pipelineruns", name)
    world.kubernetes.delete("pipelineruns", name)

    def comes_first(request: str) -> None:
        if request.endswith("/user") and name not in world.runs():
            world.kubernetes.add("pipelineruns", made)

    world.github.before_answer = comes_first
    world.said()
    report = world.once()
    assert (report.code, report.reasons, report.pair["createAttempt"]) == (0, {"web": "create"}, None)
    assert (world.writes(), world.runs()) == (["update configmaps 200", "create pipelineruns 409"], [name])


def test_who_has_lost_a_race_for_the_memory_does_nothing_and_comes_back(world: World) -> None:
    def comes_first(request: str) -> None:
        if request.endswith("/user"):
            world.kubernetes.change("configmaps", STATE, {"metadata": {"labels": {"by": "another"}}})

    world.github.before_answer = comes_first
    assert world.told(once="true") == Outcome(
        75, "conflict: another replica has acted meanwhile; the next pass sees what it did"
    )
    assert (world.writes(), world.runs()) == (["update configmaps 409"], [])
    world.github.before_answer = None
    assert (world.once().code, len(world.runs())) == (0, 1)


# One that is bad


@pytest.fixture
def three(world: World) -> World:
    """Three applications of which `api` has a source of its own."""
    tree = world.add("api-source")
    for name in ("api", "jobs"):
        world.build(name, "1", tree if name == "api" else None)
        world.give(name, "v0")
    world.configure("web", "api", "jobs", sources={"api": "api-source"})
    world.said()
    return world


def test_a_source_that_is_no_more_stops_its_own_pairs_alone(three: World) -> None:
    shutil.move(three.bare["api-source"], three.root / "away")
    report = three.once()
    assert (report.code, report.reasons["web"], report.reasons["jobs"]) == (1, "create", "create")
    assert (report.reasons["api"], len(three.runs())) == ("not-found", 2)
    assert report.problem.splitlines()[-1] == "failed: 1 of 3 pairs failed; the report says why"


def test_an_application_that_is_malformed_stops_itself_alone(three: World) -> None:
    three.config.write_text(three.config.read_text().replace("context: api", "context: [api]"))
    report = three.once()
    assert (report.code, report.reasons, len(three.runs())) == (
        1,
        {"web": "create", "api": "config-error", "jobs": "create"},
        2,
    )


def test_a_kustomization_that_cannot_be_read_stops_its_pair_alone(three: World) -> None:
    three.manifests.commit("Break it", {"api/kustomization.yaml": "images: {\n"})
    three.push(three.manifests)
    report = three.once()
    assert (report.code, report.reasons, len(three.runs())) == (
        1,
        {"web": "create", "api": "unreadable", "jobs": "create"},
        2,
    )


def test_a_repository_of_which_github_says_500_stops_its_own_pairs_alone(world: World) -> None:
    world.build("api", "1")
    world.give("api", "v0")
    other = world.add("other-manifests")
    other.commit("Begin", {"api/kustomization.yaml": "images:\n- name: example.com/api\n  newTag: v0\n"})
    world.push(other)
    world.configure("web", "api")
    text = world.config.read_text().replace("manifestsDir: api", "manifestsRepo: other-manifests, manifestsDir: api")
    world.config.write_text(text)
    with world.broken("kubeflow/other-manifests"):
        report = world.once()
    assert (report.code, report.reasons, len(world.runs())) == (1, {"web": "create", "api": "unreachable"}, 1)
    assert report.data["pairs"][1]["later"]
    assert (world.once().reasons, len(world.runs())) == ({"web": "running", "api": "create"}, 2)


def test_a_run_that_the_cluster_refuses_is_told_of_its_pair_alone(three: World) -> None:
    three.kubernetes.faults.append(Fault("500", "create", "pipelineruns"))
    report = three.once()
    assert (report.code, report.reasons, len(three.runs())) == (
        1,
        {"web": "unreachable", "api": "create", "jobs": "create"},
        2,
    )
    three.kubernetes.refusal = "no such pipeline"
    refused = three.once()
    assert refused.reasons == {"web": "refused", "api": "running", "jobs": "running"}
    assert refused.data["pairs"][0]["explanation"][-1] == (
        "cannot create pipelineruns RUN in the namespace apps-cd: it is refused (admission webhook "
        '"validation.webhook.pipeline.tekton.dev" denied the request: no such pipeline)'
    ).replace("RUN", f"web-main-{three.first[:8]}-hash")
    three.kubernetes.refusal = None
    assert (three.once().reasons["web"], len(three.runs())) == ("create", 3)


def test_a_status_that_github_does_not_take_stops_nobody_and_is_tried_again(three: World) -> None:
    three.once(attempts=1)
    [name] = [name for name in three.runs() if name.startswith("web")]
    three.fail(name)
    three.build("jobs", "2")
    with three.broken("kubeflow/source", "POST"):
        report = three.once(attempts=1)
        assert (report.code, report.reasons) == (0, {"web": "stalled", "api": "running", "jobs": "create"})
        assert report.problem.splitlines()[0] == "stalled: Stalled"
    assert three.statuses(three.first) == []
    assert three.once(attempts=1).problem == "stalled: Stalled"
    assert [state for _, state, _ in three.statuses(three.first)] == ["failure"]
    assert three.once(attempts=1).problem == ""
    three.give("web", f"vmain-g{three.first[:8]}")
    with three.broken("kubeflow/source", "POST"):
        assert three.once(attempts=1).reasons["web"] == "up-to-date"
    assert three.once(attempts=1).problem == "up-to-date: Recovered"
    assert [state for _, state, _ in three.statuses(three.first)] == ["success", "failure"]
    assert three.once(attempts=1).problem == ""


def test_an_error_of_the_configuration_that_is_of_no_pair_is_told_and_fails_a_single_pass(world: World) -> None:
    with world.config.open("a") as config:
        config.write("exclude:\n  - application: nobody\n")
    report = world.once()
    assert (report.code, report.reasons, len(world.runs())) == (1, {"web": "create"}, 1)
    told, created, end = report.problem.splitlines()
    assert told.startswith("config-error: ROOT/applications.yaml:")
    assert (created, end) == (
        "create: RunCreated",
        "config-error: all pairs are well, but the configuration has errors; see above",
    )


@pytest.mark.parametrize(
    ("flags", "at_first", "later"),
    [
        pytest.param({"max_runs": 2}, ["create", "create", "queued"], ["done", "done", "create"], id="at a time"),
        pytest.param(
            {"max_runs_per_hour": 1}, ["create", "queued", "queued"], ["done", "create", "queued"], id="within an hour"
        ),
        pytest.param(
            {"max_runs_per_repository": 1}, ["create", "create", "queued"], ["done", "done", "create"],
            id="from one repository",
        ),
    ],
)  # fmt: skip
def test_what_a_limit_holds_back_is_queued(
    three: World, flags: dict[str, int], at_first: list[str], later: list[str]
) -> None:
    report = three.once(**flags)
    assert (report.code, list(report.reasons.values())) == (0, at_first)
    assert len(three.runs()) == at_first.count("create")
    for name in three.runs():
        three.succeed(name, operation="none")
    three.now += 3601
    assert list(three.once(**flags).reasons.values()) == later


def test_a_pair_that_is_suspended_is_left_alone(three: World) -> None:
    three.config.write_text(three.config.read_text().replace("context: api", "suspend: true, context: api"))
    report = three.once()
    assert (report.code, report.reasons) == (0, {"web": "create", "api": "suspended", "jobs": "create"})


def test_only_the_pair_that_is_asked_for_is_acted_upon_and_the_others_stay_in_memory(three: World) -> None:
    assert (three.once(app="web").reasons, len(three.runs())) == ({"web": "create"}, 1)
    assert (three.once(app="jobs").reasons, len(three.runs())) == ({"jobs": "create"}, 2)
    assert sorted(three.kubernetes.object("configmaps", STATE)["data"]) == ["jobs.main", "web.main"]


# What is refused, and what is not told


def test_secrets_are_in_no_log_argument_event_or_report(world: World) -> None:
    seen = [running()]
    world.github.before_answer = lambda _: seen.append(running())
    report = world.once()
    seen += [json.dumps(report.data), report.problem]
    seen += [json.dumps(world.kubernetes.object("events", name)) for name in world.kubernetes.names("events")]
    seen += [json.dumps(world.kubernetes.object("pipelineruns", name)) for name in world.runs()]
    assert len(seen) > 8
    assert [text for text in seen if "token-of-bot" in text] == []


def test_a_secret_that_a_server_repeats_is_in_no_report_page_or_event(world: World) -> None:
    with world.answering(403, b"Blocked. Your request: Authorization: Bearer token-of-bot"):
        report = world.once()
        assert report.reasons == {"web": "refused"}
        assert "Your request: Authorization" in report.pair["explanation"][-1]
        with world.started() as child:
            child.until("/pairs/web/main", "Your request: Authorization")
            seen = [child.ask("/pairs/web/main")[1], child.ask("/")[1], json.dumps(report.data), report.problem]
    assert [text for text in seen if "token-of-bot" in text] == []


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        pytest.param({"github_app": ROOT / "tests"}, "--github-token and --github-app are both given: keep one of them", id="both accounts"),
        pytest.param({"github_token": None}, "--github-token must be given: a file, or the directory of a Secret with `token` in it; or else --github-app", id="no account"),
        pytest.param({"app": "web"}, "--app is for --once and --dry-run", id="one pair for ever"),
        pytest.param({"port": 0}, "--port=0 is not a port: 1 to 65535", id="no port"),
        pytest.param({"port": 65536}, "--port=65536 is not a port: 1 to 65535", id="a port that is too large"),
        pytest.param({"attempts": 0}, "--attempts is at least 1", id="no attempt"),
        pytest.param({"interval": "10"}, "--interval: '10' is not a duration, such as 600s, 10m or 1h30m: write 10s for seconds\nTry --help.", id="no unit"),
    ],
)  # fmt: skip
def test_a_wrong_command_line_is_told_before_anything_is_asked(
    world: World, flags: dict[str, Any], problem: str
) -> None:
    assert world.told(**flags) == Outcome(2, f"usage: {problem}")
    assert world.said() == ([], [])


def test_the_empty_directory_of_a_secret_is_as_if_it_were_not_given(world: World) -> None:
    empty = world.root / "empty"
    empty.mkdir()
    assert world.once(github_app=empty, credentials=empty).reasons == {"web": "create"}
    assert world.told(github_token=empty, github_app=empty) == Outcome(
        2,
        "usage: --github-token must be given: a file, or the directory of a Secret with `token` in it; or else --github-app",
    )


# Pass after pass


def test_configuration_and_template_are_read_anew_for_each_pass(world: World) -> None:
    world.build("api", "1")
    world.give("api", "v0")
    good = world.config.read_text()
    with world.started() as child:
        world.until(lambda: world.count("create", "pipelineruns") == 1)
        world.config.write_text("applications: [\n")
        child.until("/", "The last pass was given up")
        world.template.write_text(TEMPLATE.replace("spec:\n", "spec:\n  timeouts: {pipeline: 2h}\n"))
        world.config.write_text(good)
        world.configure("web", "api")
        world.until(lambda: world.count("create", "pipelineruns") == 2)
        assert child.end()[0] == 143
    api, web = (world.kubernetes.object("pipelineruns", name) for name in world.runs())
    assert (api["spec"].get("timeouts"), web["spec"].get("timeouts")) == ({"pipeline": "2h"}, None)


def test_tokens_are_read_anew_for_each_pass(world: World) -> None:
    world.token.write_text("token-of-nobody")
    with world.started() as child:
        child.until("/metrics", 'apps_cd_pairs{reason="auth"} 1.0')
        assert world.runs() == []
        world.token.write_text("token-of-bot")
        world.kubernetes.rotate_token()
        child.until("/metrics", 'apps_cd_pairs{reason="running"} 1.0')
        seen = [running(), *(child.ask(path)[1] for path in ("/", "/pairs/web/main", "/metrics"))]
        seen.append(json.dumps(child.end()[2]))
    assert len(world.runs()) == 1
    assert [text for text in seen if "token-of-" in text or "first-token" in text] == []


def test_a_secret_that_is_made_later_is_found_without_a_restart(world: World) -> None:
    webhook, credentials = world.root / "webhook", world.root / "credentials"
    for directory in (webhook, credentials):
        directory.mkdir()
    with world.started(interval="1h", webhook_secret=webhook, credentials=credentials) as child:
        child.until("/metrics", 'apps_cd_pairs{reason="create"} 1.0')
        assert child.push() == 404
        (webhook / "secret").write_text(WEBHOOK_SECRET)
        # One that cannot be used, so that it is seen that it is read.
        (credentials / "password").write_text("of nobody")
        assert child.push() == 202
        child.until("/metrics", 'apps_cd_pairs{reason="auth"} 1.0')


def test_a_pass_that_lost_a_race_is_followed_by_one_that_sees_what_the_other_did(world: World) -> None:
    def comes_first(request: str) -> None:
        if request.endswith("/user"):
            world.kubernetes.change("configmaps", STATE, {"metadata": {"labels": {"by": "another"}}})

    world.github.before_answer = comes_first
    with world.started() as child:
        world.until(lambda: world.count("create", "pipelineruns") == 1)
        *_, log = child.end()
    assert [entry["reason"] for entry in log if entry["level"] == "error"] == ["conflict", "terminated"]
    assert len(world.runs()) == 1


def test_the_log_of_a_pass_names_the_pair_once(world: World) -> None:
    with world.started() as child:
        world.until(lambda: world.count("list", "pipelineruns") == 4)
        *_, log = child.end()
    [name] = world.runs()
    facts = {"level": "info", "step": "steps.reconcile", "app": "web", "version": "main", "commit": world.first}
    entries = [{name: value for name, value in entry.items() if name not in ("time", "message")} for entry in log]
    assert entries[:-1] == [
        {**facts, "reason": "create", "run": name},
        {**facts, "reason": "create", "run": name},
        {**facts, "reason": "running", "run": name},
    ]
    assert log[2]["message"].endswith(f"So it needs an update. {name} goes on.")


def test_since_when_a_pair_is_as_it_is_is_known_once_that_has_changed(world: World) -> None:
    since = "<dt>Since</dt><dd>2026-01-02 05:10:00 UTC, "
    world.give("web", f"vmain-g{world.first[:8]}")
    with world.started() as child:
        child.until("/readyz", "ready")
        page = child.ask("/pairs/web/main")[1]
        assert ("up-to-date" in page, "<dt>Since</dt>" in page) == (True, False)
        world.now += 600
        world.configure("web", more="suspend: true\n")
        child.until("/pairs/web/main", since)
        world.now += 600
        passes = child.numbers()['apps_cd_passes_total{result="succeeded"}']
        child.until("/metrics", f'apps_cd_passes_total{{result="succeeded"}} {passes + 2}')
        page = child.ask("/pairs/web/main")[1]
        assert ("suspended" in page, since in page) == (True, True)


# The server


def test_a_signed_push_starts_a_pass_at_once_and_all_of_it_is_shown(world: World) -> None:
    secret = world.root / "webhook"
    secret.mkdir()
    (secret / "secret").write_text(WEBHOOK_SECRET)
    world.silence("/info/refs")
    with world.started(interval="1h", webhook_secret=secret) as child:
        world.until_silent()
        assert [child.ask(path) for path in ("/readyz", "/healthz")] == [
            (503, "starting: no pass has ended yet\n"),
            (200, "ok\n"),
        ]
        world.speak()
        child.until("/readyz", "ready")
        assert "web" in child.ask("/")[1]
        assert child.ask("/pairs/web/main")[0] == 200
        assert child.push(secret="another secret") == 403
        assert child.push("somebody/else") == 202
        newer = world.build("web", "2")
        assert child.push() == 202
        child.until("/metrics", 'apps_cd_passes_total{result="succeeded"} 2.0')
        # What follows the pass: the Lease is taken for longer.
        child.until("/metrics", 'apps_cd_requests_total{code="200",server="kubernetes"} 15.0')
        numbers = child.numbers()
        assert child.ask("/healthz") == (200, "ok\n")
        assert child.end()[0] == 143
    assert sorted(name.split("-")[2] for name in world.runs()) == sorted([world.first[:8], newer[:8]])
    assert {name: value for name, value in numbers.items() if value} == {
        'apps_cd_pairs{reason="create"}': 1,
        "apps_cd_leader": 1,
        "apps_cd_runs_created_total": 2,
        'apps_cd_passes_total{result="succeeded"}': 2,
        "apps_cd_pass_duration_seconds_count": 2,
        'apps_cd_requests_total{code="200",server="github"}': 2,
        'apps_cd_requests_total{code="304",server="github"}': 1,
        'apps_cd_requests_total{code="200",server="kubernetes"}': 15,
        'apps_cd_requests_total{code="201",server="kubernetes"}': 4,
        f'apps_cd_build_info{{version="{VERSION}"}}': 1,
    }


def test_a_loop_that_gets_nothing_done_shows_it(world: World) -> None:
    """Defect 13: the loop was dead for three months before anybody noticed, as nothing showed that it was alive."""
    world.kubernetes.forbidden.add(("list", "pipelineruns"))
    with world.started() as child:
        child.until("/", "the Role lacks the verb list for pipelineruns of tekton.dev")
        text = child.ask("/metrics")[1]
        assert 'apps_cd_passes_total{result="succeeded"} 0.0' in text
        assert "apps_cd_last_success_timestamp_seconds " not in text
        world.kubernetes.forbidden.clear()
        child.until("/metrics", "apps_cd_last_success_timestamp_seconds ")
        assert "the Role lacks" not in child.ask("/")[1]
        *_, log = child.end()
    failures = [entry for entry in log if entry.get("reason") == "refused"]
    assert failures
    assert {entry["level"] for entry in failures} == {"error"}


# The end


def held(world: World) -> str | None:
    """Who has the Lease."""
    holder: str | None = world.kubernetes.object("leases", STATE).get("spec", {}).get("holderIdentity")
    return holder


def stalled(verb: str | None, resource: str | None, times: int = 1) -> Callable[[World], None]:
    return lambda world: world.kubernetes.faults.append(Fault("stall", verb, resource, times))


def without_answers(what: str) -> Callable[[World], None]:
    return lambda world: world.silence(what)


@pytest.mark.parametrize(
    "silence",
    [
        pytest.param(without_answers("/info/refs"), id="while git waits for GitHub"),
        pytest.param(without_answers("/git-upload-pack"), id="while git fetches"),
        pytest.param(without_answers(f"/api/v3{LIST}"), id="while pull requests are listed"),
        pytest.param(stalled("list", "pipelineruns"), id="while runs are listed"),
        pytest.param(stalled("update", "leases"), id="while the Lease is taken"),
        pytest.param(stalled("update", "configmaps"), id="while memory is written"),
        pytest.param(stalled("create", "pipelineruns"), id="while a run is created"),
    ],
)
def test_sigterm_ends_it_soon_and_the_lease_is_left(world: World, silence: Callable[[World], None]) -> None:
    silence(world)
    with world.started(interval="1h") as child:
        world.until_silent()
        code, seconds, log = child.end()
        world.speak()
    assert (code, log[-1]["reason"], held(world)) == (143, "terminated", None)
    assert seconds < 5
    assert are_gone(str(world.temporary), "git-remote")
    assert list(world.temporary.iterdir()) == []


def test_sigterm_ends_it_soon_while_an_app_waits_for_a_token_to_read_a_source_with(world: World) -> None:
    world.be_an_app()
    world.silence("/api/v3/repos/kubeflow/source/installation")
    with world.started(interval="1h") as child:
        world.until_silent()
        code, seconds, log = child.end()
    assert (code, log[-1]["reason"], held(world)) == (143, "terminated", None)
    assert seconds < 5


def test_sigterm_ends_it_soon_while_it_waits_for_the_next_pass(world: World) -> None:
    with world.started(interval="1h") as child:
        child.until("/readyz", "ready")
        assert held(world)
        code, seconds, _ = child.end()
    assert (code, held(world)) == (143, None)
    assert seconds < 5


def test_sigterm_ends_it_soon_while_the_api_server_says_nothing_at_all(world: World) -> None:
    with world.started() as child:
        child.until("/readyz", "ready")
        world.kubernetes.faults.append(Fault("stall", times=1000))
        world.until_silent()
        code, seconds, _ = child.end()
    assert code == 143
    assert seconds < 5


# Others


def test_of_two_at_once_one_acts_and_the_other_shows(world: World) -> None:
    with world.started() as one, world.started(src_dir=world.root / "other") as other:
        for child in (one, other):
            child.until("/readyz", "ready")
        leaders = [child for child in (one, other) if child.numbers()["apps_cd_leader"]]
        [leader] = leaders
        standby = other if leader is one else one
        assert "web" in standby.ask("/")[1]
        assert len(world.runs()) == 1
        assert leader.end()[0] == 143
        newer = world.build("web", "2")
        world.until(lambda: world.count("create", "pipelineruns") == 2)
        standby.until("/metrics", "apps_cd_leader 1.0")
        code, _, log = standby.end()
    assert code == 143
    assert {entry["commit"] for entry in log if "app" in entry} == {newer}
    assert sorted(name.split("-")[2] for name in world.runs()) == sorted([world.first[:8], newer[:8]])


def test_a_standby_that_a_push_is_told_to_acts_and_stays_a_standby(world: World) -> None:
    secret = world.root / "webhook"
    secret.write_text(WEBHOOK_SECRET)
    with world.started(interval="1h") as leader:
        leader.until("/readyz", "ready")
        with world.started(interval="1h", src_dir=world.root / "other", webhook_secret=secret) as standby:
            standby.until("/readyz", "ready")
            newer = world.build("web", "2")
            assert standby.push() == 202
            standby.until("/metrics", 'apps_cd_passes_total{result="standby"} 2.0')
            assert [child.numbers()["apps_cd_leader"] for child in (leader, standby)] == [1, 0]
            assert standby.numbers()["apps_cd_runs_created_total"] == 1
            assert "<strong>Standby</strong>" in standby.ask("/")[1]
    assert sorted(name.split("-")[2] for name in world.runs()) == sorted([world.first[:8], newer[:8]])


def test_who_dies_between_memory_and_run_is_followed_by_one_that_creates_that_run_once(world: World) -> None:
    world.kubernetes.faults.append(Fault("stall", "create", "pipelineruns"))
    with world.started() as child:
        world.until(lambda: ("create", 0) in [(verb, status) for verb, _, status in world.calls])
        child.kill()
    remembered = json.loads(world.kubernetes.object("configmaps", STATE)["data"]["web.main"])
    assert ([each["number"] for each in remembered["attempts"]], world.runs()) == ([1], [])
    assert world.once().reasons == {"web": "create"}
    assert world.runs() == [remembered["first"]]
    assert (world.once().reasons, world.runs()) == ({"web": "running"}, [remembered["first"]])
