"""A configuration of a thousand applications at four versions, in fifty repositories, and these repositories."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.sandbox.bare_repository import BareRepository
from tests.sandbox.histories import Change, write

REPOSITORIES = 49
APPLICATIONS = 1000
VERSIONS = ("main", "v1.0", "v1.1", "v1.2")
COMMITS = 400


def configuration() -> str:
    lines = ["applications:"]
    for number in range(APPLICATIONS):
        lines += [
            f"  - name: app{number}",
            f"    sourceRepo: source{number % REPOSITORIES}",
            f"    context: apps/app{number}",
            f"    manifestsDir: apps/app{number}/base",
            f"    image: example.com/app{number}",
        ]
    lines.append("versions:")
    for version in VERSIONS:
        lines += [f"  - name: {version}", f"    tag: v{version}", "    repos:"]
        names = ["manifests", *(f"source{number}" for number in range(REPOSITORIES))]
        lines += [
            f"      - {{name: {name}, url: https://github.com/example/{name}, branch: {version}}}" for name in names
        ]
    return "\n".join(lines) + "\n"


def make(remotes: Path) -> None:
    """Make the repositories, each with a history, below a directory."""
    for number in range(REPOSITORIES):
        write(remotes / "example" / f"source{number}", _sources(number), default_branch="main")
    write(remotes / "example" / "manifests", _manifests(), default_branch="main")


def move_one(remotes: Path) -> None:
    """Touch the applications of one repository on one branch."""
    write(remotes / "example" / "source0", [Change("main", {f"{context}/c": "1" for context in _contexts(0)})])


def move(remotes: Path) -> None:
    """Touch each application by a commit of its own on each branch, and give the manifests the tags of what was before."""
    tips = []
    for number in range(REPOSITORIES):
        path = remotes / "example" / f"source{number}"
        tips.append(BareRepository(path).refs()["refs/heads/main"])
        changes = [Change(version, {f"{context}/b": "2"}) for version in VERSIONS for context in _contexts(number)]
        write(path, changes)
    tags = [f"vmain-g{tips[number % REPOSITORIES][:8]}" for number in range(APPLICATIONS)]
    write(remotes / "example" / "manifests", [Change(version, _kustomizations(tags)) for version in VERSIONS])


def _contexts(number: int) -> list[str]:
    return [f"apps/app{each}" for each in range(number, APPLICATIONS, REPOSITORIES)]


def _sources(number: int) -> Iterator[Change]:
    contexts = _contexts(number)
    yield Change(
        "main", {f"{context}/{name}": "FROM scratch\n" for context in contexts for name in ("Dockerfile", "a")}
    )
    for each in range(COMMITS):
        yield Change("main", {f"{contexts[each * 7 % len(contexts)]}/a" if each % 3 else "docs/a": str(each)})
    for version in VERSIONS[1:]:
        yield Change(version, {"README.md": version}, start="main")


def _manifests() -> Iterator[Change]:
    yield Change("main", _kustomizations(["v0"] * APPLICATIONS))
    for version in VERSIONS[1:]:
        yield Change(version, {"README.md": version}, start="main")


def _kustomizations(tags: Sequence[str]) -> dict[str, str | None]:
    text = "resources:\n- deployment.yaml\nimages:\n- name: example.com/app{}\n  newTag: {}\n"
    return {f"apps/app{each}/base/kustomization.yaml": text.format(each, tag) for each, tag in enumerate(tags)}
