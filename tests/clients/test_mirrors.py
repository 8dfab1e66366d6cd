"""Copies of real repositories: what is asked of one is answered as a whole clone would, whatever befell the copy."""

import dataclasses
import fcntl
import hashlib
import itertools
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steps.clients.git import inherited
from steps.clients.mirrors import Mirror
from steps.core.needs_update import Named
from steps.core.repository import Branch, Commit, Repository
from steps.errors import StepError
from tests.sandbox import bare_repository, git_http
from tests.sandbox.http_server import Call, Response, Server
from tests.sandbox.worktree import Worktree

ROOT = Path(__file__).parents[2]
FIRST_DATE = 1_577_836_800

T = TypeVar("T")
Here = dict[Branch, Commit]


# Repositories as drawings.


class Link(str):
    """Where a symbolic link leads."""


class Module(str):
    """The commit of a submodule."""


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A commit.

    Attributes:
        files: what it changes in the tree of its first parent; None removes a path.
        parents: by their names.
        minute: of its date; by default a minute after the one drawn before it.
    """

    name: str
    files: Mapping[str, str | None]
    parents: Sequence[str] = ()
    minute: int | None = None


def draw(path: Path, history: Sequence[Drawn], branches: Mapping[str, str], how: str = "sha1") -> dict[str, str]:
    """Put commits into a bare repository, and branches on some of them; each by its name, or that of one drawn earlier."""
    if not path.exists():
        _git(path.parent, "init", "--quiet", "--bare", "--template=", f"--object-format={how}", path.name)
        _git(path, "config", "uploadpack.allowFilter", "true")
    marks, stream = {drawn.name: f":{mark}" for mark, drawn in enumerate(history, 1)}, []
    for number, drawn in enumerate(history):
        date = FIRST_DATE + 60 * (number if drawn.minute is None else drawn.minute)
        stream += ["reset refs/drawn", f"commit refs/drawn\nmark {marks[drawn.name]}"]
        stream += [f"committer alice <alice@example.com> {date} +0000", _data(drawn.name)]
        for word, parent in zip(["from", *["merge"] * len(drawn.parents)], drawn.parents, strict=False):
            stream.append(f"{word} {marks.get(parent, parent)}")
        stream += [_change(name, content) for name, content in drawn.files.items()]
    stream += [f"reset refs/heads/{branch}\nfrom {marks.get(name, name)}\n" for branch, name in branches.items()]
    told = path / "marks"
    _git(path, "fast-import", "--quiet", "--force", f"--export-marks={told}", stdin="\n".join([*stream, ""]))
    oids = dict(line.split() for line in told.read_text().splitlines())
    return {name: oids[mark] for name, mark in marks.items()}


def _data(text: str) -> str:
    return f"data {len(text.encode('utf-8', 'surrogateescape'))}\n{text}"


def _change(name: str, content: str | None) -> str:
    quoted = '"' + name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    if content is None:
        return f"D {quoted}"
    if isinstance(content, Module):
        return f"M 160000 {content} {quoted}"
    return f"M {'120000' if isinstance(content, Link) else '100644'} inline {quoted}\n{_data(content)}"


def _git(directory: Path, *arguments: str, stdin: str = "") -> str:
    done = subprocess.run(
        ["git", *arguments],
        cwd=directory,
        env=bare_repository.environment(),
        input=stdin.encode("utf-8", "surrogateescape"),
        stdout=subprocess.PIPE,
        check=True,
    )
    return done.stdout.decode().strip()


HISTORY = (
    Drawn("A", {"web/Dockerfile": "FROM scratch\n", "web/app": "1", "lib/x": "1", "link": Link("web/app"), ".gitmodules": ""}),
    Drawn("B", {"lib/x": "2"}, "A"),
    Drawn("C", {"lib/y": "1"}, "B"),
    Drawn("D", {"web/app": "2"}, "B"),
    Drawn("E", {"web/app": "2"}, "CD"),
    Drawn("F", {"web/app": "3"}, "B"),
)  # fmt: skip
"""
A─────B─────C─────E   main
      ├─────D─────┘
      └─────F         other
"""
ANSWERS: dict[str, object] = {
    "last": {"web": "D", "lib": "C", "link": "A"},
    "changes": {"C": ["web/app"], "D": []},
    "entries": {"web": ("tree", "web"), "link": ("blob", "web/app")},
    "contents": [b"2"],
    "relations": {"A": "behind 2", "B": "behind 1", "C": "diverged 1", "D": "identical 0", "E": "ahead 0", "F": "unknown 0", "0": "unknown 0"},
}  # fmt: skip
MOVED = (Drawn("G", {"lib/x": "3"}, ["main^0"], minute=100),)
ANSWERS_WHEN_MOVED: dict[str, object] = {
    **ANSWERS,
    "last": {"web": "D", "lib": "G", "link": "A"},
    "changes": {"E": []},
}


class Caller:
    """Whoever calls: HOME with a .gitconfig in which https://example.com/ stands for a directory of bare repositories.

    Attributes:
        names: the commits of the repository `app`.
    """

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.remotes, self.src_dir, home = root / "remotes", root / "src", root / "home"
        for directory in (self.remotes, self.src_dir, home):
            directory.mkdir(parents=True)
        self._config = home / ".gitconfig"
        patch.delenv("GIT_CONFIG_GLOBAL", raising=False)
        patch.setenv("HOME", str(home))
        self.names: dict[str, str] = {}
        self.configure()

    def configure(self, more: str = "", *, base: str | None = None) -> None:
        """Write the configuration: what stands for https://example.com, and anything else."""
        base = base or f"file://{self.remotes}"
        self._config.write_text(f'[url "{base}/"]\n\tinsteadOf = https://example.com/\n{more}')

    def draw(self, *history: Drawn, name: str = "app", how: str = "sha1", **branches: str) -> dict[str, str]:
        """Put commits and branches into a repository."""
        own = {drawn.name for drawn in history}
        moved = {at: name if name in own else self.names.get(name, name) for at, name in branches.items()}
        drawn = draw(self.remotes / name, history, moved, how)
        self.names |= drawn
        return drawn

    @contextmanager
    def mirror(self, name: str = "app", *, timeout: float = 30, patience: float = 30) -> Iterator[Mirror]:
        """The mirror of a repository, with the seconds that git may take, and that another process is waited for."""
        with inherited(self.src_dir, timeout=timeout) as git:
            yield Mirror(lambda _: git, self.src_dir, Repository.parse(f"https://example.com/{name}"), patience)

    def ask(self, work: Callable[[Mirror, Here], T], *branches: str, name: str = "app") -> T:
        """Do something with the mirror of a repository, whose tips are asked for before."""
        with self.mirror(name) as mirror:
            tips = mirror.tips([Branch(branch) for branch in branches or ("main",)])
            return mirror.using(tips, lambda here: work(mirror, here))

    def told(self) -> dict[str, object]:
        """What is said of `app`."""
        return self.ask(lambda mirror, here: told(mirror, here, self.names))

    @property
    def copy(self) -> Path:
        (found,) = self.src_dir.glob("*.git")
        return found


