"""`make demo`: one update, end to end, on real parts, and a second one that updates the first one's pull request.

Real git, this checkout's steps, Tasks and Pipeline, real Kaniko; GitHub, the registry and the cluster are the sandbox's.
With `--check` it is a test: it asks nothing, and fails unless all came out as it should.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.sandbox import busybox, containers, go, kaniko
from tests.sandbox.github import GitHub
from tests.sandbox.registry import Registry
from tests.sandbox.runner import TEKTON, Run, Runner
from tests.sandbox.tekton import Value
from tests.sandbox.worktree import Worktree

EXAMPLE = Path(__file__).parent / "example"
TOKEN = "token-of-the-bot"
SECOND_EDITION = "<!doctype html>\n<title>webapp</title>\n<h1>Hello, second edition</h1>\n"


@dataclass
class Demo:
    """What the demo needs of the world."""

    github: GitHub
    registry: Registry
    runner: Runner
    bare: Path
    source: Worktree

    def update(self) -> tuple[Run, str]:
        """Run the Pipeline for the source's tip; also the image it is to be pushed as."""
        commit = self.source.git("rev-parse", "HEAD")
        image = f"{self.registry.address}/example/webapp:vmain-g{commit[:8]}"
        params: dict[str, Value] = {
            "app-repo-url": f"{self.github.url}/example/webapp.git",
            "app-repo-revision": commit,
            "image": image,
            "extra-args": [
                f"--build-arg=BASE={self.registry.address}/library/busybox:1",
                "--insecure",
                "--insecure-pull",
            ],
            "manifests-repo-url": f"{self.github.url}/example/manifests.git",
            "github-url": self.github.url,
            "labels": "apps-cd",
        }
        secrets = {"github-token": {"token": TOKEN}, "registry": {".dockerconfigjson": "{}"}}
        run = self.runner.run(TEKTON / "runs/apps-cd.yaml", params=params, secrets=secrets)
        if not run.succeeded:
            sys.exit(run.describe())
        return run, image

    def show(self, run: Run, image: str) -> None:
        """Print the pull request as its reviewer sees it, and the image that it names, pulled back by digest."""
        (pull,) = self.github.pull_requests("example/manifests")
        name, digest = image.removeprefix(f"{self.registry.address}/").rpartition(":")[0], run.results["IMAGE_DIGEST"]
        print(f"\n{run.results['pull-request-url']}  ({pull.state})\n{pull.title}\n")
        print(_indented(pull.body or ""))
        print(_indented(self.diff()))
        page = self.registry.file_system(name, digest)["www/index.html"].decode()
        print(f"{name}@{digest}, pulled back, serves\n\n{_indented(page)}")

    def diff(self) -> str:
        """The pull request's."""
        (pull,) = self.github.pull_requests("example/manifests")
        return _git("-C", str(self.bare), "diff", f"main...{pull.sha}")

    def check(self, run: Run, image: str, operation: str, edition: str) -> None:
        """Fail unless the pull request and the image are what they should be."""
        digest = run.results["IMAGE_DIGEST"]
        tag = image.rpartition(":")[2]
        name = image.removesuffix(f":{tag}")
        (pull,) = self.github.pull_requests("example/manifests")
        changed = [
            line for line in self.diff().splitlines() if line[:1] in "+-" and not line.startswith(("+++", "---"))
        ]
        before = _git("-C", str(self.bare), "show", "main:webapp/base/kustomization.yaml")
        after = _git("-C", str(self.bare), "show", f"{pull.sha}:webapp/base/kustomization.yaml")
        expected = {
            "operation": (run.tasks["update-manifests"].results["operation"], operation),
            "pull request": (
                (pull.number, pull.state, pull.title),
                (1, "open", f"[auto PR] Update the webapp image to tag {tag}"),
            ),
            "labels": (pull.labels, ("apps-cd",)),
            "diff": (
                changed,
                [
                    "-    newName: ghcr.io/example/webapp",
                    "-    newTag: v0",
                    f"+    newName: {name}",
                    f"+    newTag: {tag}",
                    f"+    digest: {digest}",
                ],
            ),
            "other bytes": (
                after.replace(f"    digest: {digest}\n", "").replace(name, "ghcr.io/example/webapp").replace(tag, "v0"),
                before,
            ),
            "digest": (self.registry.digest("example/webapp", tag), digest),
            "image": (self.registry.file_system("example/webapp", digest)["www/index.html"].decode(), edition),
            "built in the image": (
                self.registry.file_system("example/webapp", digest)["www/build.txt"].decode(),
                "built 1 file(s)\n",
            ),
            "GitHub's models": (self.github.violations, []),
        }
        for what, (found, wanted) in expected.items():
            if found != wanted:
                sys.exit(f"demo: {what}: {found!r} is not {wanted!r}")
        print(f"checked: {', '.join(expected)}")


