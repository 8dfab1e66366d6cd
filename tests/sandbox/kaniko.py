"""Runs the real Kaniko without a cluster: its executor in a chroot of its own, or its image in Docker or Podman.

The executor unpacks base images over `/`, and on any machine with a /.dockerenv it believes to be in a container of its
own and skips its refusal. So it is never started outside a chroot: `_CHROOT` is the only thing here that starts it, in a
mount namespace, on a fresh tmpfs, and after a look that this is not the machine's root.
"""

import os
import posixpath
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import sh

from tests.sandbox import go

IMAGE = "ghcr.io/osscontainertools/kaniko:v1.28.3"

_ENVIRONMENT = {  # of Kaniko's own image
    "HOME": "/root",
    "USER": "root",
    "PATH": "/usr/local/bin:/kaniko",
    "SSL_CERT_DIR": "/kaniko/ssl/certs",
    "DOCKER_CONFIG": "/kaniko/.docker/",
}
_SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

# Arguments: an empty directory, the executor, pairs of a directory and where it goes, `--`, the executor's arguments.
# What is a mount is left out of images: the device files, resolv.conf and hosts as much as the given directories.
_CHROOT = """
set -eu
trap '[ $? = 0 ] || exit 125' EXIT
root=$1 executor=$2
shift 2
refuse_machine() {
  if [ "$(stat -L -c %d:%i "$1")" = "$(stat -c %d:%i /)" ]; then
    echo "$root is the root of this machine: Kaniko would overwrite it" >&2
    exit 1
  fi
}
refuse_machine "$root"  # before anything is written
mount -t tmpfs -o mode=755 tmpfs "$root"
cd "$root"
mkdir -p proc dev tmp etc root workspace kaniko/.docker kaniko/ssl/certs
chmod 1777 tmp
mount -t proc proc proc
mount -t tmpfs -o mode=755 tmpfs dev
for name in null zero full random urandom tty; do
  : > dev/$name
  mount --bind /dev/$name dev/$name
done
for name in resolv.conf hosts; do
  cat /etc/$name > etc/$name
  mount --bind etc/$name etc/$name
done
for name in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt; do
  [ ! -f $name ] || cp $name kaniko/ssl/certs/
done
: > kaniko/executor
mount --bind "$executor" kaniko/executor
while [ "$1" != -- ]; do
  mkdir -p "./$2"
  mount --bind "$1" "./$2"
  shift 2
done
shift
refuse_machine .
PATH=$PATH_INSIDE
unset PATH_INSIDE
exec /usr/sbin/chroot . /kaniko/executor --force "$@"
"""


class KanikoError(Exception):
    """Kaniko cannot run on this machine; the message says why and what to install."""


@dataclass(frozen=True)
class Chroot:
    """An executor that was built here, and the command that gives this user namespaces of its own."""

    executor: Path
    unshare: tuple[str, ...]


@dataclass(frozen=True)
class Container:
    """A container engine that runs Kaniko's image: `docker` or `podman`."""

    engine: str


Executor = Chroot | Container


def find() -> Chroot | None:
    """The executor built earlier, if there is one and it can run."""
    executor = go.built("kaniko")
    return Chroot(executor, _namespaces()) if executor.is_file() else None


def find_or_build() -> Executor:
    """A Kaniko that runs here: built with Go (a minute or two, then kept under `.cache`), else a container engine's."""
    problems = []
    try:
        unshare = _namespaces()
        return Chroot(go.program("kaniko"), unshare)
    except (KanikoError, go.MissingError) as error:
        problems.append(str(error))
    for engine in ("docker", "podman"):
        try:
            sh.Command(engine)("info", _out=os.devnull)
        except sh.CommandNotFound:
            problems.append(f"there is no {engine}")
        except sh.ErrorReturnCode as error:
            problems.append(f"`{engine} info` failed: {_text(error.stderr)}")
        else:
            return Container(engine)
    raise KanikoError("Kaniko cannot run here; one way of these must be open:\n- " + "\n- ".join(problems))


