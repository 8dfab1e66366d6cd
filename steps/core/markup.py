"""Markup that is made of text: what is not markup already is escaped."""

import html
from collections.abc import Iterable
from urllib.parse import urlsplit

from steps.core.text import shown


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def fill(template: str, **values: object) -> Html:
    """A template with its places filled; all that is not Html is escaped, and shown as one line."""
    return Html(template.format_map({name: _escaped(value) for name, value in values.items()}))


def join(parts: Iterable[Html], between: str = "") -> Html:
    return Html(between.join(parts))


def link(url: str | None, text: str, template: str = '<a href="{url}">{text}</a>') -> Html:
    """A link to a page of the web; only its text when it is to anything else."""
    if url and _is_of_the_web(url):
        return fill(template, url=url, text=text)
    return fill("{text}", text=text)


def _escaped(value: object) -> Html:
    return value if isinstance(value, Html) else Html(html.escape(shown(str(value))))


def _is_of_the_web(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc) and url == url.strip() and url.isprintable()
