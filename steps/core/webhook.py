"""What GitHub delivers to a webhook: whose it is, and which repository it names."""

import hashlib
import hmac
import json
import re

LARGEST = 1 << 20
"""Bytes of a delivery."""

_SIGNATURE = re.compile(r"sha256=([0-9a-f]{64})")
_FULL_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,99})/[A-Za-z0-9._-]{1,100}")


def is_signed(body: bytes, signature: str, secret: str) -> bool:
    """Whether whoever sent it knows the secret.

    Args:
        signature: the header X-Hub-Signature-256.
    """
    match = _SIGNATURE.fullmatch(signature)
    expected = hmac.new(secret.encode(), body, hashlib.sha256).digest()
    return match is not None and hmac.compare_digest(expected, bytes.fromhex(match[1]))


def repository(body: bytes) -> str:
    """The repository that a delivery is about, `OWNER/NAME`.

    Raises:
        ValueError: it names none.
    """
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("the body is not JSON; set the webhook's content type to application/json") from None
    about = told.get("repository") if isinstance(told, dict) else None
    name = about.get("full_name") if isinstance(about, dict) else None
    if not isinstance(name, str) or not _FULL_NAME.fullmatch(name):
        raise ValueError("the body names no repository: `repository.full_name` is to be OWNER/NAME")
    return name
