import json

from steps.core.plan import Plan
from steps.core.plan_report import as_argument, as_json, as_table
from tests import plans
from tests.plans import NOW, planned

PLAN = Plan(
    NOW,
    (
        planned("web", "v1", "up-to-date"),
        planned("web", "v2", "backing-off"),
        planned("api", "v1", "unreachable"),
        planned("api", "v2", "pull-request-open"),
        planned("kfam", "v1", "create"),
    ),
)


def test_a_table_has_a_line_for_each_pair_and_tells_what_failed() -> None:
    assert as_table(PLAN) == """\
APPLICATION  VERSION  REASON             CURRENT       WANTED        RUN                        PULL-REQUEST                                     UNTIL
web          v1       up-to-date         v1-g6824e49f  v1-g6824e49f
web          v2       backing-off        v2-g25ec126b  v2-g335e5847  web-v2-335e5847-ff85b0f5                                                    2026-11-26 20:40:05 UTC
api          v1       unreachable
api          v2       pull-request-open  v2-gd57f5180  v2-gb5caf1bd  api-v2-b5caf1bd-7d24548d   https://github.com/example/manifests/pull/11908
kfam         v1       create             v1-g14a77eda  v1-g450d401c  kfam-v1-450d401c-e608ebe7

api at v1: cannot ask https://github.com/example/api: unreachable; see what the server says

5 pairs: 1 backing-off, 1 create, 1 pull-request-open, 1 unreachable, 1 up-to-date
"""  # fmt: skip


def test_a_table_of_nothing_has_its_head() -> None:
    assert as_table(Plan(NOW)) == "APPLICATION  VERSION  REASON  CURRENT  WANTED  RUN  PULL-REQUEST  UNTIL\n\n0 pairs\n"


def test_an_argument_has_all_that_is_planned_and_remembered() -> None:
    assert as_argument(Plan(NOW, PLAN.pairs[1:])) == """\
web at v2: backing-off
  The last commit on https://github.com/example/web at v2 that touched web is 335e5847.
  Its image is registry.example.com/web:v2-g335e5847.
  kustomization.yaml on https://github.com/example/manifests at v2 has registry.example.com/web:v2-g25ec126b.
  So it is backing-off.
  Its run is web-v2-335e5847-ff85b0f5; build-image failed.
  It has been so since 2026-11-26 19:53:55 UTC.
  It is tried again at 2026-11-26 20:40:05 UTC.
  Attempt 1 at 335e5847: web-v2-335e5847-ff85b0f5, noted 2026-11-26 16:28:05 UTC, failed (infrastructure) 2026-11-26 16:35:05 UTC.
  Told of this commit: created.

api at v1: unreachable
  cannot ask https://github.com/example/api: unreachable; see what the server says
  It has been so since 2026-11-21 23:50:04 UTC.

api at v2: pull-request-open
  The last commit on https://github.com/example/api at v2 that touched api is b5caf1bd.
  Its image is registry.example.com/api:v2-gb5caf1bd.
  kustomization.yaml on https://github.com/example/manifests at v2 has registry.example.com/api:v2-gd57f5180.
  So it is pull-request-open.
  Its run is api-v2-b5caf1bd-7d24548d.
  Its pull request is https://github.com/example/manifests/pull/11908
  It has been so since 2026-11-23 01:58:39 UTC.

kfam at v1: create
  The last commit on https://github.com/example/kfam at v1 that touched kfam is 450d401c.
  Its image is registry.example.com/kfam:v1-g450d401c.
  kustomization.yaml on https://github.com/example/manifests at v1 has registry.example.com/kfam:v1-g14a77eda.
  So it is create.
  Its run kfam-v1-450d401c-e608ebe7 is to be created: attempt 1.
  The run kfam-v1-14a77eda-8a69af1d is to be cancelled: it is of another commit.
  It has been so since 2026-11-26 20:05:46 UTC.
"""  # fmt: skip


def test_a_program_gets_everything_under_keys_that_stay() -> None:
    told = json.loads(as_json(Plan(NOW, PLAN.pairs[1:2]), plans.PROBLEMS[1:]))
    assert told == {
        "now": "2026-11-26T20:28:05Z",
        "pairs": [
            {
                "application": "web",
                "version": "v2",
                "reason": "backing-off",
                "status": "needed",
                "later": False,
                "sourceCommit": "335e58477c1394a01e1a18d02997515eff85b0f5",
                "image": "registry.example.com/web:v2-g335e5847",
                "currentImage": "registry.example.com/web:v2-g25ec126b",
                "run": "web-v2-335e5847-ff85b0f5",
                "createAttempt": None,
                "cancel": [],
                "pullRequest": None,
                "failedTask": "build-image",
                "since": "2026-11-26T19:53:55Z",
                "until": "2026-11-26T20:40:05Z",
                "memory": {
                    "commit": "335e58477c1394a01e1a18d02997515eff85b0f5",
                    "first": "web-v2-335e5847-ff85b0f5",
                    "attempts": [
                        {
                            "run": "web-v2-335e5847-ff85b0f5",
                            "noted": "2026-11-26T16:28:05Z",
                            "ended": "2026-11-26T16:35:05Z",
                            "cause": "infrastructure",
                        }
                    ],
                    "told": ["created"],
                },
                "tell": [],
                "explanation": list(PLAN.pairs[1].decision.sentences),
            }
        ],
        "problems": [
            {
                "file": "applications.yaml",
                "line": 31,
                "column": 3,
                "severity": "warning",
                "message": "`watch`: docs/** leads nowhere",
            }
        ],
    }


def test_every_pair_has_the_same_keys() -> None:
    pairs = json.loads(as_json(plans.lived_in(), []))["pairs"]
    assert len({tuple(pair) for pair in pairs}) == 1