def _to_stderr(line: str) -> None:
    sys.stderr.write(line)


def run(
    executor: Executor,
    arguments: Sequence[str],
    *,
    mounts: Mapping[str, Path],
    environment: Mapping[str, str],
    log: Callable[[str], None] = _to_stderr,
) -> int:
    """Run Kaniko as a step's container would, and return its exit code. Nothing stays but what it wrote into `mounts`.

    125 stands for a chroot that could not be set up, as for a container that `docker run` could not. Kaniko shares
    this machine's network, so a registry of the sandbox has the same address inside.

    Args:
        executor: from `find_or_build`.
        arguments: the executor's own.
        mounts: directories of this machine by their path inside, such as `/workspace`.
        environment: variables besides, or in place of, those of Kaniko's image.
        log: called with each line of output, the newline included.
    """
    for target in mounts:
        if posixpath.normpath(target) != target or not target.startswith("/") or target.strip("/") == "":
            raise ValueError(f"{target!r} is not an absolute path below / without `..`")
    if isinstance(executor, Container):
        volumes = [f"--volume={source.resolve()}:{target}" for target, source in mounts.items()]
        variables = [f"--env={name}={value}" for name, value in environment.items()]
        command = [executor.engine, "run", "--rm", "--network=host", *volumes, *variables, IMAGE, *arguments]
        return _stream(command, dict(os.environ), log)
    root = executor.executor.with_name("root")  # always empty: each run sees a tmpfs of its own there
    root.mkdir(exist_ok=True)
    pairs = [part for target, source in mounts.items() for part in (str(source.resolve()), target)]
    script = ["/bin/sh", "-c", _CHROOT, "kaniko", str(root), str(executor.executor), *pairs, "--", *arguments]
    inside = _ENVIRONMENT | dict(environment)
    outside = inside | {"PATH": _SYSTEM_PATH, "PATH_INSIDE": inside["PATH"]}
    return _stream([*executor.unshare, *script], outside, log)


def _stream(command: Sequence[str], environment: dict[str, str], log: Callable[[str], None]) -> int:
    program, *arguments = command
    process = sh.Command(program)(
        *arguments,
        _env=environment,
        _out=log,
        _err_to_out=True,
        _tty_out=False,
        _decode_errors="replace",
        _new_session=False,
        _bg=True,
        _bg_exc=False,
    )
    try:
        process.wait()
    except sh.ErrorReturnCode as error:
        return int(error.exit_code)
    except BaseException:
        process.kill()
        raise
    return 0


def _namespaces() -> tuple[str, ...]:
    """How this user makes mount and process namespaces: as root, or as the root of a user namespace."""
    common = ("setpriv", "--pdeathsig=KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child")
    namespace_of_users = [("--map-root-user", "--map-auto"), ("--map-root-user",)]
    refusal = ""
    for identity in [(), *namespace_of_users] if os.geteuid() == 0 else namespace_of_users:
        probe = 'mount -t tmpfs tmpfs "$1" && mkdir "$1/proc" && mount -t proc proc "$1/proc"'
        with tempfile.TemporaryDirectory() as directory:
            try:
                sh.Command(common[0])(
                    *common[1:], *identity, "/bin/sh", "-c", probe, "probe", directory, _env={"PATH": _SYSTEM_PATH}
                )
            except sh.CommandNotFound:
                raise KanikoError("for a chroot, `setpriv` and `unshare` are missing: install util-linux") from None
            except sh.ErrorReturnCode as error:
                refusal = _text(error.stderr)
                continue
        return (*common, *identity)
    raise KanikoError(f"for a chroot, this user may not make namespaces and mounts (`unshare`): {refusal}")


def _text(output: bytes) -> str:
    return output.decode(errors="replace").strip()
