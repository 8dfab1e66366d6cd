"""URLs that are read from, and which addresses of their hosts are not public."""

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urljoin

LONGEST_URL = 8000

_NOT_IN_URL = re.compile(r"[^!-\[\]-~]")
_URL = re.compile(r"https://([^/?#]*)([^#]*)(?:#.*)?", re.IGNORECASE)
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_AUTHORITY = re.compile(rf"(?:({_LABEL}(?:\.{_LABEL})*)|\[([0-9a-f:.]+)\])(?::([0-9]{{1,5}}))?")

# Not the properties of `ipaddress`: they change with the release of Python. IPv6 is public in 2000::/3 alone; 6to4 (2002::)
# and Teredo (2001::) are out of use there, and lead to any IPv4 address. 168.63.129.16 is a virtual machine's Azure.
_KINDS = {
    "a loopback address": ("127.0.0.0/8", "::1/128"),
    "a link-local address": ("169.254.0.0/16", "fe80::/10"),
    "a private address": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fec0::/10"),
    "a carrier's private address": ("100.64.0.0/10",),
    "a multicast address": ("224.0.0.0/4", "ff00::/8"),
    "no address of a host": ("0.0.0.0/8", "::/128"),
    "a reserved address": (
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
        *("240.0.0.0/4", "168.63.129.16/32"),
        *("::/3", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "4000::/2", "8000::/1"),
    ),
}
_NETWORKS = [(ipaddress.ip_network(network), kind) for kind, networks in _KINDS.items() for network in networks]
_WITH_IPV4_INSIDE = (ipaddress.IPv6Network("::ffff:0:0/96"), ipaddress.IPv6Network("64:ff9b::/96"))


@dataclass(frozen=True)
class HttpsUrl:
    """What is read by https, without a user or password; as text it is without its query, which may hold a token.

    Attributes:
        host: a name, or an address (IPv6 without brackets), in lower case.
        port: 443 when the URL has none.
        target: path and query, as they are sent.
    """

    host: str
    port: int
    target: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        if len(text) > LONGEST_URL:
            raise ValueError(f"a URL has at most {LONGEST_URL} characters here, not {len(text)}")
        shown = repr(_without_secrets(text))
        if match := _NOT_IN_URL.search(text):
            raise ValueError(
                f"{shown} has the character {match[0]!r}, which no URL has; percent-encode it or take it out"
            )
        if not (parts := _URL.fullmatch(text)):
            raise ValueError(f"{shown} is no https URL; write https://HOST/PATH")
        authority, target = parts.groups()
        if "@" in authority:
            raise ValueError(
                "a URL with a user or password in it would be logged; take them out, nothing is sent of them"
            )
        if not (match := _AUTHORITY.fullmatch(authority.lower())) or len(match[1] or "") > 253:
            raise ValueError(
                f"{shown} has no host that can be looked up, or no number as its port; write https://HOST:PORT/PATH"
            )
        name, ipv6, port = match.groups()
        if port and not 0 < int(port) < 1 << 16:
            raise ValueError(f"{port} is not a port: 1 to 65535")
        if ipv6:
            try:
                ipaddress.IPv6Address(ipv6)
            except ValueError as error:
                raise ValueError(f"[{ipv6}] is no IPv6 address: {error}") from None
        return cls(name or ipv6, int(port or 443), target if target.startswith("/") else f"/{target}")

    @property
    def authority(self) -> str:
        """Host and port, as a URL and a Host header have them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 443 else f"{host}:{self.port}"

    def redirected(self, location: str) -> "HttpsUrl":
        """The URL that a Location header of this one's reply leads to; it too is https, or ValueError."""
        if match := _NOT_IN_URL.search(location):
            raise ValueError(f"its Location header has the character {match[0]!r}")
        return HttpsUrl.parse(urljoin(f"https://{self.authority}{self.target}", location))

    def __str__(self) -> str:
        path, question_mark, _ = self.target.partition("?")
        return f"https://{self.authority}{path}" + ("?***" if question_mark else "")


def _without_secrets(url: str) -> str:
    """What was meant to be a URL as it may be logged."""
    without_user = re.sub(r"^([A-Za-z0-9+.-]+://)?.*@", r"\1***@", url, flags=re.DOTALL)
    return re.sub(r"[?#].*", "?***", without_user, flags=re.DOTALL)


def not_public(address: str) -> str | None:
    """Why an IP address is not one of a public server's, such as `a loopback address`; None when it is."""
    ip = ipaddress.ip_address(address)
    if any(ip in network for network in _WITH_IPV4_INSIDE):
        ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return next((kind for network, kind in _NETWORKS if ip in network), None)
