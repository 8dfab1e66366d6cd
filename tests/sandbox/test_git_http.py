import gc
import gzip
import os
import subprocess
import threading
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest
import requests

from tests.sandbox import git_http
from tests.sandbox.github import GitHub
from tests.sandbox.http_server import Call
from tests.sandbox.worktree import Worktree


@pytest.fixture
def github(tmp_path: Path) -> Iterator[GitHub]:
    with GitHub(tmp_path / "github") as server:
        server.add_user("alice", token="token-of-alice")
        server.add_user("reader", token="token-of-reader")
        server.add_repository("org/public", writers=["alice"])
        server.add_repository("org/private", writers=["alice"], private=True)
        yield server


@pytest.fixture
def tree(tmp_path: Path) -> Worktree:
    """main: one commit with `file`."""
    tree = Worktree(tmp_path / "tree")
    tree.commit("one", {"file": "1\n"})
    return tree


def address(github: GitHub, full_name: str, login: str = "alice") -> str:
    return github.url.replace("://", f"://anybody:token-of-{login}@") + f"/{full_name}.git"


def refs(github: GitHub, full_name: str) -> dict[str, str]:
    listed = subprocess.run(
        ["git", "ls-remote", address(github, full_name)],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull},
    )
    return {name: sha for sha, name in (line.split() for line in listed.stdout.splitlines())}


def test_what_is_pushed_with_a_token_as_password_is_cloned_by_anybody(github: GitHub, tree: Worktree) -> None:
    commit = tree.git("rev-parse", "HEAD")
    tree.git("push", address(github, "org/public"), "HEAD:refs/heads/main")
    tree.git("clone", "--quiet", f"{github.url}/org/public", "clone")
    assert tree.git("-C", "clone", "rev-parse", "HEAD") == commit
    seen = [(entry.method, entry.path, entry.login, entry.authorization, entry.status) for entry in github.requests]
    assert seen == [
        ("GET", "/org/public.git/info/refs?service=git-receive-pack", None, False, 401),
        ("GET", "/org/public.git/info/refs?service=git-receive-pack", "alice", True, 200),
        ("POST", "/org/public.git/git-receive-pack", "alice", True, 200),
        ("GET", "/org/public/info/refs?service=git-upload-pack", None, False, 200),
        ("POST", "/org/public/git-upload-pack", None, False, 200),
        ("POST", "/org/public/git-upload-pack", None, False, 200),
    ]
    assert {entry.user_agent.partition("/")[0] for entry in github.requests} == {"git"}


@pytest.mark.parametrize(
    ("repository", "token", "fetch", "push"),
    [
        pytest.param("org/public", "", 200, 401, id="a public repository is read by anybody and written by nobody"),
        pytest.param("org/public", "token-of-reader", 200, 403, id="a user who is no writer may not push"),
        pytest.param("org/public", "token-of-alice", 200, 200, id="a writer may push"),
        pytest.param("org/public", "wrong", 401, 401, id="a wrong token is refused though all may read"),
        pytest.param("org/private", "", 401, 401, id="a private repository asks who is there"),
        pytest.param("org/private", "token-of-reader", 404, 404, id="a private repository is not there for others"),
        pytest.param("org/private", "token-of-alice", 200, 200, id="a private repository is there for its writers"),
        pytest.param("org/absent", "", 401, 401, id="an absent repository looks like a private one"),
        pytest.param("org/absent", "token-of-alice", 404, 404, id="an absent repository is not there"),
        pytest.param("ORG/Public", "token-of-alice", 200, 200, id="names are compared without case"),
    ],
)
def test_who_may_do_what(github: GitHub, repository: str, token: str, fetch: int, push: int) -> None:
    replies = [
        requests.get(
            f"{github.url}/{repository}.git/info/refs",
            params={"service": service},
            auth=("x", token) if token else None,
            timeout=10,
        )
        for service in ("git-upload-pack", "git-receive-pack")
    ]
    assert [reply.status_code for reply in replies] == [fetch, push]
    assert {reply.headers.get("WWW-Authenticate") for reply in replies if reply.status_code == 401} <= {
        'Basic realm="GitHub"'
    }


def test_git_says_why_a_push_without_permission_failed(github: GitHub, tree: Worktree) -> None:
    url = address(github, "org/public", "reader")
    done = tree.run("push", url, "HEAD:main")
    assert done.returncode == 128
    assert done.stderr.splitlines() == [
        "remote: Permission to org/public.git denied to reader.",
        f"fatal: unable to access '{github.url}/org/public.git/': The requested URL returned error: 403",
    ]


def test_a_push_too_large_for_one_piece_arrives_whole(github: GitHub, tree: Worktree) -> None:
    commit = tree.commit("large", {"large": os.urandom(3 << 20)})
    tree.git("push", address(github, "org/public"), "HEAD:refs/heads/main")
    tree.git("clone", "--quiet", address(github, "org/public"), "clone")
    assert tree.git("-C", "clone", "rev-parse", "HEAD") == commit
    assert (tree.path / "clone" / "large").read_bytes() == (tree.path / "large").read_bytes()


def test_a_compressed_request_in_protocol_version_2_is_understood(github: GitHub, tree: Worktree) -> None:
    commit = tree.git("rev-parse", "HEAD")
    tree.git("push", address(github, "org/public"), "HEAD:refs/heads/main")
    reply = requests.post(
        f"{github.url}/org/public.git/git-upload-pack",
        data=gzip.compress(b"0014command=ls-refs\n00010000"),
        headers={
            "Content-Type": "application/x-git-upload-pack-request",
            "Content-Encoding": "gzip",
            "Git-Protocol": "version=2",
        },
        timeout=10,
    )
    line = f"{commit} refs/heads/main\n"
    head = f"{commit} HEAD\n"
    assert reply.text == f"{len(head) + 4:04x}{head}{len(line) + 4:04x}{line}0000"


