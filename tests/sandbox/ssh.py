"""Git over SSH: OpenSSH's own server, on a free port, over the same bare repositories."""

import contextlib
import getpass
import shutil
import socketserver
import subprocess
import threading
import types
import typing
from pathlib import Path

PROGRAM = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
"""Where sshd is, which wants to be called by its absolute path; None when it is not installed."""

_CONFIGURATION = """\
HostKey {root}/host-key
AuthorizedKeysFile {root}/user-key.pub
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
AcceptEnv GIT_PROTOCOL
LogLevel ERROR
ForceCommand exec sh {root}/serve
"""

# What a client asks for comes as git-upload-pack '/OWNER/NAME.git'; nothing but git's two services is run.
_SERVE = """\
set -f
service=${{SSH_ORIGINAL_COMMAND%% *}}
path=${{SSH_ORIGINAL_COMMAND#* }}
path=${{path#\\'}}
path=${{path%\\'}}
path=${{path#/}}
case $service:$path in
git-upload-pack:*..* | git-receive-pack:*..*) exit 1 ;;
git-upload-pack:* | git-receive-pack:*) ;;
*) exit 1 ;;
esac
if [ ! -d "{repositories}/${{path%.git}}.git" ]; then
  echo 'ERROR: Repository not found.' >&2
  exit 1
fi
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null
exec git "${{service#git-}}" "{repositories}/${{path%.git}}.git"
"""


class SshServer:
    """The server, as a context manager: it listens from `__enter__` to `__exit__`.

    Args:
        root: where the bare repositories are, as `OWNER/NAME.git`.
        host: the address to listen at.
    """

    def __init__(self, root: Path, host: str = "127.0.0.1") -> None:
        self._repositories, self._host = root, host
        self._root = root / ".ssh"

    def __enter__(self) -> typing.Self:
        if PROGRAM is None:
            raise FileNotFoundError("sshd is not installed")
        self._root.mkdir()
        for name in ("host-key", "user-key"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "sandbox", "-f", str(self._root / name)]
            subprocess.run(command, check=True)
        (self._root / "config").write_text(_CONFIGURATION.format(root=self._root))
        (self._root / "serve").write_text(_SERVE.format(repositories=self._repositories))
        with contextlib.suppress(PermissionError):
            Path("/run/sshd").mkdir(exist_ok=True)  # root's sshd wants it, and a package's start script makes it
        self._listener = _Listener((self._host, 0), _Handler)
        self._listener.command = [PROGRAM, "-i", "-f", str(self._root / "config"), "-E", str(self._root / "log")]
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.port: int = self._listener.server_address[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        self._listener.shutdown()
        self._thread.join()
        for child in self._listener.children:
            child.kill()
        self._listener.server_close()

    def url(self, full_name: str) -> str:
        """The address of a repository, `OWNER/NAME`; sshd lets the user in that it runs as."""
        return f"ssh://{getpass.getuser()}@{self._host}:{self.port}/{full_name}.git"

    def credentials(self, directory: Path) -> Path:
        """Write a credentials directory: a key that may enter, and the key of this host."""
        directory.mkdir(parents=True)
        shutil.copy(self._root / "user-key", directory / "ssh-privatekey")
        kind, key, _ = (self._root / "host-key.pub").read_text().split(" ")
        (directory / "known_hosts").write_text(f"[{self._host}]:{self.port} {kind} {key}\n")
        return directory


class _Listener(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    command: list[str]

    def __init__(self, *arguments: typing.Any) -> None:
        self.children: list[subprocess.Popen[bytes]] = []
        super().__init__(*arguments)


class _Handler(socketserver.BaseRequestHandler):
    server: _Listener

    def handle(self) -> None:
        """Leave the connection to an sshd of its own, as inetd does."""
        with subprocess.Popen(self.server.command, stdin=self.request, stdout=self.request) as child:
            self.server.children.append(child)
