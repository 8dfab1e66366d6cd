"""clone_repository against real git servers: what is checked out, what is refused, and what never happens."""

import base64
import json
import os
import shutil
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from steps.clone_repository import clone_repository
from tests.sandbox import ssh
from tests.sandbox.github import GitHub, Request
from tests.sandbox.http_server import Call, Response, Server
from tests.sandbox.tls import Authority
from tests.sandbox.worktree import Worktree
from tests.steps.conftest import Outcome, Run, are_gone, in_2026, on_request, process, publish, running

TOKEN = "token-of-bot"


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of alice's:

    one ─── two ─── three ─── four    main, deadbeef, twin (branch)
     │       │        └─ light (tag), twin (tag)
     │       └─ v1.0 (annotated tag)
     └── side                         release/1.0
    """
    tree = in_2026(Worktree(tmp_path_factory.mktemp("history") / "tree"))
    (tree.path / "link").symlink_to("bin/run")
    (tree.path / "bin").mkdir()
    (tree.path / "bin" / "run").touch(mode=0o755)
    tree.commit("one", {"README": "one\n"})
    tree.git("branch", "release/1.0")
    tree.commit("two", {"README": "two\n"})
    tree.git("tag", "--annotate", "--message=one point oh", "v1.0")
    tree.commit("three", {"README": "three\n"})
    tree.git("tag", "light")
    tree.git("tag", "twin")
    tree.commit("four", {"README": "four\n", "naïve name\n.txt": "four\n"})
    tree.git("branch", "deadbeef")
    tree.git("branch", "twin")
    tree.git("switch", "--quiet", "release/1.0")
    tree.commit("side", {"README": "side\n"})
    tree.git("switch", "--quiet", "main")
    return tree.path


@pytest.fixture
def upstream(github: GitHub, history: Path, tmp_path: Path) -> Worktree:
    """A copy of alice's repository, which is kubeflow/manifests at GitHub."""
    publish(history, github.add_repository("kubeflow/manifests", writers=["bot"]))
    return in_2026(Worktree(shutil.copytree(history, tmp_path / "upstream", symlinks=True)))


def content(directory: Path) -> dict[str, str]:
    """Every file below a directory but for .git: its text, or where it points; executables marked."""
    found = {}
    for path in sorted(directory.rglob("*")):
        if path.is_symlink():
            found[str(path.relative_to(directory))] = f"-> {path.readlink()}"
        elif path.is_file() and ".git" not in path.relative_to(directory).parts:
            mark = "x " if path.stat().st_mode & stat.S_IXUSR else ""
            found[str(path.relative_to(directory))] = mark + path.read_text()
    return found


def credentials(directory: Path, **files: str) -> Path:
    """A Secret's directory; `git_credentials` is `.git-credentials`, and the like."""
    names = {"git_credentials": ".git-credentials", "ssh_privatekey": "ssh-privatekey", "ca_crt": "ca.crt"}
    directory.mkdir()
    for name, text in files.items():
        (directory / names.get(name, name)).write_text(text)
    return directory


ONE = {"README": "one\n", "bin/run": "x ", "link": "-> bin/run"}
TWO, THREE, SIDE = (ONE | {"README": f"{name}\n"} for name in ("two", "three", "side"))
PRIVATE = {
    "README": "private\n",
    ".gitmodules": '[submodule "library"]\n\tpath = library\n\turl = ../library.git\n',
}
FOUR = ONE | {"README": "four\n", "naïve name\n.txt": "four\n"}