def told(mirror: Mirror, here: Here, names: Mapping[str, str]) -> dict[str, object]:
    """Answers of all kinds, with commits by their names."""
    letters, tip = {oid: name for name, oid in names.items()}, here[Branch("main")]
    entries = mirror.entries(tip, ["web", "link", "none/at/all"])
    asked = {name: (names[name][:10], names["D"]) for name in "ABCDEF"} | {"0": ("0123456789", names["D"])}
    related = mirror.relations(list(asked.values()), here.values())
    assert [letters.get(related[pair].commit, "") for pair in asked.values()] == [*"ABCDE", "", ""]
    return {
        "last": {path: letters[mirror.last_to_touch(tip, [path]) or ""] for path in ("web", "lib", "link")},
        "changes": {letters[parent]: paths for parent, paths in mirror.changes(tip, ["web"]).items()},
        "entries": {path: (entry.kind, entry.path) for path, entry in entries.items()},
        "contents": list(mirror.contents([entries["link"].oid]).values()),
        "relations": {name: f"{related[pair].relation} {related[pair].behind}" for name, pair in asked.items()},
    }


@pytest.fixture
def caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Caller:
    return Caller(tmp_path, monkeypatch)


@pytest.fixture
def app(caller: Caller) -> Caller:
    """With the repository `app`, whose history is drawn above."""
    caller.draw(*HISTORY, main="E", other="F")
    return caller


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """The subcommands of git that were run since it was called last, those that git itself runs in brackets."""
    traces = tmp_path / "traces"
    traces.mkdir()
    monkeypatch.setenv("GIT_TRACE2_EVENT", str(traces))

    def since() -> list[str]:
        started = []
        for trace in traces.iterdir():
            events = [json.loads(line) for line in trace.read_text().splitlines()]
            trace.unlink()
            started += [(event["time"], _told(event)) for event in events if event["event"] == "start"]
        return [command for _, command in sorted(started) if command != "version"]

    return since


def _told(event: Mapping[str, Any]) -> str:
    first, *words = event["argv"]
    if first.endswith("git-upload-pack"):
        return "[upload-pack]"
    command = next(word for word in words if not word.startswith("-") and "=" not in word)
    return f"[{command}]" if "/" in event["sid"] else str(command)


def contacts(commands: Sequence[str]) -> int:
    """How often the server was asked something."""
    return commands.count("[upload-pack]")


def problem(error: StepError) -> tuple[str, str, bool]:
    """Reason, message without git's words, and whether it may be otherwise later."""
    return error.reason, str(error).partition(" (git says")[0], error.later


@contextmanager
def served(remotes: Path, before: Callable[[Call], Response | None] = lambda _: None) -> Iterator[str]:
    """Bare repositories over HTTP.

    Args:
        before: may give another answer than git.
    """

    def answer(call: Call) -> Response:
        name, _, rest = call.path.removeprefix("/").partition("/")
        return before(call) or git_http.answer(call, remotes / name, f"/{rest}", None, lambda _: None)

    server = Server("127.0.0.1", 0, answer)
    try:
        yield server.url
    finally:
        server.close()


def is_fetch(call: Call) -> bool:
    call.body.seek(0)
    return call.path.endswith("/git-upload-pack") and b"command=fetch" in call.body.read()


# Tips.

HUNG_UP, SILENT = 0, -1


def test_the_tips_are_those_of_the_branches_asked_for_that_are_there(caller: Caller) -> None:
    names = caller.draw(Drawn("A", {}), Drawn("B", {}, "A"), Drawn("C", {}, "B"), main="A", b="B", **{"x/b": "C"})
    _git(caller.remotes / "app", "update-ref", "refs/tags/b", names["C"])
    _git(caller.remotes / "app", "update-ref", "refs/heads/x/refs/heads/b", names["C"])
    _git(caller.remotes / "app", "update-ref", "refs/tags/only-a-tag", names["C"])
    with caller.mirror() as mirror:
        assert mirror.tips([Branch("b"), Branch("only-a-tag"), Branch("none")]) == {"b": names["B"]}
        assert mirror.tips([Branch("only-a-tag")]) == {}


@pytest.mark.parametrize(
    ("status", "reason", "advice", "later"),
    [
        pytest.param(401, "auth", "the server did not take the credential, or wants one; check the credentials directory", False, id="wants to know who asks"),
        pytest.param(403, "refused", "the server refuses; check what the credential may do, and branch protection", False, id="refuses"),
        pytest.param(404, "not-found", "there is no such repository, or the credential may not see it", False, id="has no such repository"),
        pytest.param(503, "unreachable", "the server could not be reached; try again", True, id="is out of order"),
        pytest.param(HUNG_UP, "unreachable", "the server could not be reached; try again", True, id="hangs up"),
        pytest.param(SILENT, "unreachable", "the server could not be reached; try again", True, id="says nothing"),
    ],
)  # fmt: skip
def test_a_server_fails_in_words_when_it(caller: Caller, status: int, reason: str, advice: str, later: bool) -> None:
    over = threading.Event()

    def answer(_: Call) -> Response:
        if status == SILENT:
            over.wait()
        if status <= 0:
            raise ConnectionAbortedError
        return Response(status)

    with served(caller.remotes, answer) as url:
        caller.configure(base=url)
        with caller.mirror(timeout=0.5 if status == SILENT else 30) as mirror, pytest.raises(StepError) as caught:
            mirror.tips([Branch("main")])
        over.set()
    expected = f"cannot ask https://example.com/app for its branches: {advice}"
    assert problem(caught.value) == (reason, expected, later)


def test_a_closed_port_and_a_directory_that_is_gone_are_told_apart(caller: Caller) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    found = []
    for base in (f"http://127.0.0.1:{port}", f"file://{caller.remotes}"):
        caller.configure(base=base)
        with caller.mirror() as mirror, pytest.raises(StepError) as caught:
            mirror.tips([Branch("main")])
        found.append((caught.value.reason, caught.value.later))
    assert found == [("unreachable", True), ("not-found", False)]


# Fetching.


def test_a_mirror_is_fetched_once_and_again_only_when_a_branch_moved(
    app: Caller, commands: Callable[[], list[str]]
) -> None:
    def tip() -> str:
        return app.ask(lambda _, here: here[Branch("main")])

    assert (tip(), contacts(commands())) == (app.names["E"], 2)
    assert (tip(), commands()) == (app.names["E"], ["ls-remote", "[upload-pack]", "for-each-ref"])
    app.draw(*MOVED, main="G")
    assert (tip(), contacts(commands())) == (app.names["G"], 2)
    assert (tip(), contacts(commands())) == (app.names["G"], 1)
    assert (app.ask(lambda _, here: here, "main", "other"), contacts(commands())) == (
        {"main": app.names["G"], "other": app.names["F"]},
        2,
    )


def test_what_is_there_is_answered_while_the_server_is_gone(app: Caller) -> None:
    with app.mirror() as mirror:
        tips = mirror.tips([Branch("main")])
        before = mirror.using(tips, lambda here: told(mirror, here, app.names))
        shutil.rmtree(app.remotes)
        assert mirror.using(tips, lambda here: told(mirror, here, app.names)) == before == ANSWERS


def test_a_server_that_goes_after_it_told_the_tips_costs_a_message(app: Caller) -> None:
    with app.mirror() as mirror:
        tips = mirror.tips([Branch("main")])
        shutil.rmtree(app.remotes)
        with pytest.raises(StepError) as caught:
            mirror.using(tips, lambda here: here)
    advice = "there is no such repository, or the credential may not see it"
    assert problem(caught.value) == ("not-found", f"cannot fetch from https://example.com/app: {advice}", False)


