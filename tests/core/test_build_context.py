import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from steps.core.build_context import (
    Contents,
    Destination,
    IgnoreRules,
    Location,
    Matched,
    PushedImage,
    Selection,
    SourcePath,
    lay_out_dockerfile,
    link_problem,
    looks_secret,
)

TABLE = json.loads(Path(__file__).with_name("dockerignore").joinpath("table.json").read_text(encoding="utf-8"))


def verdicts(ignore: str) -> str:
    """As in table.json: "k" for each file that a walk would find and keep, "-" for each other, or "error"."""
    try:
        selection = Selection(IgnoreRules.parse(ignore), keep_git_dir=True, archive=None)
    except ValueError:
        return "error"
    return "".join("k" if is_kept(selection, name) else "-" for name in TABLE["files"])


def is_kept(selection: Selection, name: str) -> bool:
    directory = name.rpartition("/")[0]
    above: Matched = ()
    if directory:
        _, entered, above = judged(selection, directory)
        if not entered:
            return False
    return selection.judge(name, above)[0]


def judged(selection: Selection, directory: str) -> tuple[bool, bool, Matched]:
    """What a walk down to a directory is told about it; nothing below a directory that is not entered."""
    verdict: tuple[bool, bool, Matched] = (True, True, ())
    parts = directory.split("/")
    for end in range(1, len(parts) + 1):
        if not verdict[1]:
            return verdict
        verdict = selection.judge("/".join(parts[:end]), verdict[2])
    return verdict


def test_ignore_files_mean_what_they_mean_to_docker_build() -> None:
    assert {ignore: verdicts(ignore) for ignore, _ in TABLE["cases"]} == dict(TABLE["cases"])


@pytest.mark.parametrize(
    ("ignore", "message"),
    [
        pytest.param("a\n[b\n", "line 2: '[b' is not a pattern: `[` lacks its `]`", id="an open bracket"),
        pytest.param(
            "[]a]",
            "line 1: '[]a]' is not a pattern: ']' in `[]` needs a backslash before it",
            id="a closing bracket first",
        ),
        pytest.param(
            "[z-a]",
            "line 1: '[z-a]' is not a pattern: bad character range z-a at position 1",
            id="a range that runs backwards",
        ),
        pytest.param(
            "# all\r\n\r\n!\r\n", "line 3: `!` says that something is kept, but not what", id="an exception of nothing"
        ),
        pytest.param(
            "a\\",
            "line 1: 'a\\\\' is not a pattern: a backslash goes before a sign that would mean something else; between "
            "directories goes `/`",
            id="a backslash at the end",
        ),
        pytest.param(
            "obj\\x64",
            "line 1: 'obj\\\\x64' is not a pattern: a backslash goes before a sign that would mean something else; "
            "between directories goes `/`",
            id="a path of Windows that Docker takes for a number of a character",
        ),
        pytest.param(
            "*.js|*.ts",
            "line 1: '*.js|*.ts' is not a pattern: beside a wildcard Docker takes '|' for a sign of regular "
            "expressions; write several lines",
            id="a bar, which would make Docker ignore all that either side begins or ends",
        ),
        pytest.param(
            "a{2}*",
            "line 1: 'a{2}*' is not a pattern: beside a wildcard Docker takes '{' for a sign of regular expressions; "
            "write several lines",
            id="a number in braces, which Docker takes for a repetition",
        ),
        pytest.param(
            "[*]",
            "line 1: '[*]' is not a pattern: '*' in `[]` has no certain meaning; put a backslash before it",
            id="a wildcard in brackets, which Docker takes for two things at once",
        ),
        pytest.param(
            "[[:alpha:]]",
            "line 1: '[[:alpha:]]' is not a pattern: '[' in `[]` has no certain meaning; put a backslash before it",
            id="a named class, which Docker takes for two things at once",
        ),
        pytest.param(
            "tmp[\\d]",
            "line 1: 'tmp[\\\\d]' is not a pattern: a backslash before 'd' in `[]` has no certain meaning",
            id="a letter with a backslash in brackets",
        ),
    ],
)
def test_a_line_that_docker_refuses_or_misreads_is_an_error(ignore: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        IgnoreRules.parse(ignore)


@pytest.mark.parametrize(
    ("ignore", "directory", "entered"),
    [
        pytest.param("node_modules\n", "node_modules", False, id="no exception at all"),
        pytest.param("node_modules\n!docs/*.md\n", "node_modules", False, id="an exception elsewhere"),
        pytest.param("*\n!*.json\n", "node_modules", False, id="a wildcard exception for the top only"),
        pytest.param("*\n!*/*.json\n", "a/b", False, id="a wildcard exception for one level, two levels down"),
        pytest.param("*\n!src\n", "srcs", False, id="an exception whose name is a beginning of this one"),
        pytest.param("lib\n!lib/a/b\n", "lib", True, id="an exception two levels down"),
        pytest.param("lib\n!lib/a/b\n", "lib/a", True, id="an exception one level down"),
        pytest.param("lib\n!lib/*/b\n", "lib/x", True, id="an exception below a wildcard"),
        pytest.param("lib\n!**/b\n", "lib/x/y", True, id="an exception at any depth"),
        pytest.param("lib\n!l[^x]b/a\n", "lib", True, id="an exception with brackets, which may cross directories"),
    ],
)
def test_an_ignored_directory_is_only_entered_for_an_exception(ignore: str, directory: str, *, entered: bool) -> None:
    selection = Selection(IgnoreRules.parse(ignore), keep_git_dir=False, archive=None)
    assert judged(selection, directory)[:2] == (False, entered)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param(".git", (False, False), id="the repository's own directory"),
        pytest.param("vendor/lib/.git", (False, False), id="that of a submodule"),
        pytest.param(".github", (True, True), id="a name that begins alike"),
        pytest.param("out/context.tar.gz", (False, False), id="the archive itself"),
        pytest.param("out/.context.tar.gz.0a1b2c3d.partial", (False, False), id="an archive whose writer was killed"),
        pytest.param("out/context.tar.gz.asc", (True, True), id="something beside the archive"),
        pytest.param("context.tar.gz", (True, True), id="a file of the archive's name elsewhere"),
    ],
)
def test_what_is_no_source_stays_out(path: str, expected: tuple[bool, bool]) -> None:
    selection = Selection(IgnoreRules(), keep_git_dir=False, archive="out/context.tar.gz")
    assert selection.judge(path, ())[:2] == expected


