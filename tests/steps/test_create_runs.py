import contextlib
import json
import os
import pty
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from steps.create_runs import create_runs
from tests.sandbox.histories import Change, write
from tests.sandbox.http_server import Call, Response, Server
from tests.sandbox.tls import Authority
from tests.sandbox.worktree import Worktree
from tests.steps.conftest import Outcome, Run, are_gone, process, running
from tests.steps.remotes import APPLICATION, VERSION, Remotes

GOLDEN = Path(__file__).parents[1] / "golden" / "create_runs"


class Report:
    """What create_runs said, as JSON."""

    def __init__(self, outcome: Outcome) -> None:
        self.code = outcome.code
        self.problem = outcome.problem
        self.data: dict[str, Any] = json.loads(outcome.stdout)

    @property
    def reasons(self) -> dict[str, str]:
        return {f"{pair['application']},{pair['version']}": pair["reason"] for pair in self.data["pairs"]}

    @property
    def commits(self) -> dict[str, str]:
        return {f"{pair['application']},{pair['version']}": pair["sourceCommit"] for pair in self.data["pairs"]}

    def told(self, pair: str = "web,main") -> str:
        """All sentences about a pair."""
        application, version = pair.split(",")
        (found,) = [
            each for each in self.data["pairs"] if (each["application"], each["version"]) == (application, version)
        ]
        return "\n".join(found["explanation"])


@pytest.fixture
def report(run: Run, remotes: Remotes) -> Callable[..., Report]:
    """Calls create_runs for the configuration of the remotes."""
    return lambda **flags: Report(run(create_runs, **{**remotes.flags, "format": "json", **flags}))


SIDE = VERSION.replace("name: main", "name: side").replace("source, branch: main", "source, branch: side")
"""A version of the branch `side` of the source."""


# What is made.


def test_the_files_and_reports_of_two_applications_at_two_versions(
    run: Run, remotes: Remotes, golden: Callable[[Path, str], None]
) -> None:
    remotes.write(
        APPLICATION
        + "    watch: [common]\n    labels: [cd, web]\n    reviewers: [example/web, alice]\n    draft: true\n"
        + "    overrides:\n      - version: v1.0\n        pushedImage: registry.example.com:5000/web\n        target: slim\n"
        + "        params:\n          - {name: extra-args, value: [--build-arg=A=1]}\n"
        + "  - name: worker\n    sourceRepo: source\n    manifestsDir: worker\n    image: example.com/worker\n",
        VERSION
        + VERSION.replace("name: main", "name: v1.0")
        .replace("vmain", "v1.0.0")
        .replace("branch: main", "branch: v1.0"),
    )
    remotes.begin({"Dockerfile": "FROM scratch\n", "common/x": "1"})
    remotes.manifests.commit("Add the worker", {"worker/kustomization.yaml": "resources: []\n"})
    for tree in (remotes.source, remotes.manifests):
        tree.git("branch", "v1.0")
    done = remotes.source.commit("Change what both read", {"common/x": "2"})
    remotes.give(f"vmain-g{done[:8]}")
    shown = {
        name: run(create_runs, **remotes.flags, **flags).stdout
        for name, flags in {
            "table": {"format": "table"},
            "json": {"format": "json"},
            "explained": {"format": "table", "explain": "true"},
        }.items()
    }
    for name, text in {
        **shown,
        "runs.yaml": "---\n".join(f"# {name}\n{text}" for name, text in remotes.runs().items()),
    }.items():
        golden(GOLDEN / name, text)


def test_what_is_made_again_is_the_same_to_the_last_byte(report: Callable[..., Report], remotes: Remotes) -> None:
    remotes.begin()
    first = report(), remotes.runs()
    shutil.rmtree(remotes.src_dir)
    shutil.rmtree(remotes.output_dir)
    assert (report().data, remotes.runs()) == (first[0].data, first[1])


def test_another_parameter_of_the_template_makes_another_run(report: Callable[..., Report], remotes: Remotes) -> None:
    remotes.begin()
    first = report().data["pairs"][0]["run"]
    remotes.template.write_text(remotes.template.read_text().replace("spec:\n", "spec:\n  timeouts: {pipeline: 1h}\n"))
    assert report().data["pairs"][0]["run"] != first


def test_applications_that_share_an_image_have_runs_of_their_own(
    report: Callable[..., Report], remotes: Remotes
) -> None:
    remotes.write(APPLICATION + APPLICATION.replace("name: web", "name: web-v3").replace("web/base", "web/base_v3"))
    commit = remotes.begin()
    remotes.give("v0", "web/base_v3/kustomization.yaml")
    assert report().reasons == {"web,main": "unknown-commit", "web-v3,main": "unknown-commit"}
    names = re.findall(r"^  name: (\S+)$", "".join(remotes.runs().values()), re.MULTILINE)
    assert list(remotes.runs()) == [f"web-main-{commit[:8]}.yaml", f"web-v3-main-{commit[:8]}.yaml"]
    assert len(set(names)) == 2


def test_pairs_whose_names_run_together_have_files_of_their_own(
    report: Callable[..., Report], remotes: Remotes
) -> None:
    remotes.write(
        APPLICATION + APPLICATION.replace("name: web", "name: web-a"),
        VERSION.replace("name: main", "name: b") + VERSION.replace("name: main", "name: a-b"),
    )
    remotes.begin()
    assert len(report().data["pairs"]) == len(remotes.runs()) == 4


def test_files_of_older_commits_of_a_pair_go_and_all_others_stay(
    report: Callable[..., Report], remotes: Remotes
) -> None:
    remotes.begin()
    report()
    (old,) = remotes.runs()
    own = {
        "notes.txt": "mine",
        "web-main-12345678.yaml": "mine",
        "api-main-12345678.yaml": remotes.runs()[old].replace(": web\n", ": api\n"),
    }
    for name, text in own.items():
        (remotes.output_dir / name).write_text(text)
    commit = remotes.source.commit("Change it", {"web/a": "2"})
    report()
    assert sorted(remotes.runs()) == sorted([*own, f"web-main-{commit[:8]}.yaml"])


