"""What Docker does was tried with BuildKit 0.34.2: its parser, its words and Go's filepath.Match."""

import json
import re
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steps.core.dockerfile import Sources

CONTEXT = [
    "$HOME",
    ".env",
    "README.md",
    "[id].ts",
    "a b",
    "app-1.jar",
    "go.mod",
    "lib/util/x.go",
    "src/a.go",
    "src/b.go",
    "src/web/index.ts",
    "web/admin/package.json",
    "web/package.json",
]
SRC = ["src/a.go", "src/b.go", "src/web/index.ts"]


def seen(dockerfile: str) -> list[str]:
    sources = Sources.parse(dockerfile)
    files = [path for path in CONTEXT if sources.sees(path)]
    assert [path for path in files if not any(is_within(path, root) for root in sources.roots)] == []
    return files


def is_within(path: str, root: str) -> bool:
    return root == "." or f"{path}/".startswith(f"{root}/")


@pytest.mark.parametrize(
    ("instruction", "files"),
    [
        pytest.param("COPY go.mod /app/", ["go.mod"], id="a file"),
        pytest.param("COPY src /app/", SRC, id="a directory with all below it"),
        pytest.param("COPY go.mod README.md src/web/ /app/", ["README.md", "go.mod", "src/web/index.ts"], id="several"),
        pytest.param("copy go.mod /\n  Add README.md /", ["README.md", "go.mod"], id="instructions in small letters"),
        pytest.param("COPY go /app/", [], id="a name that is only the beginning of one"),
        pytest.param("COPY src", [], id="a destination alone, which Docker refuses"),
        pytest.param("COPY . .", CONTEXT, id="the whole context"),
        pytest.param("COPY ./ /app/", CONTEXT, id="the whole context with a slash"),
        pytest.param("COPY / /app/", CONTEXT, id="the root, which is the context's"),
        pytest.param("COPY /src /app/", SRC, id="an absolute path, which is the context's"),
        pytest.param("COPY ./src/./web/../ /app/", SRC, id="a path to be cleaned"),
        pytest.param("COPY ../../src /app/", SRC, id="a path that climbs, but not above the context"),
        pytest.param("COPY ../ /app/", CONTEXT, id="the directory above, which is the context"),
        pytest.param('COPY ["a b", "/app/"]', ["a b"], id="the JSON form"),
        pytest.param(
            'COPY [ "src/a.go" , "go.mod","/app/" ]  ', ["go.mod", "src/a.go"], id="the JSON form with blanks"
        ),
        pytest.param('COPY ["", "/app/"]', CONTEXT, id="an empty name, which is the context"),
        pytest.param('COPY ["x",] go.mod /app/', ["go.mod"], id="a broken JSON form, which is the shell form"),
        pytest.param("COPY [i]d.ts go.mod /app/", ["go.mod"], id="brackets that are no JSON"),
        pytest.param("COPY \"go.mod\" 'README.md' /", ["README.md", "go.mod"], id="quotes"),
        pytest.param('COPY src"/a".go /', ["src/a.go"], id="quotes within a word"),
        pytest.param(r"COPY g\o.mod /", ["go.mod"], id="a sign that is escaped without need"),
        pytest.param(r'COPY "\[id].ts" /', ["[id].ts"], id="a sign that is escaped in quotes, for Go to see"),
        pytest.param('COPY "a b" /', CONTEXT, id="a blank in quotes, at which Docker cuts and then lacks a quote"),
        pytest.param(r"COPY \$HOME '$HOME' /", ["$HOME"], id="dollars that are none"),
        pytest.param("COPY --chown=a:b --chmod=755 --link go.mod /", ["go.mod"], id="flags"),
        pytest.param("COPY --chown=\"a b\" --chmod='7 5' go.mod /", ["go.mod"], id="blanks in flags"),
        pytest.param("COPY --exclude=*.go src /", SRC, id="an exception, which is counted nevertheless"),
        pytest.param("COPY --link -- go.mod /", ["go.mod"], id="the end of the flags"),
        pytest.param("COPY --from=build /src /", [], id="a stage"),
        pytest.param("COPY --link --from=node:22 /src /", [], id="an image"),
        pytest.param('COPY --from="build" ["/src", "/"]', [], id="a stage in quotes"),
        pytest.param("COPY --from= src /", SRC, id="no stage, which is the context"),
    ],
)
def test_copy_reads_what_it_names(instruction: str, files: list[str]) -> None:
    assert seen(f"FROM scratch AS build\n{instruction}\n") == files


