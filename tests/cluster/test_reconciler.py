"""The reconciler itself, as our YAML deploys it from the image that Kaniko built, through a day of trouble.

The cases share the Deployment and its 24 pairs, in the order in which they stand here; all that one leaves is looked at in the
last. Nothing else may use the cluster meanwhile, because its API server is restarted.
"""

import math
import os
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import pytest
import yaml

from steps.core.plan import Run
from steps.core.update import marked
from tests.cluster.cluster import Cluster
from tests.cluster.fixtures import Installation
from tests.cluster.following import (
    APPLICATIONS,
    DOCKERFILE,
    MANIFESTS,
    PAIRS,
    VERSIONS,
    Followed,
    repository,
    restart_api_server,
)
from tests.cluster.gate import running_pod
from tests.sandbox.world import BOT

STALLED, CLOSED, TAKEN = ("app-03", "main"), ("app-01", "main"), ("app-00", "main")
"""The pair whose build fails, the one that a person does not want, and the one on whose branch a person works."""


@pytest.fixture(scope="module")
def followed(
    tmp_path_factory: pytest.TempPathFactory, cluster: Cluster, installation: Installation
) -> Iterator[Followed]:
    followed = Followed(tmp_path_factory.mktemp("followed"), cluster, installation)
    world = followed.world
    with world:
        world.add_secrets({"github-token": world.token(), "authority": world.authority})
        followed.is_ready()
        yield followed
        assert world.violations == []


def test_what_is_up_to_date_is_left_alone_and_both_replicas_show_it(followed: Followed) -> None:
    pods = followed.pods()
    assert len(pods) == 2
    for pod in pods:
        metrics = followed.page(pod, "/metrics")
        assert re.findall(r'apps_cd_pairs\{reason="(.+)"\} ([1-9].*)', metrics) == [("up-to-date", "24.0")], metrics
        page = followed.page(pod, "/")
        assert all(page.count(application) for application in APPLICATIONS)
    assert followed.runs() == []
    assert followed.memory() == {}


def test_a_push_becomes_one_pull_request_of_each_pair_that_it_touches(followed: Followed) -> None:
    followed.push("main", {"app-00/page": "two\n", "app-01/page": "two\n"})
    followed.push("v1", {"app-00/page": "two\n"})
    for pair in (("app-00", "main"), ("app-01", "main"), ("app-00", "v1")):
        assert followed.edited(*pair) == followed.kustomization(*pair)
        assert followed.event("RunCreated", *pair)["regarding"]["name"] == followed.run(*pair)["metadata"]["name"]
    assert len(followed.runs()) == 3
    (image,) = yaml.safe_load(followed.proposal(followed.proposed("app-00", "v1"), "app-00"))["images"]
    files = followed.world.files(f"{image['newName']}:{image['newTag']}@{image['digest']}")
    assert files == {"page": b"two\n"}


def test_a_build_that_fails_is_tried_three_times_and_then_left_alone(followed: Followed) -> None:
    commit = followed.push("main", {"app-03/Dockerfile": "FROM scratch\nCOPY nothing /\n"})
    event = followed.event("Stalled", *STALLED)
    names = [followed.run(*STALLED, attempt)["metadata"]["name"] for attempt in (1, 2, 3)]
    assert names == [names[0], f"{names[0]}-r2", f"{names[0]}-r3"]
    assert (event["type"], event["regarding"]["name"]) == ("Warning", names[2])
    memory = followed.memory()["app-03.main"]
    assert [(each["number"], each["cause"]) for each in memory["attempts"]] == [
        (1, "build"),
        (2, "build"),
        (3, "build"),
    ]
    assert memory["told"] == ["stalled"]
    (status,) = followed.as_person("GET", repository("app-03"), f"commits/{commit}/statuses")
    assert (status["state"], status["context"]) == ("failure", "apps-cd/main/app-03")


def test_what_a_person_closes_stays_closed_until_there_is_a_newer_commit(followed: Followed) -> None:
    closed = followed.proposed(*CLOSED)
    followed.as_person("PATCH", MANIFESTS, f"pulls/{closed.number}", {"state": "closed"})
    followed.event("Vetoed", *CLOSED)
    # A pass that makes this run has seen the closed one once more.
    followed.push("v1", {"app-01/page": "three\n"})
    followed.proposed("app-01", "v1")
    assert followed.pull_request(*CLOSED) is None
    followed.push("main", {"app-01/page": "three\n"})
    assert followed.proposed(*CLOSED).number > closed.number