def test_runs_of_pairs_that_are_no_more_or_fail_now_go_too(report: Callable[..., Report], remotes: Remotes) -> None:
    two_sources(remotes)
    report()
    assert len(remotes.runs()) == 2
    (remotes.root / "remotes/example/source").rename(remotes.root / "away")
    report(only="api")
    assert len(remotes.runs()) == 2
    report()
    assert [name.split("-")[0] for name in remotes.runs()] == ["api"]
    remotes.write(more="exclude:\n  - application: web\n")
    report()
    assert remotes.runs() == {}


def test_what_is_no_run_in_the_output_directory_is_left_alone(report: Callable[..., Report], remotes: Remotes) -> None:
    remotes.begin()
    report()
    (name,) = remotes.runs()
    texts = {
        f"copy-of-{name}": remotes.runs()[name],
        "odd-01234567.yaml": '    apps-cd/application: "a\n    apps-cd/version: b\n    apps-cd/source-commit: c\n' * 2,
        "other-01234567.yaml": "a: 1\n",
    }
    for each, text in texts.items():
        (remotes.output_dir / each).write_text(text)
    (remotes.output_dir / "directory-01234567.yaml").mkdir()
    (remotes.output_dir / "link-01234567.yaml").symlink_to("nowhere")
    os.mkfifo(remotes.output_dir / "pipe-01234567.yaml")
    outcome = report()
    assert (outcome.code, sorted(path.name for path in remotes.output_dir.iterdir())) == (
        0,
        sorted([name, *texts, "directory-01234567.yaml", "link-01234567.yaml", "pipe-01234567.yaml"]),
    )


def test_a_run_that_cannot_be_written_costs_its_pair_alone(report: Callable[..., Report], remotes: Remotes) -> None:
    two_sources(remotes)
    commit = remotes.source.git("rev-parse", "main")
    in_the_way = remotes.output_dir / f"web-main-{commit[:8]}.yaml"
    in_the_way.mkdir(parents=True)
    outcome = report()
    assert (outcome.code, outcome.reasons) == (1, {"web,main": "in-the-way", "api,main": "unknown-commit"})
    assert outcome.told().splitlines()[-1] == (
        f"writing {in_the_way}: Is a directory ({in_the_way}); give another path, or move what has this name"
    )
    assert len(list(remotes.output_dir.iterdir())) == 2


def test_an_output_directory_that_is_a_file_is_found_before_any_repository_is_asked(run: Run, remotes: Remotes) -> None:
    remotes.output_dir.write_text("")
    assert run(create_runs, **remotes.flags) == Outcome(
        1,
        f"in-the-way: making the directory {remotes.output_dir}: File exists ({remotes.output_dir}); "
        "give another path, or move what has this name",
    )
    assert not remotes.src_dir.exists()


def test_only_what_needs_an_update_is_made_when_that_is_asked_for(
    report: Callable[..., Report], remotes: Remotes
) -> None:
    commit = remotes.begin()
    report()
    remotes.give(f"vmain-g{commit[:8]}")
    assert (report(needs_update_only="true").reasons, remotes.runs()) == ({"web,main": "up-to-date"}, {})
    report()
    assert list(remotes.runs()) == [f"web-main-{commit[:8]}.yaml"]


def test_nothing_is_written_without_an_output_directory(run: Run, remotes: Remotes) -> None:
    remotes.begin()
    assert run(create_runs, **{**remotes.flags, "output_dir": None}, format="json").code == 0
    assert not remotes.output_dir.exists()


@pytest.mark.parametrize(
    ("only", "pairs"),
    [
        pytest.param("web", ["web,main", "web,next"], id="an application"),
        pytest.param("api,next", ["api,next"], id="a pair"),
    ],
)
def test_only_one_application_or_pair_is_looked_at(
    report: Callable[..., Report], remotes: Remotes, only: str, pairs: list[str]
) -> None:
    remotes.write(
        APPLICATION + APPLICATION.replace("name: web", "name: api"),
        VERSION + VERSION.replace("name: main", "name: next"),
    )
    remotes.begin()
    assert list(report(only=only).reasons) == pairs


@pytest.mark.parametrize(
    ("only", "problem"),
    [
        pytest.param("wbe", "usage: --only=wbe: the configuration has no such pair; did you mean `web`?", id="application"),
        pytest.param("web,man", "usage: --only=web,man: the configuration has no such pair; did you mean `main`?", id="version"),
        pytest.param("web,", "usage: --only: 'web,' is not APPLICATION or APPLICATION,VERSION\nTry --help.", id="no version"),
    ],
)  # fmt: skip
def test_a_pair_that_is_not_there_is_a_wrong_command_line(run: Run, remotes: Remotes, only: str, problem: str) -> None:
    assert run(create_runs, **remotes.flags, only=only) == Outcome(2, problem)


def test_a_person_at_a_terminal_sees_how_far_it_is_and_then_a_table(remotes: Remotes) -> None:
    remotes.begin()
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 120))
    flags = [f"--{name}={path}" for name, path in remotes.flags.items()]
    command = [sys.executable, "-m", "steps.create_runs", *flags]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=theirs, stderr=theirs) as child:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # what Linux says when nobody writes any more
            while piece := os.read(ours, 4096):
                shown += piece
    os.close(ours)
    text = shown.decode()
    assert (child.returncode, "repositories:   0%|" in text) == (0, True)
    assert text.rpartition("APPLICATION")[2].split()[:6] == [
        "VERSION",
        "REASON",
        "CURRENT",
        "WANTED",
        "RUN",
        "web",
    ]


def test_flags_are_taken_with_underscores_too(remotes: Remotes) -> None:
    remotes.begin()
    child = process("create_runs", f"--src_dir={remotes.src_dir}", f"--output_dir={remotes.output_dir}", config=remotes.config, template=remotes.template)  # fmt: skip
    out, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (0, "")
    assert json.loads(out)["pairs"][0]["file"] == next(iter(remotes.runs()))