@pytest.mark.parametrize(
    ("source", "files"),
    [
        pytest.param("src/*.go", ["src/a.go", "src/b.go"], id="a star"),
        pytest.param("*/package.json", ["web/package.json"], id="a star, which crosses no slash"),
        pytest.param("**/package.json", ["web/package.json"], id="two stars, which are one"),
        pytest.param("s*c", SRC, id="a star that matches a directory"),
        pytest.param("*", CONTEXT, id="a star alone"),
        pytest.param(".*", CONTEXT, id="a dot and a star: to Kaniko the context has the name `.`"),
        pytest.param("/.*", CONTEXT, id="the same as an absolute path, though Kaniko then sees the hidden files only"),
        pytest.param(".[^.]*", [".env"], id="hidden files only"),
        pytest.param("src/?.go", ["src/a.go", "src/b.go"], id="a question mark"),
        pytest.param("src?a.go", [], id="a question mark, which is no slash"),
        pytest.param("src/[a-b].go", ["src/a.go", "src/b.go"], id="a range"),
        pytest.param("src/[^a].go", ["src/b.go"], id="all but a letter"),
        pytest.param("src/[!a].go", ["src/a.go"], id="an exclamation mark, which is a letter like any other"),
        pytest.param("src[^a]a.go", ["src/a.go"], id="all but a letter, which may be a slash"),
        pytest.param("src/[b-a].go", [], id="a range that runs backwards"),
        pytest.param("src/[^b-a].go", ["src/a.go", "src/b.go"], id="all but a range that runs backwards"),
        pytest.param("[[]id].ts", ["[id].ts"], id="a bracket in brackets"),
        pytest.param("[id].ts", ["[id].ts"], id="brackets, which Kaniko also takes literally"),
        pytest.param(r"\\[id].ts", ["[id].ts"], id="a bracket with two backslashes, one of which is left for Go"),
        pytest.param(r"src/[\\a].go", ["src/a.go"], id="a backslash in brackets"),
        pytest.param(r"src/[\\^-a].go", ["src/a.go"], id="a range that begins with a sign"),
        pytest.param("src/*a*.*o", ["src/a.go"], id="stars that match nothing and more"),
        pytest.param("s*/*.go", ["src/a.go", "src/b.go"], id="stars on both sides of a slash"),
        pytest.param("[a", CONTEXT, id="a bracket that does not close"),
        pytest.param("[]a]", CONTEXT, id="a bracket that closes at once"),
        pytest.param("[a-]", CONTEXT, id="a range without an end"),
        pytest.param("src/[", CONTEXT, id="a bracket at the end"),
        pytest.param(r"src\\", CONTEXT, id="a backslash at the end"),
    ],
)
def test_wildcards_are_those_of_go(source: str, files: list[str]) -> None:
    assert seen(f"FROM scratch\nCOPY {source} /\n") == files


@pytest.mark.parametrize(
    ("instruction", "files"),
    [
        pytest.param("COPY $APP /", CONTEXT, id="a variable alone"),
        pytest.param("COPY ${APP:-src}/a.go /", CONTEXT, id="a variable first, whatever its default"),
        pytest.param("COPY src/$APP /", SRC, id="a variable below a directory"),
        pytest.param("COPY go.mod/$APP /", ["go.mod"], id="a variable that must be empty"),
        pytest.param("COPY src/${APP%/*}/go.mod /", SRC, id="a variable between directories"),
        pytest.param("COPY app-$VERSION.jar /", ["app-1.jar"], id="a variable in a name"),
        pytest.param('COPY "lib/$APP" go.mod /', ["go.mod", "lib/util/x.go"], id="a variable in quotes"),
        pytest.param('COPY ["lib/$APP", "/"]', ["lib/util/x.go"], id="a variable in the JSON form"),
        pytest.param("COPY src/.$APP /", CONTEXT, id="a variable behind a dot"),
        pytest.param("COPY src/$APP/../../go.mod /", CONTEXT, id="a variable with a way up behind it"),
        pytest.param("COPY [$APP].ts /", CONTEXT, id="a variable in brackets"),
        pytest.param(r"COPY a\\$APP /", CONTEXT, id="a variable behind a backslash"),
        pytest.param("COPY go.mod $APP", ["go.mod"], id="a variable as the destination"),
        pytest.param("COPY --from=$APP src /", [], id="a variable as the stage"),
    ],
)
def test_what_a_variable_may_name_is_seen(instruction: str, files: list[str]) -> None:
    assert seen(f"ARG APP=src\nFROM scratch\nARG APP\n{instruction}\n") == files