def _indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout


def _say(text: str) -> None:
    print(f"\n== {text}", flush=True)


def _narrate(task: str, step: str, line: str) -> None:
    """Print what a step logs."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        line = json.loads(line)["message"]
    if line.strip():
        print(f"   {task} / {step}: {line.rstrip()}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="assert what came out, and ask nothing")
    check = parser.parse_args().check
    started = time.monotonic()
    _say("Kaniko, really: its executor in a chroot of its own")
    try:
        _busybox()
        executor = kaniko.find_or_build()
    except (kaniko.KanikoError, busybox.MissingError, go.MissingError) as error:
        sys.exit(f"demo: {error}")
    with (
        tempfile.TemporaryDirectory(prefix="apps-cd-demo-") as directory,
        GitHub(Path(directory, "github")) as github,
        Registry() as registry,
    ):
        demo = _world(Path(directory), github, registry, executor)
        _say("A commit of webapp's source becomes an image and a pull request")
        run, image = demo.update()
        demo.show(run, image)
        if check:
            demo.check(run, image, "created", (EXAMPLE / "webapp/www/index.html").read_text())
        _say("The source changes: the same pull request is updated")
        demo.source.commit("A second edition", {"www/index.html": SECOND_EDITION})
        demo.source.git("push", "--quiet", "origin", "main")
        run, image = demo.update()
        demo.show(run, image)
        if check:
            demo.check(run, image, "updated", SECOND_EDITION)
        _say(f"Done in {time.monotonic() - started:.0f} s")
        if not check and sys.stdin.isatty():
            input(f"Repositories and pull requests are at {github.url} until you press Enter. ")


def _busybox() -> None:
    """See that a base image can be packed; as root on Debian, by installing it."""
    try:
        with Registry() as registry:
            busybox.put(registry)
    except busybox.MissingError:
        if os.geteuid() != 0 or not shutil.which("apt-get"):
            raise
        _say("Installing busybox-static")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update", "-qq"], ["install", "-qq", "--yes", "--no-install-recommends", "busybox-static"]):
            subprocess.run(["apt-get", *command], check=True, stdout=subprocess.DEVNULL, env=environment)


def _world(directory: Path, github: GitHub, registry: Registry, executor: kaniko.Executor) -> Demo:
    github.add_user("example", organization=True)
    github.add_user("apps-cd-bot", token=TOKEN)
    busybox.put(registry)
    trees = {}
    for name in ("webapp", "manifests"):
        bare = github.add_repository(f"example/{name}", writers=["apps-cd-bot"])
        shutil.copytree(EXAMPLE / name, directory / name)
        tree = trees[name] = Worktree(directory / name)
        tree.git("init", "--quiet", "--template=", "--initial-branch=main")
        tree.git("remote", "add", "origin", str(bare))
        tree.commit(f"The first of {name}")
        tree.git("push", "--quiet", "origin", "main")
    runner = Runner(images={kaniko.IMAGE: containers.Kaniko(executor)}, output=_narrate)
    return Demo(github, registry, runner, bare, trees["webapp"])


if __name__ == "__main__":
    main()