def test_kubeflows_own_configuration_makes_forty_runs_and_names_eight_pairs_that_cannot_be(
    run: Run, kubeflow: tuple[Path, Path], tmp_path: Path, golden: Callable[[Path, str], None]
) -> None:
    config, template = kubeflow
    runs = tmp_path / "runs"
    outcome = run(
        create_runs, config=config, template=template, src_dir=tmp_path / "src", output_dir=runs, format="table"
    )
    made = {path.name: path.read_text() for path in sorted(runs.iterdir())}
    assert (outcome.code, len(made)) == (1, 40)
    golden(GOLDEN / "kubeflow-table", outcome.stdout.replace(str(config), config.name))
    golden(GOLDEN / "kubeflow-runs.yaml", "---\n".join(f"# {name}\n{text}" for name, text in made.items()))


# Which commit, and whether it needs an update.


def test_the_reason_is_how_the_commit_of_the_tag_stands_to_the_source_commit(
    report: Callable[..., Report], remotes: Remotes
) -> None:
    """The history, oldest first; `web` is touched by those in capitals.

    A --- B --- c  main
     \\
      S  side
    """
    a = remotes.begin()
    remotes.source.git("checkout", "--quiet", "-b", "side")
    s = remotes.source.commit("S", {"web/a": "side"})
    remotes.source.git("checkout", "--quiet", "main")
    b = remotes.source.commit("B", {"web/a": "2"})
    c = remotes.source.commit("c", {"other": "1"})
    remotes.write(versions=VERSION + SIDE, more="exclude:\n  - version: side\n")
    expected = {
        f"vmain-g{s[:8]}": ("unknown-commit", f"No branch of https://github.com/example/source that is configured has the commit {s[:8]}."),
        f"vmain-g{a[:8]}": ("behind", "lacks 1 commit that"),
        f"vmain-g{b[:8]}": ("up-to-date", "That is the same commit."),
        f"vmain-g{b}": ("up-to-date", "That is the same commit."),
        f"vmain-g{c[:7]}": ("ahead", f"{c[:8]} has {b[:8]} in its history."),
        f"v1-15-g{a[:10]}-dirty": ("behind", "lacks 1 commit that"),
        a: ("behind", "lacks 1 commit that"),
        "vmain-g00000000": ("unknown-commit", "No branch of https://github.com/example/source that is configured has the commit 00000000."),
        "latest": ("unknown-commit", "The tag latest names no commit."),
    }  # fmt: skip
    found = {}
    for tag in expected:
        remotes.give(tag)
        outcome = report()
        assert outcome.commits == {"web,main": b}
        found[tag] = (outcome.reasons["web,main"], outcome.told())
    assert {tag: reason for tag, (reason, _) in found.items()} == {tag: reason for tag, (reason, _) in expected.items()}
    assert [tag for tag, (_, told) in found.items() if expected[tag][1] not in told] == []


def test_a_commit_of_another_configured_branch_is_known_whatever_is_asked_about(
    report: Callable[..., Report], remotes: Remotes
) -> None:
    remotes.begin()
    remotes.source.git("checkout", "--quiet", "-b", "side")
    side = remotes.source.commit("S", {"web/a": "side"})
    remotes.source.git("checkout", "--quiet", "main")
    remotes.source.commit("B", {"web/a": "2"})
    remotes.give(f"vmain-g{side[:8]}")
    assert report().reasons == {"web,main": "unknown-commit"}
    remotes.write(versions=VERSION + SIDE)
    assert report().reasons == {"web,main": "diverged", "web,side": "up-to-date"}
    shutil.rmtree(remotes.src_dir)
    assert report(only="web,main").reasons == {"web,main": "diverged"}


def test_two_ways_to_write_the_address_of_a_repository_are_one_repository(
    report: Callable[..., Report], remotes: Remotes
) -> None:
    remotes.begin()
    remotes.source.git("checkout", "--quiet", "-b", "side")
    side = remotes.source.commit("S", {"web/a": "side"})
    remotes.source.git("checkout", "--quiet", "main")
    remotes.give(f"vmain-g{side[:8]}")
    remotes.write(
        versions=VERSION + SIDE.replace("https://github.com/example/source", "git@GitHub.com:example/source.git")
    )
    assert report().reasons == {"web,main": "ahead", "web,side": "up-to-date"}
    assert len(list(remotes.src_dir.glob("*.git"))) == 2


def test_two_images_of_one_kustomization_have_tags_of_their_own(
    report: Callable[..., Report], remotes: Remotes
) -> None:
    remotes.write(
        APPLICATION + APPLICATION.replace("name: web", "name: api").replace("example.com/web", "example.com/api")
    )
    commit = remotes.begin()
    images = f"- name: example.com/web\n  newTag: vmain-g{commit[:8]}\n- name: example.com/api\n  newTag: v0\n"
    remotes.manifests.commit("Two images", {"web/base/kustomization.yaml": f"images:\n{images}"})
    assert report().reasons == {"web,main": "up-to-date", "api,main": "unknown-commit"}


def test_a_kustomization_of_more_than_a_mebibyte_is_not_read(report: Callable[..., Report], remotes: Remotes) -> None:
    remotes.begin()
    remotes.manifests.commit("Grow", {"web/base/kustomization.yaml": "# too much\n" * 100_000})
    outcome = report()
    assert outcome.reasons == {"web,main": "unreadable"}
    assert outcome.told().endswith("line 1: the file has more than 1048576 bytes: is it a kustomization?")


def test_an_image_without_an_entry_needs_an_update(report: Callable[..., Report], remotes: Remotes) -> None:
    remotes.begin()
    remotes.manifests.commit("Forget the image", {"web/base/kustomization.yaml": "resources: []\n"})
    assert report().reasons == {"web,main": "no-entry"}


def test_a_registry_with_a_port_is_no_tag(report: Callable[..., Report], remotes: Remotes) -> None:
    commit = remotes.begin()
    image = "registry:5000/team/web"
    remotes.write(APPLICATION.replace("example.com/web", image))
    remotes.manifests.commit(
        "Name it so",
        {"web/base/kustomization.yaml": f"images:\n- name: {image}\n  newName: {image}:vmain-g{commit[:8]}\n"},
    )
    outcome = report()
    assert outcome.reasons == {"web,main": "up-to-date"}
    assert (
        outcome.data["pairs"][0]["image"] == outcome.data["pairs"][0]["currentImage"] == f"{image}:vmain-g{commit[:8]}"
    )


