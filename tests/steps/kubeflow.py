"""The configuration of kubeflow's apps-cd, and repositories of the shape that it names."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from steps.core import applications
from steps.core.applications import Pair
from tests.sandbox.histories import Change, write

SEED = Path(__file__).parents[3] / "shared" / "seed"


def files() -> tuple[Path, Path]:
    """The configuration and the template, which are no part of this project."""
    found = SEED / "applications.yaml", SEED / "app-pipeline.template.yaml"
    if not all(path.is_file() for path in found):
        pytest.skip(f"kubeflow's applications.yaml is not in {SEED}")
    return found


def make(config: Path, remotes: Path, *, commits: int) -> None:
    """Make all repositories that a configuration names, with a history of some commits, below a directory.

    The manifests of `*-v3` are missing at v1-0, as they are in kubeflow's.
    """
    told = applications.parse({config.name: config.read_text(encoding="utf-8")})
    pairs = [pair for pair in told.pairs if isinstance(pair, Pair)]
    for repository in dict.fromkeys(place.repository for pair in pairs for place in (pair.source, pair.manifests)):
        own = [pair for pair in pairs if repository in (pair.source.repository, pair.manifests.repository)]
        branches = dict.fromkeys(
            place.branch for pair in own for place in (pair.source, pair.manifests) if place.repository == repository
        )
        write(remotes / f"{repository.path}.git", _history(own, repository.path, list(branches), commits))


def _history(pairs: list[Pair], path: str, branches: list[str], commits: int) -> Iterator[Change]:
    main, *others = branches
    everything: dict[str, str | None] = {"README.md": path}
    for pair in pairs:
        if pair.source.repository.path == path:
            everything |= {pair.dockerfile: "FROM scratch\nCOPY . /\n", _in(pair.context, "main.go"): "package main\n"}
        else:
            name = _in(pair.manifests_dir, "kustomization.yaml")
            text = everything.get(name) or "images:\n"
            entry = f"- name: {pair.image}\n  newTag: vmaster-g00000000\n"
            everything[name] = text if entry in text else text + entry
    yield Change(main, everything)
    contexts = sorted({str(pair.context) for pair in pairs if pair.source.repository.path == path}) or ["docs"]
    for number in range(commits):
        directory = contexts[number // 2 % len(contexts)] if number % 2 else "docs"
        yield Change(main, {_in(directory, f"file{number % 300}"): str(number)})
    missing = {
        _in(pair.manifests_dir, "kustomization.yaml"): None for pair in pairs if pair.application.endswith("-v3")
    }
    for branch in others:
        is_old = path.endswith("/manifests") and branch == "v1.0-branch"
        yield Change(branch, {"README.md": branch, **(missing if is_old else {})}, start=main)
        for number, directory in enumerate(contexts):
            yield Change(branch, {_in(directory, f"of-{branch}"): str(number)})


def _in(directory: str, name: str) -> str:
    return name if directory == "." else f"{directory}/{name}"
