import base64
import dataclasses
import hashlib
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from steps.core.needs_update import Decision
from steps.core.plan import Plan, Planned
from steps.core.pull_request_body import DashboardUrl
from steps.core.status_page import REASONS, TONES, Pass, Shown, page, pair_page, tone
from steps.core.status_style import POLICY, STYLE
from tests import plans
from tests.plans import NOW, planned

GOLDEN = Path(__file__).parent.parent / "golden" / "status_page"

SMALL = Plan(
    NOW,
    (
        planned("web", "v1", "pull-request-open"),
        planned("web", "v2", "backing-off"),
        planned("api", "v2", "stalled"),
        planned("kfam", "v1", "auth"),
        planned("kfam", "v2", "up-to-date"),
    ),
)
HOSTILE = "\"'><script src=//evil.example></script><img src=x onerror=alert(1)>{style}\n\u202e\x1b[31m"


class Seen(HTMLParser):
    """Elements, attributes and addresses of a page, and the text of its cells; every element is closed."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.cells: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(markup)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag == "td":
            self.cells.append((dict(attrs).get("class") or "", ""))
        if tag not in ("meta", "link"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "td" in self._open:
            kind, text = self.cells.pop()
            self.cells.append((kind, f"{text} {data}".strip()))


def of(*pairs: Planned, dashboard: str | None = "https://tekton.example.com") -> Shown:
    return plans.shown(Plan(NOW, pairs), dashboard=dashboard)


def unstyled(text: str) -> str:
    """A page less its style, which is looked at in a browser."""
    assert text.count(STYLE) == 1
    return text.replace(STYLE, "STYLE")


def test_the_whole_page(golden: Callable[[Path, str], None]) -> None:
    golden(GOLDEN / "page.html", unstyled(page(plans.shown(SMALL, plans.PROBLEMS))))


def test_the_whole_page_of_a_pair(golden: Callable[[Path, str], None]) -> None:
    text = pair_page(plans.shown(SMALL), "api/v2")
    assert text
    golden(GOLDEN / "pair.html", unstyled(text))


@pytest.mark.parametrize("reason", [*REASONS, "timeout"])
def test_every_reason_is_a_word_and_a_colour(reason: str) -> None:
    ((kind, text),) = Seen(page(of(planned("web", "v1", reason)))).cells
    assert kind in TONES
    assert text.split()[0] == reason
    assert f".grid td.{kind} {{" in STYLE or kind == "good"
    assert f".{kind}::before {{ content:" in STYLE


def test_the_lived_in_plan_has_every_reason() -> None:
    assert REASONS.keys() - {each.decision.reason for each in plans.lived_in().pairs} == set()


@pytest.mark.parametrize(
    ("decision", "expected"),
    [
        pytest.param(Decision("a", "b", "timeout", "failed", (), later=True), "warn", id="may go away by itself"),
        pytest.param(Decision("a", "b", "tls", "failed", ()), "bad", id="a person has to act"),
        pytest.param(Decision("a", "b", "odd", "needed", ()), "busy", id="needed"),
        pytest.param(Decision("a", "b", "odd", "not-needed", ()), "good", id="not needed"),
    ],
)
def test_a_reason_that_is_not_known_has_the_colour_of_its_status(decision: Decision, expected: str) -> None:
    assert tone(decision) == expected


def test_a_cell_tells_reason_age_commits_and_links() -> None:
    shown = of(
        Planned(
            Decision(
                "web", "v1", "stalled", "needed", ("x",), "a" * 40, "r/web:v1-gaaaaaaaa", "r/web:v1-gbbbbbbbb@sha256:0"
            ),
            run="web-v1-aaaaaaaa-01234567-r3",
            pull_request="https://github.com/example/manifests/pull/7",
            failed_task="build image",
            since=NOW - 3 * 3600,
        )
    )
    seen = Seen(page(shown))
    run = "https://tekton.example.com/#/namespaces/apps-cd/pipelineruns/web-v1-aaaaaaaa-01234567-r3"
    assert seen.cells == [("bad", "stalled 3 h bbbbbbbb \u2192 aaaaaaaa #7 run log")]
    assert [link for link in seen.links if not link.startswith(("/?", "data:"))] == [
        "/",
        "/pairs/web/v1",
        "https://github.com/example/manifests/pull/7",
        run,
        f"{run}?pipelineTask=build%20image",
    ]


def test_without_a_dashboard_a_run_is_named_with_the_command_that_shows_its_log() -> None:
    shown = of(planned("web", "v1", "running"), dashboard=None)
    assert [link for link in Seen(page(shown)).links if "pipelineruns" in link] == []
    told = pair_page(shown, "web/v1")
    assert told
    name = shown.pairs[0].run
    assert f"<dd>{name}</dd><dt>Log</dt><dd><code>tkn pipelinerun logs {name} --namespace=apps-cd</code></dd>" in told


def test_a_run_that_waits_for_a_limit_is_not_linked() -> None:
    assert Seen(page(of(planned("web", "v1", "queued")))).cells[0][1].endswith(plans.sha("web v1")[:8])


def test_what_others_wrote_is_text() -> None:
    hostile = Planned(
        Decision(HOSTILE, HOSTILE, HOSTILE, "failed", (HOSTILE,), HOSTILE, HOSTILE, HOSTILE),
        pull_request="javascript:alert(1)//https://github.com/pull/1",
        failed_task=HOSTILE,
    )
    shown = dataclasses.replace(
        of(hostile, dataclasses.replace(hostile, decision=dataclasses.replace(hostile.decision, status="needed"))),
        last=Pass(NOW, 1, HOSTILE),
        leads=False,
        problems=(dataclasses.replace(plans.PROBLEMS[0], message=HOSTILE),),
    )
    told = pair_page(shown, f"{HOSTILE}/{HOSTILE}")
    assert told
    for text in (page(shown), page(shown, HOSTILE), told):
        seen = Seen(text)
        assert seen.elements & {"script", "img"} == set()
        assert seen.attributes <= {
            *("aria-current", "aria-label", "charset", "class", "content", "datetime", "href", "lang", "name"),
            *("rel", "role", "scope", "title"),
        }
        assert [link for link in seen.links if not link.startswith(("/", "data:image/svg+xml,"))] == []
        assert "\u202e" not in text
        assert "\x1b" not in text


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "//evil.example",
        "https:",
        "https://[",
        " https://a.b",
        "https://a.b/\n",
    ],
)
def test_only_pages_of_the_web_are_linked(url: str) -> None:
    pair = dataclasses.replace(planned("web", "v1", "pull-request-open"), pull_request=url, run=None)
    seen = Seen(page(of(pair)))
    assert [link for link in seen.links if not link.startswith(("/", "data:image/svg+xml,"))] == []


def test_every_link_to_a_pair_leads_to_its_page() -> None:
    shown = of(
        planned("web", "release/1.0", "done"),
        planned("a b/c?#%", "\u00e9", "config-error"),
        planned("web", "v2", "ahead"),
    )
    links = [link for link in Seen(page(shown)).links if link.startswith("/pairs/")]
    assert links == ["/pairs/web/release/1.0", "/pairs/web/v2", "/pairs/a%20b%2Fc%3F%23%25/%C3%A9"]
    for path in ("web/release/1.0", "a b/c?#%/\u00e9", "web/v2"):
        assert pair_page(shown, path)
    assert pair_page(shown, "web/v3") is None


def test_pairs_of_one_reason_are_shown_alone() -> None:
    shown = plans.shown(plans.lived_in())
    assert [text.split()[:4] for _, text in Seen(page(shown, "queued")).cells] == [
        ["queued", "12", "min", "d6365fa5"],
        ["queued", "43", "min", "2fadd742"],
    ]


def test_where_a_grid_would_be_empty_pairs_are_listed() -> None:
    pairs = [planned(f"app-{number}", f"v{number}", "up-to-date") for number in range(300)]
    cells = Seen(page(of(*pairs))).cells
    assert [text.split()[:2] for _, text in cells] == [[f"v{number}", "up-to-date"] for number in range(300)]


def test_two_pairs_of_one_name_share_a_cell_that_has_the_worse_colour() -> None:
    ((kind, text),) = Seen(page(of(planned("web", "v1", "up-to-date"), planned("web", "v1", "config-error")))).cells
    assert kind == "bad"
    assert "up-to-date" in text
    assert "config-error" in text


def test_4000_pairs_are_a_page() -> None:
    text = page(plans.shown(plans.large(1000, 4)))
    assert len(Seen(text).cells) == 4000
    assert len(text) < 4_000_000


def words(shown: Shown) -> str:
    """The text of the header and of what is wrong with the whole."""
    start = page(shown).partition("<header>")[2].partition("<nav")[0]
    return " ".join(re.sub("<[^>]*>", " ", start).split())


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        pytest.param(
            plans.shown(SMALL),
            "Leader \u00b7 last pass ended 2026-11-26 20:28:05 UTC, 2 min ago \u00b7 took 3.2 s \u00b7 next in 8 min",
            id="a leader",
        ),
        pytest.param(
            Shown(NOW, Pass(NOW - 5, 0.04), leads=False),
            "Standby \u00b7 last pass ended 2026-11-26 20:28:00 UTC, 5 s ago \u00b7 took 0.0 s",
            id="a standby",
        ),
        pytest.param(
            Shown(NOW + 700, Pass(NOW, 3, "the API server is unreachable"), NOW + 600, SMALL),
            "Leader \u00b7 last pass ended 2026-11-26 20:28:05 UTC, 11 min ago \u00b7 took 3.0 s \u00b7 next one due The last pass "
            "was given up, so what is shown is older: the API server is unreachable",
            id="a pass that was given up",
        ),
        pytest.param(
            Shown(NOW + 1201, Pass(NOW, 3), NOW + 600, SMALL),
            "Leader \u00b7 last pass ended 2026-11-26 20:28:05 UTC, 20 min ago \u00b7 took 3.0 s \u00b7 next one due A pass is "
            "overdue: what is shown is 20 min old. See /healthz and the log.",
            id="a pass that is overdue",
        ),
    ],
)
def test_the_head_tells_who_this_is_and_how_old_it_is(shown: Shown, text: str) -> None:
    assert words(shown) == f"apps-cd Which applications follow their branches, and what keeps the others. {text}"


def test_without_a_plan_the_page_says_so() -> None:
    assert "No pair of the configuration has been looked at by this replica." in page(
        Shown(NOW, Pass(NOW, 1), leads=False)
    )


def test_the_policy_lets_in_the_style_of_the_page_and_nothing_else() -> None:
    (style,) = re.findall("<style>(.*?)</style>", page(plans.shown(SMALL)), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ) == POLICY


def test_a_dashboard_below_a_path_is_linked() -> None:
    shown = dataclasses.replace(
        of(planned("web", "v1", "running")), dashboard=DashboardUrl.parse("http://k8s.example/tekton/")
    )
    assert any(link.startswith("http://k8s.example/tekton/#/namespaces/apps-cd/") for link in Seen(page(shown)).links)