@pytest.mark.parametrize(
    ("kustomization", "told"),
    [
        pytest.param("images: [\n", "web/base/kustomization.yaml on main of https://github.com/example/manifests: line 2: no YAML parser takes this (did not find expected node content): mend it", id="no YAML"),
        pytest.param("images:\n- name: example.com/web\n- name: example.com/web\n", "web/base/kustomization.yaml on main of https://github.com/example/manifests: line 3: example.com/web has an entry in line 2 already: keep one of the two", id="two entries"),
        pytest.param("images:\n- name: example.com/web\n  newTag: ' x'\n", "web/base/kustomization.yaml on main of https://github.com/example/manifests: ' x' is not an image tag: at most 128 of letters, digits, `_`, `.` and `-`", id="a tag that is none"),
        pytest.param("\udcff", "web/base/kustomization.yaml on main of https://github.com/example/manifests: line 1: this is not UTF-8: save the file in that encoding", id="not UTF-8"),
    ],
)  # fmt: skip
def test_a_kustomization_that_cannot_be_read_is_a_failed_pair(
    report: Callable[..., Report], remotes: Remotes, kustomization: str, told: str
) -> None:
    remotes.begin()
    path = remotes.manifests.path / "web/base/kustomization.yaml"
    path.write_bytes(kustomization.encode("utf-8", "surrogateescape"))
    remotes.manifests.commit("Break it")
    outcome = report()
    assert (outcome.code, outcome.reasons, remotes.runs()) == (1, {"web,main": "unreadable"}, {})
    assert (
        outcome.told().replace(
            "expected the node content, but found '<stream end>'", "did not find expected node content"
        )
        == told
    )


def test_two_kustomizations_in_one_directory_are_a_failed_pair(report: Callable[..., Report], remotes: Remotes) -> None:
    remotes.begin()
    tip = remotes.manifests.commit("Add another", {"web/base/Kustomization": "resources: []\n"})
    outcome = report()
    assert outcome.reasons == {"web,main": "unreadable"}
    assert outcome.told() == (
        "there are kustomization.yaml and Kustomization in web/base on main of https://github.com/example/manifests "
        f"(at {tip[:8]}): keep one of them"
    )


def test_a_kustomization_behind_a_link_is_read_where_it_is(report: Callable[..., Report], remotes: Remotes) -> None:
    commit = remotes.begin()
    remotes.give(f"vmain-g{commit[:8]}", "shared/images.yaml")
    directory = remotes.manifests.path / "web/base"
    (directory / "kustomization.yaml").unlink()
    (directory / "kustomization.yaml").symlink_to("../../shared/images.yaml")
    remotes.manifests.commit("Share it")
    outcome = report()
    assert outcome.reasons == {"web,main": "up-to-date"}
    assert "web/base/kustomization.yaml on main" in outcome.told()


# Histories. `T` is the commit that is found.


def history(tree: Worktree, *commands: str) -> dict[str, str]:
    """Commits by name: `A web/x=1 y=2` writes files, `A web/x=` removes one; others are git's own commands."""
    found: dict[str, str] = {}
    for command in commands:
        name, *rest = command.split()
        if not name.isupper():
            tree.git(*command.split())
            continue
        for change in rest:
            path, _, text = change.partition("=")
            (tree.path / path).parent.mkdir(parents=True, exist_ok=True)
            if text:
                (tree.path / path).write_text(text)
            else:
                (tree.path / path).unlink()
        found[name] = tree.commit(name)
    return found


@pytest.mark.parametrize(
    "commands",
    [
        pytest.param(["A web/a=1", "T web/a=2", "C other=1"], id="a commit elsewhere does not count"),
        pytest.param(["A web/a=2", "B web/a=3", "T web/a=2"], id="a revert counts"),
        pytest.param(["A web/a=2", "T web/a=", "C other=1"], id="a removal counts"),
        pytest.param(["A web/a=2", "T web/Dockerfile=FROM", "C other=1"], id="the Dockerfile counts"),
        pytest.param(["A other/a=1", "mv other/a web/b", "T", "C more=1"], id="a file that is moved in counts"),
        pytest.param(["A web/b=1", "mv web/b moved", "T", "C other=1"], id="a file that is moved out counts"),
        pytest.param(
            ["A web/a=2", "checkout -q -b side", "T web/a=3", "checkout -q main", "C other=1", "merge -q --no-ff side"],
            id="a merge that brings a change leads to the commit that made it",
        ),
        pytest.param(
            ["A web/a=2", "checkout -q -b side", "B web/b=3", "checkout -q main", "C web/c=1", "merge -q --no-ff -m T side", "tag found", "D other=1"],
            id="a merge of two changes is a change",
        ),
        pytest.param(
            ["A web/a=2", "checkout -q -b side", "B web/a=3", "checkout -q main", "T web/a=4", "merge -q --no-ff -s ours side", "D other=1"],
            id="a merge that takes one side leads to that side",
        ),
        pytest.param(["A web/a=2", "T web/a=3", "commit -q --allow-empty -m empty"], id="an empty commit does not count"),
    ],
)  # fmt: skip
def test_the_source_commit_is_the_last_that_touched_a_relevant_file(
    report: Callable[..., Report], remotes: Remotes, commands: list[str]
) -> None:
    remotes.begin()
    found = history(remotes.source, *commands)
    expected = found.get("T") or remotes.source.git("rev-parse", "found")
    assert report().commits == {"web,main": expected}
    assert remotes.source.git("log", "-1", "--format=%H", "main", "--", "web") == expected


