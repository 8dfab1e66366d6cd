"""`make bench`: our figures beside a peer's, measured in one run, as ratios of whole processes.

Each pair runs in turn (ours, peer's, ours, peer's ...), so that both see the same machine; the medians are printed, and
the median of the ratios pair by pair. What was wanted stands beside it; a row that misses it says so, and nothing fails.
"""

import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import yaml

from steps.core import applications
from steps.core.kustomization import ImageEdit
from steps.set_image import set_image
from tests.sandbox import go
from tests.sandbox.github import GitHub
from tests.sandbox.kubernetes import Kubernetes
from tests.sandbox.world import BOT, TOKEN, Sandbox, example
from tests.steps import kubeflow, many
from tests.steps.followed import Followed, Measured

ROOT = Path(__file__).parents[1]
STEPS = [path.stem for path in sorted((ROOT / "steps").glob("*.py")) if "__main__" in path.read_text(encoding="utf-8")]
SEED = kubeflow.SEED / "applications.yaml"
ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1", "HOME": "/nonexistent"}


@dataclass(frozen=True)
class Row:
    """One line of the table; `wanted` is the ratio hoped for, `limit` what ours is hoped to stay below, or None."""

    what: str
    ours: float
    peer: float
    ratio: float
    wanted: float | None = None
    unit: str = "ms"
    limit: float | None = None

    def __str__(self) -> str:
        wanted = f"<= {self.wanted:g}" if self.wanted else f"<= {self.limit:g} {self.unit}" if self.limit else ""
        missed = (self.wanted and self.ratio > self.wanted) or (self.limit and self.ours > self.limit)
        mark = "  (missed)" if missed else ""
        return (
            f"{self.what:<74} {self.ours:>9.1f} {self.peer:>9.1f} {self.unit:<4} {self.ratio:>6.2f} {wanted:>7}{mark}"
        )


def pair(what: str, ours: Callable[[], object], peer: Callable[[], object], wanted: float | None, runs: int = 7) -> Row:
    """Time two calls in turn, after one of each that does not count."""
    ours(), peer()
    times = [(_seconds(ours), _seconds(peer)) for _ in range(runs)]
    return Row(
        what,
        1000 * statistics.median(a for a, _ in times),
        1000 * statistics.median(b for _, b in times),
        statistics.median(a / b for a, b in times),
        wanted,
    )


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _run(*command: str | Path, cwd: Path = ROOT, environment: dict[str, str] | None = None) -> None:
    subprocess.run(command, cwd=cwd, env=environment or ENVIRONMENT, check=True, capture_output=True)


def _step(name: str, *arguments: str) -> None:
    _run(sys.executable, "-m", f"steps.{name}", *arguments)


def starts(_: Path) -> Iterator[Row]:
    """How long a step takes to say what it can do."""
    fire = partial(_run, sys.executable, "-c", "import fire")
    for name in STEPS:
        yield pair(f"{name} --help / python -c 'import fire'", partial(_step, name, "--help"), fire, 1.6)


def edits(directory: Path) -> Iterator[Row]:
    """One image edit as a process, and many in one process."""
    kustomize = go.program("kustomize")
    package = directory / "package"
    shutil.copytree(ROOT / "tests/sandbox/example/manifests/webapp/base", package)
    count = iter(range(10**6))

    def edit(set_image: Callable[[str], None]) -> Callable[[], None]:
        return lambda: set_image(f"ghcr.io/example/webapp=ghcr.io/example/webapp:v{next(count)}")

    yield pair(
        "set_image / kustomize edit set image",
        edit(lambda image: _step("set_image", f"--kustomization-dir={package}", "--", image)),
        edit(lambda image: _run(kustomize, "edit", "set", "image", image, cwd=package)),
        2,
    )
    real = sorted((ROOT.parent / "shared/data/kustomizations").glob("*.yaml"))
    if not real:
        print("set_image in many directories: not measured: there are no real files", flush=True)
        return
    images: dict[Path, str] = {}
    for path in real:
        package = directory / path.stem
        package.mkdir()
        shutil.copy(path, package / "kustomization.yaml")
        entries = yaml.load(path.read_bytes(), Loader=yaml.CBaseLoader)["images"]  # noqa: S506 - texts only
        images[package] = next((entry["name"] for entry in entries if "$(" not in entry["name"]), "app")

    def edit_each(set_image: Callable[[Path, str], object]) -> Callable[[], None]:
        def run() -> None:
            tag = f"v{next(count)}"
            for package, name in images.items():
                set_image(package, f"{name}=*:{tag}")

        return run

    yield pair(
        f"set_image on {len(images)} real files, one process / kustomize edit set image each",
        edit_each(lambda package, image: set_image(ImageEdit.parse(image), kustomization_dir=(package,))),
        edit_each(lambda package, image: _run(kustomize, "edit", "set", "image", image, cwd=package)),
        0.033,
        runs=5,
    )


