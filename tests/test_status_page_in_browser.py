"""The status page in a real browser, served as the reconciler serves it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from steps.clients.server import Server
from steps.core.plan import Plan
from tests import plans

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
SCREENSHOTS = Path(__file__).parent.parent / "build"
SCREEN = {"width": 1280, "height": 800}
SCHEMES = ("light", "dark")
AXE = {"rules": {"target-size": {"enabled": True}}}
PAIR = "/pairs/jupyter-web-app/master"

pytestmark = pytest.mark.skipif(
    not CHROMIUM.exists(), reason=f"there is no Chromium at {CHROMIUM}; install it, or say with CHROMIUM where it is"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # As root there is no sandbox; nothing but our own page is loaded.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(0, build="", stale_after=900, host="127.0.0.1") as server:
        yield server


class Tab:
    """A page of the server in a tab, and what the browser complained of."""

    def __init__(self, browser: Any, server: Server, scheme: str = "light", *, scripts: bool = True) -> None:
        self._context = browser.new_context(
            base_url=f"http://127.0.0.1:{server.port}",
            viewport=SCREEN,
            color_scheme=scheme,
            java_script_enabled=scripts,
        )
        self.page = self._context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("requestfailed", lambda request: self.complaints.append(request.url))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._context.close()

    def size(self) -> list[int]:
        """Width and height of all that there is to see."""
        return list(
            self.page.evaluate("[document.scrollingElement.scrollWidth, document.scrollingElement.scrollHeight]")
        )

    def violations(self) -> list[str]:
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page, options=AXE).response
        assert found["passes"]
        return [f"{each['id']}: {node['html']}" for each in found["violations"] for node in each["nodes"]]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("name", "path"), [("all", "/"), ("one-reason", "/?reason=pull-request-open"), ("pair", PAIR)])
def test_nothing_keeps_a_person_from_using_it(browser: Any, server: Server, scheme: str, name: str, path: str) -> None:
    server.show(plans.shown(plans.lived_in(), plans.PROBLEMS))
    with Tab(browser, server, scheme) as tab:
        tab.page.goto(path)
        SCREENSHOTS.mkdir(exist_ok=True)
        tab.page.screenshot(path=SCREENSHOTS / f"status-page-{name}-{scheme}.png")
        assert tab.violations() == []
        for summary in tab.page.locator("summary").all():
            summary.click()
        tab.page.screenshot(path=SCREENSHOTS / f"status-page-{name}-{scheme}-opened.png", full_page=True)
        assert tab.violations() == []
        assert tab.complaints == []


def test_48_pairs_are_on_one_screen_and_no_text_leaves_its_cell(browser: Any, server: Server) -> None:
    server.show(plans.shown(plans.lived_in(), plans.PROBLEMS))
    with Tab(browser, server) as tab:
        tab.page.goto("/")
        assert tab.page.locator("td").count() == 48
        assert tab.size() == [SCREEN["width"], SCREEN["height"]]
        assert (
            tab.page.evaluate(
                "[...document.querySelectorAll('td')].filter(td => td.scrollWidth > td.clientWidth).length"
            )
            == 0
        )


def test_it_is_read_without_scripts_and_by_keyboard(browser: Any, server: Server) -> None:
    server.show(plans.shown(plans.lived_in(), plans.PROBLEMS))
    with Tab(browser, server, scripts=False) as tab:
        page = tab.page
        page.goto("/")
        assert page.get_by_role("cell", name="stalled").inner_text().split()[:1] == ["stalled"]
        assert page.get_by_text("All attempts at the commit failed.").is_hidden()
        page.get_by_text("What the words mean").focus()
        page.keyboard.press("Enter")
        assert page.get_by_text("All attempts at the commit failed.").is_visible()
        page.get_by_role("link", name="stalled", exact=True).focus()
        page.keyboard.press("Enter")
        page.wait_for_url(f"**{PAIR}")
        assert page.get_by_role("heading", level=1).inner_text() == "jupyter-web-app at master"
        assert page.get_by_role("row").count() == 4
        page.get_by_role("link", name="All pairs").click()
        page.get_by_role("link", name="2 queued").click()
        assert page.get_by_role("cell").count() == 2
        assert tab.complaints == []


def test_4000_pairs_are_scrolled_with_their_heads_in_sight(browser: Any, server: Server) -> None:
    long = [plans.planned("a" * 100, f"v1.{column}", "stalled") for column in range(8)]
    server.show(plans.shown(Plan(plans.NOW, (*long, *plans.large(500, 8).pairs))))
    with Tab(browser, server) as tab:
        tab.page.goto("/")
        assert tab.page.locator("td").count() == 4008
        tab.page.evaluate("scrollTo(900, 9000)")
        heads = tab.page.evaluate(
            "[document.querySelector('thead th:last-child'), document.querySelectorAll('tbody th')[250]]"
            ".map(each => each.getBoundingClientRect()).map((each, at) => at ? Math.round(each.left) : Math.round(each.top))"
        )
        assert heads == [0, 0]
        SCREENSHOTS.mkdir(exist_ok=True)
        tab.page.screenshot(path=SCREENSHOTS / "status-page-4000.png")
        assert tab.complaints == []


def test_it_can_be_read_on_a_telephone(browser: Any, server: Server) -> None:
    server.show(plans.shown(plans.lived_in(), plans.PROBLEMS))
    with Tab(browser, server) as tab:
        tab.page.set_viewport_size({"width": 390, "height": 844})
        tab.page.goto(PAIR)
        tab.page.screenshot(path=SCREENSHOTS / "status-page-pair-telephone.png")
        assert tab.size()[0] == 390