def test_a_dockerfile_and_a_shared_directory_outside_the_context_count(
    report: Callable[..., Report], remotes: Remotes
) -> None:
    remotes.write(
        APPLICATION + "    dockerfile: build/web.Dockerfile\n    watch: ['common/**/*.go', '!**/*_test.go']\n"
    )
    commits = [remotes.begin({"build/web.Dockerfile": "FROM scratch\n", "common/a/b.go": "1"})]
    found = [report().commits["web,main"]]
    for path, counts in {
        "build/other.Dockerfile": False,
        "build/web.Dockerfile": True,
        "common/a/c.go": True,
        "common/a/c_test.go": False,
        "common/a/c.md": False,
        "web/a_test.go": False,
    }.items():
        commit = remotes.source.commit(path, {path: "2"})
        commits.append(commit if counts else commits[-1])
        found.append(report().commits["web,main"])
    assert found == commits


def test_with_watch_dockerfile_only_what_it_copies_counts(report: Callable[..., Report], remotes: Remotes) -> None:
    remotes.write(APPLICATION + "    watch: dockerfile\n")
    dockerfile = "FROM scratch AS build\nCOPY src/ *.json /src/\nFROM scratch\nCOPY --from=build /x /\nADD https://example.com/docs /\nCOPY conf /\n"
    commits = [
        remotes.begin(
            {"web/Dockerfile": dockerfile, "web/.dockerignore": "**/*.md\n", "web/src/a": "1", "web/conf/a": "1"}
        )
    ]
    found = [report().commits["web,main"]]
    for path, counts in {
        "web/docs/a": False,
        "web/src/a": True,
        "web/src/a.md": False,
        "web/package.json": True,
        "web/deep/package.json": False,
        "src/a": False,
        "web/conf/b": True,
        "web/.dockerignore": True,
        "web/Dockerfile": True,
    }.items():
        text = {"web/Dockerfile": dockerfile + "# more\n", "web/.dockerignore": "**/*.md\n**/*.txt\n"}.get(path, "2")
        commit = remotes.source.commit(path, {path: text})
        commits.append(commit if counts else commits[-1])
        found.append(report().commits["web,main"])
    shutil.rmtree(remotes.src_dir)
    assert (found, report().commits["web,main"]) == (commits, commits[-1])


def test_with_watch_dockerfile_any_number_of_other_commits_is_passed_over(
    report: Callable[..., Report], remotes: Remotes
) -> None:
    remotes.write(APPLICATION + "    watch: dockerfile\n")
    commit = remotes.begin({"web/Dockerfile": "FROM scratch\nCOPY . /\n", "web/.dockerignore": "docs\n"})
    changes = [Change("main", {"web/docs/a": str(number)}) for number in range(450)]
    write(remotes.source.path / ".git", changes)
    assert report().commits == {"web,main": commit}
    write(remotes.source.path / ".git", [Change("main", {"web/docs/b": "1"})])
    assert report().commits == {"web,main": commit}


def test_with_watch_dockerfile_a_merge_is_followed_to_the_side_that_it_took(
    report: Callable[..., Report], remotes: Remotes
) -> None:
    remotes.write(APPLICATION + "    watch: dockerfile\n")
    remotes.begin({"web/Dockerfile": "FROM scratch\nCOPY src /\n", "web/src/a": "1"})
    found = history(
        remotes.source, "checkout -q -b side", "T web/src/a=2", "A web/x=1", "checkout -q main", "B web/x=2",
        "merge -q --no-ff -s ours --no-commit side", "checkout side -- web/src", "M", "C web/y=1",
    )  # fmt: skip
    assert report().commits == {"web,main": found["T"]}


def test_with_watch_dockerfile_a_link_that_is_copied_makes_all_of_the_context_count(
    report: Callable[..., Report], remotes: Remotes
) -> None:
    remotes.write(APPLICATION + "    watch: dockerfile\n")
    remotes.begin({"web/Dockerfile": "FROM scratch\nCOPY conf /\n", "web/shared/conf/a": "1"})
    (remotes.source.path / "web/conf").symlink_to("shared/conf")
    commits = [remotes.source.commit("Link it")]
    found = [report().commits["web,main"]]
    commits.append(remotes.source.commit("Change what it leads to", {"web/shared/conf/a": "2"}))
    found.append(report().commits["web,main"])
    assert found == commits


def test_a_context_and_a_dockerfile_behind_links_are_followed(report: Callable[..., Report], remotes: Remotes) -> None:
    commits = [remotes.begin({"real/Dockerfile": "FROM scratch\n"})]
    shutil.rmtree(remotes.source.path / "web")
    (remotes.source.path / "web").symlink_to("real")
    commits = [remotes.source.commit("Link it")]
    found = [report().commits["web,main"]]
    for path, counts in {"real/a": True, "other/a": False}.items():
        commit = remotes.source.commit(path, {path: "2"})
        commits.append(commit if counts else commits[-1])
        found.append(report().commits["web,main"])
    assert found == commits


def test_a_dockerfile_that_cannot_be_read_is_an_error_of_the_watch(
    report: Callable[..., Report], remotes: Remotes
) -> None:
    remotes.write(APPLICATION + "    watch: dockerfile\n")
    remotes.begin({"web/Dockerfile": "COPY . /\n"})
    outcome = report()
    assert (outcome.code, outcome.reasons) == (1, {"web,main": "config-error"})
    assert outcome.told().startswith(
        f"{remotes.config}:7:12: error: what web/Dockerfile can see cannot be told: line 1: "
    )


def test_a_rewritten_branch_is_followed(report: Callable[..., Report], remotes: Remotes) -> None:
    first = remotes.begin()
    dropped = remotes.source.commit("Change it", {"web/a": "2"})
    remotes.give(f"vmain-g{dropped[:8]}")
    assert report().reasons == {"web,main": "up-to-date"}
    remotes.source.git("reset", "--quiet", "--hard", first)
    rewritten = report()
    assert (rewritten.reasons, rewritten.commits) == ({"web,main": "unknown-commit"}, {"web,main": first})
    shutil.rmtree(remotes.src_dir)
    assert report().data == rewritten.data