@pytest.mark.parametrize(
    ("text", "path"),
    [
        pytest.param("./", ".", id="the directory itself"),
        pytest.param("./services//web/", "services/web", id="more slashes than needed"),
        pytest.param("a/../b", "b", id="up and down within"),
        pytest.param("..a", "..a", id="a name that begins with dots"),
    ],
)
def test_a_path_below_the_source_directory_is_cleaned(text: str, path: str) -> None:
    assert SourcePath.parse(text) == path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "/etc", "'/etc' is absolute; write it relative to the root of the repository", id="an absolute path"
        ),
        pytest.param(
            "//etc",
            "'//etc' is absolute; write it relative to the root of the repository",
            id="an absolute one of POSIX",
        ),
        pytest.param("..", "'..' leads out of the repository", id="the parent"),
        pytest.param("a/../../b", "'a/../../b' leads out of the repository", id="one level up too many"),
    ],
)
def test_a_path_that_leaves_the_source_directory_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        SourcePath.parse(text)


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        pytest.param(SourcePath.parse, "a" * 256, id="of a source"),
        pytest.param(Destination.parse, "a" * 256, id="of a destination"),
        pytest.param(Location.parse, "a" * 256, id="of a context"),
        pytest.param(Location.parse, "tar://" + "a" * 256, id="of an archive"),
    ],
)
def test_a_path_that_no_file_system_has_is_refused(parse: Callable[[str], object], text: str) -> None:
    with pytest.raises(ValueError, match="is too long for a path"):
        parse(text)


def test_an_address_of_a_context_may_be_longer_than_a_path() -> None:
    path = "host/a.tar.gz?signature=" + "a" * 3000
    assert Location.parse(f"https://{path}") == Location("https", path)


def test_an_image_to_be_pushed_has_no_digest() -> None:
    text = f"registry:5000/team/app:v1@sha256:{'a' * 64}"
    assert str(PushedImage.parse("registry:5000/team/app:v1")) == "registry:5000/team/app:v1"
    message = f"{text!r} has a digest, which an image gets by being built; give a name and a tag"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        PushedImage.parse(text)