@pytest.mark.parametrize(
    ("revision", "branch", "expected"),
    [
        pytest.param("main", "main", FOUR, id="a branch"),
        pytest.param("release/1.0", "release/1.0", SIDE, id="a branch with a slash"),
        pytest.param("deadbeef", "deadbeef", FOUR, id="a branch named like a commit"),
        pytest.param("v1.0", "HEAD", TWO, id="an annotated tag"),
        pytest.param("light", "HEAD", THREE, id="a light tag"),
        pytest.param("HEAD", "HEAD", FOUR, id="what the server calls HEAD"),
        pytest.param("refs/heads/twin", "twin", FOUR, id="the full name of a branch that a tag is named like"),
        pytest.param("refs/tags/twin", "HEAD", THREE, id="the full name of a tag that a branch is named like"),
        pytest.param("a commit", "HEAD", TWO, id="a full commit, which no branch ends at"),
    ],
)
def test_a_revision_is_checked_out(
    github: GitHub, upstream: Worktree, tmp_path: Path, run: Run, revision: str, branch: str, expected: dict[str, str]
) -> None:
    tree, url = tmp_path / "parent" / "tree", f"{github.url}/kubeflow/manifests.git"
    two = upstream.git("rev-parse", "v1.0^{commit}")
    names = {"commit": "commit_result", "url": "url_result", "committer-date": "committer_date_result"}
    flags = {flag: tmp_path / name for name, flag in names.items()}
    given = two if revision == "a commit" else revision

    assert run(clone_repository, url=url, revision=given, destination=tree, **flags) == Outcome()

    assert content(tree) == expected
    assert {name: (tmp_path / name).read_bytes().decode() for name in names} == {
        "commit": upstream.git("rev-parse", f"{given}^{{commit}}"),
        "url": url,
        "committer-date": "1767323046",
    }
    clone = Worktree(tree)
    assert clone.git("rev-parse", "--abbrev-ref", "HEAD") == branch
    assert clone.git("status", "--short") == ""


@pytest.mark.parametrize(
    ("depth", "revision", "commits"),
    [
        pytest.param(None, "main", ["four"], id="one commit by default"),
        pytest.param(3, "main", ["four", "three", "two"], id="three commits"),
        pytest.param(0, "main", ["four", "three", "two", "one"], id="all history"),
        pytest.param(0, "v1.0", ["two", "one"], id="all history of a tag"),
        pytest.param(9, "main", ["four", "three", "two", "one"], id="more than there is"),
    ],
)
def test_depth_is_how_many_commits_of_history_come_along(
    github: GitHub,
    upstream: Worktree,  # noqa: ARG001 - there is something to clone
    tmp_path: Path,
    run: Run,
    depth: int | None,
    revision: str,
    commits: list[str],
) -> None:
    url, tree = f"{github.url}/kubeflow/manifests", tmp_path / "tree"
    assert run(clone_repository, url=url, revision=revision, destination=tree, depth=depth) == Outcome()
    assert Worktree(tree).git("log", "--format=%s").splitlines() == commits