@pytest.mark.parametrize(
    ("source", "patterns"),
    [
        pytest.param("web/*/package.json", ("web/*/package.json",), id="a star"),
        pytest.param("./src/./web/*.ts", ("src/web/*.ts",), id="a pivot"),
        pytest.param("src/./../go.mod", (".",), id="a way up behind the pivot, which does not lead above it"),
        pytest.param("web/**/package.json", ("web",), id="two stars, which cross slashes"),
        pytest.param("web/[^a]/x", (".",), id="all but a letter"),
        pytest.param("web/[ab]/x", ("web",), id="brackets"),
        pytest.param("c++/x.h", ("c++/x.h",), id="signs of regular expressions"),
        pytest.param("c++/*.h", (".",), id="signs of regular expressions beside a star, which then are such"),
    ],
)
def test_copy_with_parents_has_a_matcher_of_its_own(source: str, patterns: tuple[str, ...]) -> None:
    assert Sources.parse(f"FROM scratch\nCOPY --parents {source} /\n").patterns == patterns


def test_copy_without_parents_has_the_usual_one() -> None:
    text = "FROM scratch\nCOPY --parents=false web/**/x /\nCOPY src/./../go.mod /\n"
    assert Sources.parse(text).patterns == ("go.mod", "web/**/x")


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("http://example.org/src", id="an address"),
        pytest.param("https://example.org/a?b=[", id="an address with signs of patterns"),
        pytest.param("ftp://example.org/src", id="an address of FTP"),
        pytest.param("https://github.com/a/b.git#main:src", id="a repository"),
        pytest.param("git@github.com:a/b.git#main", id="a repository by SSH as git writes it"),
        pytest.param("git://example.org/a.git", id="a repository by git's protocol"),
        pytest.param("ssh://git@example.org/a.git", id="a repository by SSH"),
        pytest.param("https://example.org/$VERSION.tar.gz", id="an address with a variable"),
        pytest.param('"https://example.org/a"', id="an address in quotes"),
    ],
)
def test_add_reads_nothing_here_for_what_comes_from_elsewhere(source: str) -> None:
    assert Sources.parse(f"FROM scratch\nADD --checksum=sha256:0 {source} /\n") == Sources(())


@pytest.mark.parametrize(
    ("text", "files"),
    [
        pytest.param(
            "COPY src/a.go \\\n  go.mod \\  \n  /", ["go.mod", "src/a.go"], id="an instruction of three lines"
        ),
        pytest.param("COPY \\\n# src \\\n  # lib\n\n \t\n go.mod /", ["go.mod"], id="comments and empty lines in it"),
        pytest.param("COPY go.\\\nmod /", ["go.mod"], id="a word of two lines"),
        pytest.param("COPY go.mod /\\\\\nCOPY src /", ["go.mod", *SRC], id="two backslashes at a line's end"),
        pytest.param("# COPY src /\n  # COPY lib /\nCOPY go.mod /", ["go.mod"], id="comments"),
        pytest.param("COPY go.mod # src", ["go.mod"], id="a comment that is none"),
        pytest.param("COPY\tgo.mod\v\f README.md\t /\t", ["README.md", "go.mod"], id="other blanks"),
        pytest.param("\\\nCOPY go.mod /", ["go.mod"], id="an instruction that begins on the next line"),
        pytest.param("COPY go.mod / \\", ["go.mod"], id="an instruction that goes on behind the end of the file"),
        pytest.param("RUN echo \\\n  COPY src /", [], id="a command that looks like an instruction"),
        pytest.param("INCLUDE+ Dockerfile.common", CONTEXT, id="an instruction of somebody else's syntax"),
    ],
)
def test_lines_are_joined_as_docker_joins_them(text: str, files: list[str]) -> None:
    dockerfile = f"FROM scratch\n{text}\n"
    assert seen(dockerfile) == files
    assert seen("\ufeff" + dockerfile.replace("\n", "\r\n")) == files


