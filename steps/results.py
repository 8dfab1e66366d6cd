"""Writes Tekton results: the text alone, because Tekton hands a trailing newline on to whoever reads the result."""

from pathlib import Path

from steps.errors import StepError

LARGEST = 1024
"""Bytes of one result: Kubernetes carries 4 KiB for all steps of a pod together, and 12 for its containers."""


def write(path: Path | None, value: str | int | bool) -> None:
    """Write one result.

    Args:
        path: the file Tekton gives as `$(step.results.NAME.path)`; None when nobody asked for the result.
        value: text as it is, a number in decimal, a truth value as `true` or `false`.
    """
    if path is None:
        return
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if len(text.encode()) > LARGEST:
        raise StepError(
            "result", f"the result {path.name} has over {LARGEST} bytes; shorten what it is made of: {text[:80]}…"
        )
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StepError(
            "result", f"cannot write the result {path}: {error.strerror}; give a file in a directory that is there"
        ) from error