@pytest.mark.parametrize(
    ("flags", "code", "problem"),
    [
        pytest.param(
            {"revision": "nope"},
            1,
            "not-found: {url} has no branch or tag nope",
            id="an absent branch",
        ),
        pytest.param(
            {"revision": "1234567"},
            1,
            "not-found: {url} has no branch or tag 1234567; if it is a commit, give all 40 digits",
            id="an abbreviated commit",
        ),
        pytest.param(
            {"revision": "0" * 40},
            1,
            f"not-found: {{url}} has no commit {'0' * 40}",
            id="an absent commit",
        ),
        pytest.param(
            {"revision": "twin"},
            1,
            "ambiguous: {url} has a branch and a tag twin; write refs/heads/twin or refs/tags/twin",
            id="a branch and a tag of one name",
        ),
        pytest.param(
            {"revision": "refs/heads/v1.0"},
            1,
            "not-found: {url} has no branch or tag refs/heads/v1.0",
            id="a tag asked for as a branch",
        ),
        pytest.param(
            {"revision": "--upload-pack=touch canary"},
            2,
            "usage: --revision: '--upload-pack=touch canary' is not a branch, a tag or a full commit\nTry --help.",
            id="an option in place of a revision",
        ),
        pytest.param(
            {"url": "{server}/kubeflow/absent.git"},
            1,
            "auth: cannot clone {server}/kubeflow/absent.git at main: the server did not take the credential, or wants one; "
            "check the credentials directory",
            id="an absent repository, which GitHub does not tell from a private one",
        ),
        pytest.param(
            {"url": "{down}/kubeflow/manifests.git"},
            75,
            "unreachable: cannot clone {down}/kubeflow/manifests.git at main: the server could not be reached; try again",
            id="a host that is down",
        ),
        pytest.param(
            {"url": "https://bot:hunter22@host/kubeflow/manifests.git"},
            2,
            "usage: --url: a URL with a user or password in it would be logged; put them in the credentials directory\n"
            "Try --help.",
            id="a password in the URL",
        ),
        pytest.param(
            {"url": "ssh://git@127.0.0.1/kubeflow/manifests.git"},
            1,
            "auth: ssh://git@127.0.0.1/kubeflow/manifests.git is read over ssh; give a credentials directory with ssh-privatekey "
            "and known_hosts",
            id="ssh without a key",
        ),
        pytest.param(
            {"credentials": "{tmp}/absent"},
            1,
            "not-found: the credentials directory {tmp}/absent does not exist",
            id="an absent credentials directory",
        ),
        pytest.param(
            {"destination": "{tmp}/upstream"},
            1,
            "not-empty: {tmp}/upstream is not empty; a clone needs a directory of its own, give another destination",
            id="a directory that is not empty",
        ),
        pytest.param(
            {"destination": "{tmp}/upstream/README"},
            1,
            "destination: cannot make the directory {tmp}/upstream/README: Not a directory",
            id="a file in place of the directory",
        ),
        pytest.param(
            {"destination": "{tmp}/upstream/README/tree"},
            1,
            "destination: cannot make the directory {tmp}/upstream/README/tree: Not a directory",
            id="a file in place of the directory's parent",
        ),
        pytest.param(
            {"destination": "/proc/apps-cd/tree"},
            1,
            "destination: cannot make the directory /proc/apps-cd/tree: No such file or directory",
            id="a parent that nobody can make",
        ),
    ],
)
def test_what_cannot_be_cloned_leaves_nothing_behind(
    github: GitHub,
    upstream: Worktree,
    tmp_path: Path,
    run: Run,
    flags: dict[str, str],
    code: int,
    problem: str,
) -> None:
    url = f"{github.url}/kubeflow/manifests.git"
    places = {"url": url, "server": github.url, "down": down(), "tmp": str(tmp_path)}
    before = content(upstream.path)
    given = {"url": "{url}", "revision": "main", "destination": "{tmp}/tree"} | flags

    outcome = run(
        clone_repository,
        commit_result=tmp_path / "commit",
        **{name: value.format(**places) for name, value in given.items()},
    )

    assert outcome == Outcome(code, problem.format(**places))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["github", "upstream"]
    assert content(upstream.path) == before