@pytest.mark.parametrize(
    ("text", "destination"),
    [
        pytest.param("out/context.tar.gz", Destination("out/context.tar.gz"), id="a file"),
        pytest.param("gs://contexts", Destination("", "contexts"), id="a bucket"),
        pytest.param("gs://contexts/", Destination("", "contexts"), id="a bucket with a slash"),
        pytest.param("gs://my.contexts_1/a/b/", Destination("a/b", "my.contexts_1"), id="a folder of a bucket"),
    ],
)
def test_a_destination_is_a_file_or_a_folder_of_a_bucket(text: str, destination: Destination) -> None:
    assert Destination.parse(text) == destination


@pytest.mark.parametrize(
    ("destination", "name"),
    [
        pytest.param(Destination("", "contexts"), "abc.tar.gz", id="at the top of the bucket"),
        pytest.param(Destination("a/b", "contexts"), "a/b/abc.tar.gz", id="in a folder"),
    ],
)
def test_an_object_is_named_by_its_content(destination: Destination, name: str) -> None:
    assert destination.object_name("abc") == name


NO_BUCKET = "is not the name of a bucket: 3 to 63 of a-z, 0-9, `-`, `_` and `.`"
NO_OBJECT = "; write it in ASCII, without spaces and any of ?#%*[]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("out/", "'out/' is a directory; name the file, as in out/context.tar.gz", id="a directory"),
        pytest.param("s3://b/p", "'s3://b/p' is neither a file nor gs://BUCKET/PREFIX", id="another cloud"),
        pytest.param("gs://", f"'gs://': '' {NO_BUCKET}", id="no bucket"),
        pytest.param("gs://ab/p", f"'gs://ab/p': 'ab' {NO_BUCKET}", id="a bucket name too short"),
        pytest.param("gs://Contexts", f"'gs://Contexts': 'Contexts' {NO_BUCKET}", id="capital letters"),
        pytest.param("gs://10.0.0.1/p", f"'gs://10.0.0.1/p': '10.0.0.1' {NO_BUCKET}", id="an address"),
        pytest.param("gs://a..bc", f"'gs://a..bc': 'a..bc' {NO_BUCKET}", id="two dots"),
        pytest.param(f"gs://{'a' * 64}", f"'gs://{'a' * 64}': '{'a' * 64}' {NO_BUCKET}", id="a bucket name too long"),
        pytest.param(
            "gs://contexts/a?b",
            f"'gs://contexts/a?b': Kaniko cannot read an object of the name 'a?b'{NO_OBJECT}",
            id="a sign that means something in an address",
        ),
        pytest.param(
            "gs://contexts//a",
            f"'gs://contexts//a': Kaniko cannot read an object of the name '/a'{NO_OBJECT}",
            id="an empty part of a name",
        ),
        pytest.param(
            "gs://contexts/../a",
            f"'gs://contexts/../a': Kaniko cannot read an object of the name '../a'{NO_OBJECT}",
            id="dots that a client might resolve",
        ),
    ],
)
def test_a_destination_that_cannot_be_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Destination.parse(text)


@pytest.mark.parametrize(
    ("text", "location"),
    [
        pytest.param("gs://contexts/a/b.tar.gz", Location("gs", "contexts/a/b.tar.gz"), id="Cloud Storage"),
        pytest.param("s3://bucket/key.tar.gz", Location("s3", "bucket/key.tar.gz"), id="S3"),
        pytest.param("https://host/a.tar.gz", Location("https", "host/a.tar.gz"), id="a web server"),
        pytest.param("tar:///context/a.tar.gz", Location("tar", "/context/a.tar.gz"), id="an archive"),
        pytest.param("dir:///context/src", Location("dir", "/context/src"), id="a directory"),
        pytest.param("./", Location("dir", "./"), id="a bare path"),
    ],
)
def test_a_context_is_named_as_for_kaniko(text: str, location: Location) -> None:
    assert Location.parse(text) == location


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "git://github.com/a/b",
            "'git://github.com/a/b' is none of gs://, s3://, https://, tar://FILE, dir://DIRECTORY or a directory",
            id="a repository, which a clone step fetches",
        ),
        pytest.param("tar://", "'tar://' does not say where the context is", id="no file"),
        pytest.param("s3://bucket", "'s3://bucket' does not say where the context is", id="no key"),
        pytest.param("https:///a", "'https:///a' does not say where the context is", id="no host"),
        pytest.param(
            "https://user:secret@host/a",
            "the address holds a credential, which logs and results would show",
            id="a credential",
        ),
        pytest.param(
            "gs://contexts",
            f"'gs://contexts': Kaniko cannot read an object of the name ''{NO_OBJECT}",
            id="a bucket without an object",
        ),
    ],
)
def test_a_context_that_cannot_be_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Location.parse(text)