@pytest.mark.parametrize(
    ("text", "files"),
    [
        pytest.param(
            "# escape=`\nFROM x\nCOPY go.mod `\n src/a.go /", ["go.mod", "src/a.go"], id="another escape sign"
        ),
        pytest.param("#Escape = ` \nFROM x\nCOPY go.mod `\n /", ["go.mod"], id="one in another spelling"),
        pytest.param("# syntax=x\n# check=y\n# escape=`\nFROM x\nCOPY src `\n /", SRC, id="one among other directives"),
        pytest.param("# escape=`\nFROM x\nCOPY go.mod C:\\", CONTEXT, id="a backslash then: Kaniko escapes by it"),
        pytest.param("# escape=`\nFROM x\nCOPY --from=a\\ go.mod /", CONTEXT, id="a backslash in a flag then"),
        pytest.param(
            "# a\n# escape=`\nFROM x\nCOPY go.mod \\\n /", ["go.mod"], id="one behind a comment, which is one"
        ),
        pytest.param("\n# escape=`\nFROM x\nCOPY go.mod \\\n /", ["go.mod"], id="one behind an empty line, likewise"),
        pytest.param(
            "# escape=\n# escape=`\nFROM x\nCOPY go.mod \\\n /", ["go.mod"], id="one behind no value, likewise"
        ),
        pytest.param("FROM x\n# escape=`\nCOPY go.mod \\\n /", ["go.mod"], id="one behind an instruction, likewise"),
    ],
)
def test_directives_are_obeyed_where_they_are_ones(text: str, files: list[str]) -> None:
    assert seen(text) == files


@pytest.mark.parametrize(
    ("text", "files"),
    [
        pytest.param("COPY <<EOF /\nCOPY src /\nEOF\nCOPY go.mod /", ["go.mod"], id="a file of a heredoc"),
        pytest.param("COPY README.md <<EOF /\nx\nEOF", ["README.md"], id="one beside another file"),
        pytest.param("ADD <<A <<B /\nCOPY src /\nB\nA\nCOPY lib /\nB\nCOPY go.mod /", ["go.mod"], id="two heredocs"),
        pytest.param("COPY <<-EOF /\nCOPY src /\n\tEOF\nCOPY go.mod /", ["go.mod"], id="one that tabs indent"),
        pytest.param("COPY <<EOF /\n\tEOF\nCOPY src /\nEOF\nCOPY go.mod /", ["go.mod"], id="tabs that count"),
        pytest.param("COPY <<\"EOF\" <<'E' /\nEOF\nCOPY src /\nE\nCOPY go.mod /", ["go.mod"], id="quoted ends"),
        pytest.param("RUN <<EOF cat > x\nCOPY src /\nEOF\nCOPY go.mod /", ["go.mod"], id="a command's"),
        pytest.param("RUN cat <<'E F'\nCOPY src /\nE F\nCOPY go.mod /", ["go.mod"], id="an end with a blank"),
        pytest.param("RUN cat <<$E\nCOPY src /\n$E\nCOPY go.mod /", ["go.mod"], id="an end that is no variable"),
        pytest.param("RUN cat 3<<EOF\nCOPY src /\nEOF\nCOPY go.mod /", ["go.mod"], id="one of a number"),
        pytest.param(
            "RUN \\\n cat <<EOF\nCOPY src /\nEOF\nCOPY go.mod /", ["go.mod"], id="one of a longer instruction"
        ),
        pytest.param("ONBUILD RUN <<EOF\nCOPY src /\nEOF\nCOPY go.mod /", ["go.mod"], id="a trigger's"),
        pytest.param("RUN echo $((1<<2)) <<<x\nCOPY go.mod /", ["go.mod"], id="signs that only look alike"),
        pytest.param('RUN echo "a <<EOF"\nCOPY go.mod /', ["go.mod"], id="one in quotes"),
        pytest.param('COPY ["<<EOF", "/"]\nCOPY go.mod /', ["go.mod"], id="one in the JSON form, which has no body"),
        pytest.param("ENV A=1 B=<<EOF\nCOPY go.mod /", ["go.mod"], id="one of an instruction that has none"),
        pytest.param("RUN echo it's <<EOF\nCOPY src /", SRC, id="one behind a quote without an end"),
        pytest.param("RUN <<EOF\nCOPY go.mod /", CONTEXT, id="one that does not end"),
    ],
)
def test_the_body_of_a_heredoc_is_no_instruction(text: str, files: list[str]) -> None:
    assert seen(f"FROM scratch\n{text}\n") == files


