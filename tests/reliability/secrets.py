"""Credentials that are known by their text, the steps that take them, and a look at every place where none may be found.

What the registry's credentials do is seen by Kaniko alone; tests/cluster/test_secrets.py looks for those.
"""

import base64
import contextlib
import gzip
import json
import os
import subprocess
import threading
import types
import urllib.parse
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.reliability import children
from tests.reliability.children import ROOT, Parent
from tests.reliability.places import BOT, PATH, kustomization
from tests.sandbox import ssh
from tests.sandbox.bare_repository import environment as git_environment
from tests.sandbox.faults import BAD_DAY, Faults
from tests.sandbox.github import GitHub
from tests.sandbox.github_apps import private_key
from tests.sandbox.http_server import Call, Response, Server
from tests.sandbox.storage import Storage
from tests.sandbox.worktree import Worktree
from tests.steps.conftest import in_2026, process, publish

PERIOD = 0.005
"""Seconds from one look at all processes to the next."""
FAULTY = 10
"""How many runs meet faults."""
APP = 7361946
"""The number of our App, which the text of each token of its installations begins with."""

Texts = Mapping[str, str | bytes]
"""What there is to read, each by the name of its place."""


def encodings(canary: str) -> dict[str, bytes]:
    """How a text may stand in another one, by name; of base64 the part that what is around it leaves as it is."""
    raw = canary.encode()
    written = json.dumps(canary)[1:-1]
    quoted = urllib.parse.quote(canary, safe="")
    found = {
        "raw": raw,
        "URL": quoted.encode(),
        "URL, path": urllib.parse.quote(canary).encode(),
        "JSON": written.encode(),
        "JSON with \\/": written.replace("/", "\\/").encode(),
        "hex": raw.hex().encode(),
        "HEX": raw.hex().upper().encode(),
    }
    for before in range(3):
        start, end = -(-before * 8 // 6), (before + len(raw)) * 8 // 6
        text = base64.b64encode(bytes(before) + raw)[start:end]
        found[f"base64, {before} before"] = text
        found[f"base64url, {before} before"] = text.translate(bytes.maketrans(b"+/", b"-_"))
    return found


class Watch:
    """Looks for canaries: as a context manager in the processes that descend from this one, and where it is told to.

    Args:
        canaries: by the name of what they are.
        own: files, and directories of files, that are the credentials themselves.

    Attributes:
        seen: what was found in processes.
        samples: how often all processes were looked at.
        scanned: how many places were read: arguments, environments, texts and files.
    """

    def __init__(self, canaries: Mapping[str, str], own: Sequence[Path] = ()) -> None:
        self._patterns = [
            (f"{name} ({encoding})", pattern)
            for name, canary in canaries.items()
            for encoding, pattern in encodings(canary).items()
        ]
        self._own = own
        self.seen: list[str] = []
        self.samples = self.scanned = 0
        self._stopped = threading.Event()
        self._arguments: dict[str, bytes] = {}
        self._ours = {str(os.getpid())}
        self._others: set[str] = set()

    def __enter__(self) -> Self:
        self._others = set(_numbers()) - self._ours
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()

    def found(self, texts: Texts, directories: Iterable[Path]) -> list[str]:
        """Each canary in a text, or in a file below a directory: `NAME (ENCODING) in PLACE`."""
        found = [each for place, text in texts.items() for each in self._look(place, text)]
        for path in sorted(path for directory in directories for path in directory.rglob("*")):
            if path.is_file() and not path.is_symlink() and not any(map(path.is_relative_to, self._own)):
                content = path.read_bytes()
                found += self._look(str(path), str(path).encode() + b"\n" + content + b"\n" + _unpacked(content))
        return found

    def _look(self, place: str, text: str | bytes) -> list[str]:
        self.scanned += 1
        data = text.encode() if isinstance(text, str) else text
        return [f"{what} in {place}" for what, pattern in self._patterns if pattern in data]

    def _watch(self) -> None:
        while not self._stopped.wait(PERIOD):
            self.samples += 1
            numbers = _numbers()
            self._ours.intersection_update(numbers)  # a number is given out again
            self._others.intersection_update(numbers)
            self._arguments = {number: self._arguments[number] for number in self._arguments.keys() & self._ours}
            for number in numbers:
                with contextlib.suppress(OSError):  # it has ended meanwhile
                    if self._is_ours(number):
                        self._look_at(number)

    def _is_ours(self, number: str) -> bool:
        """Whether a process is this one or descends from it, which stays so."""
        if number in self._others:
            return False
        if number not in self._ours:
            parent = Path("/proc", number, "stat").read_text().rpartition(")")[2].split()[1]
            (self._ours if parent in self._ours else self._others).add(number)
        return number in self._ours and number != str(os.getpid())

    def _look_at(self, number: str) -> None:
        arguments = Path("/proc", number, "cmdline").read_bytes()
        if self._arguments.get(number) == arguments:
            return
        self._arguments[number] = arguments
        name = arguments.replace(b"\0", b" ").decode(errors="replace")
        self.seen += self._look(f"the arguments of {name}", arguments)
        self.seen += self._look(f"the environment of {name}", Path("/proc", number, "environ").read_bytes())


def _numbers() -> list[str]:
    return [name for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - every 5 ms


def _unpacked(content: bytes) -> bytes:
    """What a file of gzip, or of git's objects, holds; nothing for another one."""
    with contextlib.suppress(OSError, EOFError, zlib.error):
        return gzip.decompress(content)
    with contextlib.suppress(zlib.error):
        return zlib.decompress(content)
    return b""


CANARIES = {
    "token": 'ghp_"canary/of+the=token',
    "refused token": 'ghp_"canary/of+a?refused=token',
    "token of a stranger": 'ghp_"canary/of+a&stranger',
    "password": 'canary/of+a"password',
    "refused password": 'canary/of+a?refused"password',
    "token of an installation": f"ghs_{APP}_",
    "bucket token": 'ya29.canary/of+a"bucket',
    "broken key": 'canary/of+a"broken"key',
}
"""Those that we choose; keys are known by a line of theirs."""


def measure(directory: Path) -> Counter[str]:
    """Run every step that takes a credential, to its end and to failures, and look for the credentials everywhere else."""
    directory.mkdir(parents=True)
    with _Scene(directory) as scene:
        own = [scene.secrets, *([scene.ssh.root] if scene.ssh else [])]
        with Watch(scene.canaries, own) as watch:
            for run in (_open, _open_as_app, _open_over_ssh, _close, _clone, _pack, _open_on_a_bad_day):
                run(scene)
        found = [*watch.seen, *watch.found(scene.texts(), [directory])]
    return Counter(
        {
            "canaries": len(scene.canaries),
            "samples": watch.samples,
            "places scanned": watch.scanned,
            "runs": scene.runs,
            "runs that failed": scene.failed,
            "runs over ssh": scene.over_ssh,
            "found": len(found),
            **Counter(found),
        }
    )


@dataclass
class _Ssh:
    server: ssh.SshServer
    root: Path


@dataclass
class _Scene:
    """A GitHub that one may enter by token, App or ssh, a bucket and who gives out its tokens, and a line of runs.

    Attributes:
        logs: what the runs printed and logged.
    """

    directory: Path
    logs: dict[str, str | bytes] = field(default_factory=dict)
    runs: int = 0
    failed: int = 0
    over_ssh: int = 0
    refuses_keys: bool = False
    asked: list[bytes] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._open = contextlib.ExitStack()
        self.secrets, self.work = self.directory / "secrets", self.directory / "work"
        for each in (self.secrets, self.work, self.work / "tmp", self.work / "home"):
            each.mkdir()
        self.github = self._open.enter_context(GitHub(self.directory / "github"))
        self.storage = self._open.enter_context(Storage())
        self.storage.create_bucket("contexts")
        google = Server("127.0.0.1", 0, self._give_token)
        self._open.callback(google.close)
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.work / "home"),
            "TMPDIR": str(self.work / "tmp"),
            "STORAGE_EMULATOR_HOST": self.storage.url,
        }
        self.parent = self._open.enter_context(Parent(self.work / "children", self.environment))
        self.github.add_user("example", organization=True)
        self.github.add_user("alice", token="token-of-alice")
        self.github.add_user(BOT, token=CANARIES["token"])
        self.github.add_user(BOT, token=CANARIES["password"])
        self.github.add_user("stranger", token=CANARIES["token of a stranger"])
        key = self.github.add_app("updater", app_id=APP, owners=None)
        self.canaries = {**CANARIES, "key of the App": _line(key), "key of the bucket": _line(_ANOTHER_KEY)}
        for name in ("token", "refused token", "token of a stranger"):
            self.secret(name.replace(" ", "-"), token=CANARIES[name])
        self.secret("app", **{"app-id": str(APP), "private-key": key})
        self.secret("refused-app", **{"app-id": str(APP), "private-key": _ANOTHER_KEY})
        self.google_key = {
            "type": "service_account",
            "client_email": "robot@example.iam.gserviceaccount.com",
            "private_key_id": "0123456789abcdef",
            "private_key": _ANOTHER_KEY,
            "token_uri": f"{google.url}/token",
        }
        self.secret("google", **{"key.json": json.dumps(self.google_key)})
        self._history = in_2026(Worktree(self.work / "history"))
        self._history.commit(
            "one", {PATH: kustomization("v0"), "Dockerfile": "FROM scratch\nCOPY . /\n", "data": "1\n"}
        )
        self.ssh = self._enter_ssh()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        self._open.close()

    def _enter_ssh(self) -> _Ssh | None:
        if ssh.PROGRAM is None:
            return None
        server = self._open.enter_context(ssh.SshServer(self.directory / "github"))
        server.credentials(self.secrets / "ssh")
        self.canaries["key of ssh"] = _line((self.secrets / "ssh" / "ssh-privatekey").read_text())
        other = self.secrets / "other-key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
        known_hosts = (self.secrets / "ssh" / "known_hosts").read_text()
        self.secret("refused-ssh", **{"ssh-privatekey": other.read_text(), "known_hosts": known_hosts})
        elsewhere = {"ssh-privatekey": (self.secrets / "ssh" / "ssh-privatekey").read_text()}
        self.secret("ssh-of-another-host", **elsewhere, known_hosts=f"elsewhere {known_hosts.partition(' ')[2]}")
        self.canaries["refused key of ssh"] = _line(other.read_text())
        return _Ssh(server, self.directory / "github" / ".ssh")

    def secret(self, name: str, **files: str) -> Path:
        directory = self.secrets / name
        directory.mkdir()
        for file, text in files.items():
            (directory / file).write_text(text)
        return directory

    def _give_token(self, call: Call) -> Response:
        self.asked.append(call.body.read())
        if self.refuses_keys:
            body = {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
            return Response(400, {"Content-Type": "application/json"}, json.dumps(body).encode())
        body = {"access_token": CANARIES["bucket token"], "expires_in": "3600", "token_type": "Bearer"}
        return Response(200, {"Content-Type": "application/json"}, json.dumps(body).encode())

    def repository(self, name: str, *, private: bool = False) -> Path:
        bare = self.github.add_repository(f"example/{name}", private=private, writers=["alice", BOT])
        publish(self._history.path, bare)
        return bare

    def tree(self, name: str, number: int) -> Path:
        tree = self.work / "trees" / f"{name}-{number}"
        for path, text in {PATH: kustomization(f"v{number}"), "Dockerfile": "FROM scratch\nCOPY . /\n"}.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(text)
        (tree / "data").write_text("1\n")
        return tree

    def run(self, step: str, *, succeeds: bool, **flags: Any) -> None:
        """Run a step as a process, which is to end as it is said."""
        results = self.work / "results" / str(self.runs)
        results.mkdir(parents=True)
        flags |= {name: results / name for name in _RESULTS[step]}
        environment = {**self.environment, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
        with process(step, environment=environment, **flags) as child:
            stdout, stderr = child.communicate()
        self.note(f"{step} {self.runs}", child.returncode, f"{stdout}{stderr}")
        assert (child.returncode == 0) == succeeds, stderr

    def note(self, name: str, code: int, log: str) -> None:
        self.logs[f"the log of {name}"] = log
        self.runs += 1
        self.failed += code != 0

    def proposal(self, name: str, number: int, **credentials: Path) -> dict[str, Any]:
        """What open_pull_request is given, for a repository of that name."""
        bare = self.directory / "github" / "example" / f"{name}.git"
        return {
            "repo_dir": self.tree(name, number),
            "url": f"{self.github.url}/example/{name}.git",
            "base": "main",
            "base_commit": (bare / "refs" / "heads" / "main").read_text().strip(),
            "application": "web",
            "image": f"web:v{number}",
            "labels": "apps-cd",
            "github_url": self.github.url,
            **credentials,
        }

    def texts(self) -> Texts:
        """What servers were sent and hold, beside what the runs printed."""
        found = dict(self.logs)
        for number, request in enumerate(self.github.requests):
            found[f"request {number}, {request.method} {request.path}"] = request.path.encode() + request.body
        found |= {f"request {number} for a token of the bucket": body for number, body in enumerate(self.asked)}
        for name, content in self.storage.objects("contexts").items():
            found[f"object {name}"] = name.encode() + content + _unpacked(content)
        repositories = sorted(path for path in self.directory.rglob("objects") if (path.parent / "refs").is_dir())
        for objects in repositories:
            found[f"the objects of {objects.parent}"] = _objects(objects.parent)
        for bare in sorted((self.directory / "github" / "example").glob("*.git")):
            for pull in self.github.pull_requests(f"example/{bare.stem}"):
                found[f"pull request {pull.number} of {bare.stem}"] = repr(pull)
        return found


_ANOTHER_KEY = private_key.__wrapped__()
"""A key that is none of GitHub's Apps."""
_RESULTS = {
    "open_pull_request": ("pull_request_url_result", "pull_request_number_result", "operation_result"),
    "close_superseded_pull_requests": ("closed_result",),
    "clone_repository": ("commit_result", "url_result", "committer_date_result"),
    "prepare_build_context": ("context_result", "context_digest_result", "dockerfile_result"),
}


def _objects(repository: Path) -> bytes:
    """All that git has there, without compression."""
    command = ["git", "cat-file", "--batch-all-objects", "--batch", "--unordered"]
    return subprocess.run(command, cwd=repository, env=git_environment(), check=True, capture_output=True).stdout


def _line(key: str) -> str:
    """A line of a key in PEM, which all of it is known by: not the first, in which the form of keys is told."""
    return key.splitlines()[-2 if len(key.splitlines()) < 10 else 8]


def _open(scene: _Scene) -> None:
    """With a token: what becomes of an update in all its ways, and tokens that GitHub does not take."""
    bare = scene.repository("token")
    token = scene.secrets / "token"
    scene.run("open_pull_request", succeeds=True, **scene.proposal("token", 1, github_token=token))
    scene.run("open_pull_request", succeeds=True, **scene.proposal("token", 2, github_token=token / "token"))
    scene.run("open_pull_request", succeeds=False, **scene.proposal("token", 3, github_token=scene.secrets / "app"))
    for refused in ("refused-token", "token-of-a-stranger"):
        flags = scene.proposal("token", 3, github_token=scene.secrets / refused)
        scene.run("open_pull_request", succeeds=False, **flags)
    # What git says, when a commit is not there, goes into the log, too.
    flags = scene.proposal("token", 3, github_token=token) | {"base_commit": "0" * 39 + "1"}
    scene.run("open_pull_request", succeeds=False, **flags)
    branch = "refs/heads/apps-cd/main/web"
    made = ["-c", "user.name=alice", "-c", "user.email=alice@example.com", "commit-tree", f"{branch}^{{tree}}"]
    sha = _git(bare, *made, "-p", branch, "-m", "By hand")
    _git(bare, "update-ref", branch, sha)
    scene.run("open_pull_request", succeeds=False, **scene.proposal("token", 3, github_token=token))
    scene.repository("closed")
    scene.github.archive_repository("example/closed")
    scene.run("open_pull_request", succeeds=False, **scene.proposal("closed", 1, github_token=token))


def _open_as_app(scene: _Scene) -> None:
    scene.repository("app")
    app = scene.secrets / "app"
    scene.run("open_pull_request", succeeds=True, **scene.proposal("app", 1, github_app=app))
    scene.github.expire_tokens()
    scene.run("open_pull_request", succeeds=True, **scene.proposal("app", 2, github_app=app))
    flags = scene.proposal("app", 3, github_app=scene.secrets / "refused-app")
    scene.run("open_pull_request", succeeds=False, **flags)
    broken = scene.secret("broken-app", **{"app-id": str(APP), "private-key": f"{CANARIES['broken key']}\n"})
    scene.run("open_pull_request", succeeds=False, **scene.proposal("app", 3, github_app=broken))


def _open_over_ssh(scene: _Scene) -> None:
    if scene.ssh is None:
        return
    scene.repository("ssh")
    for number, name in enumerate(("ssh", "refused-ssh", "ssh-of-another-host"), 1):
        flags = scene.proposal("ssh", number, github_token=scene.secrets / "token", credentials=scene.secrets / name)
        scene.run(
            "open_pull_request",
            succeeds=name == "ssh",
            **flags | {"url": scene.ssh.server.url("example/ssh")},
        )
        scene.over_ssh += 1


def _close(scene: _Scene) -> None:
    bare = scene.repository("superseded")
    flags = {"url": f"{scene.github.url}/example/superseded.git", "github_url": scene.github.url}
    for number, secret in enumerate(({"github_token": scene.secrets / "token"}, {"github_app": scene.secrets / "app"})):
        for head in (None, f"new-{number}"):
            more = {"version": f"v{number}", "head": head}
            scene.run("open_pull_request", succeeds=True, **scene.proposal("superseded", 1, **secret) | more)
        scene.run("close_superseded_pull_requests", succeeds=True, **flags, **secret)
        gone = f"refs/heads/apps-cd/v{number}/web"
        assert not _git(bare, "for-each-ref", gone), f"{gone} is to be gone"
    for name in ("refused-token", "token-of-a-stranger"):
        # A stranger has nothing to close.
        succeeds = name == "token-of-a-stranger"
        step = "close_superseded_pull_requests"
        scene.run(step, succeeds=succeeds, **flags, github_token=scene.secrets / name)
    app = scene.secrets / "refused-app"
    scene.run("close_superseded_pull_requests", succeeds=False, **flags, github_app=app)


def _clone(scene: _Scene) -> None:
    scene.repository("private", private=True)
    url = f"{scene.github.url}/example/private.git"
    secrets = [scene.secrets / "token", scene.secrets / "refused-token", scene.secrets / "token-of-a-stranger"]
    for name in ("token", "password"):
        for prefix in ("", "refused "):
            canary = CANARIES[f"{prefix}{name}"]
            host = scene.github.url.removeprefix("http://")
            store = f"http://{BOT}:{urllib.parse.quote(canary, safe='')}@{host}\n"
            directory = f"{prefix}store of {name}".replace(" ", "-")
            secrets.append(scene.secret(directory, **{".git-credentials": store}))
    secrets.append(scene.secret("basic", username=BOT, password=CANARIES["password"]))
    secrets.append(scene.secret("refused-basic", username=BOT, password=CANARIES["refused password"]))
    urls = dict.fromkeys(secrets, url)
    if scene.ssh:
        names = ("ssh", "refused-ssh", "ssh-of-another-host")
        urls |= {scene.secrets / name: scene.ssh.server.url("example/private") for name in names}
        scene.over_ssh += len(names)
    for secret, address in urls.items():
        succeeds = secret.name in ("token", "basic", "ssh", "store-of-token", "store-of-password")
        flags = {"url": address, "revision": "main", "destination": scene.work / "clones" / secret.name}
        scene.run("clone_repository", succeeds=succeeds, **flags, credentials=secret)


def _pack(scene: _Scene) -> None:
    flags = {"source_dir": scene.tree("packed", 1), "destination": "gs://contexts/web"}
    key = scene.secrets / "google"
    scene.run("prepare_build_context", succeeds=True, **flags, google_credentials=key)
    scene.run("prepare_build_context", succeeds=True, **flags, google_credentials=key / "key.json")
    missing = flags | {"destination": "gs://missing/web"}
    scene.run("prepare_build_context", succeeds=False, **missing, google_credentials=key)
    assert len(scene.asked) >= 3, "the key is to be used"
    scene.refuses_keys = True
    scene.run("prepare_build_context", succeeds=False, **flags, google_credentials=key)
    broken = {
        "no-json": f"{{{CANARIES['broken key']}",
        "no-key": json.dumps(scene.google_key | {"private_key": CANARIES["broken key"]}),
        "no-account": json.dumps({"type": "none", "private_key": CANARIES["broken key"]}),
    }
    for name, text in broken.items():
        secret = scene.secret(name, **{"key.json": text})
        scene.run("prepare_build_context", succeeds=False, **flags, google_credentials=secret)


def _open_on_a_bad_day(scene: _Scene) -> None:
    """Under faults, on a clock that runs faster."""
    for seed in range(FAULTY):
        name = f"faulty-{seed}"
        scene.repository(name)
        secret = {"github_app": scene.secrets / "app"} if seed % 2 else {"github_token": scene.secrets / "token"}
        scene.github.faults = Faults(BAD_DAY, seed, clock=children.clock)
        for number in (1, 2):
            ended = scene.parent.run("open_pull_request", scene.proposal(name, number, **secret))
            scene.note(f"{name}, {number}", ended.code, f"{ended.stdout}{ended.log}")
        flags = {"url": f"{scene.github.url}/example/{name}.git", "github_url": scene.github.url}
        ended = scene.parent.run("close_superseded_pull_requests", {**flags, **secret})
        scene.note(f"{name}, close", ended.code, f"{ended.stdout}{ended.log}")
        scene.github.faults = None


def _git(bare: Path, *arguments: str) -> str:
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=bare, env=git_environment(), check=True, capture_output=True, text=True)
    return done.stdout.strip()
