"""Looks for secrets in everything that a container shows its user, and prints where it found which, as JSON.

This text is run inside the container, by `python -c`; the arguments are the secrets, each written backwards, so that the
command line itself holds none.
"""

import base64
import json
import os
import sys
from pathlib import Path

LARGEST = 4 << 20
PLACES = (
    "/workspace",
    "/tekton",
    "/kaniko",
    "/home",
    "/root",
    "/tmp",
    "/var/tmp",
    "/dev/shm",
    "/etc",
    "/run",
    "/var/run",
)


def forms(secret: str) -> list[bytes]:
    """A secret as it is, and as it is written in other ways."""
    raw = secret.encode()
    return [raw, base64.b64encode(raw), base64.b64encode(b"x-access-token:" + raw).rstrip(b"="), raw.hex().encode()]


def files() -> list[Path]:
    found = [Path(top, name) for place in PLACES for top, _, names in os.walk(place) for name in names]
    processes = [path for path in Path("/proc").glob("[0-9]*") if path.name != str(os.getpid())]
    return found + [process / name for process in processes for name in ("cmdline", "environ")]


def place(path: Path) -> str:
    """Where something was found: of a mounted Secret, which is made of links, the directory."""
    mount, dots, _ = str(path).partition("/..")
    return mount if dots or not path.is_symlink() else str(path.parent)


def main(secrets: list[str]) -> None:
    seen: set[tuple[str, str]] = set()
    for path in files():
        try:
            if not path.is_file() or path.stat().st_size > LARGEST:
                continue
            content = path.read_bytes()
        except OSError:
            continue
        seen |= {(place(path), secret) for secret in secrets if any(form in content for form in forms(secret))}
    sys.stdout.write(json.dumps(sorted(seen)) + "\n")


if __name__ == "__main__":
    main([word[::-1] for word in sys.argv[1:]])
