import pytest

from steps.core.https_url import HttpsUrl, not_public


@pytest.mark.parametrize(
    ("text", "host", "port", "target", "shown"),
    [
        pytest.param(
            "https://example.com/a/b.yaml",
            *("example.com", 443, "/a/b.yaml", "https://example.com/a/b.yaml"),
            id="a path",
        ),
        pytest.param("https://example.com", "example.com", 443, "/", "https://example.com/", id="no path"),
        pytest.param(
            "HTTPS://Example.COM:8443/A",
            "example.com",
            8443,
            "/A",
            "https://example.com:8443/A",
            id="capitals and a port",
        ),
        pytest.param("https://a.b:443/", "a.b", 443, "/", "https://a.b/", id="the port that is meant anyway"),
        pytest.param(
            "https://a.b/x?token=s3cret&y", "a.b", 443, "/x?token=s3cret&y", "https://a.b/x?***", id="a query"
        ),
        pytest.param("https://a.b?token=s3cret", "a.b", 443, "/?token=s3cret", "https://a.b/?***", id="a query alone"),
        pytest.param("https://a.b/x#part", "a.b", 443, "/x", "https://a.b/x", id="a fragment stays here"),
        pytest.param("https://a.b/x/@v1", "a.b", 443, "/x/@v1", "https://a.b/x/@v1", id="an @ in the path"),
        pytest.param(
            "https://[2A00::1]:8443/x", "2a00::1", 8443, "/x", "https://[2a00::1]:8443/x", id="an IPv6 address"
        ),
        pytest.param(
            "https://my_b.xn--bcher-kva.example/",
            *("my_b.xn--bcher-kva.example", 443, "/"),
            "https://my_b.xn--bcher-kva.example/",
            id="names as they are found",
        ),
    ],
)
def test_a_url_has_its_parts_and_shows_no_query(text: str, host: str, port: int, target: str, shown: str) -> None:
    url = HttpsUrl.parse(text)
    assert (url, str(url), "s3cret" in repr(url)) == (HttpsUrl(host, port, target), shown, False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("http://a.b/x?s3cret", "'http://a.b/x?***' is no https URL; write https://HOST/PATH", id="http"),
        pytest.param(
            "file:///etc/passwd", "'file:///etc/passwd' is no https URL; write https://HOST/PATH", id="a file"
        ),
        pytest.param("a.b/x", "'a.b/x' is no https URL; write https://HOST/PATH", id="no scheme"),
        pytest.param("https:/a.b/x", "'https:/a.b/x' is no https URL; write https://HOST/PATH", id="one slash"),
        pytest.param("", "'' is no https URL; write https://HOST/PATH", id="nothing"),
        *(
            pytest.param(
                text,
                "a URL with a user or password in it would be logged; take them out, nothing is sent of them",
                id=text,
            )
            for text in ("https://u:s3cret@a.b/x", "https://s3cret@a.b", "https://@a.b/", "https://a.b:443@s3cret/")
        ),
        *(
            pytest.param(
                f"https://{authority}/x?s3cret",
                f"'https://{authority}/x?***' has no host that can be looked up, or no number as its port; "
                "write https://HOST:PORT/PATH",
                id=f"the host {authority!r}",
            )
            for authority in (
                *(
                    "",
                    ":443",
                    "a..b",
                    ".a",
                    "a.",
                    "-a",
                    "a-",
                    "a:b",
                    "a:",
                    "a:-1",
                    "a:123456",
                    "a:443:443",
                    "a%2eb",
                    "a*b",
                ),
                *("::1", "[::1", "[]", "[::1]x", "[fe80::1%25eth0]", "a" * 64, ".".join(["a" * 60] * 5)),
            )
        ),
        pytest.param("https://a.b:0/", "0 is not a port: 1 to 65535", id="port 0"),
        pytest.param("https://a.b:65536/", "65536 is not a port: 1 to 65535", id="port 65536"),
        pytest.param(
            "https://[a.b]/", "[a.b] is no IPv6 address: At least 3 parts expected in 'a.b'", id="a name in brackets"
        ),
        pytest.param(
            "https://[1:2]/", "[1:2] is no IPv6 address: At least 3 parts expected in '1:2'", id="half an IPv6 address"
        ),
        *(
            pytest.param(
                text,
                f"{shown} has the character {character!r}, which no URL has; percent-encode it or take it out",
                id=f"the character {character!r}",
            )
            for text, shown, character in (
                ("https://a.b/x\r\nHost: c", r"'https://a.b/x\r\nHost: c'", "\r"),
                ("https://a.b/x?s3\tcret", "'https://a.b/x?***'", "\t"),
                ("https://a.b/\0", r"'https://a.b/\x00'", "\0"),
                ("https://a.b/ x", "'https://a.b/ x'", " "),
                (" https://a.b/", "' https://a.b/'", " "),
                ("https://a.b\\@c/", r"'https://***@c/'", "\\"),
                ("https://bücher.example/", "'https://bücher.example/'", "ü"),
                ("https://a.b/\x7f", r"'https://a.b/\x7f'", "\x7f"),
            )
        ),
        pytest.param(
            "https://a.b/" + "x" * 8000,
            "a URL has at most 8000 characters here, not 8012",
            id="more than fits in a line",
        ),
    ],
)
def test_what_is_no_url_to_read_is_refused_with_a_sentence(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - its text is compared whole
        HttpsUrl.parse(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/y", HttpsUrl("a.b", 8443, "/y")),
        ("y?z=1#part", HttpsUrl("a.b", 8443, "/x/y?z=1")),
        ("?z", HttpsUrl("a.b", 8443, "/x/file?z")),
        ("https://c.d", HttpsUrl("c.d", 443, "/")),
        ("//c.d/y", HttpsUrl("c.d", 443, "/y")),
    ],
)
def test_a_redirect_leads_to_a_url_from_where_it_is(location: str, expected: HttpsUrl) -> None:
    assert HttpsUrl.parse("https://a.b:8443/x/file?q").redirected(location) == expected