def test_no_file_is_copied_before_it_is_asked_for_and_then_all_are_in_one_fetch(
    caller: Caller, commands: Callable[[], list[str]]
) -> None:
    files = {f"dir/{number}": f"text {number}\n" for number in range(20)}
    caller.draw(Drawn("A", {**files, "never": "asked for"}), Drawn("B", {"dir/0": "other text"}, "A"), main="B")

    def work(mirror: Mirror, here: Here) -> dict[bytes, int]:
        entries = mirror.entries(here[Branch("main")], [*files, "dir"])
        assert (_blobs(caller.copy), contacts(commands())) == (0, 2)
        oids = [entries[path].oid for path in files]
        found = mirror.contents([*oids, *oids])
        assert [found[oid].decode() for oid in oids] == ["other text", *list(files.values())[1:]]
        assert (_blobs(caller.copy), contacts(commands())) == (20, 1)
        assert (mirror.contents(oids), mirror.contents([])) == (found, {})
        assert contacts(commands()) == 0
        return {}

    assert caller.ask(work) == {}


def _blobs(repository: Path) -> int:
    listed = _git(repository, "cat-file", "--batch-all-objects", "--batch-check=%(objecttype)")
    return listed.split().count("blob")


@pytest.mark.parametrize(
    "config", ["", "[gc]\n\tauto = 0\n\tautoPackLimit = 0\n[maintenance]\n\tauto = false\n"], ids=["git's own", "none"]
)
def test_many_packs_become_few_again_whatever_the_caller_wants_of_his_own(app: Caller, config: str) -> None:
    app.configure(config)
    assert app.told() == ANSWERS
    for number in range(60):
        oid = _git(app.copy, "hash-object", "-w", "--stdin", stdin=str(number))
        _git(app.copy, "pack-objects", "--quiet", "objects/pack/pack", stdin=f"{oid}\n")
    assert len(list(app.copy.glob("objects/pack/*.pack"))) > 60
    app.draw(*MOVED, main="G")
    assert app.told() == ANSWERS_WHEN_MOVED
    assert len(list(app.copy.glob("objects/pack/*.pack"))) < 6


def test_a_server_that_filters_nothing_serves_as_well(app: Caller, commands: Callable[[], list[str]]) -> None:
    _git(app.remotes / "app", "config", "uploadpack.allowFilter", "false")
    assert (app.told(), contacts(commands())) == (ANSWERS, 2)


@pytest.mark.parametrize("version", [0, 1, 2])
def test_answers_come_over_http_whichever_version_of_the_protocol_the_caller_wants(app: Caller, version: int) -> None:
    asked: list[str] = []

    def log(call: Call) -> None:
        asked.append(call.path)

    with served(app.remotes, log) as url:
        app.configure(f"[protocol]\n\tversion = {version}\n", base=url)
        assert app.told() == ANSWERS
        first = len(asked)
        assert (app.told(), len(asked) - first) == (ANSWERS, 2)


def test_a_branch_that_took_the_place_of_a_directory_of_branches_is_fetched_and_back(caller: Caller) -> None:
    names = caller.draw(Drawn("A", {}), Drawn("B", {}, "A"), a="A")
    assert caller.ask(lambda _, here: here, "a") == {"a": names["A"]}
    _git(caller.remotes / "app", "update-ref", "-d", "refs/heads/a")
    caller.draw(**{"a/b": "B", "a/-": "A"})
    assert caller.ask(lambda _, here: here, "a", "a/b") == {"a/b": names["B"]}
    _git(caller.remotes / "app", "update-ref", "-d", "refs/heads/a/b")
    _git(caller.remotes / "app", "update-ref", "-d", "refs/heads/a/-")
    caller.draw(a="B")
    assert caller.ask(lambda _, here: here, "a", "a/b") == {"a": names["B"]}


@pytest.mark.parametrize("branch", ["ünï/ł", "100%", "a%2Fb", "/".join(3 * [100 * "x"]), "x#'$&\"", "+x"])
def test_a_branch_may_be_called(caller: Caller, branch: str) -> None:
    names = caller.draw(Drawn("A", {}), **{branch: "A"})
    assert caller.ask(lambda _, here: here, branch) == {branch: names["A"]}


def test_a_branch_that_was_rewritten_is_answered_as_it_is_now(app: Caller) -> None:
    assert app.told() == ANSWERS
    app.draw(Drawn("H", {"web/app": "h"}, [app.names["A"]], minute=50), main="H")

    def work(mirror: Mirror, here: Here) -> tuple[Any, ...]:
        asked = [(app.names[name][:9], app.names["H"]) for name in "ABCDEFH"]
        related = mirror.relations(asked, here.values())
        return mirror.last_to_touch(here[Branch("main")], ["lib"]), [related[pair].relation for pair in asked]

    unknown = ["unknown"] * 5
    assert app.ask(work) == (app.names["A"], ["behind", *unknown, "identical"])


def test_a_repository_with_sha_256_is_answered(caller: Caller) -> None:
    names = caller.draw(*HISTORY, how="sha256", main="E", other="F")
    assert (len(names["A"]), caller.told()) == (64, ANSWERS)


def test_a_repository_whose_kind_of_hash_changed_is_answered(app: Caller) -> None:
    assert app.told() == ANSWERS
    shutil.rmtree(app.remotes / "app")
    app.draw(*HISTORY, how="sha256", main="E", other="F")
    assert app.told() == ANSWERS


# Shallow servers.


@pytest.fixture
def shallow(app: Caller) -> Caller:
    """`app` without C's and D's parents."""
    whole = app.remotes.rename(app.remotes.with_name("whole"))
    app.remotes.mkdir()
    clone = ("clone", "--quiet", "--bare", "--depth=2", "--branch=main", f"file://{whole}/app", "app")
    _git(app.remotes, *clone)
    _git(app.remotes / "app", "config", "uploadpack.allowFilter", "true")
    return app


def _cut(caller: Caller) -> dict[str, bool]:
    def work(mirror: Mirror, here: Here) -> dict[str, bool]:
        last = {path: mirror.last_to_touch(here[Branch("main")], [path]) or "" for path in ("web", "lib", "link")}
        letters = {oid: name for name, oid in caller.names.items()}
        return {f"{path} {letters[commit]}": mirror.is_cut(commit) for path, commit in last.items()}

    return caller.ask(work)


def test_a_commit_before_which_the_server_has_nothing_is_known_as_such(shallow: Caller) -> None:
    assert _cut(shallow) == {"web D": True, "lib C": True, "link C": True}
    shallow.draw(Drawn("G", {"lib/x": "3"}, ["main^0"], minute=100), main="G")
    assert _cut(shallow) == {"web D": True, "lib G": False, "link C": True}


@pytest.mark.parametrize("moved", [False, True])
def test_a_server_that_got_the_rest_of_its_history_is_not_cut_any_more(shallow: Caller, moved: bool) -> None:
    assert _cut(shallow) == {"web D": True, "lib C": True, "link C": True}
    _git(
        shallow.remotes / "app", "fetch", "--quiet", "--unshallow", f"file://{shallow.remotes.parent}/whole/app", "main"
    )
    if moved:
        shallow.draw(Drawn("G", {"lib/x": "3"}, ["main^0"], minute=100), main="G")
    assert _cut(shallow) == {"web D": False, "lib G" if moved else "lib C": False, "link A": False}