def test_a_path_that_a_branch_lacks_costs_the_pair_alone(report: Callable[..., Report], remotes: Remotes) -> None:
    remotes.write(APPLICATION + APPLICATION.replace("name: web", "name: api").replace("context: web", "context: api"))
    commit = remotes.begin()
    outcome = report()
    assert (outcome.code, outcome.reasons) == (1, {"web,main": "unknown-commit", "api,main": "config-error"})
    assert outcome.told("api,main") == (
        f"{remotes.config}:9:14: error: there is no directory api on main of https://github.com/example/source (at {commit[:8]})"
    )
    assert list(remotes.runs()) == [f"web-main-{commit[:8]}.yaml"]


@pytest.mark.parametrize(
    ("remove", "told"),
    [
        pytest.param("web/Dockerfile", "there is no file web/Dockerfile on main of https://github.com/example/source", id="the Dockerfile"),
        pytest.param("web/base/kustomization.yaml", "there is no directory web/base on main of https://github.com/example/manifests", id="the directory of the manifests"),
    ],
)  # fmt: skip
def test_what_is_not_at_the_tip_is_an_error_of_the_configuration(
    report: Callable[..., Report], remotes: Remotes, remove: str, told: str
) -> None:
    remotes.begin()
    tree = next(tree for tree in (remotes.source, remotes.manifests) if (tree.path / remove).exists())
    (tree.path / remove).unlink()
    tree.commit("Remove it")
    outcome = report()
    assert outcome.reasons == {"web,main": "config-error"}
    assert told in outcome.told()


def test_a_branch_that_is_not_there_is_an_error_of_the_configuration(
    report: Callable[..., Report], remotes: Remotes
) -> None:
    remotes.write(versions=VERSION.replace("source, branch: main", "source, branch: mian"))
    remotes.begin()
    remotes.source.git("branch", "mian-2")
    outcome = report()
    assert outcome.reasons == {"web,main": "config-error"}
    assert (
        outcome.told() == f"{remotes.config}:11:72: error: there is no branch mian in https://github.com/example/source"
    )


def test_a_shallow_remote_is_told_apart_from_a_history_that_ends(
    report: Callable[..., Report], remotes: Remotes
) -> None:
    remotes.begin()
    remotes.source.commit("Elsewhere", {"other": "1"})
    remotes.source.commit("Elsewhere", {"other": "2"})
    whole = remotes.root / "remotes" / "example" / "whole"
    remotes.source.path.rename(whole)
    subprocess.run(
        ["git", "clone", "--quiet", "--bare", "--depth=1", f"file://{whole}", remotes.source.path], check=True
    )
    outcome = report()
    assert (outcome.code, outcome.reasons) == (1, {"web,main": "shallow"})
    assert outcome.told().startswith("the server of main of https://github.com/example/source has no history before ")
    subprocess.run(["git", "fetch", "--quiet", "--unshallow"], cwd=remotes.source.path, check=True)
    assert report().reasons == {"web,main": "unknown-commit"}


def test_an_abbreviation_that_became_ambiguous_names_no_commit(report: Callable[..., Report], remotes: Remotes) -> None:
    first = remotes.begin()
    remotes.give(f"vmain-g{first[:4]}")
    assert report().reasons == {"web,main": "up-to-date"}
    tree = remotes.source.git("rev-parse", "HEAD^{tree}")
    for number in range(10**6):
        body = f"tree {tree}\nparent {first}\nauthor a <a@b> {number} +0000\ncommitter a <a@b> {number} +0000\n\nx\n".encode()
        if _object_id(body).startswith(first[:4]):
            break
    made = subprocess.run(
        ["git", "hash-object", "-t", "commit", "-w", "--stdin"], cwd=remotes.source.path, input=body, capture_output=True, check=True
    )  # fmt: skip
    remotes.source.git("update-ref", "refs/heads/main", made.stdout.decode().strip())
    outcome = report()
    assert outcome.reasons == {"web,main": "unknown-commit"}
    assert f"https://github.com/example/source has several commits that begin with {first[:4]}." in outcome.told()


def _object_id(body: bytes) -> str:
    import hashlib

    return hashlib.sha1(b"commit %d\0" % len(body) + body).hexdigest()  # noqa: S324 - git's own


def test_what_is_taken_over_from_the_last_pass_is_what_a_whole_clone_says(
    report: Callable[..., Report], remotes: Remotes
) -> None:
    """Commits and merges as they come, a pass after each few of them."""
    remotes.write(
        APPLICATION
        + APPLICATION.replace("name: web", "name: all").replace(
            "context: web", "context: .\n    dockerfile: web/Dockerfile"
        )
        + APPLICATION.replace("name: web", "name: api").replace(
            "context: web", "context: api\n    dockerfile: web/Dockerfile"
        )
        + APPLICATION.replace("name: web", "name: seen")
        + "    watch: dockerfile\n"
    )
    remotes.begin({"api/a": "1", "web/Dockerfile": "FROM scratch\nCOPY a b /\n"})
    numbers, tree = random.Random(5), remotes.source  # noqa: S311 - a history like any other
    paths = {
        "web,main": ["web"],
        "all,main": ["."],
        "api,main": ["api", "web/Dockerfile"],
        "seen,main": ["web/a", "web/b", "web/Dockerfile"],
    }
    for number in range(90):
        if number % 6 == 2:
            tree.git("branch", "--force", "side", f"HEAD~{numbers.randint(0, 2)}")
        if number % 6 == 3:
            tree.git("checkout", "--quiet", "side")
        if number % 6 == 5:
            tree.git("checkout", "--quiet", "main")
            tree.git("merge", "--quiet", "--no-ff", "-X", numbers.choice(["ours", "theirs"]), "side")
        else:
            tree.commit(
                "more",
                {numbers.choice(["web/a", "web/b", "web/c", "api/a", "docs/a", "docs/b"]): str(numbers.randint(0, 3))},
            )
        if number % 6 in (1, 5):
            last = {pair: tree.git("log", "-1", "--format=%H", "main", "--", *each) for pair, each in paths.items()}
            assert report().commits == last


# One that is bad, and all others.