def test_a_clone_may_leave_out_blobs_and_fetch_a_commit_no_ref_names(github: GitHub, tree: Worktree) -> None:
    first = tree.git("rev-parse", "HEAD")
    tree.commit("two", {"file": "2\n"})
    tree.git("push", address(github, "org/public"), "HEAD:refs/heads/main")
    tree.git("init", "--quiet", "partial")
    tree.git("-C", "partial", "fetch", "--quiet", "--depth=1", "--filter=blob:none", f"{github.url}/org/public", first)
    listed = tree.git("-C", "partial", "rev-list", "--objects", "--missing=print", "FETCH_HEAD")
    blob = tree.git("rev-parse", f"{first}:file")
    assert listed.splitlines() == [first, tree.git("rev-parse", f"{first}^{{tree}}") + " ", f"?{blob}"]


def test_https_is_trusted_with_the_sandbox_authority_alone(github: GitHub, tree: Worktree) -> None:
    url = f"{github.tls_url}/org/public"
    tree.git("-c", f"http.sslCAInfo={github.ca_file}", "ls-remote", url)
    refused = tree.run("ls-remote", url)
    assert (refused.returncode, refused.stderr.partition("certificate verif")[1]) == (128, "certificate verif")


def test_a_push_that_is_no_fast_forward_is_refused_unless_leased(github: GitHub, tree: Worktree) -> None:
    url = address(github, "org/public")
    tree.git("push", url, "HEAD:refs/heads/main")
    before = tree.git("rev-parse", "HEAD")
    tree.git("commit", "--quiet", "--amend", "--message=another")
    assert tree.run("push", url, "HEAD:main").returncode == 1
    assert refs(github, "org/public")["refs/heads/main"] == before
    tree.git("push", f"--force-with-lease=main:{before}", url, "HEAD:main")
    assert refs(github, "org/public")["refs/heads/main"] == tree.git("rev-parse", "HEAD")


def test_a_shallow_push_to_a_fork_that_lags_is_refused_until_deepened(github: GitHub, tree: Worktree) -> None:
    upstream, fork = address(github, "org/public"), address(github, "alice/public")
    tree.git("push", upstream, "HEAD:refs/heads/main")
    github.add_repository("alice/public", fork_of="org/public")
    tree.commit("two", {"file": "2\n"})
    tree.commit("three", {"file": "3\n"})
    tree.git("push", upstream, "HEAD:refs/heads/main")
    shallow = Worktree(tree.path.parent / "shallow")
    shallow.git("fetch", "--quiet", "--depth=1", upstream, "main")
    shallow.git("reset", "--quiet", "--hard", "FETCH_HEAD")
    shallow.commit("four", {"file": "4\n"})
    refused = shallow.run("push", "--porcelain", fork, "HEAD:refs/heads/update")
    assert refused.returncode == 1
    assert "[remote rejected] (shallow update not allowed)" in refused.stdout
    shallow.git("fetch", "--quiet", "--deepen=2", upstream, "main")
    shallow.git("push", fork, "HEAD:refs/heads/update")
    assert refs(github, "alice/public")["refs/heads/update"] == shallow.git("rev-parse", "HEAD")


def test_a_client_killed_right_after_its_push_took_effect_gets_no_reply(github: GitHub, tree: Worktree) -> None:
    effects: list[str] = []
    started = threading.Event()

    def kill(effect: str) -> None:
        started.wait()
        effects.append(effect)
        client.kill()

    github.after_effect = kill
    client = subprocess.Popen(
        ["git", "push", "--quiet", address(github, "org/public"), "HEAD:refs/heads/update"],
        cwd=tree.path,
        env=tree.environment,
    )
    started.set()
    assert client.wait() == -9
    assert effects == ["push refs/heads/update"]
    assert refs(github, "org/public")["refs/heads/update"] == tree.git("rev-parse", "HEAD")


def test_each_ref_of_a_push_is_told_and_those_refused_are_not(github: GitHub, tree: Worktree) -> None:
    effects: list[str] = []
    github.after_effect = effects.append
    url = address(github, "org/public")
    tree.git("push", url, "HEAD:refs/heads/one", "HEAD:refs/heads/two", "HEAD:refs/tags/v1")
    assert effects == ["push refs/heads/one", "push refs/heads/two", "push refs/tags/v1"]
    effects.clear()
    tree.git("commit", "--quiet", "--amend", "--message=another")
    tree.run("push", url, "HEAD:refs/heads/one", ":refs/heads/two")
    assert effects == ["push refs/heads/two"]


def test_clients_that_push_at_once_all_get_through(github: GitHub, tree: Worktree) -> None:
    url = address(github, "org/public")
    clients = [
        subprocess.Popen(
            ["git", "push", "--quiet", url, f"HEAD:refs/heads/branch-{number}"], cwd=tree.path, env=tree.environment
        )
        for number in range(6)
    ]
    assert [client.wait() for client in clients] == [0] * 6
    assert {name for name in refs(github, "org/public") if name.startswith("refs/")} == {
        f"refs/heads/branch-{number}" for number in range(6)
    }


def test_a_reply_that_nobody_reads_leaves_no_process(tmp_path: Path, github: GitHub) -> None:
    bare = github.add_repository("org/unread")
    target = "/info/refs?service=git-upload-pack"
    with (tmp_path / "body").open("w+b") as body:
        call = Call("GET", target, Message(), body, github.url)
        response = git_http.answer(call, bare, "/info/refs", None, lambda _: None)
    assert response.status == 200
    # A Popen that is forgotten before its child has ended warns, and warnings are errors.
    del response
    gc.collect()
