"""Answers that stay right, in a file that may go at any time; a file that is damaged counts as none."""

import contextlib
import functools
import hashlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_log = logging.getLogger("steps.answers")

_MOST_ANSWERS = 1000
"""How many are kept in any case; beyond, when most were not asked for in a pass, those go."""


class Answers:
    """Answers by their questions, which name all that they depend on, such as a commit; values are those of JSON.

    Args:
        file: where they are kept.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known: dict[str, Any] = {}
        self._used: set[str] = set()
        self._is_new = False
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            content = json.loads(file.read_bytes())
            if content["sha256"] == _checksum(content["answers"]):
                self._known = content["answers"]

    def has(self, question: str) -> bool:
        return question in self._known

    def known(self, question: str) -> Any:
        self._used.add(question)
        return self._known[question]

    def learn(self, question: str, answer: Any) -> Any:
        self._used.add(question)
        self._is_new = True
        self._known[question] = answer
        return answer

    def save(self) -> None:
        """Write what is known, less what was not asked for when that has become much; another process may have been last."""
        if not self._is_new:
            return
        known = self._known
        if len(known) > _MOST_ANSWERS + 4 * len(self._used):
            known = {question: answer for question, answer in known.items() if question in self._used}
        temporary = self._file.with_name(f".{self._file.name}.{os.urandom(8).hex()}")
        try:
            temporary.write_text(json.dumps({"sha256": _checksum(known), "answers": known}), encoding="utf-8")
            temporary.replace(self._file)
            self._is_new = False
        except OSError as error:
            temporary.unlink(missing_ok=True)
            _log.warning("%s is not written, so the next pass has to find out again: %s", self._file, error.strerror)


def _checksum(answers: Mapping[str, Any]) -> str:
    """Of answers and the code that found them: another release may ask, or answer, otherwise."""
    return hashlib.sha256(_code() + json.dumps(answers, sort_keys=True).encode()).hexdigest()


@functools.cache
def _code() -> bytes:
    return hashlib.sha256(
        b"".join(path.read_bytes() for path in sorted(Path(__file__).parents[1].rglob("*.py")))
    ).digest()