def down() -> str:
    """The address of a server that is not there."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_failed_clone_leaves_an_empty_directory_that_was_there(github: GitHub, tmp_path: Path, run: Run) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    assert run(clone_repository, url=f"{github.url}/a/b", revision="main", destination=tree).code == 1
    assert list(tree.iterdir()) == []


@pytest.fixture
def private(github: GitHub, tmp_path: Path) -> Worktree:
    """kubeflow/private, which the bot may read, with two submodules: kubeflow/library, private too, at ../library.git."""
    library, tree = Worktree(tmp_path / "library"), Worktree(tmp_path / "private")
    bare = github.add_repository("kubeflow/library", private=True, writers=["bot"])
    commit = library.commit("library", {"code": "library\n"})
    library.git("push", "--quiet", bare, "main")
    bare = github.add_repository("kubeflow/private", private=True, writers=["bot"])
    add_submodule(tree, "library", "../library.git", commit)
    tree.commit("private", {"README": "private\n"})
    tree.git("push", "--quiet", bare, "main")
    return tree


def add_submodule(tree: Worktree, path: str, url: str, commit: str, **more: str) -> None:
    tree.git("update-index", "--add", "--cacheinfo", f"160000,{commit},{path}")
    (tree.path / path).mkdir(exist_ok=True)
    for key, value in {"path": path, "url": url, **more}.items():
        tree.git("config", "--file", ".gitmodules", f"submodule.{path}.{key}", value)


@pytest.mark.parametrize(
    ("files", "outcome"),
    [
        pytest.param({"token": f"{TOKEN}\n"}, Outcome(), id="a token"),
        pytest.param({"github_token": TOKEN}, Outcome(), id="a token named as the seed named it"),
        pytest.param({"username": "bot\n", "password": f"{TOKEN}\n"}, Outcome(), id="a username and a password"),
        pytest.param({"git_credentials": "http://bot:token%2Dof%2Dbot@{host}\n"}, Outcome(), id="a .git-credentials"),
        pytest.param(
            {"token": "token-of-nobody"},
            Outcome(
                1,
                "auth: cannot clone {url} at main: the server did not take the credential, or wants one; check the credentials "
                "directory",
            ),
            id="a wrong token",
        ),
        pytest.param(
            {"token": "token-of-stranger"},
            Outcome(
                1,
                "not-found: cannot clone {url} at main: there is no such repository, or the credential may not see it",
            ),
            id="the token of somebody who may not read it",
        ),
        pytest.param(
            {"git_credentials": f"http://bot:{TOKEN}@elsewhere.example\n"},
            Outcome(
                1,
                "auth: cannot clone {url} at main: the server did not take the credential, or wants one; check the credentials "
                "directory",
            ),
            id="a .git-credentials for another host",
        ),
        pytest.param(
            {"password": TOKEN},
            Outcome(
                1,
                "auth: {directory} holds a password without a username; add a file `username`, or name the password `token`",
            ),
            id="a password without a username",
        ),
        pytest.param(
            {"readme": "nothing"},
            Outcome(
                1,
                "auth: {directory} holds none of token, username and password, .git-credentials, ssh-privatekey and "
                "known_hosts, ca.crt",
            ),
            id="nothing that is known",
        ),
        pytest.param(
            {"token": "two\nlines"},
            Outcome(
                1,
                "auth: the credential {directory}/token has several lines or a control character; it must be one line",
            ),
            id="a token of two lines",
        ),
    ],
)
@pytest.mark.usefixtures("private")
def test_a_private_repository_wants_a_credential(
    github: GitHub, tmp_path: Path, run: Run, files: dict[str, str], outcome: Outcome
) -> None:
    url, tree = f"{github.url}/kubeflow/private.git", tmp_path / "tree"
    host = github.url.partition("://")[2]
    directory = credentials(tmp_path / "secret", **{name: text.format(host=host) for name, text in files.items()})

    found = run(clone_repository, url=url, revision="main", destination=tree, credentials=directory)

    assert found == Outcome(outcome.code, outcome.problem.format(url=url, directory=directory))
    assert tree.exists() == (outcome.code == 0)


@pytest.mark.parametrize(
    ("trusted", "outcome"),
    [
        pytest.param("its authority", Outcome(), id="signed by ca.crt"),
        pytest.param(
            "another authority",
            Outcome(
                1,
                "tls: cannot clone {url} at main: the host's certificate is not trusted; add its authority as ca.crt to the "
                "credentials",
            ),
            id="signed by another authority",
        ),
    ],
)
@pytest.mark.usefixtures("private")
def test_over_https_the_certificate_must_be_trusted(
    github: GitHub, tmp_path: Path, run: Run, trusted: str, outcome: Outcome
) -> None:
    ca = github.ca_file if trusted == "its authority" else Authority(tmp_path / "other").file
    url = f"{github.tls_url}/kubeflow/private.git"
    directory = credentials(tmp_path / "secret", token=TOKEN, ca_crt=ca.read_text())

    found = run(clone_repository, url=url, revision="main", destination=tmp_path / "tree", credentials=directory)

    assert found == Outcome(outcome.code, outcome.problem.format(url=url))
    assert {request.login for request in github.requests if request.authorization} == (
        {"bot"} if not found.code else set()
    )


@pytest.mark.usefixtures("private")
def test_a_credentials_directory_may_be_relative(
    github: GitHub, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials(tmp_path / "secret", token=TOKEN, ca_crt=github.ca_file.read_text())
    monkeypatch.chdir(tmp_path)
    url = f"{github.tls_url}/kubeflow/private.git"
    assert run(clone_repository, url=url, revision="main", destination="tree", credentials="secret") == Outcome()
    assert content(tmp_path / "tree") == PRIVATE


@pytest.mark.parametrize(
    ("submodules", "expected"),
    [
        pytest.param("false", PRIVATE, id="not unless asked"),
        pytest.param("true", PRIVATE | {"library/code": "library\n"}, id="when asked"),
    ],
)
@pytest.mark.usefixtures("private")
def test_submodules_are_checked_out(
    github: GitHub, tmp_path: Path, run: Run, submodules: str, expected: dict[str, str]
) -> None:
    url, tree = f"{github.url}/kubeflow/private.git", tmp_path / "tree"
    directory = credentials(tmp_path / "secret", token=TOKEN)
    outcome = run(
        clone_repository, url=url, revision="main", destination=tree, submodules=submodules, credentials=directory
    )
    assert outcome == Outcome()
    assert content(tree) == expected


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[GitHub]:
    """Another host, with a private repository evil/library that the same token would open."""
    with GitHub(tmp_path / "elsewhere") as server:
        server.add_user("bot", token=TOKEN)
        bare = server.add_repository("evil/library", private=True, writers=["bot"])
        library = in_2026(Worktree(tmp_path / "evil"))
        library.commit("library", {"code": "library\n"})
        library.git("push", "--quiet", bare, "main")
        yield server


def test_a_submodule_at_another_host_is_not_shown_the_credential(
    github: GitHub, private: Worktree, elsewhere: GitHub, tmp_path: Path, run: Run
) -> None:
    commit = Worktree(tmp_path / "evil").git("rev-parse", "HEAD")
    add_submodule(private, "evil", f"{elsewhere.url}/evil/library.git", commit)
    private.commit("evil")
    private.git("push", "--quiet", tmp_path / "github/kubeflow/private.git", "main")
    url, directory = f"{github.url}/kubeflow/private.git", credentials(tmp_path / "secret", token=TOKEN)

    outcome = run(
        clone_repository,
        url=url,
        revision="main",
        destination=tmp_path / "tree",
        submodules="true",
        credentials=directory,
    )

    advice = "the server did not take the credential, or wants one; check the credentials directory"
    assert outcome == Outcome(1, f"auth: cannot check out the submodules of {url}: {advice}")
    assert {(request.authorization, request.status) for request in elsewhere.requests} == {(False, 401)}
    assert not (tmp_path / "tree").exists()


def test_a_redirect_to_another_host_is_not_shown_the_credential(elsewhere: GitHub, tmp_path: Path, run: Run) -> None:
    shown = []

    def redirect(call: Call) -> Response:
        shown.append("Authorization" in call.headers)
        if not shown[-1]:
            return Response(401, {"WWW-Authenticate": "Basic"})
        return Response(301, {"Location": f"{elsewhere.url}{call.target}"})

    server = Server("127.0.0.1", 0, redirect)
    url, directory = f"{server.url}/evil/library.git", credentials(tmp_path / "secret", token=TOKEN)
    outcome = run(clone_repository, url=url, revision="main", destination=tmp_path / "tree", credentials=directory)
    server.close()

    assert outcome.code == 1
    assert shown == [False, True]
    assert {(request.authorization, request.status) for request in elsewhere.requests} == {(False, 401)}


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        pytest.param({"update": "!touch {canary}"}, "git", id="a command as the way to update"),
        pytest.param({"url": "ext::sh -c 'touch {canary}'"}, "protocol", id="a command as the address"),
        pytest.param({"url": "-u./touch-canary"}, "git", id="an option as the address"),
        pytest.param({"url": "file://{tmp}/library"}, "protocol", id="a directory of this machine"),
        pytest.param({"url": "http://bot:secret7@127.0.0.1:1/a/b"}, "git", id="a password in the address"),
    ],
)
def test_a_submodule_runs_nothing(
    github: GitHub, upstream: Worktree, tmp_path: Path, run: Run, settings: dict[str, str], problem: str
) -> None:
    canary = tmp_path / "canary"
    plain = {"url": "../library.git", "path": "library"} | {
        name: value.format(canary=canary, tmp=tmp_path) for name, value in settings.items()
    }
    add_submodule(upstream, commit=upstream.git("rev-parse", "HEAD"), **plain)
    upstream.commit("submodule")
    upstream.git("push", "--quiet", tmp_path / "github/kubeflow/manifests.git", "main")

    outcome = run(
        clone_repository,
        url=f"{github.url}/kubeflow/manifests.git",
        revision="main",
        destination=tmp_path / "tree",
        submodules="true",
    )

    assert (outcome.code, outcome.problem.partition(":")[0]) == (1, problem)
    assert not canary.exists()
    assert not (tmp_path / "tree").exists()


@pytest.fixture
def hostile_environment(tmp_path: Path) -> dict[str, str]:
    """Of somebody whose HOME and whose GIT_ variables have git run `touch CANARY` at every turn."""
    home, canary = tmp_path / "home", tmp_path / "canary"
    touch, hooks = home / "touch", home / "template" / "hooks"
    hooks.mkdir(parents=True)
    for path in (touch, *(hooks / name for name in ("post-checkout", "reference-transaction", "post-index-change"))):
        path.write_text(f"#!/bin/sh\ntouch {canary}\n")
        path.chmod(0o755)
    (home / ".gitconfig").write_text(
        f"[core]\n\thooksPath = {hooks}\n\tfsmonitor = {touch}\n\tsshCommand = {touch}\n\taskPass = {touch}\n"
        f"[init]\n\ttemplateDir = {home}/template\n[credential]\n\thelper = !{touch}\n"
        f'[filter "evil"]\n\tsmudge = {touch}\n\tclean = {touch}\n\trequired = true\n'
        f'[url "{tmp_path}/nowhere/"]\n\tinsteadOf = http\n'
    )
    (home / ".netrc").write_text("machine 127.0.0.1 login bot password of-netrc\n")
    Worktree(tmp_path / "victim").run("status")
    plain = {"PATH": os.environ["PATH"], "HOME": str(home)}
    subprocess.run(["git", "status"], cwd=tmp_path / "victim", env=plain, check=False, capture_output=True)
    canary.unlink()  # the traps work
    return {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "GIT_CONFIG_GLOBAL": str(home / ".gitconfig"),
        "GIT_CONFIG_SYSTEM": str(home / ".gitconfig"),
        "GIT_CONFIG_NOSYSTEM": "0",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.hooksPath",
        "GIT_CONFIG_VALUE_0": str(hooks),
        "GIT_CONFIG_PARAMETERS": f"'core.hooksPath'='{hooks}'",
        "GIT_TEMPLATE_DIR": str(home / "template"),
        "GIT_DIR": str(home / "git-dir"),
        "GIT_WORK_TREE": str(home),
        "GIT_INDEX_FILE": str(home / "index"),
        "GIT_OBJECT_DIRECTORY": str(home / "objects"),
        "GIT_EXEC_PATH": str(home),
        "GIT_ASKPASS": str(touch),
        "SSH_ASKPASS": str(touch),
        "GIT_SSH": str(touch),
        "GIT_SSH_COMMAND": str(touch),
        "GIT_ALLOW_PROTOCOL": "ext:file",
        "GIT_TERMINAL_PROMPT": "1",
        "GIT_SSL_NO_VERIFY": "1",
        "GIT_TRACE_CURL": str(canary),
        "GIT_TRACE_REDACT": "0",
    }


TRAPS = {
    ".gitattributes": "* filter=evil\nlarge filter=lfs diff=lfs merge=lfs -text\n",
    ".lfsconfig": "[lfs]\n\turl = http://127.0.0.1:1/\n",
    ".gitconfig": "[core]\n\tfsmonitor = touch ../canary\n",
    "large": "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
}


def test_nothing_of_the_repository_the_user_or_the_environment_is_run_or_heeded(
    github: GitHub, upstream: Worktree, tmp_path: Path, hostile_environment: dict[str, str]
) -> None:
    upstream.commit("traps", TRAPS)
    upstream.git("push", "--quiet", tmp_path / "github/kubeflow/manifests.git", "main")

    child = process(
        "clone_repository",
        url=f"{github.url}/kubeflow/manifests.git",
        revision="main",
        destination=tmp_path / "tree",
        environment=os.environ | hostile_environment,
    )
    _, log = child.communicate()

    assert child.returncode == 0, log
    assert content(tmp_path / "tree") == FOUR | TRAPS
    assert not (tmp_path / "canary").exists()
    assert {request.authorization for request in github.requests} == {False}


def test_files_of_git_lfs_stay_pointers_and_the_log_says_so(
    github: GitHub, upstream: Worktree, tmp_path: Path, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.commit("large files", {"data/.gitattributes": "*.bin filter=lfs\n", "data/a.bin": TRAPS["large"]})
    upstream.git("push", "--quiet", tmp_path / "github/kubeflow/manifests.git", "main")
    tree = tmp_path / "tree"
    url = f"{github.url}/kubeflow/manifests.git"
    assert run(clone_repository, url=url, revision="main", destination=tree) == Outcome()
    assert (tree / "data/a.bin").read_text() == TRAPS["large"]
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "files of Git LFS are left as the pointers that git has; their contents are not fetched"
    ]


@pytest.mark.usefixtures("private")
def test_no_file_holds_the_credential_while_git_runs(
    github: GitHub, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = "ghs_1234-secret-of-the-bot"
    github.add_user("bot", token=token)
    temporary = tmp_path / "temporary"  # in a pod, the home directory that all of its containers share
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    secret = credentials(tmp_path / "secret", token=token)
    held: list[tuple[str, str]] = []

    def look(_: Request) -> None:
        files = [path for top in (temporary, tmp_path / "tree") for path in top.rglob("*") if path.is_file()]
        held.extend((path.name, path.read_text(errors="replace")) for path in files)

    on_request(github, look)
    url = f"{github.url}/kubeflow/private.git"
    outcome = run(clone_repository, url=url, revision="main", destination=tmp_path / "tree", credentials=secret)
    assert outcome.code == 0
    assert "gitconfig" in dict(held)
    assert [name for name, text in held if token in text] == []


@pytest.mark.usefixtures("private")
def test_the_credential_is_seen_nowhere(
    github: GitHub, tmp_path: Path, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    token = "ghs_1234/secret+of=the%bot"
    github.add_user("bot", token=token)
    url, tree = f"{github.url}/kubeflow/private.git", tmp_path / "tree"
    seen: list[str] = []
    on_request(github, lambda request: seen.append(running()) if request.login else None)

    outcome = run(
        clone_repository,
        url=url,
        revision="main",
        destination=tree,
        submodules="true",
        credentials=credentials(tmp_path / "secret", token=token),
        url_result=tmp_path / "url",
    )

    assert outcome == Outcome()
    assert any(f"git-remote-http origin {url}" in text for text in seen)
    files = [path.read_text(errors="replace") for path in (*tree.rglob("*"), tmp_path / "url") if path.is_file()]
    for spelling in (token, quote(token, safe=""), base64.b64encode(f"x-access-token:{token}".encode()).decode()):
        assert spelling not in "\n".join([*seen, *files, caplog.text])


def test_a_credential_that_the_server_repeats_is_struck_out_of_the_log(tmp_path: Path) -> None:
    def repeat(call: Call) -> Response:
        shown = call.headers.get("Authorization", "")
        if not shown:
            return Response(401, {"WWW-Authenticate": "Basic"})
        text = f"{shown} is {base64.b64decode(shown.split()[1]).decode()}\n"
        return Response(403, {"Content-Type": "text/plain"}, text.encode())

    server = Server("127.0.0.1", 0, repeat)
    url, directory = f"{server.url}/o/n.git", credentials(tmp_path / "secret", token=TOKEN)
    child = process("clone_repository", url=url, revision="main", destination=tmp_path / "tree", credentials=directory)
    _, log = child.communicate()
    server.close()

    assert child.returncode == 1
    message = json.loads(log)["message"]
    assert "git says: Basic *** is x-access-token:***;" in message
    assert TOKEN not in log


def test_sigterm_ends_a_clone_and_leaves_nothing_behind(tmp_path: Path) -> None:
    asked, gone = threading.Event(), threading.Event()

    def hang(_: Call) -> Response:
        asked.set()
        gone.wait()
        return Response(500)

    server = Server("127.0.0.1", 0, hang)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    child = process(
        "clone_repository",
        url=f"{server.url}/o/n.git",
        revision="main",
        destination=tmp_path / "tree",
        environment=os.environ | {"TMPDIR": str(temporary)},
    )
    assert asked.wait(20)
    child.terminate()
    _, log = child.communicate(timeout=10)
    are_left = not are_gone(f"git-remote-http origin {server.url}")
    gone.set()
    server.close()

    assert (child.returncode, json.loads(log)["reason"]) == (143, "terminated")
    assert not are_left
    assert [path.name for path in tmp_path.iterdir()] == ["temporary"]
    assert list(temporary.iterdir()) == []


@pytest.fixture
def secure_shell(tmp_path: Path, github: GitHub) -> Iterator[ssh.SshServer]:  # noqa: ARG001 - its repositories are served
    if ssh.PROGRAM is None:
        pytest.skip("sshd is not installed")
    with ssh.SshServer(tmp_path / "github") as server:
        yield server


def test_a_repository_is_cloned_over_ssh(
    upstream: Worktree, secure_shell: ssh.SshServer, tmp_path: Path, run: Run
) -> None:
    url = secure_shell.url("kubeflow/manifests")
    directory = secure_shell.credentials(tmp_path / "secret")
    for path in directory.iterdir():
        path.chmod(0o444)  # as a Secret is mounted

    outcome = run(
        clone_repository,
        url=url,
        revision="v1.0",
        destination=tmp_path / "tree",
        credentials=directory,
        commit_result=tmp_path / "commit",
    )

    assert outcome == Outcome()
    assert content(tmp_path / "tree") == TWO
    assert (tmp_path / "commit").read_text() == upstream.git("rev-parse", "v1.0^{commit}")


ADVICE = "the host's key is not the one in known_hosts; add it there if it is right"


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        pytest.param(
            "known_hosts",
            "[127.0.0.1]:{port} {other}\n",
            f"host-key: cannot clone {{url}} at main: {ADVICE}",
            id="another host key",
        ),
        pytest.param(
            "known_hosts", "elsewhere {other}\n", f"host-key: cannot clone {{url}} at main: {ADVICE}", id="no host key"
        ),
        pytest.param(
            "known_hosts",
            "",
            "auth: {directory} holds ssh-privatekey without known_hosts; add the host's keys, checked, as `known_hosts`",
            id="no known_hosts",
        ),
        pytest.param(
            "ssh-privatekey",
            "{stranger}",
            "auth: cannot clone {url} at main: the server did not take the credential, or wants one; check the credentials directory",
            id="a key that opens nothing",
        ),
    ],
)
def test_over_ssh_both_sides_must_be_known(
    secure_shell: ssh.SshServer, tmp_path: Path, run: Run, name: str, text: str, problem: str
) -> None:
    url, directory = secure_shell.url("kubeflow/manifests"), secure_shell.credentials(tmp_path / "secret")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "stranger"], check=True)
    keys = {"stranger": (tmp_path / "stranger").read_text(), "other": (tmp_path / "stranger.pub").read_text()}
    (directory / name).write_text(text.format(port=secure_shell.port, **keys))

    outcome = run(clone_repository, url=url, revision="main", destination=tmp_path / "tree", credentials=directory)

    assert outcome == Outcome(1, problem.format(url=url, directory=directory))
    assert not (tmp_path / "tree").exists()