def two_sources(remotes: Remotes) -> None:
    """`web` from example/source, `api` from example/other."""
    remotes.write(
        APPLICATION + APPLICATION.replace("name: web", "name: api").replace("sourceRepo: source", "sourceRepo: other"),
        VERSION + "      - {name: other, url: https://github.com/example/other, branch: main}\n",
    )
    remotes.begin()
    remotes.add("example/other").commit("Begin", {"web/Dockerfile": "FROM scratch\n"})


def test_a_repository_that_is_gone_costs_its_own_pairs(report: Callable[..., Report], remotes: Remotes) -> None:
    two_sources(remotes)
    (remotes.root / "remotes/example/source").rename(remotes.root / "away")
    outcome = report()
    assert (outcome.code, outcome.reasons) == (1, {"web,main": "not-found", "api,main": "unknown-commit"})
    assert len(remotes.runs()) == 1
    assert outcome.told().startswith(
        f"{remotes.config}:16:72: error: cannot ask https://github.com/example/source for its branches: there is no such repository"
    )


def test_a_damaged_repository_costs_its_own_pairs(report: Callable[..., Report], remotes: Remotes) -> None:
    two_sources(remotes)
    for path in (remotes.root / "remotes/example/source/.git/objects").rglob("*"):
        if path.is_file():
            path.chmod(0o644)
            path.write_bytes(b"")
    outcome = report()
    assert (outcome.code, outcome.reasons["api,main"], len(remotes.runs())) == (1, "unknown-commit", 1)
    assert outcome.data["pairs"][0]["status"] == "failed"


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_repository_that_does_not_answer_costs_its_own_pairs_after_the_time_out(
    report: Callable[..., Report], remotes: Remotes, silent: int
) -> None:
    two_sources(remotes)
    remotes.git_config.write_text(
        f'[url "http://127.0.0.1:{silent}/"]\n\tinsteadOf = https://github.com/example/source\n'
        + remotes.git_config.read_text()
    )
    outcome = report(timeout=5)
    assert (outcome.code, outcome.reasons) == (1, {"web,main": "unreachable", "api,main": "unknown-commit"})


def test_sigterm_ends_it_and_all_that_it_waits_for(remotes: Remotes, silent: int) -> None:
    remotes.begin()
    url = f"http://127.0.0.1:{silent}/source"
    remotes.git_config.write_text(f'[url "{url}"]\n\tinsteadOf = https://github.com/example/source\n')
    child = process("create_runs", *(f"--{name}={path}" for name, path in remotes.flags.items()))
    while url not in running():
        assert child.poll() is None, child.communicate()
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=30)
    assert (child.returncode, are_gone(url)) == (143, True)


def test_a_suspended_pair_is_not_made_and_no_failure(report: Callable[..., Report], remotes: Remotes) -> None:
    remotes.begin()
    remotes.write(APPLICATION + "    suspend: true\n")
    outcome = report()
    assert (outcome.code, outcome.reasons, remotes.runs()) == (0, {"web,main": "suspended"}, {})


@pytest.mark.parametrize(
    ("flags", "more", "code"),
    [
        pytest.param({"only": "web"}, "", 0, id="that was not asked about"),
        pytest.param({}, "exclude:\n  - application: api\n", 0, id="that is excluded"),
        pytest.param({}, "", 1, id="that is to be made"),
    ],
)
def test_what_is_wrong_with_a_pair_counts_for_one(
    report: Callable[..., Report], remotes: Remotes, flags: dict[str, str], more: str, code: int
) -> None:
    broken = APPLICATION.replace("name: web", "name: api").replace("context: web", "contxt: web\n    drft: true")
    remotes.write(APPLICATION + broken, more=more)
    remotes.begin()
    assert report(**flags).code == code


def test_an_error_of_no_pair_is_told_and_ends_1(report: Callable[..., Report], remotes: Remotes) -> None:
    remotes.write(more="exclude:\n  - application: wbe\n")
    remotes.begin()
    outcome = report()
    assert (outcome.code, outcome.reasons, len(remotes.runs())) == (1, {"web,main": "unknown-commit"}, 1)
    assert outcome.problem == "config-error: all pairs are well, but the configuration has errors; see above"


def test_two_branches_at_one_tip_are_told_of_by_their_own_names(
    report: Callable[..., Report], remotes: Remotes
) -> None:
    remotes.write(APPLICATION.replace("context: web", "context: nope"), VERSION + SIDE)
    remotes.begin()
    remotes.source.git("branch", "side")
    outcome = report()
    assert "there is no directory nope on main of" in outcome.told("web,main")
    assert "there is no directory nope on side of" in outcome.told("web,side")


def test_nothing_that_acts_on_a_terminal_is_shown(run: Run, remotes: Remotes) -> None:
    remotes.write(APPLICATION.replace("name: web", 'name: "x\\e[2J\\nok  main  up-to-date\\x9b1m"'))
    remotes.begin()
    shown = run(create_runs, **remotes.flags, format="table").stdout
    line = next(line for line in shown.splitlines() if "up-to-date" in line)
    assert line.startswith("x\\x1b[2J\\nok  main  up-to-date\\x9b1m  main")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", shown)


def test_a_token_in_an_address_is_not_shown(run: Run, remotes: Remotes) -> None:
    remotes.write(versions=VERSION.replace("example/source,", "example/source?private_token=SECRET,"))
    outcome = run(create_runs, **remotes.flags, format="json")
    assert "source?***" in outcome.stdout
    assert "SECRET" not in outcome.stdout + outcome.problem


@pytest.mark.parametrize("timeout", [0, 999_999_999])
def test_a_time_out_that_is_none_is_a_wrong_command_line(run: Run, remotes: Remotes, timeout: int) -> None:
    remotes.begin()
    assert run(create_runs, **remotes.flags, timeout=timeout) == Outcome(
        2, f"usage: --timeout={timeout} is not between 1 and 86400 seconds"
    )


def test_an_excluded_pair_is_not_told_of(report: Callable[..., Report], remotes: Remotes) -> None:
    remotes.begin()
    remotes.write(more="exclude:\n  - {application: web, version: main}\n")
    outcome = report()
    assert (outcome.code, outcome.reasons, remotes.runs()) == (0, {}, {})