@pytest.mark.parametrize(
    ("mount", "files"),
    [
        pytest.param("type=bind,source=src,target=/x", SRC, id="a directory"),
        pytest.param("Target=/x,SRC=go.mod", ["go.mod"], id="no type, which is to bind"),
        pytest.param("target=/x", CONTEXT, id="no source, which is the context"),
        pytest.param("source=/lib,target=/x,ro", ["lib/util/x.go"], id="an absolute source"),
        pytest.param('"source=src,target=/x"', SRC, id="quotes"),
        pytest.param("source=src/$APP,target=/x", SRC, id="a variable"),
        pytest.param("source=src/[a].go,target=/x", SRC, id="signs of patterns, which are none here"),
        pytest.param("source=a\\ b,target=/x", CONTEXT, id="a backslash"),
        pytest.param("from=build,source=src,target=/x", [], id="a stage"),
        pytest.param("from=context,source=src,target=/x", SRC, id="what Kaniko calls the context"),
        pytest.param("type=cache,target=/src", [], id="a cache"),
        pytest.param("type=secret,id=go.mod", [], id="a secret"),
        pytest.param("type=ssh", [], id="an agent"),
        pytest.param("type=tmpfs,target=/src", [], id="memory"),
        pytest.param(
            "type=tmpfs,target=/x --network=none --mount=source=go.mod,target=/y", ["go.mod"], id="two mounts"
        ),
    ],
)
def test_a_mount_reads_what_it_binds(mount: str, files: list[str]) -> None:
    assert seen(f"FROM scratch\nRUN --mount={mount} make src\n") == files


@pytest.mark.parametrize(
    ("text", "files"),
    [
        pytest.param("FROM a AS b\nONBUILD COPY src /", [], id="a trigger, which runs in other builds"),
        pytest.param("FROM a AS b\nonbuild COPY src /\nFROM B", SRC, id="a trigger that a later stage runs"),
        pytest.param("FROM a AS b\nONBUILD ADD src /\nFROM a\nCOPY --from=b / /", [], id="a stage that is only copied"),
        pytest.param("FROM a AS b\nONBUILD COPY src /\nFROM $c", SRC, id="a later stage that may begin with any"),
        pytest.param("FROM a AS b\nONBUILD RUN --mount=source=src x\nFROM b AS c\nFROM c", SRC, id="a trigger's mount"),
    ],
)
def test_triggers_count_where_this_build_runs_them(text: str, files: list[str]) -> None:
    assert seen(text) == files


def test_all_stages_count() -> None:
    dockerfile = """\
# syntax=docker/dockerfile:1
ARG GO=1.26
FROM --platform=$BUILDPLATFORM golang:${GO} AS build
WORKDIR /src
COPY go.* ./
RUN --mount=type=cache,target=/go/pkg go mod download
COPY src/ lib/util ./
RUN <<EOF
go build -o /app ./...
EOF

FROM gcr.io/distroless/static
COPY --from=build /app /app
COPY --chown=65532:65532 ["web", "/web"]
ENTRYPOINT ["/app"]
"""
    assert Sources.parse(dockerfile) == Sources(("go.*", "lib/util", "src", "web"))
    assert seen(dockerfile) == ["go.mod", "lib/util/x.go", *SRC, "web/admin/package.json", "web/package.json"]


