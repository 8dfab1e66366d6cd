"""The log of a step: lines of text on a terminal, one JSON object a line otherwise; secrets never in either."""

import base64
import json
import logging
import re
import sys
import time
import urllib.parse

SHORTEST_SECRET = 6

_ESCAPED = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"}

_BASE64 = (base64.b64encode, base64.urlsafe_b64encode)

MOST_SECRETS = 5000
"""Written forms that are looked for: of a process that lives long, the ones that it has met last."""

_secrets: dict[str, None] = {}


def conceal(secret: str, *, user: str = "x-access-token") -> None:
    """Replace a secret, and the ways it is commonly written, by `***` in everything that is logged from now on.

    Args:
        secret: what must not be seen; one shorter than 6 characters is too common a word to be looked for.
        user: the name it is sent with, for the form in which HTTP sends both.
    """
    if len(secret) < SHORTEST_SECRET:
        return
    quoted = [urllib.parse.quote(secret, safe=kept) for kept in ("", "/")]
    encoded = [encode(text.encode()) for encode in _BASE64 for text in (secret, f"{user}:{secret}")]
    forms = {
        secret,
        *quoted,
        # git writes %2f where Python writes %2F.
        *(re.sub("%..", lambda match: match[0].lower(), text) for text in quoted),
        *(text.decode().rstrip("=") for text in encoded),
        *(json.dumps(secret, ensure_ascii=ascii_alone)[1:-1] for ascii_alone in (True, False)),
        repr(secret)[1:-1],
        secret.encode().hex(),
    }
    for form in forms:
        _secrets.pop(form, None)
        _secrets[form] = None
    for form in list(_secrets)[:-MOST_SECRETS]:
        _secrets.pop(form, None)


def redact(text: str) -> str:
    """The text with every secret known to `conceal` replaced."""
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


class _Line(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        prefix = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        trace = "\n" + self.formatException(record.exc_info) if record.exc_info else ""
        return redact(f"{prefix}{record.getMessage()}{trace}").translate(_ESCAPED)


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "step": record.name,
            "message": redact(record.getMessage()),
        }
        if reason := getattr(record, "reason", None):
            entry["reason"] = reason
        for name in ("app", "version", "commit", "run", "retry_after"):
            if (value := getattr(record, name, None)) is not None:
                entry[name] = value
        if record.exc_info:
            entry["traceback"] = redact(self.formatException(record.exc_info))
        return json.dumps(entry, ensure_ascii=False)


def configure() -> None:
    """Send the log of this process to stderr, and the warnings of libraries with it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line() if sys.stderr.isatty() else _Json())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("steps").setLevel(logging.INFO)
    logging.captureWarnings(True)