def test_a_newer_push_during_a_build_cancels_it(followed: Followed) -> None:
    slow = f"FROM {followed.world.push_busybox()}\nRUN sleep 600\nCOPY page /\n"
    followed.push("main", {"app-04/page": "older\n", "app-04/Dockerfile": slow})
    older = followed.run("app-04", "main")["metadata"]["name"]
    running_pod(followed.world, older, "build-image", "build")
    newest = followed.push("main", {"app-04/page": "newer\n", "app-04/Dockerfile": DOCKERFILE})
    cancelled = followed.ended(older)
    assert cancelled["spec"]["status"] == "CancelledRunFinally"
    assert cancelled["metadata"]["annotations"]["apps-cd/superseded-by"] == newest
    assert followed.edited("app-04", "main") == followed.kustomization("app-04", "main")


def test_nobodys_commit_is_touched(followed: Followed) -> None:
    followed.commit_on_branch(*TAKEN)
    followed.push("main", {"app-00/page": "three\n", "app-02/page": "three\n"})
    followed.proposed("app-02", "main")
    newest = followed.commits[TAKEN]
    built = {each.application for each in followed.runs() if each.commit == newest}
    assert (built, followed.heads[TAKEN]) == ({"app-02"}, followed.theirs)


def test_nothing_is_lost_while_github_is_away(followed: Followed) -> None:
    with followed.world.github.away():
        followed.push("v1", {"app-05/page": "two\n"})
        followed.shows("unreachable")
    assert followed.edited("app-05", "v1") == followed.kustomization("app-05", "v1")


def test_nothing_is_lost_while_the_api_server_restarts(followed: Followed) -> None:
    start = os.environ.get("START_API_SERVER")
    if not start:
        pytest.skip("START_API_SERVER does not say how the API server, a process of this machine, is started again")
    followed.push("v1", {"app-06/page": "two\n"})
    restart_api_server(start)
    assert followed.edited("app-06", "v1") == followed.kustomization("app-06", "v1")


def test_nothing_is_lost_or_made_twice_while_pods_are_killed(followed: Followed) -> None:
    with followed.killing() as killed:
        for version in VERSIONS:
            for name in dict.fromkeys(map(repository, APPLICATIONS)):
                own = [each for each in APPLICATIONS if repository(each) == name]
                followed.push(
                    version,
                    {f"{each}/page": f"last {version}\n" for each in own}
                    | {f"{each}/Dockerfile": DOCKERFILE for each in own},
                )
        for pair in PAIRS:
            if pair != TAKEN:
                assert followed.edited(*pair) == followed.kustomization(*pair)
    assert len(killed) >= 3
    assert followed.heads[TAKEN] == followed.theirs


def test_at_the_end_there_is_one_run_of_each_key_and_one_pull_request_of_each_pair(followed: Followed) -> None:
    attempts: dict[tuple[str, str, str], list[Run]] = {}
    for run in sorted(followed.runs(), key=lambda run: run.attempt):
        attempts.setdefault((*run.key, run.commit), []).append(run)
    for key, runs in attempts.items():
        assert [run.attempt for run in runs] == list(range(1, len(runs) + 1)), key
        # Another one is made of a failed one alone, and never beside it.
        assert all(run.outcome == "failed" for run in runs[:-1]), key
        assert all((former.ended or math.inf) <= latter.created for former, latter in pairwise(runs)), key
        assert key[:2] == STALLED or all(run.cause != "build" for run in runs), key
    open_now = [each for each in followed.world.pull_requests(MANIFESTS) if each.state == "open"]
    assert Counter(each.head for each in open_now) == {
        f"example:apps-cd/{version}/{application}": 1 for application, version in PAIRS
    }
    assert {each.user for each in open_now} == {BOT}
    for each in open_now:
        update = marked(each.body or "")
        assert update
        pair = update.application, update.version
        assert pair == TAKEN or update.source == followed.commits[pair]