def test_a_configuration_that_cannot_be_read_makes_nothing(run: Run, remotes: Remotes) -> None:
    remotes.config.write_text("applications:\n  - name: web\napplicatoins: []\n")
    outcome = run(create_runs, **remotes.flags)
    assert outcome == Outcome(
        1,
        "config-error: nothing was made:\n"
        f"{remotes.config}:3:1: error: a configuration has no key `applicatoins`; did you mean `applications`?",
    )


def test_a_template_that_cannot_be_used_makes_nothing_and_all_errors_are_told(run: Run, remotes: Remotes) -> None:
    remotes.template.write_text(remotes.template.read_text().replace("spec:", "sepc:"))
    remotes.config.write_text("applications:\n  - name: web\napplicatoins: []\n")
    assert run(create_runs, **remotes.flags) == Outcome(
        1,
        "config-error: nothing was made:\n"
        f"{remotes.template}:1:1: error: `spec` of a template lacks `pipelineRef`, such as `name: apps-cd`\n"
        f"{remotes.template}:5:1: error: a PipelineRun has no key `sepc`; did you mean `spec`?\n"
        f"{remotes.config}:3:1: error: a configuration has no key `applicatoins`; did you mean `applications`?",
    )
    assert not remotes.output_dir.exists()


# How often git is started.


def commands(remotes: Remotes, monkeypatch: pytest.MonkeyPatch, call: Callable[[], object]) -> list[str]:
    """The subcommands of git that a call starts."""
    traces = remotes.root / "traces"
    shutil.rmtree(traces, ignore_errors=True)
    traces.mkdir()
    with monkeypatch.context() as patch:
        patch.setenv("GIT_TRACE2_EVENT", str(traces))
        call()
    started = [json.loads(line) for path in traces.iterdir() for line in path.read_text().splitlines()]
    names = [event["argv"] for event in started if event["event"] == "start" and event["sid"].count("/") == 0]
    return sorted(next(word for word in words[1:] if not word.startswith("-") and "=" not in word) for words in names)


def test_when_nothing_moved_each_repository_is_asked_for_its_branches_and_no_more(
    report: Callable[..., Report], remotes: Remotes, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = "".join(VERSION.replace("name: main", f"name: v{number}") for number in range(4))
    remotes.write(APPLICATION + APPLICATION.replace("name: web", "name: api"), versions)
    commit = remotes.begin()
    remotes.give(f"vmain-g{commit[:8]}")
    first = report().data
    assert commands(remotes, monkeypatch, report) == ["ls-remote", "ls-remote"]
    assert report().data == first


def test_a_commit_that_touches_no_application_costs_the_same_however_many_there_are(
    report: Callable[..., Report], remotes: Remotes, monkeypatch: pytest.MonkeyPatch
) -> None:
    remotes.write(
        "".join(
            APPLICATION.replace("name: web", f"name: web{number}").replace("context: web", f"context: web{number}")
            for number in range(30)
        )
    )
    commit = remotes.begin({f"web{number}/Dockerfile": "FROM scratch\n" for number in range(30)})
    report()
    remotes.source.commit("Elsewhere", {"docs/a": "1"})
    started = commands(remotes, monkeypatch, report)
    assert len(started) < 15
    assert set(report().commits.values()) == {commit}


def test_when_one_repository_moved_the_other_is_left_alone(
    report: Callable[..., Report], remotes: Remotes, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = remotes.begin()
    report()
    remotes.give(f"vmain-g{commit[:8]}")
    started = commands(remotes, monkeypatch, report)
    assert (started.count("fetch"), started.count("ls-remote")) == (2, 2)  # the tip, and the one file that is read
    assert report().reasons == {"web,main": "up-to-date"}


# Where the configuration is.


def test_a_directory_of_files_is_one_configuration(report: Callable[..., Report], remotes: Remotes) -> None:
    remotes.begin()
    directory = remotes.root / "config"
    directory.mkdir()
    (directory / "a.yaml").write_text(f"applications:\n{APPLICATION}")
    (directory / "b.yml").write_text(f"versions:\n{VERSION}")
    (directory / "README.md").write_text("not YAML: [")
    assert report(config=directory).reasons == {"web,main": "unknown-commit"}


def test_a_url_is_read_when_its_address_may_be_used(
    run: Run, remotes: Remotes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remotes.begin()
    authority = Authority(tmp_path / "authority")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))

    def answer(_: Call) -> Response:
        return Response(200, {}, remotes.config.read_bytes())

    with contextlib.closing(Server("127.0.0.1", 0, answer, authority.server_context(["127.0.0.1"]))) as server:
        flags = {**remotes.flags, "config": f"{server.url}/applications.yaml?token=secret", "format": "json"}
        refused = run(create_runs, **flags)
        taken = run(create_runs, **flags, allow_private_addresses="true")
    assert (refused.code, refused.problem.split(":")[0]) == (1, "private-address")
    assert Report(taken).reasons == {"web,main": "unknown-commit"}


def test_an_address_over_ssh_is_read_over_https_unless_a_key_is_given(run: Run, remotes: Remotes) -> None:
    remotes.begin()
    remotes.write(versions=VERSION.replace("https://github.com/", "git@github.com:"))
    outcome = run(create_runs, **remotes.flags, format="json")
    assert Report(outcome).reasons == {"web,main": "unknown-commit"}
    assert "value: https://github.com/example/source\n" in next(iter(remotes.runs().values()))
    remotes.git_config.write_text(remotes.git_config.read_text().replace("https://github.com/", "git@github.com:"))
    key = remotes.root / "key"
    assert run(create_runs, **remotes.flags, ssh_key=key) == Outcome(
        2, f"usage: --ssh-key={key} is not a file; give the private key"
    )
    key.write_text("")
    outcome = run(create_runs, **remotes.flags, format="json", ssh_key=key)
    assert Report(outcome).reasons == {"web,main": "unknown-commit"}
    assert "value: git@github.com:example/source\n" in next(iter(remotes.runs().values()))