def contexts(directory: Path) -> Iterator[Row]:
    """Packing a source tree."""
    numbers = random.Random(1)  # noqa: S311 - a tree like any other
    words = [bytes(numbers.choices(b"abcdefghijklmnopqrstuvwxyz", k=numbers.randint(2, 12))) for _ in range(5000)]

    def text(size: int) -> bytes:
        return b" ".join(numbers.choices(words, k=size // 7))[:size]

    small, large = directory / "small", directory / "large"
    for number in range(6000):
        path = small / f"package{number // 40}" / f"module{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text(numbers.randint(200, 6000)))
    large.mkdir()
    for number in range(3):
        (large / f"text{number}").write_bytes(text(20_000_000))
        (large / f"model{number}").write_bytes(numbers.randbytes(20_000_000))
    for tree, title, wanted in ((small, "6,000 small files", 1), (large, "three texts and three models of 20 MB", 0.5)):
        (tree / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
        peer = 'tar c -C "$1" . | gzip > "$2"'
        yield pair(
            f"prepare_build_context / tar c | gzip, {title}",
            partial(
                _step, "prepare_build_context", f"--source-dir={tree}", f"--destination={directory / 'ours.tar.gz'}"
            ),
            partial(_run, "sh", "-c", peer, "sh", tree, directory / "peer.tar.gz"),
            wanted,
            runs=5,
        )


def pull_requests(directory: Path) -> Iterator[Row]:
    """A changed tree becomes a pull request: fetch, commit, push, open."""
    with Sandbox(directory / "world") as world:
        commit = world.add_repository("example/manifests", example("manifests"))
        github, url = world.github, world.url("example/manifests")
        host = github.url.removeprefix("http://")
        token, home = directory / "token", directory / "home"
        token.write_text(TOKEN)
        home.mkdir()
        (home / "hub").write_text(f"{host}:\n- user: {BOT}\n  oauth_token: {TOKEN}\n  protocol: http\n")
        (home / ".gitconfig").write_text(
            f"[user]\n\tname = bot\n\temail = bot@example.com\n[credential]\n\thelper = store\n[hub]\n\thost = {host}\n"
        )
        (home / ".git-credentials").write_text(f"http://{BOT}:{TOKEN}@{host}\n")
        hub = {**ENVIRONMENT, "HOME": str(home), "GITHUB_HOST": host, "HUB_CONFIG": str(home / "hub")}

        def clone(tree: Path) -> None:
            shutil.rmtree(tree, ignore_errors=True)
            _run("git", "clone", "--quiet", "--depth=1", url, tree, environment=hub)
            (tree / "new").write_text(str(time.time_ns()))

        tree = directory / "tree"
        flags = [f"--repo-dir={tree}", f"--url={url}", "--base=main", f"--base-commit={commit}", "--version=main"]
        flags += [f"--github-url={github.url}", f"--github-token={token}"]
        ours, peer = [], []
        for number in range(6):
            clone(tree)
            application = [f"--application=app{number}", f"--message=Update app{number}"]
            ours.append(_measured(github, partial(_step, "open_pull_request", *flags, *application)))
            clone(tree)
            peer.append(
                _measured(github, partial(_run, "sh", "-c", HUB, "sh", f"hub{number}", cwd=tree, environment=hub))
            )
        what = "open_pull_request / git and hub 2.14 (fetch, push, list, open)"
        seconds = [[second for second, _ in runs[1:]] for runs in (ours, peer)]
        ratio = statistics.median(a / b for a, b in zip(*seconds, strict=True))
        ours_ms, peer_ms = (1000 * statistics.median(each) for each in seconds)
        yield Row(f"{what}, wall", ours_ms, peer_ms, ratio, 2)
        sent = [statistics.median(requests for _, requests in runs[1:]) for runs in (ours, peer)]
        yield Row(f"{what}, requests", sent[0], sent[1], sent[0] / sent[1], 1, "req")


# The fetch is ours, too: an update starts from the newest base.
HUB = """
git fetch --quiet --depth=1 origin main && git checkout --quiet -b "$1" FETCH_HEAD && git add --all &&
git commit --quiet --message="Update $1" && git push --quiet --force origin "$1" &&
hub pr list --head="example:$1" --base=main &&
hub pull-request --force --base=example:main --head="example:$1" --message="Update $1"
"""


def _measured(github: GitHub, call: Callable[[], object]) -> tuple[float, int]:
    """The seconds and the requests that a call takes."""
    before = len(github.requests)
    return _seconds(call), len(github.requests) - before


def runs(directory: Path) -> Iterator[Row]:
    """PipelineRuns of many applications, beside fetch, check-out and `git log` one after another, as kubeflow's apps-cd did."""
    if SEED.is_file():
        case = _Case(directory / "seed", SEED.read_text(encoding="utf-8"))
        kubeflow.make(SEED, case.remotes, commits=2500)
        yield case.row("48 pairs, 5 repositories, first time", limit=4)
        yield case.row("48 pairs, 5 repositories, nothing moved", limit=0.8, runs=5)
    else:
        print(f"create_runs, 48 pairs: not measured: {SEED} is not there", flush=True)
    case = _Case(directory / "generated", many.configuration())
    many.make(case.remotes)
    yield case.row("4,000 pairs, 50 repositories, first time")
    yield case.row("4,000 pairs, 50 repositories, nothing moved", limit=5, runs=3)
    many.move_one(case.remotes)
    yield case.row("4,000 pairs, 50 repositories, one branch of one moved")
    many.move(case.remotes)
    yield case.row("4,000 pairs, 50 repositories, everything moved", limit=30)
    yield Row("create_runs, 4,000 pairs, most memory / the most wanted", case.memory, 200, case.memory / 200, 1, "MiB")


def passes(directory: Path) -> Iterator[Row]:
    """Passes of reconcile with nothing moved, by a process of its own; GitHub and the API server are in this one.

    The first pass creates a run for each pair that can have one, and all of them go on.
    """
    if SEED.is_file():
        yield from _passes(directory / "seed", SEED, "kubeflow/manifests", _make_kubeflow, "48 pairs", 1)
    else:
        print(f"reconcile, 48 pairs: not measured: {SEED} is not there", flush=True)
    config = directory / "applications.yaml"
    config.write_text(many.configuration(), encoding="utf-8")
    yield from _passes(directory / "generated", config, "example/manifests", many.make, "4,000 pairs", 30)


def _make_kubeflow(remotes: Path) -> None:
    kubeflow.make(SEED, remotes, commits=2500)


def _passes(
    directory: Path, config: Path, pushed: str, make: Callable[[Path], None], what: str, limit: float
) -> Iterator[Row]:
    directory.mkdir()
    make(directory / "remotes")
    with (
        GitHub(directory / "github") as github,
        Kubernetes(directory, "apps-cd") as kubernetes,
        Followed(directory, config, pushed, github, kubernetes) as followed,
    ):
        followed.end_of_pass(1)
        first = followed.seconds
        followed.begin()
        measured = [followed.measured(number) for number in range(2, 7)]
        memory = followed.memory
    each = Measured(*(statistics.median(values) for values in zip(*measured, strict=True)))
    title = f"reconcile, {what}, nothing moved"
    yield Row(f"{title} / first pass", each.seconds, first, each.seconds / first, unit="s", limit=limit)
    yield Row(f"reconcile, {what}, most memory / the most wanted", memory, 200, memory / 200, 1, "MiB")
    for which, asked, others in (
        ("to the API server / writes", each.kubernetes, each.writes),
        ("to GitHub / those of 304", each.github, each.unchanged),
        ("of git / repositories", each.git, len(list((directory / "github").glob("*/*.git")))),
    ):
        yield Row(f"{title}, {which}", asked, others, asked / others if others else 0, unit="req")


class _Case:
    """A configuration, its repositories, and what is measured of them.

    Attributes:
        memory: the most that a run of ours had, MiB.
    """

    def __init__(self, directory: Path, configuration: str) -> None:
        directory.mkdir()
        self._directory, self._config = directory, directory / "applications.yaml"
        self._config.write_text(configuration, encoding="utf-8")
        self.remotes = directory / "remotes"
        self.memory = 0.0
        (directory / "gitconfig").write_text(f'[url "file://{self.remotes}/"]\n\tinsteadOf = https://github.com/\n')
        self._environment = {**ENVIRONMENT, "HOME": str(directory), "GIT_CONFIG_GLOBAL": str(directory / "gitconfig")}

    def row(self, what: str, *, limit: float | None = None, runs: int = 1) -> Row:
        """The median of some runs, each of ours followed by one of the peer's."""
        times = [(_seconds(self._ours), _seconds(self._peer)) for _ in range(runs)]
        ours, peer = (statistics.median(each) for each in zip(*times, strict=True))
        return Row(f"create_runs, {what}", ours, peer, ours / peer, unit="s", limit=limit)

    def _ours(self) -> None:
        places = [f"--src-dir={self._directory / 'src'}", f"--output-dir={self._directory / 'runs'}"]
        flags = [f"--config={self._config}", f"--template={ROOT / 'tekton/runs/apps-cd.yaml'}", "--format=json"]
        with (self._directory / "report").open("w") as report, (self._directory / "log").open("w") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "steps.create_runs", *places, *flags],
                cwd=ROOT, env=self._environment, stdout=report, stderr=log,
            )  # fmt: skip
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode not in (0, 1):
            raise subprocess.CalledProcessError(child.returncode, "create_runs")
        self.memory = max(self.memory, usage.ru_maxrss / 1024)

    def _peer(self) -> None:
        """For each version fetch and check out each repository, for each application ask git log."""
        told = applications.parse({self._config.name: self._config.read_text(encoding="utf-8")})
        pairs = [pair for pair in told.pairs if isinstance(pair, applications.Pair)]
        for version in dict.fromkeys(pair.version for pair in pairs):
            own = [pair for pair in pairs if pair.version == version]
            for place in dict.fromkeys(place for pair in own for place in (pair.source, pair.manifests)):
                tree = self._tree(place)
                if not tree.exists():
                    self._git(self._directory, "clone", "--quiet", place.repository.url, str(tree))
                self._git(tree, "fetch", "--quiet", "origin")
                self._git(tree, "checkout", "--quiet", "--force", f"origin/{place.branch}")
            for pair in own:
                self._git(
                    self._tree(pair.source), "log", "-1", "--format=%H", "HEAD", "--", pair.context, pair.dockerfile
                )

    def _tree(self, place: applications.Place) -> Path:
        return self._directory / "trees" / place.repository.path

    def _git(self, directory: Path, *arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=directory, env=self._environment, check=True, capture_output=True)


def main(wanted: Sequence[str]) -> None:
    """Print the table; the arguments choose groups of rows by name."""
    print(f"{'ours / peer':<74} {'ours':>9} {'peer':>9} {'':<4} {'ratio':>6} {'wanted':>7}")
    for group in (starts, edits, contexts, pull_requests, runs, passes):
        if wanted and group.__name__ not in wanted:
            continue
        with tempfile.TemporaryDirectory() as directory:
            try:
                for row in group(Path(directory)):
                    print(row, flush=True)
            except (go.MissingError, FileNotFoundError) as error:
                print(f"{group.__name__}: not measured: {error}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