def test_a_server_that_lost_a_part_of_its_history_is_cut_from_then_on(app: Caller) -> None:
    assert _cut(app) == {"web D": False, "lib C": False, "link A": False}
    app.draw(*MOVED, main="G")
    whole = app.remotes.rename(app.remotes.with_name("whole"))
    app.remotes.mkdir()
    _git(app.remotes, "clone", "--quiet", "--bare", "--depth=1", "--branch=main", f"file://{whole}/app", "app")
    assert _cut(app) == {"web G": True, "lib G": True, "link G": True}


# The last commit to touch something.


@pytest.mark.parametrize(
    ("history", "paths", "expected"),
    [
        pytest.param(
            [Drawn("A", {"x": "1"}), Drawn("B", {"y": "1"}, "A"), Drawn("C", {"z": "1"}, "B")],
            ["x"],
            "A",
            id="on one line, it is the one that wrote it",
        ),
        pytest.param(
            [Drawn("A", {"x": "1"}), Drawn("B", {"x": "2"}, "A"), Drawn("C", {"x": "1"}, "B"), Drawn("D", {"y": ""}, "C")],
            ["x"],
            "C",
            id="after a revert, it is the revert",
        ),
        pytest.param(
            [Drawn("A", {"x": "1"}), Drawn("B", {"x": "2"}, "A"), Drawn("C", {"y": "1"}, "A"), Drawn("D", {"y": "1"}, "BC")],
            ["x"],
            "B",
            id="a merge of what only one side changed, it is that side's",
        ),
        pytest.param(
            [Drawn("A", {"x": "1"}), Drawn("B", {"x": "2"}, "A"), Drawn("C", {"x": "3"}, "A"), Drawn("D", {"x": "3"}, "BC")],
            ["x"],
            "C",
            id="a merge that takes the second parent's side, it is that side's",
        ),
        pytest.param(
            [Drawn("A", {"x": "1"}), Drawn("B", {"x": "2"}, "A"), Drawn("C", {"x": "3"}, "A"), Drawn("D", {"x": "23"}, "BC")],
            ["x"],
            "D",
            id="a merge that makes one of two sides, it is the merge",
        ),
        pytest.param(
            [Drawn("A", {"x": "1"}), Drawn("B", {"y": "1"}, "A"), Drawn("C", {"z": "1"}, "A"), Drawn("D", {"x": "9", "z": "1"}, "BC")],
            ["x"],
            "D",
            id="a merge that changes what no side did, it is the merge",
        ),
        pytest.param(
            [Drawn("A", {"x": "1"}), *(Drawn(name, {f"{name}/f": name}, "A") for name in "BCD"), Drawn("E", {"C/f": "C", "D/f": "D"}, "BCD")],
            ["C"],
            "C",
            id="an octopus, it is that of the arm",
        ),
        pytest.param(
            [Drawn("A", {"old/x": "1"}), Drawn("B", {"old/x": None, "new/x": "1"}, "A"), Drawn("C", {"y": "1"}, "B")],
            ["new"],
            "B",
            id="a file that was moved here, it is the move",
        ),
        pytest.param(
            [Drawn("A", {"old/x": "1"}), Drawn("B", {"old/x": None, "new/x": "1"}, "A"), Drawn("C", {"y": "1"}, "B")],
            ["old"],
            "B",
            id="a file that was moved away, it is the move",
        ),
        pytest.param(
            [Drawn("A", {"x": "1"}, minute=9), Drawn("B", {"x": "2"}, "A", minute=5), Drawn("C", {"y": "1"}, "B", minute=1)],
            ["x"],
            "B",
            id="clocks that go backwards, it is the one nearer to the tip",
        ),
        pytest.param(
            [Drawn("A", {"x": "1"}), Drawn("B", {"app/y": "1"}), Drawn("C", {"app/y": "1"}, "AB"), Drawn("D", {"z": "1"}, "C")],
            ["app"],
            "B",
            id="two roots, it is the other root",
        ),
        pytest.param(
            [Drawn("A", {"a/x": "1", "ab/x": "1"}), Drawn("B", {"ab/x": "2"}, "A"), Drawn("C", {"a.b": "1"}, "B")],
            ["a"],
            "A",
            id="names that begin alike, it is not that of the other",
        ),
        pytest.param(
            [Drawn("A", {"x": "1"}), Drawn("B", {"ü ł/*": "1"}, "A"), Drawn("C", {"y": "1"}, "B")],
            [":(literal)ü ł/*"],
            "B",
            id="a name that looks like a pattern, it is that of the name",
        ),
        pytest.param([Drawn("A", {"x": "1"}), Drawn("B", {"y": "1"}, "A")], ["z"], "", id="a path that never was, it is none"),
    ],
)  # fmt: skip
def test_the_last_to_touch_a_path_in(
    caller: Caller, history: Sequence[Drawn], paths: Sequence[str], expected: str
) -> None:
    names = caller.draw(*history, main=history[-1].name)
    found = caller.ask(lambda mirror, here: mirror.last_to_touch(here[Branch("main")], paths))
    of_git = _git(caller.remotes / "app", "log", "-1", "--format=%H", "main", "--", *paths)
    assert (found or "", of_git) == (names.get(expected, ""), names.get(expected, ""))


PATHS = ("a/x", "a/y", "b", "ab/x")


@st.composite
def histories(draw: st.DrawFn) -> list[Drawn]:
    """Any shape: each commit has up to three parents among those before it, any tree, and a clock that is now and then wrong."""
    found: list[Drawn] = []
    for number in range(draw(st.integers(1, 9))):
        names = [drawn.name for drawn in found]
        parents = draw(st.lists(st.sampled_from(names), max_size=3, unique=True)) if names else []
        files = {path: draw(st.sampled_from([None, "1", "2"])) for path in PATHS}
        minute = number if draw(st.booleans()) else draw(st.integers(0, 9))
        found.append(Drawn(f"c{number}", files, parents or names[-1:] * draw(st.integers(0, 1)), minute))
    return found


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories(), other=st.integers(0, 8))
def test_any_history_is_answered_as_a_whole_clone_does(caller: Caller, history: list[Drawn], other: int) -> None:
    tip, side = history[-1].name, history[other % len(history)].name
    with tempfile.TemporaryDirectory(dir=caller.remotes) as root:
        name = Path(root).name + "/app"
        names = caller.draw(*history, name=name, main=tip, side=side)
        pathspecs = (["a"], ["b"], [":(glob)*/x"], [":/", ":(exclude)a"])
        before = _ancestors(history)
        known = before[tip] | before[side]
        asked = {(names[one.name][:12], names[two]): (one.name, two) for one in history for two in sorted(known)[-2:]}

        def work(mirror: Mirror, here: Here) -> tuple[list[str], Mapping[tuple[str, str], Named]]:
            last = [mirror.last_to_touch(here[Branch("main")], paths) or "" for paths in pathspecs]
            return last, mirror.relations(list(asked), here.values())

        found, related = caller.ask(work, "main", "side", name=name)
        clone = caller.remotes / name
        assert found == [_git(clone, "log", "-1", "--format=%H", "main", "--", *paths) for paths in pathspecs]
        assert related == {
            pair: _expected(before[one], before[two], names[one]) if one in known else Named("unknown")
            for pair, (one, two) in asked.items()
        }