@pytest.mark.parametrize(
    "location",
    [
        "http://a.b/",
        "HTTP://a.b/",
        "file:///x",
        "https://u:p@a.b/",
        "//u@a.b/",
        "https://a.b:0/",
        "/x\ty",
        "/ü",
        "//[/",
    ],
)
def test_a_redirect_is_held_to_all_that_a_url_is(location: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each has its own text
        HttpsUrl.parse("https://a.b/").redirected(location)


@pytest.mark.parametrize(
    ("kind", "addresses"),
    [
        (
            "a loopback address",
            ("127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1", "64:ff9b::7f00:1"),
        ),
        (
            "a link-local address",
            ("169.254.169.254", "fe80::1", "fe80::1%2", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe"),
        ),
        (
            "a private address",
            (
                "10.0.0.1",
                "172.16.0.1",
                "172.31.255.255",
                "192.168.0.1",
                "fc00::1",
                "fd00:ec2::254",
                "fec0::1",
                "64:ff9b::a00:1",
            ),
        ),
        ("a carrier's private address", ("100.64.0.1", "100.127.255.255", "100.100.100.200")),
        ("a multicast address", ("224.0.0.1", "239.255.255.255", "ff02::1")),
        ("no address of a host", ("0.0.0.0", "0.1.2.3", "::", "::ffff:0.0.0.0")),  # noqa: S104 - nothing is bound
        (
            "a reserved address",
            (
                *("192.0.0.192", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "240.0.0.1"),
                *(
                    "255.255.255.255",
                    "168.63.129.16",
                    "::7f00:1",
                    "64:ff9b:1::a00:1",
                    "100::1",
                    "2001::1",
                    "2001:db8::1",
                ),
                *("2001:0:4136:e378:8000:63bf:80ff:fffe", "2002:7f00:1::", "2002:a9fe:a9fe::", "2002:808:808::"),
                *("3fff::1", "4000::1", "5f00::1", "8000::1", "fe00::1"),
            ),
        ),
        (
            None,
            (
                *("8.8.8.8", "1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "172.15.255.255"),
                *(
                    "172.32.0.0",
                    "169.253.255.255",
                    "223.255.255.255",
                    "2606:4700::1111",
                    "2a00:1450::1",
                    "2001:4860:4860::8888",
                ),
                *("64:ff9b::808:808", "::ffff:8.8.8.8"),
            ),
        ),
    ],
)
def test_only_addresses_of_public_servers_are_public(kind: str | None, addresses: tuple[str, ...]) -> None:
    assert {address: not_public(address) for address in addresses} == dict.fromkeys(addresses, kind)
