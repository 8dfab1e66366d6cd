from dataclasses import replace
from typing import Any

import pytest

from steps.core.pull_request import Commit, PullRequest
from steps.core.superseded import has_own_branch, is_carried_only_by, superseded
from steps.core.update import Update, marker

OURS = Update("tf-operator", "master", "gcr.io/kubeflow/tf_operator:vmaster-g0123abcd")


def pull(number: int, head: str, proposes: Update | None = None, **more: Any) -> PullRequest:
    facts: dict[str, Any] = {
        "url": f"https://github.com/o/n/pull/{number}",
        "author": "bot",
        "head": f"o/n:{head}",
        "base": "master",
        "sha": f"{number:040}",
        "state": "open",
        "title": "Update",
        "body": marker(proposes) if proposes else "[auto PR]",
    }
    return PullRequest(number=number, **facts | more)


def dated(date: int) -> Update:
    return replace(OURS, source="a" * 40, source_date=date)


OWN = "apps-cd/master/tf-operator"
NEW = pull(9, OWN, OURS)
SEED = "update_tf_operator_vmaster-g89abcdef"


@pytest.mark.parametrize(
    ("pulls", "closed"),
    [
        pytest.param([NEW], [], id="nothing by itself"),
        pytest.param([pull(1, SEED), NEW], [(1, 9)], id="the seed's of the same image and version"),
        pytest.param(
            [pull(1, "feature", dated(2)), pull(9, OWN, dated(1))],
            [(9, 1)],
            id="the older source, though it was opened later",
        ),
        pytest.param(
            [pull(1, "feature", dated(1)), pull(9, OWN, dated(1))], [(1, 9)], id="of one source the older number"
        ),
        pytest.param(
            [pull(1, SEED), pull(2, "update_tf_operator_vmaster-g11111111"), NEW],
            [(1, 9), (2, 9)],
            id="all of the seed's, whose image has an underscore",
        ),
        pytest.param(
            [pull(1, SEED), pull(2, "update_tf_operator_vmaster-g11111111")],
            [(1, 2)],
            id="of the seed's alone all but the newest",
        ),
        pytest.param([pull(12, SEED), NEW], [(12, 9)], id="the seed's, though it is newer than ours"),
        pytest.param([pull(1, "update_tf_operator_v1.0-g89abcdef"), NEW], [], id="not another version's"),
        pytest.param([pull(1, "update_operator_vmaster-g89abcdef"), NEW], [], id="not another image's"),
        pytest.param([pull(1, "update_tf_operator"), NEW], [], id="not what only begins like the seed's"),
        pytest.param([pull(1, SEED, base="v1.0"), NEW], [], id="not into another base"),
        pytest.param([pull(1, SEED, author="alice"), NEW], [], id="not by somebody else"),
        pytest.param([pull(1, SEED, state="closed"), NEW], [], id="not what is closed already"),
        pytest.param([pull(1, "feature", OURS), NEW], [(1, 9)], id="ours of another branch"),
        pytest.param([pull(1, "feature"), NEW], [], id="not ours without a marker"),
        pytest.param([pull(1, "x", Update("tf-operator", "v1.0")), NEW], [], id="not ours of another version"),
        pytest.param([pull(1, "x", Update("other", "master", OURS.image)), NEW], [], id="not another application's"),
        pytest.param(
            [pull(1, NEW.head.partition(":")[2], OURS), NEW],
            [],
            id="not of the same branch, which GitHub moved with it",
        ),
    ],
)
def test_what_is_superseded_is(pulls: list[PullRequest], closed: list[tuple[int, int]]) -> None:
    for order in (pulls, pulls[::-1]):
        assert [(each.old.number, each.new.number) for each in superseded(order, "bot")] == closed


def test_a_successor_takes_the_place_of_its_own_alone_and_may_be_merged() -> None:
    pulls = [pull(1, SEED), pull(2, "update_web_vmaster-g1111"), pull(3, "update_web_vmaster-g2222")]
    merged = pull(9, "apps-cd/master/tf-operator", OURS, state="merged")
    assert [(each.old.number, each.new.number) for each in superseded(pulls, "bot", merged)] == [(1, 9)]


OUR_COMMIT = Commit("1", "apps-cd <a@b>", "apps-cd <a@b>")


@pytest.mark.parametrize(
    ("commits", "expected"),
    [
        pytest.param([OUR_COMMIT], True, id="by our address"),
        pytest.param([Commit("1", "Bot <b@c>", "Bot <b@c>", "Bot")], True, id="by our account"),
        pytest.param([Commit("1", "Bot <b@c>", "apps-cd <a@b>", "Bot")], True, id="by our account and our address"),
        pytest.param([OUR_COMMIT, Commit("2", "Ada <c@d>", "Ada <c@d>", "ada")], False, id="by us and somebody else"),
        pytest.param([Commit("1", "Ada <c@d>", "Ada <c@d>")], False, id="by nobody GitHub knows"),
        pytest.param([Commit("1", "apps-cd <a@b>", "Ada <c@d>")], False, id="by us, and amended by somebody else"),
        pytest.param([OUR_COMMIT] * 249, True, id="249 of ours"),
        pytest.param([OUR_COMMIT] * 250, False, id="as many as GitHub lists, and maybe more"),
    ],
)
def test_a_branch_is_ours_when_all_its_commits_are(commits: list[Commit], expected: bool) -> None:
    assert is_carried_only_by(commits, "bot", "apps-cd <a@b>") is expected


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        pytest.param(NEW, True, id="an update's"),
        pytest.param(pull(1, SEED), True, id="the seed's"),
        pytest.param(pull(1, "staging", OURS), False, id="one that somebody named"),
        pytest.param(pull(1, "apps-cd/v1/tf-operator", OURS), False, id="another version's"),
        pytest.param(pull(1, "x", replace(OURS, application="a..b")), False, id="of no application"),
    ],
)
def test_a_branch_may_be_deleted_that_is(one: PullRequest, expected: bool) -> None:
    assert has_own_branch(one) is expected