def _ancestors(history: Sequence[Drawn]) -> dict[str, set[str]]:
    """Of each commit, and itself."""
    found: dict[str, set[str]] = {}
    for drawn in history:
        found[drawn.name] = {drawn.name}.union(*(found[parent] for parent in drawn.parents))
    return found


def _expected(one: set[str], two: set[str], commit: str) -> Named:
    behind = len(two - one)
    if one <= two:
        return Named("behind" if behind else "identical", commit, behind)
    return Named("diverged" if behind else "ahead", commit, behind)


# The caller's surroundings.


@pytest.mark.parametrize(
    "config",
    [
        "[log]\n\tfollow = true\n\tshowSignature = true\n\tdate = relative\n[format]\n\tpretty = oneline\n",
        "[core]\n\tquotePath = true\n\tabbrev = 4\n\tpager = false\n[color]\n\tui = always\n[column]\n\tui = always\n",
        "[diff]\n\trenames = copies\n\tnoprefix = true\n\texternal = false\n[status]\n\tshort = true\n\trelativePaths = true\n",
        "[core]\n\tcommitGraph = false\n[commitGraph]\n\treadChangedPaths = false\n",
        "[fetch]\n\tprune = true\n\tpruneTags = true\n\twriteCommitGraph = true\n\trecurseSubmodules = true\n\tunpackLimit = 9999\n",
        "[transfer]\n\tfsckObjects = true\n\tunpackLimit = 9999\n[fetch]\n\tfsckObjects = true\n\tnegotiationAlgorithm = skipping\n",
        '[remote "origin"]\n\turl = https://elsewhere.example.com/\n\tfetch = +refs/*:refs/*\n\ttagOpt = --tags\n\tprune = true\n',
        "[safe]\n\tbareRepository = explicit\n[core]\n\tbare = false\n\tlogAllRefUpdates = always\n[init]\n\tdefaultBranch = other\n",
        "[gc]\n\tauto = 1\n\tautoPackLimit = 1\n[maintenance]\n\tauto = true\n",
        "[feature]\n\texperimental = true\n\tmanyFiles = true\n[submodule]\n\trecurse = true\n[rev]\n\tlist = x\n",
    ],
    ids=lambda config: config.split()[0],
)
def test_the_callers_configuration_changes_no_answer(app: Caller, config: str) -> None:
    app.configure(config)
    assert app.told() == ANSWERS
    app.draw(*MOVED, main="G")
    assert app.told() == ANSWERS_WHEN_MOVED


@pytest.mark.parametrize(
    "environment",
    [
        {"GIT_DIR": "{other}/.git", "GIT_WORK_TREE": "{other}", "GIT_INDEX_FILE": "{other}/.git/index"},
        {"GIT_OBJECT_DIRECTORY": "{other}/.git/objects", "GIT_COMMON_DIR": "{other}/.git", "GIT_NAMESPACE": "other"},
        {"GIT_QUARANTINE_PATH": "{other}/.git/objects", "GIT_SHALLOW_FILE": "{other}/.git/shallow"},
        {"GIT_LITERAL_PATHSPECS": "1"},
        {"GIT_ICASE_PATHSPECS": "1", "GIT_NOGLOB_PATHSPECS": "1"},
        {"GIT_DEFAULT_HASH": "sha256", "GIT_NO_LAZY_FETCH": "0", "GIT_OPTIONAL_LOCKS": "0"},
        {"GIT_TRACE": "1", "GIT_TRACE_PACKET": "1", "GIT_PAGER": "false", "GIT_ADVICE": "1"},
        {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "color.ui", "GIT_CONFIG_VALUE_0": "always"},
        {"LC_ALL": "de_DE.UTF-8", "LANGUAGE": "de", "LANG": "de_DE.UTF-8"},
    ],
    ids=lambda environment: next(iter(environment)),
)
def test_the_callers_environment_changes_no_answer(
    app: Caller, environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = Worktree(tmp_path / "other")
    other.commit("Something else", {"web/app": "other", "Web/x": "other"})
    before = other.git("for-each-ref")
    for name, value in environment.items():
        monkeypatch.setenv(name, value.format(other=other.path))
    assert app.told() == ANSWERS
    app.draw(*MOVED, main="G")
    assert (app.told(), other.git("for-each-ref")) == (ANSWERS_WHEN_MOVED, before)


def test_a_hook_of_another_repository_may_ask(app: Caller, tmp_path: Path) -> None:
    tree, answer = Worktree(tmp_path / "other"), tmp_path / "answer"
    tree.commit("Something else")
    bare_repository.BareRepository.create(tmp_path / "bare", "main")
    hook = tmp_path / "bare" / "hooks" / "pre-receive"
    hook.parent.mkdir()
    hook.write_text(f"#!/bin/sh\ncd {ROOT} && exec {sys.executable} -c '{DRIVER}' {app.src_dir} > {answer}\n")
    hook.chmod(0o755)
    tree.environment |= {"HOME": os.environ["HOME"]}
    tree.environment.pop("GIT_CONFIG_GLOBAL")
    tree.git("push", tmp_path / "bare", "HEAD:refs/heads/main")
    assert json.loads(answer.read_text()) == app.names["D"]


# Paths.

TREE = {
    "file": "decoy", "dir/file": "1", "dir/sub/deep": "2", "other/file": "3",
    "to-file": Link("dir/file"), "to-dir": Link("dir"), "dir/up": Link("../other"), "slashes": Link("./dir//sub/"),
    "one": Link("two"), "two": Link("to-dir"), "top": Link("."), "dir/top": Link(".."),
    "to-sub": Link("dir/sub"), "physical": Link("to-sub/../file"),
    "self": Link("self"), "round": Link("dir/round"), "dir/round": Link("../round"),
    "dangling": Link("none/at/all"), "absolute": Link("/dir/file"), "out": Link("../x"), "dir/out": Link("../../x"),
    "through-file": Link("dir/file/.."), "file-slash": Link("dir/file/"), "nothing": Link(""),
    "nul": Link("dir\0file"), "long": Link("x" * 5000), "longer": Link("x" * 3_000_000),
    "module": Module("1" * 40), "to-module": Link("module"), "in-module": Link("module/x"),
    "with space/f": "a", "star*/f": "b", "a:b": "c", ":(glob)x": "d", ":!x": "e", "-dash/f": "f", "--": "g",
    "ünï/ł 日本": "h", "back\\slash": "i", 'quo"te': "j", "new\nline": "k", "tab\t": "l", "[x]": "m",
    b"\xff\xfe".decode("utf-8", "surrogateescape"): "n", "starry/f": "not asked for", "x": "not asked for",
    **{f"chain{number}": Link(f"chain{number + 1}") for number in range(9)}, "chain9": Link("file"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        pytest.param(
            [".", "dir", "dir/file", "dir/sub", "dir/sub/deep"],
            [("tree", "."), ("tree", "dir"), ("blob", "dir/file"), ("tree", "dir/sub"), ("blob", "dir/sub/deep")],
            id="without links",
        ),
        pytest.param(
            ["none", "none/at/all", "dir/none", "dir/none/x", "file/x", "dir/file/x/y", "Dir", "di", "dir/fil"],
            [None] * 9,
            id="that lead nowhere",
        ),
        pytest.param(
            ["to-file", "to-dir", "to-dir/file", "to-dir/sub/deep", "dir/up/file", "to-dir/up/file", "slashes", "slashes/deep"],
            [
                ("blob", "dir/file"), ("tree", "dir"), ("blob", "dir/file"), ("blob", "dir/sub/deep"), ("blob", "other/file"),
                ("blob", "other/file"), ("tree", "dir/sub"), ("blob", "dir/sub/deep"),
            ],
            id="through a link",
        ),
        pytest.param(
            ["one", "one/file", "top", "top/file", "top/top/dir", "dir/top", "dir/top/one/sub", "chain0"],
            [
                ("tree", "dir"), ("blob", "dir/file"), ("tree", "."), ("blob", "file"), ("tree", "dir"), ("tree", "."),
                ("tree", "dir/sub"), ("blob", "file"),
            ],
            id="through many links",
        ),
        pytest.param(["physical"], [("blob", "dir/file")], id="up from where a link leads"),
        pytest.param(["self", "self/x", "round", "dir/round", "round/x"], [None] * 5, id="in a circle"),
        pytest.param(
            ["dangling", "dangling/x", "absolute", "out", "dir/out", "dir/out/x", "through-file", "file-slash"],
            [None] * 8,
            id="out of the repository",
        ),
        pytest.param(["nul", "long", "long/x", "longer", "to-file/x"], [None] * 5, id="that no file system would take"),
        pytest.param(
            ["module", "to-module", "module/x", "in-module", "to-module/x/y"],
            [("commit", "module"), ("commit", "module"), None, None, None],
            id="into a submodule",
        ),
        pytest.param(
            (odd := [
                "with space/f", "star*/f", "a:b", ":(glob)x", ":!x", "-dash/f", "--", "ünï/ł 日本", "back\\slash", 'quo"te',
                "new\nline", "tab\t", "[x]", b"\xff\xfe".decode("utf-8", "surrogateescape"),
            ]),
            [("blob", path) for path in odd],
            id="with odd names",
        ),
        pytest.param(["*", "?", ":(glob)*", "ünï/*", "sta*/f", ":(icase)FILE", ":/file"], [None] * 7, id="that are no patterns"),
    ],
)  # fmt: skip
def test_entries_of_paths(
    treed: Callable[[Callable[[Mirror, Here], Any]], Any],
    paths: Sequence[str],
    expected: Sequence[tuple[str, str] | None],
) -> None:
    def work(mirror: Mirror, here: Here) -> list[tuple[str, str] | None]:
        found = mirror.entries(here[Branch("main")], paths)
        texts = mirror.contents({entry.oid for entry in found.values() if entry.kind == "blob"})
        for entry in found.values():
            if entry.kind == "blob":
                assert texts[entry.oid].decode() == TREE[entry.path]
        return [(found[path].kind, found[path].path) if path in found else None for path in paths]

    assert treed(work) == expected


@pytest.fixture(scope="module")
def treed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Callable[[Mirror, Here], Any]], Any]]:
    """Asks something of a repository with the tree above."""
    with pytest.MonkeyPatch.context() as patch:
        caller = Caller(tmp_path_factory.mktemp("treed"), patch)
        caller.draw(Drawn("A", TREE), main="A")
        yield caller.ask


