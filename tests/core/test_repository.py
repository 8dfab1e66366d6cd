import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from steps.core.repository import (
    GITHUB,
    Branch,
    Commit,
    Head,
    Person,
    Repository,
    Revision,
    Server,
    checked_ref,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def git(tmp_path: Path) -> dict[str, str]:
    """The environment of a git that knows nothing of whoever runs the tests."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
    }


@pytest.mark.parametrize(
    ("text", "scheme", "host", "path"),
    [
        pytest.param("https://github.com/owner/name", "https", "github.com", "owner/name", id="https"),
        pytest.param("https://github.com/owner/name.git", "https", "github.com", "owner/name", id="with .git"),
        pytest.param("https://github.com/owner/name/", "https", "github.com", "owner/name", id="with a slash behind"),
        pytest.param("https://github.com/owner/name.git/", "https", "github.com", "owner/name", id="with both"),
        pytest.param("https://github.com/owner/.github", "https", "github.com", "owner/.github", id="a dot in front"),
        pytest.param("https://host/a/b/c/d", "https", "host", "a/b/c/d", id="groups within groups"),
        pytest.param("https://host/name", "https", "host", "name", id="no owner"),
        pytest.param("https://host:8443/o/n", "https", "host:8443", "o/n", id="a port"),
        pytest.param("http://127.0.0.1:8080/o/n", "http", "127.0.0.1:8080", "o/n", id="http"),
        pytest.param("https://[2001:db8::1]/o/n", "https", "[2001:db8::1]", "o/n", id="an address of IPv6"),
        pytest.param("https://[::1]:8443/o/n", "https", "[::1]:8443", "o/n", id="an address of IPv6 with a port"),
        pytest.param("https://host/~user/my%20repo", "https", "host", "~user/my%20repo", id="a space in its name"),
        pytest.param("https://host/o/caf%C3%A9", "https", "host", "o/caf%C3%A9", id="an accent in its name"),
        pytest.param("ssh://git@host/o/n.git", "ssh", "host", "o/n", id="ssh"),
        pytest.param("ssh://host/o/n", "ssh", "host", "o/n", id="ssh without a user"),
        pytest.param("ssh://git@host:2222/o/n", "ssh", "host:2222", "o/n", id="ssh with a port"),
        pytest.param("ssh://git@[::1]:22/o/n", "ssh", "[::1]:22", "o/n", id="ssh to IPv6"),
        pytest.param("git@github.com:owner/name.git", "ssh", "github.com", "owner/name", id="as scp writes it"),
        pytest.param("github.com:owner/name", "ssh", "github.com", "owner/name", id="as scp, without a user"),
        pytest.param("git@[::1]:owner/name", "ssh", "[::1]", "owner/name", id="as scp, to IPv6"),
        pytest.param("git@host:~/name", "ssh", "host", "~/name", id="as scp, below a home directory"),
    ],
)
def test_an_address_is_taken_apart(text: str, scheme: str, host: str, path: str) -> None:
    repository = Repository.parse(text)
    assert (repository, str(repository)) == (Repository(text, scheme, host, path), text)


NO_ADDRESS = (
    "is not the address of a repository: https://HOST/OWNER/NAME, ssh://git@HOST/OWNER/NAME or git@HOST:OWNER/NAME"
)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("owner/name", id="a path"),
        pytest.param("/srv/git/name", id="an absolute path"),
        pytest.param("./host:name", id="a relative path"),
        pytest.param("file:///srv/git/name", id="file://"),
        pytest.param("file:/srv/git/name", id="file: with one slash"),
        pytest.param("git://host/o/n", id="git's own protocol"),
        pytest.param("ftp://host/o/n", id="ftp"),
        pytest.param("HTTPS://host/o/n", id="capitals"),
        pytest.param("ext::sh -c id", id="a program of one's own"),
        pytest.param("ext::sh", id="a program of one's own, short"),
        pytest.param("fd::17", id="a file descriptor"),
        pytest.param("https::https://host/o/n", id="a named remote helper"),
        pytest.param("--upload-pack=id", id="an option"),
        pytest.param("-oProxyCommand=id:o/n", id="an option of ssh as a host"),
        pytest.param("ssh://-oProxyCommand=id/o/n", id="an option of ssh as a host of a URL"),
        pytest.param("https://-host/o/n", id="a dash in front of the host"),
        pytest.param("https://host-/o/n", id="a dash behind the host"),
        pytest.param("https:///o/n", id="no host"),
        pytest.param("https://host", id="no path"),
        pytest.param("https://host:/o/n", id="a colon without a port"),
        pytest.param("https://host:99999999/o/n", id="too many digits for a port"),
        pytest.param("https://host/o/n?x=1", id="a query"),
        pytest.param("https://host/o/n#main", id="a fragment"),
        pytest.param("https://host/o/n name", id="a space"),
        pytest.param(" https://host/o/n", id="a space in front"),
        pytest.param("https://host/o/n\n", id="a line feed at the end"),
        pytest.param("https://host/o\nhttps://host/p", id="a line feed"),
        pytest.param("https://host/o/n\x00", id="a NUL"),
        pytest.param("https://host/o/n\\m", id="a backslash"),
        pytest.param("https://g\u0456thub.com/o/n", id="a host that looks like another"),
        pytest.param("https://host/o/n\u202e", id="a switch of the writing direction"),
        pytest.param("https://host/o/caf\u00e9", id="an accent that is not escaped"),
        pytest.param("https://host/o/$(id)", id="a command"),
        pytest.param("https://host/o/n|m", id="a bar"),
        pytest.param("https://host/o/`n`", id="backticks"),
        pytest.param("https://host/o/n)", id="a parenthesis"),
        pytest.param("https://host/o/%2e%2e/n", id="an escaped way up"),
        pytest.param("https://host/o%2Fn", id="an escaped slash"),
        pytest.param("https://host/o/n%0a", id="an escaped line feed"),
        pytest.param("https://host/o/n%00", id="an escaped NUL"),
        pytest.param("https://host/o/100%", id="an escape without digits"),
    ],
)
def test_anything_else_is_no_address(text: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        Repository.parse(text)
    assert str(error.value) == f"{text.replace('?x=1', '?***')!r} {NO_ADDRESS}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("git@host:/o/n", "***@host:/o/n", id="as scp, absolute"),
        pytest.param("https://host/@octocat/n", "https://***@octocat/n", id="a mention"),
        pytest.param("-x@host:o/n", "***@host:o/n", id="an option of ssh as a user of scp"),
    ],
)
def test_what_stands_before_an_at_sign_is_not_shown(text: str, shown: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        Repository.parse(text)
    assert str(error.value) == f"{shown!r} {NO_ADDRESS}"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("https://host/../n", id="a way up"),
        pytest.param("https://host/o/..", id="a way up at the end"),
        pytest.param("https://host/./n", id="the directory itself"),
        pytest.param("https://host//n", id="two slashes"),
        pytest.param("https://host/.git", id="nothing but .git"),
        pytest.param("https://host/o/-n", id="a dash in front of a part"),
        pytest.param("git@host:--upload-pack/n", id="an option as a path"),
        pytest.param("git@host:../n", id="as scp, a way up"),
    ],
)
def test_every_part_of_the_path_is_a_name(text: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        Repository.parse(text)
    assert (
        str(error.value)
        == f"{text!r} names no repository: its path has an empty part, `.`, `..` or one that starts with `-`"
    )


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("https://user@host/o/n", id="a user"),
        pytest.param("https://@host/o/n", id="an empty user"),
        pytest.param("https://host\\@other/o/n", id="a host that hides another"),
        pytest.param("https://user:s3cret@host/o/n", id="a password"),
        pytest.param("ssh://git:s3cret@host/o/n", id="a password for ssh"),
        pytest.param("ssh://-oProxyCommand=id@host/o/n", id="an option of ssh as a user"),
    ],
)
def test_an_address_holds_no_credential(text: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        Repository.parse(text)
    assert (
        str(error.value) == "a URL with a user or password in it would be logged; put them in the credentials directory"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("https://host:99999/o/n", "99999 is not a port: 1 to 65535", id="too large a port"),
        pytest.param("https://host:0/o/n", "0 is not a port: 1 to 65535", id="no port at all"),
        pytest.param(
            f"https://host/{'n' * 388}",
            "the address of a repository has at most 400 characters, not 401",
            id="too long",
        ),
    ],
)
def test_an_address_has_bounds(text: str, message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        Repository.parse(text)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("https://user:s3cret@host", id="no path"),
        pytest.param("https://user:s3/cret@host/o/n", id="a slash in it"),
        pytest.param("https://user:s3@cret@host/o/n", id="an at sign in it"),
        pytest.param("https://user:s3cret@host/o/n n", id="a space behind"),
        pytest.param("user:s3cret@host/o/n", id="no scheme"),
        pytest.param("https://user:s3\ncret@host/o/n", id="a line feed in it"),
        pytest.param("ftp://user:s3cret@host/o/n", id="a scheme that is not taken"),
    ],
)
@pytest.mark.parametrize("parse", [Repository.parse, Server.parse])
def test_the_message_about_an_address_does_not_show_its_password(parse: Callable[[str], object], text: str) -> None:
    with pytest.raises(ValueError, match=r".") as error:
        parse(text)
    assert [word for word in ("s3", "cret", "user:") if word in str(error.value)] == []


@pytest.mark.parametrize(
    ("text", "owner", "name", "web_url"),
    [
        pytest.param("https://h/o/n.git", "o", "n", "https://h/o/n", id="https"),
        pytest.param("http://127.0.0.1:81/o/n", "o", "n", "http://127.0.0.1:81/o/n", id="http with a port"),
        pytest.param("https://h:81/a/b/n", "a/b", "n", "https://h:81/a/b/n", id="groups and a port"),
        pytest.param("https://h/n", "", "n", "https://h/n", id="no owner"),
        pytest.param("ssh://git@h:2222/o/n", "o", "n", "https://h/o/n", id="ssh, whose port is not the browser's"),
        pytest.param("git@h:o/n.git", "o", "n", "https://h/o/n", id="as scp"),
        pytest.param("git@[::1]:o/n", "o", "n", "https://[::1]/o/n", id="as scp, to IPv6"),
        pytest.param("ssh://git@[::1]:22/o/n", "o", "n", "https://[::1]/o/n", id="ssh to IPv6 with a port"),
    ],
)
def test_what_an_address_tells(text: str, owner: str, name: str, web_url: str) -> None:
    repository = Repository.parse(text)
    assert (repository.owner, repository.name, repository.web_url) == (owner, name, web_url)


@pytest.mark.parametrize(
    ("text", "owner", "name", "sibling"),
    [
        pytest.param("https://h/o/n", "bot", None, "https://h/bot/n", id="https"),
        pytest.param("https://h/o/n.git", "bot", None, "https://h/bot/n.git", id="with .git"),
        pytest.param("https://h/o/n.git/", "bot", None, "https://h/bot/n.git/", id="with .git and a slash"),
        pytest.param("https://h:81/o/n", "bot", "fork", "https://h:81/bot/fork", id="of another name"),
        pytest.param("ssh://git@h/o/n", "bot", None, "ssh://git@h/bot/n", id="ssh"),
        pytest.param("git@h:o/n.git", "bot", None, "git@h:bot/n.git", id="as scp"),
        pytest.param("https://n/n/n", "bot", None, "https://n/bot/n", id="the same word three times"),
        pytest.param("https://git/git.git", "bot", None, "https://git/bot/git.git", id="a repository called git"),
        pytest.param("https://h/o/n", "o", None, "https://h/o/n", id="itself"),
    ],
)
def test_the_sibling_of_a_repository_is_that_of_another_owner(
    text: str, owner: str, name: str | None, sibling: str
) -> None:
    assert Repository.parse(text).sibling(owner, name) == Repository.parse(sibling)


@pytest.mark.parametrize(
    ("host", "here"),
    [
        pytest.param("localhost", True, id="localhost"),
        pytest.param("localhost:80", True, id="localhost with a port"),
        pytest.param("127.0.0.1", True, id="the loopback address"),
        pytest.param("127.0.0.1:8080", True, id="the loopback address with a port"),
        pytest.param("127.255.255.254", True, id="another loopback address"),
        pytest.param("[::1]", True, id="that of IPv6"),
        pytest.param("[::1]:8080", True, id="that of IPv6 with a port"),
        pytest.param("[0:0:0:0:0:0:0:1]", True, id="that of IPv6, written out"),
        pytest.param("127.0.0.1.example.com", False, id="a name that starts like one"),
        pytest.param("localhost.example.com", False, id="a name that starts with localhost"),
        pytest.param("127.0.0.256", False, id="a name that only looks like an address"),
        pytest.param("127.1", False, id="an address in short"),
        pytest.param("0.0.0.0", False, id="any address"),  # noqa: S104 - nothing is bound
        pytest.param("10.0.0.1", False, id="a private address"),
        pytest.param("[::2]", False, id="another address of IPv6"),
        pytest.param("[::1:1]", False, id="an address of IPv6 that ends like a port"),
        pytest.param("host", False, id="a name"),
    ],
)
def test_only_a_loopback_address_is_on_this_machine(host: str, *, here: bool) -> None:
    assert Repository.parse(f"http://{host}/o/n").is_on_this_machine is here


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("main", id="a word"),
        pytest.param("feature/one-two_3.4", id="a path"),
        pytest.param("a@b", id="an at sign within"),
        pytest.param("@/a", id="an at sign as a part"),
        pytest.param("a{b}", id="braces"),
        pytest.param("caf\u00e9", id="an accent"),
        pytest.param("#1", id="a hash"),
        pytest.param("a.locked", id="an ending that only starts like .lock"),
        pytest.param("head", id="head in small letters"),
    ],
)
def test_a_branch_is_what_git_takes(text: str) -> None:
    assert Branch.parse(text) == text


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("@", id="an at sign alone"),
        pytest.param("HEAD", id="HEAD"),
        pytest.param("-b", id="an option"),
        pytest.param("a/-b", id="an option as a part"),
        pytest.param("--upload-pack=id", id="a long option"),
        pytest.param("a b", id="a space"),
        pytest.param("a~1", id="a tilde"),
        pytest.param("a^", id="a caret"),
        pytest.param("a:b", id="a colon, which makes a refspec"),
        pytest.param("a?", id="a question mark"),
        pytest.param("a*", id="a star, which makes a pattern"),
        pytest.param("a[b", id="a bracket"),
        pytest.param("a\\b", id="a backslash"),
        pytest.param("a..b", id="two dots"),
        pytest.param("a@{1}", id="an entry of the reflog"),
        pytest.param(".a", id="a dot in front"),
        pytest.param("a/.b", id="a dot in front of a part"),
        pytest.param("a.", id="a dot at the end"),
        pytest.param("a.lock", id=".lock at the end"),
        pytest.param("a.lock/b", id=".lock at the end of a part"),
        pytest.param("/a", id="a slash in front"),
        pytest.param("a/", id="a slash at the end"),
        pytest.param("a//b", id="two slashes"),
    ],
)
def test_a_branch_is_nothing_that_git_reads_otherwise(text: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        Branch.parse(text)
    assert str(error.value) == f"{text!r} is not the name of a branch"


def test_a_branch_is_no_full_ref_and_the_message_says_what_would_be() -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        Branch.parse("refs/heads/feature/x")
    assert str(error.value) == "'refs/heads/feature/x' is a full ref; give the branch alone, such as 'feature/x'"


@pytest.mark.parametrize("character", ["\n", "\x00", "\t", "\x7f", "\x9b", "\u2028", "\u202e"], ids=ascii)
def test_a_ref_has_no_control_character(character: str) -> None:
    with pytest.raises(ValueError, match=" has a control character at position 2; "):
        checked_ref(f"a{character}b", "a branch")


def test_git_takes_every_ref_that_we_take(git: dict[str, str], tmp_path: Path) -> None:
    """Generated from the pieces that its rules are about, made in one transaction: git would name the first it refuses."""
    good = [*"abHE1#+-{}@/", ".a", "\u00e9", "HEAD", "refs/"]
    bad = [*" ~^:?*[\\\x7f\x01.-/@", "..", "@{", "//", ".lock", "/.", "/-"]
    draw = random.Random(3)  # noqa: S311 - not a secret
    texts = {"".join(draw.choices(good, k=3) + draw.choices(good + bad, k=draw.randint(0, 3))) for _ in range(2000)}
    taken = sorted(text for text in texts if _is_ref(text))
    assert 300 < len(taken) < len(texts) - 300

    subprocess.run(["git", "init", "--quiet", "--bare", tmp_path / "r"], env=git, check=True)
    tree = _git(git, tmp_path / "r", "hash-object", "-t", "tree", "-w", "--stdin", stdin="")
    who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
    commit = _git({**git, **who}, tmp_path / "r", "commit-tree", tree, "-m", "m")
    # A number before each, because a branch and a directory cannot have the same name.
    commands = [f"create refs/heads/{number}/{text} {commit}\n" for number, text in enumerate(taken)]
    _git(git, tmp_path / "r", "update-ref", "--stdin", stdin="".join(commands))
    made = _git(git, tmp_path / "r", "for-each-ref", "--format=%(refname)", "refs/heads").splitlines()
    assert sorted(made) == sorted(f"refs/heads/{number}/{text}" for number, text in enumerate(taken))


@pytest.mark.parametrize("text", ["main", "a@b", "@/a", "a{b}", "caf\u00e9", "#1", "a.locked", "head", COMMIT])
def test_git_takes_it_as_the_name_of_a_branch(git: dict[str, str], tmp_path: Path, text: str) -> None:
    assert _git(git, tmp_path, "check-ref-format", "--branch", Branch.parse(text)) == text


def _is_ref(text: str) -> bool:
    try:
        return checked_ref(text, "a ref") == text
    except ValueError:
        return False


def _git(environment: dict[str, str], directory: Path, *arguments: str, stdin: str | None = None) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=directory, env=environment, input=stdin, stdout=subprocess.PIPE, text=True, check=True
    ).stdout.strip()


@pytest.mark.parametrize("text", [pytest.param(COMMIT, id="SHA-1"), pytest.param("f" * 64, id="SHA-256")])
def test_a_commit_has_all_its_digits(text: str) -> None:
    assert Commit.parse(text) == text


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param(COMMIT[:8], id="an abbreviation"),
        pytest.param(COMMIT[:39], id="39 digits"),
        pytest.param(COMMIT + "0", id="41 digits"),
        pytest.param(COMMIT.upper(), id="capitals"),
        pytest.param(COMMIT + "\n", id="a line feed behind"),
        pytest.param("main", id="a branch"),
        pytest.param("g" * 40, id="other letters"),
        pytest.param("\u0661" * 40, id="other digits"),
    ],
)
def test_anything_else_is_no_commit(text: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        Commit.parse(text)
    assert str(error.value) == f"{text!r} is not a full commit; give all 40 digits"


@pytest.mark.parametrize(
    ("text", "is_commit", "may_be_abbreviated"),
    [
        pytest.param("main", False, False, id="a branch"),
        pytest.param("v1.10", False, False, id="a tag"),
        pytest.param("HEAD", False, False, id="HEAD"),
        pytest.param("refs/tags/v1", False, False, id="a full ref"),
        pytest.param("refs/pull/7/head", False, False, id="a pull request"),
        pytest.param(COMMIT, True, False, id="a commit"),
        pytest.param("a" * 64, True, False, id="a commit of SHA-256"),
        pytest.param(COMMIT[:8], False, True, id="an abbreviation"),
        pytest.param("beef", False, True, id="a word of 4 digits"),
        pytest.param("abc", False, False, id="too short for an abbreviation"),
        pytest.param(COMMIT[:39], False, True, id="one digit short"),
    ],
)
def test_a_revision_is_a_name_or_a_commit(text: str, *, is_commit: bool, may_be_abbreviated: bool) -> None:
    revision = Revision.parse(text)
    assert (revision, revision.is_commit, revision.may_be_abbreviated) == (text, is_commit, may_be_abbreviated)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("HEAD~1", id="a parent"),
        pytest.param("main@{1}", id="an entry of the reflog"),
        pytest.param("a:b", id="a file of a commit"),
        pytest.param("a..b", id="a range"),
        pytest.param(":/fix", id="a search"),
        pytest.param("--all", id="an option"),
    ],
)
def test_a_revision_is_no_expression_of_git(text: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        Revision.parse(text)
    assert str(error.value) == f"{text!r} is not a branch, a tag or a full commit"


PEOPLE = [
    pytest.param("apps-cd <apps-cd@noreply.invalid>", "apps-cd", "apps-cd@noreply.invalid", id="a program"),
    pytest.param("Ada King <ada@example.com>", "Ada King", "ada@example.com", id="two words"),
    pytest.param("dependabot[bot] <1+x[bot]@h>", "dependabot[bot]", "1+x[bot]@h", id="an app of GitHub"),
    pytest.param("Renée O'Hara <r@h>", "Renée O'Hara", "r@h", id="an accent and an apostrophe"),
    pytest.param("  Ada   <ada@h>", "Ada", "ada@h", id="blanks around the name"),
    pytest.param('"Ada" <ada@h>', "Ada", "ada@h", id="quotes around the name"),
    pytest.param("Acme Inc. <acme@h>", "Acme Inc", "acme@h", id="a dot at the end of the name"),
    pytest.param("'Ada;, <ada@h.>", "Ada", "ada@h", id="more punctuation at the ends"),
    pytest.param("A, B. C: D <a@h>", "A, B. C: D", "a@h", id="punctuation within"),
]


@pytest.mark.parametrize(("text", "name", "mail"), PEOPLE)
def test_a_person_has_a_name_and_a_mail_address(text: str, name: str, mail: str) -> None:
    person = Person.parse(text)
    assert (person, str(person)) == (Person(name, mail), f"{name} <{mail}>")


def test_git_records_a_person_as_we_read_it(git: dict[str, str], tmp_path: Path) -> None:
    _git(git, tmp_path, "init", "--quiet")
    tree = _git(git, tmp_path, "hash-object", "-t", "tree", "-w", "--stdin", stdin="")
    people = [Person.parse(str(case.values[0])) for case in PEOPLE]
    recorded = []
    for person in people:
        who = {f"GIT_{role}_NAME": person.name for role in ("AUTHOR", "COMMITTER")}
        who |= {f"GIT_{role}_EMAIL": person.mail for role in ("AUTHOR", "COMMITTER")}
        commit = _git({**git, **who}, tmp_path, "commit-tree", tree, "-m", "m")
        recorded.append(_git(git, tmp_path, "show", "--no-patch", "--format=%an <%ae>, %cn <%ce>", commit))
    assert recorded == [f"{person}, {person}" for person in people]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("Ada", id="no mail address"),
        pytest.param("ada@example.com", id="no name"),
        pytest.param("<ada@example.com>", id="an empty name"),
        pytest.param('"." <ada@example.com>', id="a name of nothing but punctuation"),
        pytest.param("Ada <ada>", id="a mail address without a host"),
        pytest.param("Ada <ada@h@h>", id="two at signs"),
        pytest.param("Ada <ada@...>", id="a host of nothing but dots"),
        pytest.param("Ada <ada@h> <b@h>", id="two mail addresses"),
        pytest.param("Ada <a da@h>", id="a space in the mail address"),
        pytest.param("Ada <ada@h> x", id="a word behind"),
        pytest.param("A<d>a <ada@h>", id="angle brackets in the name"),
        pytest.param("Ada<ada@h>", id="no space between"),
    ],
)
def test_anything_else_is_no_person(text: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        Person.parse(text)
    assert str(error.value) == f"{text!r} is not a person: write `Name <mail@host>`"


@pytest.mark.parametrize("character", ["\n", "\x00", "\x1b", "\x7f", "\x85", "\u2028", "\u202e"], ids=ascii)
def test_a_person_has_no_control_character(character: str) -> None:
    with pytest.raises(ValueError, match=" has a control character at position 2; "):
        Person.parse(f"A{character}da <ada@h>")


@pytest.mark.parametrize(
    ("text", "url", "host", "api_url"),
    [
        pytest.param(
            "https://github.com", "https://github.com", "github.com", "https://api.github.com", id="github.com"
        ),
        pytest.param(
            "https://GitHub.com/", "https://github.com", "github.com", "https://api.github.com", id="otherwise"
        ),
        pytest.param(
            "https://ghe.h:8443", "https://ghe.h:8443", "ghe.h:8443", "https://ghe.h:8443/api/v3", id="Enterprise"
        ),
        pytest.param("https://a.ghe.com", "https://a.ghe.com", "a.ghe.com", "https://api.a.ghe.com", id="ghe.com"),
        pytest.param(
            "https://a.ghe.com.h", "https://a.ghe.com.h", "a.ghe.com.h", "https://a.ghe.com.h/api/v3", id="no ghe.com"
        ),
        pytest.param(
            "http://127.0.0.1:81", "http://127.0.0.1:81", "127.0.0.1:81", "http://127.0.0.1:81/api/v3", id="loopback"
        ),
    ],
)
def test_a_server_has_an_api(text: str, url: str, host: str, api_url: str) -> None:
    server = Server.parse(text)
    assert (server, server.api_url, server == GITHUB) == (Server(url, host), api_url, host == "github.com")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("github.com", id="a host alone"),
        pytest.param("ssh://git@github.com", id="ssh"),
        pytest.param("git@github.com:", id="as scp"),
        pytest.param("https://github.com/api/v3", id="a path"),
        pytest.param("https://github.com/owner", id="an owner"),
        pytest.param("https://github.com?x", id="a query"),
        pytest.param("https://github.com#x", id="a fragment"),
        pytest.param("https://", id="no host"),
        pytest.param("file:///", id="a file"),
        pytest.param("https://gith\u1d1cb.com", id="a host that looks like another"),
        pytest.param("https://github.com\n", id="a line feed behind"),
    ],
)
def test_anything_else_is_no_server(text: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        Server.parse(text)
    shown = text.replace("git@", "***@").replace("ssh://git@", "ssh://***@").replace("?x", "?***")
    assert str(error.value) == f"{shown!r} is not the address of a GitHub server, such as https://github.example.com"


@pytest.mark.parametrize("text", ["http://github.com", "http://10.0.0.1", "http://127.0.0.1.example.com"])
def test_a_server_gets_the_token_over_https_alone(text: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        Server.parse(text)
    assert str(error.value) == f"{text!r} would send the token in the clear; use https"


@pytest.mark.parametrize(
    ("text", "head"),
    [
        pytest.param("", Head(), id="nothing: the same repository, the branch of the update"),
        pytest.param(":", Head(), id="an owner that is empty, as an unset parameter makes it"),
        pytest.param("topic", Head(branch=Branch("topic")), id="a branch"),
        pytest.param("feature/x", Head(branch=Branch("feature/x")), id="a branch with a slash"),
        pytest.param("bot:", Head("bot"), id="a fork"),
        pytest.param("bot:topic", Head("bot", None, Branch("topic")), id="a fork and a branch"),
        pytest.param("bot/fork:a/b", Head("bot", "fork", Branch("a/b")), id="a fork of another name and a branch"),
        pytest.param("my-bot_1/x.y:", Head("my-bot_1", "x.y"), id="punctuation in the names"),
    ],
)
def test_a_head_is_written_as_hub_writes_it(text: str, head: Head) -> None:
    assert Head.parse(text) == head


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("-bot:topic", id="a dash in front of the owner"),
        pytest.param("bot-:topic", id="a dash behind the owner"),
        pytest.param("b.t:topic", id="a dot in the owner"),
        pytest.param("bot/:topic", id="an empty name"),
        pytest.param("/fork:topic", id="a name without an owner"),
        pytest.param("bot/..:topic", id="a way up"),
        pytest.param("bot/a/b:topic", id="two names"),
        pytest.param("bot:a:topic", id="two colons"),
        pytest.param("b\u043et:topic", id="a letter that looks like another"),
        pytest.param("bot\n:topic", id="a line feed"),
    ],
)
def test_anything_else_is_no_head(text: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        Head.parse(text)
    assert str(error.value) == f"{text!r} is not the head of a pull request: [OWNER[/NAME]:][BRANCH]"


def test_the_branch_of_a_head_is_a_branch() -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        Head.parse("bot:--force")
    assert str(error.value) == "'--force' is not the name of a branch"