@pytest.mark.parametrize(
    ("target", "resolved", "problem"),
    [
        pytest.param("/src/app/x", "/src/app/x", "is absolute", id="absolute, though inside"),
        pytest.param("../x", "/src/x", "leads out of the context", id="outside"),
        pytest.param("../app-evil/x", "/src/app-evil/x", "leads out of the context", id="a sibling of a longer name"),
        pytest.param("a/../x", "/src/app/x", None, id="inside"),
        pytest.param("..", "/src/app", None, id="the context itself"),
    ],
)
def test_a_symlink_stays_in_the_context(target: str, resolved: str, problem: str | None) -> None:
    assert link_problem(target, resolved, "/src/app") == problem


@pytest.mark.parametrize(
    ("path", "secret"),
    [
        pytest.param(".env", True, id="settings"),
        pytest.param("web/.env.production", True, id="settings of a kind"),
        pytest.param("tls/server.PEM", True, id="a key or certificate in capitals"),
        pytest.param("home/.ssh/id_ed25519", True, id="an SSH key"),
        pytest.param(".git-credentials", True, id="git's passwords"),
        pytest.param("home/.docker/config.json", True, id="Docker's passwords"),
        pytest.param(".docker/config.json", True, id="Docker's passwords at the top"),
        pytest.param("gcp-credentials-dev.json", True, id="a cloud's credentials"),
        pytest.param("environment.py", False, id="code about the environment"),
        pytest.param("docker/config.json", False, id="some configuration"),
        pytest.param("credentials.py", False, id="code about credentials"),
        pytest.param("id_rsa/README", False, id="a file in a directory of such a name"),
    ],
)
def test_a_name_that_secrets_have_is_known(path: str, *, secret: bool) -> None:
    assert looks_secret(path) is secret


def test_a_dockerfile_in_a_context_without_rules_stays_where_it_is() -> None:
    assert lay_out_dockerfile("web/Dockerfile", b"FROM x", IgnoreRules.parse("# nothing\n"), ["web"]) == (
        "web/Dockerfile",
        {},
    )


@pytest.mark.parametrize(
    ("path", "ignore", "taken", "directory"),
    [
        pytest.param(None, "", [], ".apps-cd", id="outside the context"),
        pytest.param("Dockerfile", "*.md\n", ["Dockerfile"], ".apps-cd", id="where an ignore file would be read again"),
        pytest.param(None, "", [".apps-cd", ".apps-cd-2"], ".apps-cd-3", id="beside names that are taken"),
    ],
)
def test_a_dockerfile_gets_a_directory_that_copy_does_not_see(
    path: str | None, ignore: str, taken: list[str], directory: str
) -> None:
    assert lay_out_dockerfile(path, b"FROM x", IgnoreRules.parse(ignore), taken) == (
        f"{directory}/Dockerfile",
        {f"{directory}/Dockerfile": b"FROM x", f"{directory}/Dockerfile.dockerignore": f"{directory}\n".encode()},
    )


def test_the_report_names_the_ten_largest_files() -> None:
    contents = Contents(symlinks=2)
    for size in range(12):
        contents.add_file(f"f\t{size}" if size == 11 else f"f{size}", size * 1000)
    assert contents.report(4321) == "\n".join(
        [
            "packed 12 files and 2 symlinks: 66,000 bytes into 4,321; largest:",
            "         11,000 'f\\t11'",
            "         10,000 f10",
            *(f"          {size},000 f{size}" for size in range(9, 1, -1)),
        ]
    )


def test_many_secrets_are_counted_not_listed() -> None:
    contents = Contents()
    for number in range(22):
        contents.add_file(f"{number:02}.pem", 1)
    names = ", ".join(f"{number:02}.pem" for number in range(20))
    assert contents.warning() == (
        f"the context holds what looks like secrets; if they are, keep them out by an ignore file: {names} and 2 more"
    )