def test_entries_of_more_paths_than_fit_into_one_call(caller: Caller) -> None:
    paths = [f"dir{number % 7}/{number}-{'x' * 60}" for number in range(2500)]
    caller.draw(Drawn("A", dict.fromkeys(paths, "")), main="A")
    found = caller.ask(lambda mirror, here: mirror.entries(here[Branch("main")], [*paths, "none"]))
    assert [found[path].path for path in paths] == paths
    assert len(found) == 2500


# Commits by their first digits.


def forged(repository: Path, kind: str, body: Callable[[int], str], prefix: str) -> str:
    """An object whose hash begins so, found by trying."""
    for number in itertools.count():
        text = body(number).encode()
        oid = hashlib.sha1(b"%s %d\0%s" % (kind.encode(), len(text), text)).hexdigest()  # noqa: S324 - git's own
        if oid.startswith(prefix):
            assert _git(repository, "hash-object", "-t", kind, "-w", "--stdin", stdin=text.decode()) == oid
            return oid
    raise AssertionError


def after(repository: Path, parent: str) -> Callable[[int], str]:
    tree = _git(repository, "rev-parse", f"{parent}^{{tree}}")
    who = "alice <alice@example.com> 1577836800 +0000"
    return lambda number: f"tree {tree}\nparent {parent}\nauthor {who}\ncommitter {who}\n\n{number}\n"


def test_first_digits_name_a_commit_until_there_is_another_that_begins_alike(app: Caller) -> None:
    repository, names = app.remotes / "app", app.names
    digits = names["D"][:4]
    forged(repository, "blob", str, digits)
    twin = forged(repository, "commit", after(repository, names["E"]), digits)

    def related(*branches: str) -> list[Named]:
        def work(mirror: Mirror, here: Here) -> list[Named]:
            asked = [(name, names["E"]) for name in (digits, names["D"][:7], names["D"], twin[:7], twin)]
            found = mirror.relations(asked, here.values())
            return [found[pair] for pair in asked]

        return app.ask(work, *branches)

    old, new, unknown = Named("behind", names["D"], 2), Named("ahead", twin), Named("unknown")
    assert related("main") == [old, old, old, unknown, unknown]
    app.draw(twins=twin)
    assert related("main", "twins") == [Named("ambiguous"), old, old, new, new]
    assert related("main") == [old, old, old, unknown, unknown]
    app.draw(main=twin)
    assert related("main") == [Named("ambiguous"), old, old, new, new]


def test_what_is_no_commit_names_none(app: Caller) -> None:
    def work(mirror: Mirror, here: Here) -> set[Named]:
        tip = here[Branch("main")]
        tree = mirror.entries(tip, ["."])["."].oid
        others = [tree[:8], tree, "0" * 40, "0" * 64, tip + 24 * "0", "0000"]
        return set(mirror.relations([(other, tip) for other in others], here.values()).values())

    assert app.ask(work) == {Named("unknown")}


# Damage.


@dataclasses.dataclass(frozen=True)
class Damage:
    how: Callable[[Path], object]
    what: str

    def __str__(self) -> str:
        return self.what


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def replace(path: Path, how: Callable[[Path], object]) -> None:
    _delete(path)
    how(path)


