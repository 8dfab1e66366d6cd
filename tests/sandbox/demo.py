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
from tests.sandbox.registry import Registry
from tests.sandbox.runner import TEKTON, Files, Run
from tests.sandbox.tekton import Value
from tests.sandbox.world import Sandbox, example

FIRST_EDITION = str(example("webapp")["www/index.html"], "utf-8")
SECOND_EDITION = FIRST_EDITION.replace("first", "second")


@dataclass
class Demo:
    """What the demo does with the sandbox."""

    world: Sandbox

    def update(self, commit: str) -> tuple[Run, str]:
        """Run the Pipeline for a commit of the source; also the image it is to be pushed as."""
        image = self.world.image(f"example/webapp:vmain-g{commit[:8]}")
        params: dict[str, Value] = {
            "app-repo-url": self.world.url("example/webapp"),
            "app-repo-revision": commit,
            "image": image,
            "extra-args": [
                f"--build-arg=BASE={self.world.image('library/busybox:1')}",
                "--insecure",
                "--insecure-pull",
            ],
            "manifests-repo-url": self.world.url("example/manifests"),
            "github-url": self.world.github_url,
            "labels": "apps-cd",
        }
        secrets: dict[str, Files] = {"github-token": self.world.token(), "registry": {".dockerconfigjson": "{}"}}
        run = self.world.start(TEKTON / "runs/apps-cd.yaml", params, secrets)
        if not run.succeeded:
            sys.exit(run.describe())
        return run, image

    def show(self, run: Run, image: str) -> None:
        """Print the pull request as its reviewer sees it, and the image that it names, pulled back by digest."""
        (pull,) = self.world.pull_requests("example/manifests")
        name = image.removeprefix(f"{self.world.registry.address}/").rpartition(":")[0]
        digest = run.results["IMAGE_DIGEST"]
        print(f"\n{run.results['pull-request-url']}  ({pull.state})\n{pull.title}\n")
        print(_indented(pull.body or ""))
        print(_indented(self.world.diff("example/manifests", f"main...{pull.sha}")))
        page = self.world.registry.file_system(name, digest)["www/index.html"].decode()
        print(f"{name}@{digest}, pulled back, serves\n\n{_indented(page)}")

    def check(self, run: Run, image: str, operation: str, edition: str) -> None:
        """Fail unless the pull request and the image are what they should be."""
        digest = run.results["IMAGE_DIGEST"]
        tag = image.rpartition(":")[2]
        name = image.removesuffix(f":{tag}")
        (pull,) = self.world.pull_requests("example/manifests")
        changed = [
            line
            for line in self.world.diff("example/manifests", f"main...{pull.sha}").splitlines()
            if line[:1] in "+-" and not line.startswith(("+++", "---"))
        ]
        before = self.world.read("example/manifests", "main", "webapp/base/kustomization.yaml")
        after = self.world.read("example/manifests", pull.sha, "webapp/base/kustomization.yaml")
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
            "rendered manifests": (
                [
                    line
                    for line in (pull.body or "").splitlines()
                    if line[:2] in ("--", "++", "- ", "+ ") and ":" in line
                ],
                [
                    "--- webapp/base: Deployment webapp",
                    "+++ webapp/base: Deployment webapp",
                    "-      - image: ghcr.io/example/webapp:v0",
                    f"+      - image: {name}:{tag}@{digest}",
                ],
            ),
            "other bytes": (
                after.replace(f"    digest: {digest}\n", "").replace(name, "ghcr.io/example/webapp").replace(tag, "v0"),
                before,
            ),
            "digest": (self.world.registry.digest("example/webapp", tag), digest),
            "image": (self.world.registry.file_system("example/webapp", digest)["www/index.html"].decode(), edition),
            "built in the image": (
                self.world.registry.file_system("example/webapp", digest)["www/build.txt"].decode(),
                "built 1 file(s)\n",
            ),
            "GitHub's models": (self.world.violations, []),
        }
        for what, (found, wanted) in expected.items():
            if found != wanted:
                sys.exit(f"demo: {what}: {found!r} is not {wanted!r}")
        print(f"checked: {', '.join(expected)}")


def _indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())


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
    with tempfile.TemporaryDirectory(prefix="apps-cd-demo-") as directory, Sandbox(Path(directory, "world")) as world:
        world.images[kaniko.IMAGE] = containers.Kaniko(executor)
        world.output = _narrate
        busybox.put(world.registry)
        world.add_repository("example/manifests", example("manifests"))
        demo = Demo(world)
        _say("A commit of webapp's source becomes an image and a pull request")
        run, image = demo.update(world.add_repository("example/webapp", example("webapp")))
        demo.show(run, image)
        if check:
            demo.check(run, image, "created", FIRST_EDITION)
        _say("The source changes: the same pull request is updated")
        run, image = demo.update(world.push("example/webapp", {"www/index.html": SECOND_EDITION}))
        demo.show(run, image)
        if check:
            demo.check(run, image, "updated", SECOND_EDITION)
        _say(f"Done in {time.monotonic() - started:.0f} s")
        if not check and sys.stdin.isatty():
            input(f"Repositories and pull requests are at {world.github.url} until you press Enter. ")


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


if __name__ == "__main__":
    main()