@pytest.mark.parametrize(
    ("instructions", "patterns", "roots"),
    [
        pytest.param("RUN make", (), (), id="nothing"),
        pytest.param("COPY src/*.go go.mod /", ("go.mod", "src/*.go"), ("go.mod", "src"), id="a file and a pattern"),
        pytest.param("COPY web/*/x/*.ts web/a /", ("web/*/x/*.ts", "web/a"), ("web", "web/a"), id="wildcards midway"),
        pytest.param("COPY *.md src /", ("*.md", "src"), (".",), id="a wildcard at the top"),
        pytest.param("COPY src . /", (".",), (".",), id="the whole context and a part"),
        pytest.param("COPY src /\nCOPY ./src/ /", ("src",), ("src",), id="one source twice"),
        pytest.param(r"COPY src/\\*/a /", (r"src/\*/a",), ("src",), id="a star that is none"),
    ],
)
def test_roots_hold_what_patterns_match(instructions: str, patterns: tuple[str, ...], roots: tuple[str, ...]) -> None:
    sources = Sources.parse(f"FROM scratch\n{instructions}\n")
    assert (sources.patterns, sources.roots) == (patterns, roots)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param("", 1, id="nothing"),
        pytest.param("# FROM scratch\n\n", 1, id="comments"),
        pytest.param("\n---\napiVersion: v1\nkind: ConfigMap\n", 2, id="YAML"),
        pytest.param("ARG A\nCOPY . .\n", 1, id="instructions without a stage"),
    ],
)
def test_what_is_no_dockerfile_is_refused(text: str, line: int) -> None:
    message = f"line {line}: neither here nor below is a FROM, so this is no Dockerfile"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Sources.parse(text)


@pytest.mark.parametrize("begin", ["COPY ", "COPY --a=", "RUN <<A ", "RUN --mount=", "# a="])
@pytest.mark.parametrize(
    "sign", ["[", "[a-b", "a?*", "\\'", '"\\"', "\\\n", "$", "${", "<<B ", "../", "--a ", ",", " "]
)
def test_a_long_text_takes_time_in_proportion(begin: str, sign: str) -> None:
    text = f"FROM scratch\n{begin}{sign * (2**18 // len(sign))} x\n"
    before = process_time()
    Sources.parse(text)
    assert process_time() - before < 5


def test_stars_take_time_in_proportion() -> None:
    sources = Sources.parse(f"FROM scratch\nCOPY {'*a' * 200}b /\n")
    before = process_time()
    assert not sources.sees("a" * 4000)
    assert process_time() - before < 5


PIECES = st.sampled_from(
    [
        *(
            "FROM",
            "COPY",
            "ADD",
            "RUN",
            "ONBUILD",
            "--from=",
            "--mount=",
            "--parents",
            "--",
            "# escape=`\n",
            "<<",
            "EOF",
        ),
        *(
            "\n",
            "\r\n",
            "\t",
            " ",
            "\\",
            "`",
            "'",
            '"',
            "$",
            "{",
            "}",
            "[",
            "]",
            "*",
            "?",
            "^",
            "-",
            ",",
            "=",
            "/",
            ".",
        ),
        *("..", "a", "src", "\u00e9"),
    ]
)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(st.lists(PIECES).map("".join) | st.text(), st.text())
def test_any_text_is_read_or_refused(text: str, path: str) -> None:
    try:
        Sources.parse(text).sees(path)
    except ValueError as refusal:
        assert re.fullmatch(r"line [0-9]+: neither here .*", str(refusal))  # noqa: PT017 - either may come
    Sources.parse(f"FROM scratch\n{text}").sees(path)


PATHS = st.lists(
    st.text(st.characters(exclude_characters="/\0"), min_size=1).filter(lambda part: part not in (".", "..")),
    min_size=1,
).map("/".join)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(PATHS, st.sampled_from(["COPY . .", "ADD / /", "COPY * .", 'COPY ["", "/"]', "RUN --mount=target=/x make"]))
def test_the_whole_context_holds_every_file(path: str, instruction: str) -> None:
    assert Sources.parse(f"FROM scratch\n{instruction}\n").sees(path)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(PATHS, st.sampled_from(["./", "/", "../x/../"]))
def test_a_file_is_seen_by_its_own_name(path: str, before: str) -> None:
    for_go = re.sub(r"([\\*?\[])", r"\\\1", path)
    word = before + re.sub(r"([\\\"'$])", r"\\\1", for_go)
    sources = Sources.parse(f"FROM scratch\nCOPY {json.dumps([word, '/'])}\n")
    assert sources.patterns == (for_go,)
    assert (sources.sees(path), sources.sees(f"{path}/below"), sources.sees(f"x{path}")) == (True, True, False)