def _garble(file: Path) -> None:
    file.write_bytes(b"\x7fgarbage\xff\n" * (file.stat().st_size // 10 + 1))


DAMAGES = [
    Damage(_delete, "deleted"),
    Damage(lambda file: os.truncate(file, file.stat().st_size // 2), "cut in half"),
    Damage(_garble, "full of garbage"),
]


@dataclasses.dataclass
class Kept:
    """A src-dir whose mirror was fetched twice and has packed refs, and what the server has then and later."""

    src_dir: Path
    now: Path
    later: Path
    names: dict[str, str]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    root = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patch:
        caller = Caller(root, patch)
        caller.draw(*HISTORY, main="B", other="B")
        caller.ask(lambda _, here: here, "main", "other")
        _git(caller.copy, "pack-refs", "--all")
        caller.draw(main="E", other="F")
        assert caller.told() == ANSWERS
        shutil.copytree(caller.remotes, root / "now")
        caller.draw(*MOVED, main="G")
        return Kept(caller.src_dir, root / "now", caller.remotes, caller.names)


@pytest.fixture
def restored(kept: Kept, caller: Caller) -> Caller:
    """With a copy of what was kept."""
    caller.names = kept.names
    caller.configure(base=f"file://{kept.now}")
    _restore(caller, kept)
    return caller


def _restore(caller: Caller, kept: Kept) -> None:
    shutil.rmtree(caller.src_dir)
    shutil.copytree(kept.src_dir, caller.src_dir)
    for file in caller.copy.rglob("*"):
        file.chmod(0o755)


def _short(mirror: Mirror, here: Here, names: Mapping[str, str]) -> list[object]:
    """A few answers that need everything that a mirror has."""
    tip = here[Branch("main")]
    link = mirror.entries(tip, ["link"])["link"]
    related = mirror.relations([(names["A"][:8], names["D"])], here.values())
    return [mirror.last_to_touch(tip, ["link"]), *mirror.contents([link.oid]).values(), *related.values()]


@pytest.mark.parametrize("moved", [False, True], ids=["and nothing moved", "and a branch moved"])
@pytest.mark.parametrize("damage", DAMAGES, ids=str)
def test_right_answers_come_when_any_one_file_of_a_mirror_is(
    damage: Damage, moved: bool, restored: Caller, kept: Kept
) -> None:
    restored.configure(base=f"file://{kept.later if moved else kept.now}")
    files = [path.relative_to(kept.src_dir) for path in sorted(kept.src_dir.rglob("*")) if path.is_file()]
    found = {}
    for file in files:
        _restore(restored, kept)
        damage.how(restored.src_dir / file)
        found[str(file)] = restored.ask(lambda mirror, here: _short(mirror, here, kept.names))
    right = [kept.names["A"], b"2", Named("behind", kept.names["A"], 2)]
    assert found == {str(file): right for file in files}
    assert {file.name for file in files} >= {"HEAD", "config", "packed-refs", "complete", "commit-graph-chain"}


@pytest.mark.parametrize("pattern", ["objects/pack/*", "objects/pack/*.idx", "objects", "objects/*/*"])
def test_a_commit_that_was_lost_with_its_pack_is_not_called_unknown(pattern: str, restored: Caller, kept: Kept) -> None:
    for path in restored.copy.glob(pattern):
        _delete(path)
    names = kept.names
    asked = [(names[name][:8], names["D"]) for name in "AD"]
    found = restored.ask(lambda mirror, here: mirror.relations(asked, here.values()))
    assert [found[pair] for pair in asked] == [Named("behind", names["A"], 2), Named("identical", names["D"])]


def _half_made(copy: Path) -> None:
    _delete(copy / "refs")
    _delete(copy / "complete")


def _marked(copy: Path) -> None:
    copy.mkdir()
    (copy / "complete").touch()


def _moved_away(copy: Path) -> None:
    copy.rename(copy.with_name("elsewhere"))
    copy.symlink_to("elsewhere")


@pytest.mark.parametrize(
    "damage",
    [
        Damage(_half_made, "half made"),
        Damage(lambda copy: replace(copy, Path.mkdir), "an empty directory"),
        Damage(lambda copy: replace(copy, _marked), "empty but for its mark"),
        Damage(lambda copy: replace(copy, Path.touch), "a file"),
        Damage(lambda copy: replace(copy, lambda copy: copy.symlink_to("nowhere")), "a link to nowhere"),
        Damage(lambda copy: replace(copy, lambda copy: copy.symlink_to(copy.name)), "a link to itself"),
        Damage(_moved_away, "a link to where it is now"),
        Damage(_delete, "deleted"),
        Damage(lambda copy: _delete(copy.parent), "deleted with all of src-dir"),
        Damage(lambda copy: _git(copy, "update-ref", "refs/heads/-main", "refs/heads/-other"), "on another commit"),
        Damage(lambda copy: _git(copy, "config", "core.repositoryFormatVersion", "99"), "of a future git"),
        Damage(lambda copy: _git(copy, "config", "core.bare", "false"), "not bare"),
    ],
    ids=str,
)
def test_right_answers_come_when_a_mirror_is(damage: Damage, restored: Caller) -> None:
    with restored.mirror() as mirror:
        tips = mirror.tips([Branch("main")])
        damage.how(restored.copy)
        assert mirror.using(tips, lambda here: told(mirror, here, restored.names)) == ANSWERS
    assert restored.told() == ANSWERS


def test_right_answers_come_when_src_dir_is_deleted_between_two_questions(restored: Caller) -> None:
    asked: list[Here] = []

    def work(mirror: Mirror, here: Here) -> dict[str, object]:
        mirror.last_to_touch(here[Branch("main")], ["web"])
        if not asked:
            shutil.rmtree(restored.src_dir)
        asked.append(here)
        return told(mirror, here, restored.names)

    assert (restored.ask(work), len(asked)) == (ANSWERS, 2)


@pytest.mark.parametrize("part", ["HEAD", "objects", "refs", "*"])
def test_a_damaged_mirror_does_not_lead_to_a_repository_around_it(
    part: str, restored: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    around = Worktree(tmp_path / "around")
    around.commit("Mine", {"web/app": "mine"})
    around.git("switch", "--quiet", "--create=work")
    restored.src_dir = Path(shutil.move(restored.src_dir, around.path / "src"))
    monkeypatch.chdir(around.path)
    before = around.git("for-each-ref")
    for path in restored.copy.glob(part):
        if path.name != "complete":
            _delete(path)
    assert (restored.told(), around.git("for-each-ref")) == (ANSWERS, before)


def test_a_src_dir_may_be_relative(restored: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(restored.src_dir.parent)
    restored.src_dir = Path("src")
    assert restored.told() == ANSWERS
    shutil.rmtree(restored.copy)
    assert restored.told() == ANSWERS


def test_a_src_dir_that_cannot_be_written_costs_a_message(restored: Caller, tmp_path: Path) -> None:
    with restored.mirror() as mirror:
        tips = mirror.tips([Branch("main")])
        shutil.rmtree(restored.src_dir)
        restored.src_dir.write_text("in the way")
        with pytest.raises(StepError) as caught:
            mirror.using(tips, lambda here: here)
    assert caught.value.reason == "input-output"
    assert str(caught.value).startswith(f"cannot keep a copy of https://example.com/app in {tmp_path}/src/app-")


def test_what_a_killed_git_left_locked_does_no_harm(
    restored: Caller, kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    names = ("index", "config", "HEAD", "packed-refs", "shallow", "refs/heads/-main", "refs/heads/-other")
    graphs = ("objects/info/commit-graph", "objects/info/commit-graphs/commit-graph-chain", "objects/maintenance")
    for name in (*names, *graphs, "gc.pid"):
        (restored.copy / f"{name}.lock").touch()
    restored.configure("[gc]\n\tauto = 1\n", base=f"file://{kept.later}")
    with caplog.at_level(logging.WARNING):
        assert restored.told() == ANSWERS_WHEN_MOVED
    assert (caplog.messages, list(restored.copy.rglob("*.lock"))) == ([], [])


# Several processes, and their ends.

DRIVER = """
import json, sys
from pathlib import Path
from steps.clients.git import inherited
from steps.clients.mirrors import Mirror
from steps.core.repository import Branch, Repository
src_dir = Path(sys.argv[1])
def work(here):
    tip = here["main"]
    mirror.contents([mirror.entries(tip, ["link"])["link"].oid])
    return mirror.last_to_touch(tip, ["web"])
with inherited(src_dir, timeout=20) as git:
    mirror = Mirror(lambda _: git, src_dir, Repository.parse("https://example.com/app"), 20)
    print(json.dumps(mirror.using(mirror.tips([Branch("main")]), work)))
"""
"""Asks one question, which needs a file."""


def driver(caller: Caller, environment: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, caller.src_dir],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_processes_that_use_one_src_dir_at_once_get_right_answers(app: Caller) -> None:
    for _ in range(2):
        processes = [driver(app) for _ in range(4)]
        ends = [(process.communicate(timeout=30)[0], process.returncode) for process in processes]
        assert ends == [(f'"{app.names["D"]}"\n', 0)] * 4
        shutil.rmtree(app.copy / "objects")
    assert app.told() == ANSWERS


def test_whoever_waits_too_long_for_another_process_says_so(app: Caller) -> None:
    assert app.told() == ANSWERS
    (lock,) = app.src_dir.glob("*.lock")
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with app.mirror(patience=0.3) as mirror:
            tips = mirror.tips([Branch("main")])
            with pytest.raises(StepError) as caught:
                mirror.using(tips, lambda here: here)
        expected = f"another process has used {app.copy} for 0.3 s; try again"
        assert problem(caught.value) == ("busy", expected, True)
        lock.unlink()
        assert app.told() == ANSWERS


class Stopping:
    """A server of `app` that stops within its answer to a fetch until it is let go."""

    def __init__(self, remotes: Path) -> None:
        self._remotes = remotes
        self.reached, self.go_on = threading.Event(), threading.Event()

    def __call__(self, call: Call) -> Response | None:
        if not is_fetch(call):
            return None
        response = git_http.answer(call, self._remotes / "app", "/git-upload-pack", None, lambda _: None)
        whole = response.body if isinstance(response.body, bytes) else b"".join(response.body)

        def pieces() -> Iterator[bytes]:
            yield whole[: len(whole) // 2]
            self.reached.set()
            self.go_on.wait()
            yield whole[len(whole) // 2 :]

        return Response(response.status, response.headers, pieces())


def test_a_git_that_outlives_its_killed_parent_keeps_others_away(app: Caller) -> None:
    stopping = Stopping(app.remotes)
    with served(app.remotes, stopping) as url:
        app.configure(base=url)
        process = driver(app)
        assert stopping.reached.wait(20)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        with app.mirror(patience=0.3) as mirror:
            tips = mirror.tips([Branch("main")])
            with pytest.raises(StepError) as caught:
                mirror.using(tips, lambda here: here)
        assert caught.value.reason == "busy"
        stopping.go_on.set()
        assert app.told() == ANSWERS
        process.communicate()


def test_leaving_git_ends_those_that_fetch_and_wait_and_destroys_nothing(restored: Caller, kept: Kept) -> None:
    (restored.copy / "mark").touch()
    stopping, begun = Stopping(kept.later), threading.Semaphore(0)
    problems: list[tuple[str, str, bool]] = []

    def use(mirror: Mirror, tips: Here) -> None:
        begun.release()
        try:
            mirror.using(tips, lambda here: here)
        except StepError as error:
            problems.append(problem(error))

    with served(kept.later, stopping) as url:
        restored.configure(base=url)
        with restored.mirror() as mirror:
            tips = mirror.tips([Branch("main")])
            threads = [threading.Thread(target=use, args=(mirror, tips)) for _ in range(2)]
            for thread in threads:
                thread.start()
            assert stopping.reached.wait(20)
            assert all(begun.acquire(timeout=20) for _ in threads)
        for thread in threads:
            thread.join(10)
        assert [thread.is_alive() for thread in threads] == [False, False]
        assert problems == [("terminated", "git was ended", False)] * 2
        stopping.go_on.set()
    restored.configure(base=f"file://{kept.later}")
    assert (restored.told(), (restored.copy / "mark").exists()) == (ANSWERS_WHEN_MOVED, True)


def test_a_server_that_stops_within_a_fetch_is_given_up_and_the_mirror_is_kept(restored: Caller, kept: Kept) -> None:
    (restored.copy / "mark").touch()
    stopping = Stopping(kept.later)
    with served(kept.later, stopping) as url:
        restored.configure(base=url)
        with restored.mirror() as mirror:
            tips = mirror.tips([Branch("main")])
        with restored.mirror(timeout=5) as mirror, pytest.raises(StepError) as caught:
            mirror.using(tips, lambda here: here)
        stopping.go_on.set()
    advice = "the server could not be reached; try again"
    assert problem(caught.value) == ("unreachable", f"cannot fetch from https://example.com/app: {advice}", True)
    restored.configure(base=f"file://{kept.now}")
    assert (restored.told(), (restored.copy / "mark").exists()) == (ANSWERS, True)


SHIM = """\
#!/bin/sh
PATH=${{PATH#*:}}
case " $* " in *" {command} "*)
  if mkdir {once} 2> /dev/null; then {how}; fi
esac
exec git "$@"
"""


@pytest.mark.parametrize("how", ["kill -KILL $PPID", "kill -KILL $PPID; exit 1", 'git "$@"; kill -KILL $PPID; exit'])
@pytest.mark.parametrize("command", ["init", "fetch", "commit-graph", "--stdin", "cat-file"])
def test_a_kill_beside_a_command_of_the_first_fetch_leaves_a_usable_src_dir(
    command: str, how: str, app: Caller, tmp_path: Path
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "git").write_text(SHIM.format(command=command, once=tmp_path / "once", how=how))
    (programs / "git").chmod(0o755)
    process = driver(app, {"PATH": f"{programs}:{os.environ['PATH']}"})
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    assert app.told() == ANSWERS


@pytest.mark.parametrize("cut", [False, True], ids=["and git goes on", "and all is lost"])
@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
def test_a_kill_within_the_first_fetch_leaves_a_usable_src_dir(part: float, cut: bool, app: Caller) -> None:
    processes: list[subprocess.Popen[str]] = []
    started = threading.Event()

    def killing(call: Call) -> Response | None:
        if not is_fetch(call) or not started.wait(20) or processes[0].poll() is not None:
            return None
        response = git_http.answer(call, app.remotes / "app", "/git-upload-pack", None, lambda _: None)
        whole = response.body if isinstance(response.body, bytes) else b"".join(response.body)
        at = int(part * len(whole))

        def pieces() -> Iterator[bytes]:
            if at:
                yield whole[:at]
            processes[0].kill()
            processes[0].wait()
            if cut:
                raise ConnectionAbortedError
            if whole[at:]:
                yield whole[at:]

        return Response(response.status, response.headers, pieces())

    with served(app.remotes, killing) as url:
        app.configure(base=url)
        processes.append(driver(app))
        started.set()
        assert processes[0].wait(30) == -signal.SIGKILL
        assert app.told() == ANSWERS
        processes[0].communicate()
