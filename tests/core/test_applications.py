import dataclasses
import textwrap
import time
from collections.abc import Iterable
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from steps.core.applications import (
    DEFAULT_TAG,
    Broken,
    Configuration,
    ImageName,
    ImageTag,
    Pair,
    PairName,
    Place,
    TagPrefix,
    Watch,
    branches,
    fixed_part,
    parse,
)
from steps.core.build_context import SourcePath
from steps.core.pipeline_run import PARAMS
from steps.core.repository import Branch, Repository
from steps.core.typed_yaml import Position, Problem
from steps.core.update import Application, Version
from tests.steps import kubeflow

FILE = "applications.yaml"
NOWHERE = Position("", 0, 0)
COMMIT = "0123456789abcdef0123456789abcdef01234567"

SEED = kubeflow.SEED / FILE

VERSIONS = """\
versions:
  - name: v1
    tag: v1.0.0
    repos:
      - {name: code, url: https://github.com/o/code.git, branch: main}
      - {name: manifests, url: https://github.com/o/manifests.git, branch: v1-branch}
"""


def block(text: str) -> str:
    """A text as it stands in a case, without the indentation of the case."""
    return textwrap.dedent(text).removeprefix("\n")


def read(text: str, **options: Any) -> Configuration:
    return parse({FILE: text}, pipeline_params=PARAMS, **options)


def told(problems: Iterable[Problem]) -> list[str]:
    """Problems as `line:column: message`; before the message of a warning stands `warning: `."""
    return [str(problem).removeprefix(f"{FILE}:").replace(" error: ", " ", 1) for problem in problems]


def bare(configuration: Configuration) -> list[Pair]:
    """The whole pairs, without where they stand."""
    return [dataclasses.replace(pair, at=NOWHERE, where={}) for pair in configuration.pairs if isinstance(pair, Pair)]


def broken(configuration: Configuration) -> list[Broken]:
    return [pair for pair in configuration.pairs if isinstance(pair, Broken)]


def application(number: int) -> str:
    return f"  - {{name: app-{number}, sourceRepo: code, manifestsDir: app-{number}, image: r.io/app-{number}}}\n"


def among_others(piece: str) -> str:
    """A configuration of 47 applications, and among them the piece, which begins in line 101."""
    sound = "- name: broken\n  sourceRepo: code\n  manifestsDir: broken\n  image: r.io/broken\n"
    piece = block(piece).rstrip("\n") + "\n"
    piece = piece if piece.startswith("-") else sound + textwrap.indent(piece, "  ")
    before, behind = ("".join(map(application, numbers)) for numbers in (range(1, 25), range(25, 48)))
    head = "applications:\n" + before
    return "\n" * (100 - head.count("\n")) + head + textwrap.indent(piece, "  ") + behind + VERSIONS


OTHERS = bare(read("applications:\n" + "".join(map(application, range(1, 48))) + VERSIONS))

NO_ADDRESS = (
    "is not the address of a repository: https://HOST/OWNER/NAME, ssh://git@HOST/OWNER/NAME or git@HOST:OWNER/NAME"
)
NO_IMAGE = "is not an image name, such as registry.example.com:5000/team/app"
NO_TAG = "is not an image tag: at most 128 of letters, digits, `_`, `.` and `-`"
NO_GLOB = "is not a glob below the root of the repository, such as `common/**/*.go`"
NO_LABEL = "is not a label: at most 50 characters, none of them a comma"
EMPTY = "is empty: give a value, or leave it out"
LIST = "is a list: write each item behind a `- `"
TWICE = "is there already: keep one of the two"
NO_REPO = "it has code, manifests: add it there, or leave the pair out by `exclude`"

# What is added to an application that is whole, or, where it begins with `- `, stands in its place.
BROKEN = [
    pytest.param(
        "dockerFile: build/Dockerfile",
        "105:5: an application has no key `dockerFile`; did you mean `dockerfile`?",
        id="a key is written otherwise",
    ),
    pytest.param("branch: main", "105:5: an application has no key `branch`", id="a key is unknown"),
    pytest.param("1: x", "105:5: an application has no key `1`", id="a key is a number"),
    pytest.param("'<<': {target: x}", "105:5: an application has no key `<<`", id="a merge key is quoted"),
    pytest.param(
        "image: r.io/other", "105:5: `image` stands in line 104 already: keep one of the two", id="a key is there twice"
    ),
    pytest.param(
        """
        - name: broken
          manifestsDir: broken
          image: r.io/broken
        """,
        "101:5: an application lacks `sourceRepo`",
        id="the source is missing",
    ),
    pytest.param(
        """
        - name: broken
          sourceRepo: code
          image: r.io/broken
        """,
        "101:5: an application lacks `manifestsDir` (`path_to_manifests_dir` of `params`)",
        id="the manifests' directory is missing",
    ),
    pytest.param(
        """
        - name: broken
          sourceRepo: code
          params:
            - {name: path_to_manifests_dir, value: broken}
            - {name: src_image_url, value: ""}
        """,
        "101:5: an application lacks `image` (`src_image_url` of `params`)",
        id="the image is an empty parameter",
    ),
    pytest.param("context: [web]", "105:14: `context` is one value, not a sequence", id="a text is a list"),
    pytest.param("context: {web: true}", "105:14: `context` is one value, not a mapping", id="a text is a mapping"),
    pytest.param("context:", f"105:13: `context` {EMPTY}", id="a value is empty"),
    pytest.param("context: ''", f"105:14: `context` {EMPTY}", id="a value is an empty text"),
    pytest.param("context: ~", f"105:14: `context` {EMPTY}", id="a value is null"),
    pytest.param("labels: bug", f"105:13: `labels` {LIST}", id="a list is a text"),
    pytest.param("labels: 5", f"105:13: `labels` {LIST}", id="a list is a number"),
    pytest.param("labels: {bug: 1}", f"105:13: `labels` {LIST}", id="a list is a mapping"),
    pytest.param("labels: [[bug]]", "105:14: an item of `labels` is one value, not a sequence", id="an item is a list"),
    pytest.param(
        "context: /web",
        "105:14: `context`: '/web' is absolute; write it relative to the root of the repository",
        id="a path is absolute",
    ),
    pytest.param(
        "dockerfile: ../Dockerfile",
        "105:17: `dockerfile`: '../Dockerfile' leads out of the repository",
        id="a path leads out",
    ),
    pytest.param(
        "dockerfile: a/../../D",
        "105:17: `dockerfile`: 'a/../../D' leads out of the repository",
        id="a path leads out by a detour",
    ),
    pytest.param(
        'context: "a\\nb"',
        "105:14: `context`: 'a\\nb' has a control character at position 2; write it on one line, without",
        id="a path has a line feed",
    ),
    pytest.param(
        "pushedImage: r.io/App",
        f"105:18: `pushedImage`: 'r.io/App' {NO_IMAGE}; the repository is written in lower case",
        id="an image has a capital letter",
    ),
    pytest.param(
        "pushedImage: r.io/app:v1", f"105:18: `pushedImage`: 'r.io/app:v1' {NO_IMAGE}", id="an image has a tag"
    ),
    pytest.param(
        "watch: docker",
        "105:12: `watch`: 'docker' is not `dockerfile`, nor a list of globs",
        id="a word to watch is unknown",
    ),
    pytest.param("watch: {a: b}", f"105:12: `watch` {LIST}", id="what to watch is a mapping"),
    pytest.param("watch:", f"105:11: `watch` {EMPTY}", id="what to watch is empty"),
    pytest.param(
        "watch: [common, /go.mod]", f"105:21: an item of `watch`: '/go.mod' {NO_GLOB}", id="a glob is absolute"
    ),
    pytest.param("watch: ['!../x']", f"105:13: an item of `watch`: '!../x' {NO_GLOB}", id="a glob leads out"),
    pytest.param("watch: ['!']", f"105:13: an item of `watch`: '!' {NO_GLOB}", id="a glob is nothing but its negation"),
    pytest.param("labels: ['a,b']", f"105:14: an item of `labels`: 'a,b' {NO_LABEL}", id="a label has a comma"),
    pytest.param(
        f"labels: [{'a' * 51}]", f"105:14: an item of `labels`: '{'a' * 51}' {NO_LABEL}", id="a label is too long"
    ),
    pytest.param("labels: [' a']", f"105:14: an item of `labels`: ' a' {NO_LABEL}", id="a label begins with a blank"),
    pytest.param(
        "reviewers: [al@ice]",
        "105:17: an item of `reviewers`: 'al@ice' is neither a person of GitHub nor `org/team`",
        id="a reviewer is none",
    ),
    pytest.param(
        "reviewers: [o/t/x]",
        "105:17: an item of `reviewers`: 'o/t/x' is neither a person of GitHub nor `org/team`",
        id="a reviewer has two slashes",
    ),
    pytest.param("draft: yes", "105:12: `draft`: 'yes' is not true or false", id="a truth value is another word"),
    pytest.param(
        "suspend: ture",
        "105:14: `suspend`: 'ture' is not true or false; did you mean `true`?",
        id="a truth value is mistyped",
    ),
    pytest.param(
        "imageTag: v1",
        "105:15: `imageTag`: 'v1' would be the tag of every commit: it needs $(short-commit) or $(commit)",
        id="a tag names no commit",
    ),
    pytest.param(
        "imageTag: $(tag)-$(sha)",
        "105:15: `imageTag`: there is no `$(sha)`: write $(tag), $(short-commit) or $(commit)",
        id="a tag has an unknown placeholder",
    ),
    pytest.param(
        "imageTag: $(tag)/$(commit)",
        f"105:15: `imageTag`: '$(tag)/$(commit)' makes no tag: '0/0' {NO_TAG}",
        id="a tag has a slash",
    ),
    pytest.param(
        "imageTag: .$(commit)",
        f"105:15: `imageTag`: '.$(commit)' makes no tag: '.0' {NO_TAG}",
        id="a tag begins with a dot",
    ),
    pytest.param("params: {author: a}", f"105:13: `params` {LIST}", id="parameters are a mapping"),
    pytest.param(
        "params: [author]", "105:14: an item of `params` is a mapping, such as `name: ...`", id="a parameter is a text"
    ),
    pytest.param(
        "params: [{name: author}]", "105:14: an item of `params` lacks `value`", id="a parameter has no value"
    ),
    pytest.param("params: [{value: a}]", "105:14: an item of `params` lacks `name`", id="a parameter has no name"),
    pytest.param("params: [{name: author, value: }]", f"105:36: `value` {EMPTY}", id="a parameter's value is empty"),
    pytest.param(
        "params: [{name: author, value: {a: b}}]",
        "105:36: `value` is text or a list of texts",
        id="a parameter's value is a mapping",
    ),
    pytest.param(
        "params: [{name: extra-args, value: [[a]]}]",
        "105:41: an item of `value` is one value, not a sequence",
        id="a parameter's value is a list of lists",
    ),
    pytest.param(
        """
        params:
          - {name: digest_style, value: both}
          - {name: digest-style, value: inline}
        """,
        f"107:16: the parameter `digest-style` {TWICE}",
        id="a parameter is there twice",
    ),
    pytest.param(
        "params: [{name: digets-style, value: both}]",
        "105:21: the Pipeline has no parameter `digets-style`; did you mean `digest-style`?",
        id="the Pipeline has no such parameter",
    ),
    pytest.param(
        "params: [{name: image, value: a}]",
        "105:21: the parameter `image` is not set here: it comes from `image` or `pushedImage`, and the version's `tag`",
        id="a parameter is the pair's own",
    ),
    pytest.param(
        "params: [{name: app_repo_url, value: a}]",
        "105:21: the parameter `app-repo-url` is not set here: it comes from `sourceRepo` and the version's `repos`",
        id="a parameter is the pair's own, in its old spelling",
    ),
    pytest.param(
        """
        context: web
        params:
          - {name: path_to_context, value: web}
        """,
        "107:16: `context` says what `path_to_context` does: keep one of the two",
        id="a parameter says what a key says",
    ),
    pytest.param(
        "params: [{name: path_to_context, value: /web}]",
        "105:45: `path_to_context`: '/web' is absolute; write it relative to the root of the repository",
        id="a parameter that stands for a key is malformed",
    ),
    pytest.param(
        "params: [{name: docker_target, value: [a]}]",
        "105:43: `docker_target`: is one text, not a list",
        id="a parameter that stands for a key is a list",
    ),
    pytest.param(
        "workspaces: [{emptyDir: {}}]",
        "105:18: an item of `workspaces` is a mapping with a `name`, as in a PipelineRun",
        id="a workspace has no name",
    ),
    pytest.param(
        "workspaces: [cache]",
        "105:18: an item of `workspaces` is a mapping with a `name`, as in a PipelineRun",
        id="a workspace is a text",
    ),
    pytest.param("overrides: v1", f"105:16: `overrides` {LIST}", id="overrides are a text"),
    pytest.param(
        "overrides: [{target: a}]", "105:17: an item of `overrides` lacks `version`", id="an override has no version"
    ),
    pytest.param(
        """
        overrides:
          - {version: v1, target: a}
          - {version: v1, context: b}
        """,
        f"107:9: an override for version `v1` {TWICE}",
        id="a version has two overrides",
    ),
    pytest.param(
        "overrides: [{version: v1, taget: a}]",
        "105:31: an item of `overrides` has no key `taget`; did you mean `target`?",
        id="a key of an override is mistyped",
    ),
    pytest.param(
        "overrides: [{version: v1, name: a}]",
        "105:31: an item of `overrides` has no key `name`",
        id="an override has a name",
    ),
    pytest.param(
        "overrides: [{version: v1, params: [{name: version, value: a}]}]",
        "105:47: the parameter `version` is not set here: it comes from the name of the version",
        id="a parameter of an override is the pair's own",
    ),
    pytest.param(
        "overrides: [{version: v1, sourceRepo: other}]",
        f"105:43: version `v1` has no repository `other`, {NO_REPO}",
        id="an override's source is unknown",
    ),
    pytest.param(
        """
        - name: broken
          sourceRepo: cod
          manifestsDir: broken
          image: r.io/broken
        """,
        f"102:17: version `v1` has no repository `cod`, {NO_REPO}",
        id="the version has no such source",
    ),
    pytest.param(
        "manifestsRepo: kustomize",
        f"105:20: version `v1` has no repository `kustomize`, {NO_REPO}",
        id="the version has no such manifests",
    ),
    pytest.param("<<: web", "105:9: a merge key takes a mapping", id="a merge key has a text"),
    pytest.param(
        "<<: [{target: a}, b]", "105:23: a merge key takes a mapping", id="a merge key has a list with a text"
    ),
    pytest.param(
        "<<: {contxt: a}",
        "105:10: an application has no key `contxt`; did you mean `context`?",
        id="what is merged has a mistyped key",
    ),
]


@pytest.mark.parametrize(("piece", "problem"), BROKEN)
def test_a_broken_application_costs_its_own_pair(piece: str, problem: str) -> None:
    configuration = read(among_others(piece))
    assert told(configuration.problems) == [problem]
    assert broken(configuration) == [Broken("broken", "v1", configuration.problems[0])]
    assert (bare(configuration), configuration.is_lost) == (OTHERS, False)


@pytest.mark.parametrize(
    ("piece", "problem", "lost"),
    [
        pytest.param(
            "- {name: a b}",
            "101:12: `name`: 'a b' is not an application: at most 100 of letters, digits, `.`, `_` and `-`",
            ["a b"],
            id="it has a blank",
        ),
        pytest.param("- {name: app-7}", f"101:5: an application `app-7` {TWICE}", ["app-7"], id="another has it"),
        pytest.param("- {target: a}", "101:5: an application lacks `name`", [], id="there is none"),
        pytest.param("- {name: }", f"101:12: `name` {EMPTY}", [], id="it is empty"),
        pytest.param("- {name: [a]}", "101:12: `name` is one value, not a sequence", [], id="it is a list"),
        pytest.param("- a", "101:5: an application is a mapping, such as `name: ...`", [], id="nothing else is there"),
        pytest.param("-", "101:4: an application is a mapping, such as `name: ...`", [], id="nothing is there"),
    ],
)
def test_an_application_without_a_usable_name_costs_no_other_pair(piece: str, problem: str, lost: list[str]) -> None:
    configuration = read(among_others(piece))
    assert told(configuration.problems) == [problem]
    assert broken(configuration) == [Broken(name, "v1", configuration.problems[0]) for name in lost]
    assert bare(configuration) == [pair for pair in OTHERS if pair.application not in lost]


def version(name: str) -> str:
    return (
        f"  - {{name: {name}, tag: {name}, repos: [{{name: code, url: https://h/o/code, branch: {name}}}, "
        f"{{name: manifests, url: https://h/o/manifests, branch: {name}}}]}}\n"
    )


def beside_versions(piece: str) -> str:
    """A configuration of 12 applications at three versions and at the one of the piece, which begins in line 101."""
    head = "applications:\n" + "".join(map(application, range(1, 13))) + "versions:\n"
    head += "".join(map(version, ("v1", "v2", "v3")))
    piece = block(piece).rstrip("\n") + "\n"
    return "\n" * (100 - head.count("\n")) + head + textwrap.indent(piece, "  ")


AT_VERSIONS = bare(read(beside_versions("")))
CODE = "{name: code, url: https://h/o/code, branch: v4}"


def with_repo(repo: str) -> str:
    """A version whose second repository, in line 105, is the given one."""
    return f"- name: v4\n  tag: v4\n  repos:\n    - {CODE}\n    - {repo}"


def with_resource(params: str) -> str:
    """The same with a git resource, whose parameters begin in line 108."""
    spec = textwrap.indent("resourceSpec:\n  type: git\n  params:\n" + textwrap.indent(block(params), "    "), "      ")
    return with_repo(f"name: manifests\n{spec}")


BROKEN_VERSIONS = [
    pytest.param(
        f"- name: v4\n  repos: [{CODE}]",
        ["101:5: a version lacks `tag`"],
        id="the tag is missing",
    ),
    pytest.param("- name: v4\n  tag: v4", ["101:5: a version lacks `repos`"], id="repositories are missing"),
    pytest.param(
        "- {name: v4, tag: v4, repos: code}",
        [f"101:32: `repos` {LIST}"],
        id="repositories are a text",
    ),
    pytest.param(
        "- {name: v4, tag: v4, repo: []}",
        [
            "101:5: a version lacks `repos`",
            "101:25: a version has no key `repo`; did you mean `repos`?",
        ],
        id="a key is mistyped",
    ),
    pytest.param(
        "- {name: v4, tag: a/b, repos: []}",
        [f"101:21: `tag`: 'a/b' {NO_TAG}"],
        id="the tag has a slash",
    ),
    pytest.param(
        with_repo("{name: manifests, url: https://h/o/n, branch: v4}").replace("tag: v4", f"tag: {'a' * 119}"),
        [f"102:10: `tag`: '{'a' * 119}-g00000000' {NO_TAG}"],
        id="the tag is too long with a commit behind it",
    ),
    pytest.param(
        with_repo(CODE),
        [f"105:9: a repository `code` {TWICE}"],
        id="a repository is there twice",
    ),
    pytest.param(
        with_repo("{name: manifests, branch: v4}"),
        ["105:9: the repository `manifests` lacks `url`"],
        id="a repository has no address",
    ),
    pytest.param(
        with_repo("{name: manifests, url: https://h/o/n}"),
        ["105:9: the repository `manifests` lacks `branch`"],
        id="a repository has no branch",
    ),
    pytest.param(
        with_repo("{name: manifests}"),
        ["105:9: the repository `manifests` lacks `url`", "105:9: the repository `manifests` lacks `branch`"],
        id="a repository has nothing",
    ),
    pytest.param(
        with_repo("{name: manifests, url: o/n, branch: v4}"),
        [f"105:32: `url`: 'o/n' {NO_ADDRESS}"],
        id="an address is a path",
    ),
    pytest.param(
        with_repo("{name: manifests, url: https://me:secret@h/o/n, branch: v4}"),
        ["105:32: `url`: a URL with a user or password in it would be logged; put them in the credentials directory"],
        id="an address has a password",
    ),
    pytest.param(
        with_repo(f"{{name: manifests, url: 'git@h:{'o' * 392}/n', branch: v4}}"),
        ["105:32: `url`: the address of a repository has at most 400 characters, not 404"],
        id="an address is too long when it is read over https",
    ),
    pytest.param(
        with_repo("{name: manifests, url: https://h/o/n, branch: refs/heads/v4}"),
        ["105:55: `branch`: 'refs/heads/v4' is a full ref; give the branch alone, such as 'v4'"],
        id="a branch is a full ref",
    ),
    pytest.param(
        with_repo("{name: manifests, url: https://h/o/n, branch: a..b}"),
        ["105:55: `branch`: 'a..b' is not the name of a branch"],
        id="a branch is none",
    ),
    pytest.param(
        with_repo("{name: manifests, url: https://h/o/n, branch: v4, resourceSpec: {type: git, params: []}}"),
        ["105:9: the repository `manifests` has both `resourceSpec` and `url` or `branch`: keep one"],
        id="a repository is there in both forms",
    ),
    pytest.param(
        with_repo("{name: manifests, resourceRef: {name: manifests}}"),
        ["105:27: an item of `repos` has no key `resourceRef`; did you mean `resourceSpec`?"],
        id="a resource is of another file",
    ),
    pytest.param(
        with_repo("{name: manifests, resourceSpec: {type: image, params: []}}"),
        ["105:48: `type`: 'image' is not git"],
        id="a resource is no repository",
    ),
    pytest.param(
        with_repo("{name: manifests, resourceSpec: {type: git}}"),
        ["105:41: `resourceSpec` lacks `params`"],
        id="a resource has no parameters",
    ),
    pytest.param(
        with_resource("- {name: revision, value: v4}"),
        ["107:11: the repository `manifests` lacks the parameter `url`"],
        id="a resource has no address",
    ),
    pytest.param(
        with_resource("- {name: url, value: https://h/o/n}"),
        ["107:11: the repository `manifests` lacks the parameter `revision`"],
        id="a resource has no revision",
    ),
    pytest.param(
        with_resource(
            """
            - {name: url, value: https://h/o/n}
            - {name: revison, value: v4}
            """
        ),
        ["110:22: `name`: 'revison' is not url or revision; did you mean `revision`?"],
        id="a resource has an unknown parameter",
    ),
    pytest.param(
        with_resource(
            """
            - {name: url, value: https://h/o/n}
            - {name: revision, value: v4}
            - {name: url, value: https://h/o/m}
            """
        ),
        [f"111:15: the parameter `url` {TWICE}"],
        id="a resource has a parameter twice",
    ),
    pytest.param(
        with_resource(
            """
            - {name: url, value: git@h/o/n}
            - {name: revision, value: -v4}
            """
        ),
        [f"109:34: `url`: '***@h/o/n' {NO_ADDRESS}", "110:39: `revision`: '-v4' is not the name of a branch"],
        id="a resource has an address and a revision that are none",
    ),
]


@pytest.mark.parametrize(("piece", "problems"), BROKEN_VERSIONS)
def test_a_broken_version_costs_its_own_pairs(piece: str, problems: list[str]) -> None:
    configuration = read(beside_versions(piece))
    assert told(configuration.problems) == problems
    lost = broken(configuration)
    assert [pair.key for pair in lost] == [(f"app-{number}", "v4") for number in range(1, 13)]
    assert len({pair.problem for pair in lost}) == 1
    assert {pair.problem for pair in lost} <= set(configuration.problems)
    assert (bare(configuration), configuration.is_lost) == (AT_VERSIONS, False)


def test_a_version_without_manifests_costs_a_pair_of_each_application() -> None:
    configuration = read(beside_versions(f"- name: v4\n  tag: v4\n  repos:\n    - {CODE}"))
    missing = (
        "version `v4` has no repository `manifests`, it has code: add it there, or leave the pair out by `exclude`"
    )
    assert told(configuration.problems) == [f"{line}:5: {missing}" for line in range(85, 97)]
    assert [lost.problem for lost in broken(configuration)] == list(configuration.problems)
    assert bare(configuration) == AT_VERSIONS


@pytest.mark.parametrize(
    ("piece", "problem", "lost"),
    [
        pytest.param(
            "- {name: v/.4, tag: v4, repos: []}",
            (
                "101:12: `name`: 'v/.4' is not a version: names of letters, digits, `.`, `_` and `-`, with `/` between "
                "them, in all at most 100 characters"
            ),
            "v/.4",
            id="it is none",
        ),
        pytest.param("- {name: v2, tag: v4, repos: []}", f"101:5: a version `v2` {TWICE}", "v2", id="another has it"),
        pytest.param("- {tag: v4, repos: []}", "101:5: a version lacks `name`", None, id="there is none"),
        pytest.param("- v4", "101:5: a version is a mapping, such as `name: ...`", None, id="nothing else is there"),
    ],
)
def test_a_version_without_a_usable_name_costs_no_other_pair(piece: str, problem: str, lost: str | None) -> None:
    configuration = read(beside_versions(piece))
    assert told(configuration.problems) == [problem]
    numbers = range(1, 13) if lost else ()
    assert broken(configuration) == [Broken(f"app-{each}", lost or "", configuration.problems[0]) for each in numbers]
    assert bare(configuration) == [pair for pair in AT_VERSIONS if pair.version != lost]


APPLICATIONS = "applications:\n" + application(1) + application(2)
WHOLE = APPLICATIONS + VERSIONS  # of nine lines


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(
            "", "1:1: there is nothing in this file: write `applications:` and `versions:`", id="the file is empty"
        ),
        pytest.param(
            "# later\n",
            "1:1: there is nothing in this file: write `applications:` and `versions:`",
            id="the file holds a comment alone",
        ),
        pytest.param(
            f"{WHOLE}exclude: [a, b\n",
            "11:1: no YAML parser takes this (expected ',' or ']', but got '<stream end>'): mend it",
            id="a bracket is not closed",
        ),
        pytest.param(
            f"{WHOLE}\texclude: []\n",
            "10:1: no YAML parser takes this (found character '\\t' that cannot start any token): mend it",
            id="a tab stands in front",
        ),
        pytest.param(
            f"{WHOLE}exclude: a: b\n",
            "10:11: no YAML parser takes this (mapping values are not allowed here): mend it",
            id="two colons stand in a line",
        ),
        pytest.param(
            f"{WHOLE}exclude: *gone\n",
            "10:10: nothing has the anchor that `*gone` refers to: mend it",
            id="an alias stands for nothing",
        ),
        pytest.param(
            f"{WHOLE}exclude: &it [*it]\n",
            "10:15: `*it` stands within what it stands for: write it out",
            id="an alias stands for what it stands in",
        ),
        pytest.param(
            f"{WHOLE}---\n{WHOLE}", "10:1: a second document begins: keep one in the file", id="there are two documents"
        ),
        pytest.param(
            f"<<<<<<< HEAD\n{WHOLE}=======\n{WHOLE}>>>>>>> other\n",
            "1:1: a merge conflict stands here: resolve it",
            id="a conflict of git is not resolved",
        ),
        pytest.param(
            WHOLE.replace("app-1", "{{ app }}"),
            "2:13: this key is no text: if this is a template, edit the file that is made from it",
            id="it is a template",
        ),
        pytest.param(
            f"{WHOLE}? [exclude]\n: []\n",
            "10:3: this key is no text: if this is a template, edit the file that is made from it",
            id="a key is a list",
        ),
        pytest.param(
            "- applications: []\n",
            "1:1: a configuration is a mapping with `applications:` and `versions:`",
            id="it is a list",
        ),
        pytest.param(
            "applications", "1:1: a configuration is a mapping with `applications:` and `versions:`", id="it is a text"
        ),
        pytest.param(
            f"{WHOLE}excludes: []\n",
            "10:1: a configuration has no key `excludes`; did you mean `exclude`?",
            id="a key is mistyped",
        ),
        pytest.param(f"{WHOLE}namespace: x\n", "10:1: a configuration has no key `namespace`", id="a key is unknown"),
        pytest.param(
            f"{WHOLE}applications: []\n",
            "10:1: `applications` stands in line 1 already: keep one of the two",
            id="a key is there twice",
        ),
        pytest.param(f"applications: {{a: b}}\n{VERSIONS}", f"1:15: `applications` {LIST}", id="it lists none"),
        pytest.param(f"{APPLICATIONS}versions: v1\n", f"4:11: `versions` {LIST}", id="versions are a text"),
        pytest.param(f"{WHOLE}only: app-1\n", f"10:7: `only` {LIST}", id="`only` is a text"),
        pytest.param(
            f"{WHOLE}only: [app-1]\n",
            "10:8: an item of `only` is a mapping, such as `application: ...`",
            id="an item of `only` is a text",
        ),
        pytest.param(
            f"{WHOLE}only: [{{}}]\n",
            "10:8: an item of `only` names an `application`, a `version` or both",
            id="an item of `only` is empty",
        ),
        pytest.param(
            f"{WHOLE}exclude: [{{aplication: app-1}}]\n",
            "10:12: an item of `exclude` has no key `aplication`; did you mean `application`?",
            id="a key of `exclude` is mistyped",
        ),
        pytest.param(
            f"{WHOLE}exclude: [{{application: [app-1]}}]\n",
            "10:25: `application` is one value, not a sequence",
            id="an item of `exclude` names a list",
        ),
        pytest.param(
            f"{WHOLE}exclude: [{{version: }}]\n", f"10:21: `version` {EMPTY}", id="an item of `exclude` has no value"
        ),
        pytest.param(f"{WHOLE}suspend: on\n", "10:10: `suspend`: 'on' is not true or false", id="`suspend` is a word"),
        pytest.param(f"{WHOLE}suspend:\n", f"10:9: `suspend` {EMPTY}", id="`suspend` is empty"),
    ],
)
def test_a_broken_file_loses_all_pairs(text: str, problem: str) -> None:
    configuration = read(text)
    assert (told(configuration.problems), configuration.pairs, configuration.is_lost) == ([problem], (), True)


def test_a_broken_file_loses_the_pairs_of_its_directory() -> None:
    configuration = parse({"a.yaml": WHOLE, "b.yaml": "applications: ["})
    assert (list(map(str, configuration.problems)), configuration.pairs, configuration.is_lost) == (
        [
            "b.yaml:1:16: error: no YAML parser takes this (expected the node content, but found '<stream end>'): mend it"
        ],
        (),
        True,
    )


OF_KUBEFLOW = """\
applications:
  - name: web
    params:
      - name: path_to_context
        value: services/web
      - name: path_to_docker_file
        value: services/web/build/Dockerfile
      - name: docker_target
        value: release
      - name: path_to_manifests_dir
        value: web/base
      - name: src_image_url
        value: r.io/team/web
      - name: digest_style
        value: inline
    sourceRepo: code
  - name: api
    params:
      - name: path_to_context
        value: ""
      - name: path_to_docker_file
        value: ""
      - name: path_to_manifests_dir
        value: ./api/base/
      - name: src_image_url
        value: r.io/team/api
    sourceRepo: code
versions:
  - name: v1
    tag: v1.0.0
    repos:
      - name: code
        resourceSpec:
          type: git
          params:
            - name: revision
              value: v1-branch
            - name: url
              value: git@github.com:o/code.git
      - name: manifests
        resourceSpec:
          type: git
          params:
            - name: url
              value: https://github.com/o/manifests
            - name: revision
              value: master
"""
SHORTER = """\
applications:
  - name: web
    sourceRepo: code
    context: services/web
    dockerfile: services/web/build/Dockerfile
    target: release
    manifestsDir: web/base
    image: r.io/team/web
    params:
      - {name: digest-style, value: inline}
  - name: api
    sourceRepo: code
    manifestsDir: api/base
    image: r.io/team/api
versions:
  - name: v1
    tag: v1.0.0
    repos:
      - {name: code, url: "git@github.com:o/code.git", branch: v1-branch}
      - {name: manifests, url: https://github.com/o/manifests, branch: master}
"""


def place(url: str, branch: str) -> Place:
    return Place(Repository.parse(url), Branch(branch), NOWHERE)


WEB = Pair(
    application=Application("web"),
    version=Version("v1"),
    source=place("https://github.com/o/code.git", "v1-branch"),
    manifests=place("https://github.com/o/manifests", "master"),
    context=SourcePath("services/web"),
    dockerfile=SourcePath("services/web/build/Dockerfile"),
    target="release",
    manifests_dir=SourcePath("web/base"),
    image=ImageName("r.io/team/web"),
    pushed_image=ImageName("r.io/team/web"),
    prefix=TagPrefix("v1.0.0"),
    image_tag=ImageTag("$(tag)-g$(short-commit)"),
    watch=Watch(),
    labels=None,
    reviewers=None,
    draft=None,
    suspended=False,
    params={"digest-style": "inline"},
    workspaces={},
    at=NOWHERE,
    where={},
)
API = dataclasses.replace(
    WEB,
    application=Application("api"),
    context=SourcePath("."),
    dockerfile=SourcePath("Dockerfile"),
    target=None,
    manifests_dir=SourcePath("api/base"),
    image=ImageName("r.io/team/api"),
    pushed_image=ImageName("r.io/team/api"),
    params={},
)


@pytest.mark.parametrize(
    "text", [pytest.param(OF_KUBEFLOW, id="of kubeflow"), pytest.param(SHORTER, id="the shorter one")]
)
def test_both_forms_say_the_same(text: str) -> None:
    configuration = read(text)
    assert (bare(configuration), configuration.problems, configuration.is_lost) == ([WEB, API], (), False)


def test_a_pair_knows_where_each_of_its_values_stands() -> None:
    def at(line: int, column: int) -> Position:
        return Position(FILE, line, column)

    web, _ = read(OF_KUBEFLOW).pairs
    assert isinstance(web, Pair)
    assert (web.at, web.where, web.source.at, web.manifests.at) == (
        at(2, 5),
        {
            "source_repo": at(16, 17),
            "context": at(5, 16),
            "dockerfile": at(7, 16),
            "target": at(9, 16),
            "manifests_dir": at(11, 16),
            "image": at(13, 16),
        },
        at(37, 22),
        at(47, 22),
    )


@pytest.mark.parametrize(
    ("over_ssh", "address"),
    [
        pytest.param(False, "https://github.com/o/code.git", id="https without a key"),
        pytest.param(True, "git@github.com:o/code.git", id="ssh with a key"),
    ],
)
def test_an_address_of_scp_is_read_over(over_ssh: bool, address: str) -> None:
    pairs = bare(read(OF_KUBEFLOW, over_ssh=over_ssh))
    assert branches(pairs) == {
        "github.com/o/code": {"v1-branch"},
        "github.com/o/manifests": {"master"},
    }
    assert {pair.source.repository for pair in pairs} == {Repository.parse(address)}


EVERYTHING = """\
applications:
  - name: web
    sourceRepo: code
    context: services/web
    dockerfile: build/Dockerfile
    target: release
    manifestsRepo: kustomize
    manifestsDir: web/base
    image: r.io/team/web
    pushedImage: eu.r.io/team/web
    imageTag: $(tag)-$(commit)
    watch: [common/**/*.go, "!**/*_test.go"]
    labels: [bug, "help wanted"]
    reviewers: [alice, kubeflow/owners]
    draft: true
    params:
      - {name: extra_args, value: [--cache=true, ""]}
      - {name: depth, value: 0}
    workspaces:
      - name: dockerconfig
        secret: {secretName: registry, defaultMode: 0400}
    overrides:
      - version: v1
OVERRIDE
versions:
  - name: v1
    tag: 1.10
    repos:
      - {name: code, url: https://github.com/o/code.git, branch: main}
      - {name: kustomize, url: https://github.com/o/kustomize.git, branch: v1-branch}
      - {name: fork, url: https://github.com/p/fork.git, branch: main}
"""
EVERY_PAIR = Pair(
    application=Application("web"),
    version=Version("v1"),
    source=place("https://github.com/o/code.git", "main"),
    manifests=place("https://github.com/o/kustomize.git", "v1-branch"),
    context=SourcePath("services/web"),
    dockerfile=SourcePath("build/Dockerfile"),
    target="release",
    manifests_dir=SourcePath("web/base"),
    image=ImageName("r.io/team/web"),
    pushed_image=ImageName("eu.r.io/team/web"),
    prefix=TagPrefix("1.10"),
    image_tag=ImageTag("$(tag)-$(commit)"),
    watch=Watch(("common/**/*.go", "!**/*_test.go")),
    labels=("bug", "help wanted"),
    reviewers=("alice", "kubeflow/owners"),
    draft=True,
    suspended=False,
    params={"extra-args": ["--cache=true", ""], "depth": "0"},
    workspaces={"dockerconfig": {"name": "dockerconfig", "secret": {"secretName": "registry", "defaultMode": 256}}},
    at=NOWHERE,
    where={},
)


@pytest.mark.parametrize(
    ("override", "changes"),
    [
        pytest.param("", {}, id="nothing"),
        pytest.param("sourceRepo: fork", {"source": place("https://github.com/p/fork.git", "main")}, id="the source"),
        pytest.param("context: .", {"context": "."}, id="the context"),
        pytest.param("dockerfile: Dockerfile", {"dockerfile": "Dockerfile"}, id="the Dockerfile"),
        pytest.param("target: debug", {"target": "debug"}, id="the stage"),
        pytest.param(
            "manifestsRepo: fork", {"manifests": place("https://github.com/p/fork.git", "main")}, id="the manifests"
        ),
        pytest.param("manifestsDir: web/v1", {"manifests_dir": "web/v1"}, id="the manifests' directory"),
        pytest.param("image: r.io/web", {"image": "r.io/web"}, id="the image"),
        pytest.param("pushedImage: r.io/web", {"pushed_image": "r.io/web"}, id="where the image is pushed"),
        pytest.param("imageTag: $(short-commit)", {"image_tag": "$(short-commit)"}, id="the tag"),
        pytest.param("watch: [go.mod]", {"watch": Watch(("go.mod",))}, id="what is watched"),
        pytest.param("watch: dockerfile", {"watch": Watch(by_dockerfile=True)}, id="that the Dockerfile is watched"),
        pytest.param("watch: []", {"watch": Watch()}, id="that nothing is watched"),
        pytest.param("labels: [v1]", {"labels": ("v1",)}, id="the labels"),
        pytest.param("labels: []", {"labels": ()}, id="that there are no labels"),
        pytest.param("reviewers: [bob]", {"reviewers": ("bob",)}, id="the reviewers"),
        pytest.param("draft: false", {"draft": False}, id="that it is no draft"),
        pytest.param("suspend: true", {"suspended": True}, id="that it is suspended"),
        pytest.param(
            "params: [{name: depth, value: 1}, {name: author, value: a}]",
            {"params": {"extra-args": ["--cache=true", ""], "depth": "1", "author": "a"}},
            id="parameters by their names",
        ),
        pytest.param("params: [{name: path_to_context, value: web}]", {"context": "web"}, id="a key by its parameter"),
        pytest.param(
            "workspaces: [{name: dockerconfig, emptyDir: {}}]",
            {"workspaces": {"dockerconfig": {"name": "dockerconfig", "emptyDir": {}}}},
            id="a workspace by its name",
        ),
    ],
)
def test_an_override_says_for_its_version(override: str, changes: dict[str, Any]) -> None:
    configuration = read(EVERYTHING.replace("OVERRIDE\n", f"        {override}\n"))
    assert bare(configuration) == [dataclasses.replace(EVERY_PAIR, **changes)]
    assert [problem for problem in configuration.problems if problem.severity == "error"] == []


def test_an_override_holds_for_no_other_version() -> None:
    text = (
        "applications:\n"
        "  - {name: web, sourceRepo: code, manifestsDir: web, image: r.io/web, overrides: [{version: v2, target: a}]}\n"
        "versions:\n"
    )
    pairs = bare(read(text + version("v1") + version("v2")))
    assert [(pair.version, pair.target) for pair in pairs] == [("v1", None), ("v2", "a")]


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        pytest.param("v11", "2:93: there is no version `v11`; did you mean `v1`?", id="a version that is mistyped"),
        pytest.param("main", "2:93: there is no version `main`", id="another version"),
    ],
)
def test_an_override_for_a_version_that_is_not_there_is_an_error(override: str, problem: str) -> None:
    text = (
        "applications:\n"
        f"  - {{name: web, sourceRepo: code, manifestsDir: web, image: r.io/web, overrides: [{{version: {override}}}]}}\n"
    )
    configuration = read(text + VERSIONS)
    assert (told(configuration.problems), len(bare(configuration))) == ([problem], 1)


@pytest.mark.parametrize(
    ("top", "of_application", "override", "suspended"),
    [
        pytest.param("", "", "", [False, False], id="nothing is suspended"),
        pytest.param("suspend: true\n", "", "", [True, True], id="all"),
        pytest.param("suspend: false\n", "", "", [False, False], id="nothing is suspended, which is said"),
        pytest.param("", "suspend: true", "", [True, True], id="the application"),
        pytest.param("", "", "suspend: true", [True, False], id="the application at a version"),
        pytest.param("", "suspend: true", "suspend: false", [False, True], id="the application but at a version"),
        pytest.param("suspend: true\n", "", "suspend: false", [True, True], id="all, also what an override excepts"),
    ],
)
def test_suspended_is(top: str, of_application: str, override: str, suspended: list[bool]) -> None:
    text = (
        f"{top}applications:\n"
        f"  - {{name: web, sourceRepo: code, manifestsDir: web, image: r.io/web, {of_application},"
        f" overrides: [{{version: v1, {override}}}]}}\n"
        "versions:\n"
    ).replace(", ,", ",")
    configuration = read(text + version("v1") + version("v2"))
    assert ([pair.suspended for pair in bare(configuration)], configuration.problems) == (suspended, ())


@pytest.mark.parametrize(
    ("said", "keys"),
    [
        pytest.param("", ["1@v1", "1@v2", "2@v1", "2@v2"], id="neither"),
        pytest.param("only: []", ["1@v1", "1@v2", "2@v1", "2@v2"], id="an empty list"),
        pytest.param("only: [{application: app-1}]", ["1@v1", "1@v2"], id="one application"),
        pytest.param("only: [{version: v2}]", ["1@v2", "2@v2"], id="one version"),
        pytest.param("only: [{application: app-2, version: v1}]", ["2@v1"], id="one pair"),
        pytest.param("only: [{application: app-2, version: v1}, {version: v2}]", ["1@v2", "2@v1", "2@v2"], id="either"),
        pytest.param("exclude: [{application: app-1}]", ["2@v1", "2@v2"], id="all but an application"),
        pytest.param("exclude: [{version: v1}]", ["1@v2", "2@v2"], id="all but a version"),
        pytest.param("exclude: [{application: app-1, version: v1}]", ["1@v2", "2@v1", "2@v2"], id="all but a pair"),
        pytest.param(
            "only: [{application: app-1}]\nexclude: [{version: v1}]", ["1@v2"], id="an application but a version"
        ),
    ],
)
def test_of_all_pairs_there_are(said: str, keys: list[str]) -> None:
    configuration = read(APPLICATIONS + "versions:\n" + version("v1") + version("v2") + said + "\n")
    assert [f"{pair.application.removeprefix('app-')}@{pair.version}" for pair in configuration.pairs] == keys
    assert [problem for problem in configuration.problems if problem.severity == "error"] == []


def test_a_pair_that_is_left_out_is_not_broken() -> None:
    text = among_others("- {name: broken, sourceRepo: other, manifestsDir: broken, image: r.io/broken}")
    configuration = read(text + "exclude: [{application: broken, version: v1}]\n")
    assert (bare(configuration), broken(configuration), configuration.problems) == (OTHERS, [], ())


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        pytest.param(
            "exclude: [{application: app-3}]",
            "10:25: there is no application `app-3`; did you mean `app-2`?",
            id="an application",
        ),
        pytest.param(
            "exclude: [{version: v11}]", "10:21: there is no version `v11`; did you mean `v1`?", id="a version"
        ),
        pytest.param("exclude: [{version: main}]", "10:21: there is no version `main`", id="nothing like a version"),
    ],
)
def test_what_is_to_be_left_out_must_be_there(said: str, problem: str) -> None:
    configuration = read(f"{WHOLE}{said}\n")
    assert (told(configuration.problems), len(bare(configuration)), configuration.is_lost) == ([problem], 2, False)


def test_a_repository_that_nobody_uses_is_a_warning() -> None:
    more = "      - {name: docs, url: https://github.com/o/docs, branch: main}\n"
    configuration = read(WHOLE + more)
    assert told(configuration.problems) == ["10:9: warning: no application uses the repository `docs` of version `v1`"]
    assert bare(configuration) == bare(read(WHOLE))


def test_whether_a_repository_is_used_is_not_told_of_a_broken_configuration() -> None:
    more = "      - {name: docs, url: https://github.com/o/docs, branch: main}\n"
    assert told(read(among_others("watch: docker") + more).problems) == [
        "105:12: `watch`: 'docker' is not `dockerfile`, nor a list of globs"
    ]


def test_a_parameter_of_no_use_any_more_is_a_warning() -> None:
    configuration = read(among_others("params: [{name: container_image, value: a}]"))
    assert told(configuration.problems) == [
        (
            "105:21: warning: the parameter `container_image` is of no use any more: "
            "the steps' image is what tekton/kustomization.yaml says"
        )
    ]
    (pair,) = (pair for pair in bare(configuration) if pair.application == "broken")
    assert pair.params == {}


def test_parameters_of_an_unknown_pipeline_are_not_checked() -> None:
    configuration = parse({FILE: among_others("params: [{name: colour, value: [red, green]}]")})
    (pair,) = (pair for pair in bare(configuration) if pair.application == "broken")
    assert (pair.params, configuration.problems) == ({"colour": ["red", "green"]}, ())


def test_several_files_are_read_as_one() -> None:
    configuration = parse(
        {"a.yaml": "applications:\n" + application(1), "b.yaml": "applications:\n" + application(2), "v.yaml": VERSIONS}
    )
    assert (bare(configuration), configuration.problems) == (bare(read(WHOLE)), ())
    assert [pair.at for pair in configuration.pairs if isinstance(pair, Pair)] == [
        Position("a.yaml", 2, 5),
        Position("b.yaml", 2, 5),
    ]


def test_problems_of_several_files_are_in_their_order() -> None:
    doubled = "suspend: true\napplications:\n" + application(2) + application(1)
    configuration = parse({"a.yaml": APPLICATIONS, "b.yaml": doubled, "v.yaml": f"{VERSIONS}only: [{{version: v2}}]\n"})
    assert list(map(str, configuration.problems)) == [
        f"b.yaml:3:5: error: an application `app-2` {TWICE}",
        f"b.yaml:4:5: error: an application `app-1` {TWICE}",
        "v.yaml:7:18: error: there is no version `v2`",
    ]


def test_anchors_aliases_and_merge_keys_work() -> None:
    configuration = read(
        block(
            """
            applications:
              - &web
                name: web
                sourceRepo: &code code
                manifestsDir: web
                image: r.io/web
                params: &params
                  - {name: digest-style, value: inline}
              - <<: *web
                name: web-v3
                manifestsDir: web-v3
              - <<: [{target: release, image: r.io/none}, *web]
                name: api
                image: r.io/api
              - name: worker
                sourceRepo: *code
                manifestsDir: worker
                image: r.io/worker
                params: *params
            """
        )
        + VERSIONS
    )
    web = dataclasses.replace(
        OTHERS[0],
        application=Application("web"),
        manifests_dir=SourcePath("web"),
        image=ImageName("r.io/web"),
        pushed_image=ImageName("r.io/web"),
        params={"digest-style": "inline"},
    )
    api, worker = (ImageName("r.io/api"), ImageName("r.io/worker"))
    assert (bare(configuration), configuration.problems) == (
        [
            web,
            dataclasses.replace(web, application=Application("web-v3"), manifests_dir=SourcePath("web-v3")),
            dataclasses.replace(web, application=Application("api"), target="release", image=api, pushed_image=api),
            dataclasses.replace(
                web,
                application=Application("worker"),
                manifests_dir=SourcePath("worker"),
                image=worker,
                pushed_image=worker,
            ),
        ],
        (),
    )


@pytest.mark.parametrize("written", ["1.10", "0123456", "1e3", "1_0", "yes", "2026-01-01", "null_"])
def test_what_has_no_quotes_is_taken_as_it_is_written(written: str) -> None:
    (pair, *_) = bare(read(WHOLE.replace("name: v1", f"name: {written}").replace("tag: v1.0.0", f"tag: {written}")))
    assert (pair.version, pair.tag(COMMIT)) == (written, f"{written}-g01234567")


@pytest.mark.parametrize(
    ("form", "prefix", "tag"),
    [
        pytest.param(DEFAULT_TAG, "vmaster", "vmaster-g01234567", id="by default"),
        pytest.param("$(short-commit)", "v1", "01234567", id="the commit alone"),
        pytest.param("$(tag).$(commit)", "v1", f"v1.{COMMIT}", id="the whole commit"),
        pytest.param("$(tag)_$(short-commit)_$(tag)", "1.10", "1.10_01234567_1.10", id="the prefix twice"),
        pytest.param("$(short-commit)-$(commit)", "v1", f"01234567-{COMMIT}", id="both commits"),
        pytest.param("$(tag)-$(short-commit)", "commit", "commit-01234567", id="a prefix that is the word of another"),
    ],
)
def test_a_tag_is_made_of_prefix_and_commit(form: str, prefix: str, tag: str) -> None:
    assert ImageTag.parse(form).tag(prefix, COMMIT) == tag


@pytest.mark.parametrize(
    ("prefix", "is_tag"), [pytest.param("v" * 118, True, id="128"), pytest.param("v" * 119, False, id="129")]
)
def test_of_a_tag_characters_are_at_most_128(prefix: str, is_tag: bool) -> None:
    try:
        tag = ImageTag(DEFAULT_TAG).tag(prefix, COMMIT)
    except ValueError as error:
        tag = str(error)
    assert tag == (f"{prefix}-g01234567" if is_tag else f"'{prefix}-g01234567' {NO_TAG}")


@pytest.mark.parametrize(
    ("tag", "commit"),
    [
        pytest.param("v1.15-g01234567", "01234567", id="as it is made by default"),
        pytest.param(f"v1.15-g{COMMIT}", COMMIT, id="the whole commit"),
        pytest.param("v1.15-g0123", "0123", id="four digits"),
        pytest.param("v1.14-gabc1234", "abc1234", id="another prefix"),
        pytest.param("v1-15-gabc1234", "abc1234", id="as git describes a commit"),
        pytest.param("v1.15-3-gabc1234-dirty", "abc1234", id="as git describes a tree that was changed"),
        pytest.param("v1-gabc1234-g5678abc", "5678abc", id="two commits, of which the last"),
        pytest.param("gabc1234", "abc1234", id="nothing before it"),
        pytest.param("abc1234", "abc1234", id="seven digits alone"),
        pytest.param(COMMIT, COMMIT, id="forty digits alone"),
        pytest.param("a" * 64, "a" * 64, id="sixty-four digits alone"),
        pytest.param("1234567", "1234567", id="digits that are a number"),
        pytest.param("abc123", None, id="six digits alone"),
        pytest.param("a" * 65, None, id="too many digits alone"),
        pytest.param("ABC1234", None, id="capitals"),
        pytest.param("latest", None, id="a word"),
        pytest.param("v1.15", None, id="the prefix alone"),
        pytest.param("v1.15.0", None, id="a release"),
        pytest.param("v20260101-abc1234", None, id="digits behind another dash"),
        pytest.param("v1.15-g012", None, id="three digits"),
        pytest.param("v1.15-green", None, id="a word that begins with g"),
        pytest.param("v1.15-gdecade1", "decade1", id="a word that may be a commit"),
        pytest.param("", None, id="nothing"),
    ],
)
def test_a_tag_names_a_commit(tag: str, commit: str | None) -> None:
    assert ImageTag(DEFAULT_TAG).commit("v1.15", tag) == commit


@pytest.mark.parametrize(
    ("form", "tag", "commit"),
    [
        pytest.param("$(tag)-$(short-commit)", "v1-01234567", "01234567", id="a dash alone"),
        pytest.param("$(tag)-$(short-commit)", "v1-g1234567", "1234567", id="as git describes it, all the same"),
        pytest.param("$(short-commit)_$(tag)", "01234567_v1", "01234567", id="the commit first"),
        pytest.param("$(commit)", COMMIT, COMMIT, id="the commit alone"),
        pytest.param("build.$(short-commit)", "build.01234567", "01234567", id="a word of its own"),
        pytest.param("build.$(short-commit)", "build-01234567", None, id="a dot is a dot"),
        pytest.param(
            "$(short-commit)-$(commit)", f"01234567-{COMMIT}", "01234567", id="two commits, of which the first"
        ),
        pytest.param("$(tag)-$(short-commit)", "v2-01234567", None, id="another prefix"),
    ],
)
def test_a_tag_of_a_form_of_ones_own_names_a_commit(form: str, tag: str, commit: str | None) -> None:
    assert ImageTag.parse(form).commit("v1", tag) == commit


commits = st.text("0123456789abcdef", min_size=40, max_size=40)


@settings(deadline=None, derandomize=True, max_examples=50)
@given(
    st.sampled_from([DEFAULT_TAG, "$(commit)", "$(tag).$(commit)", "x-$(short-commit)-$(tag)"]),
    st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,60}", fullmatch=True),
    commits,
)
def test_a_tag_that_was_made_names_its_commit(form: str, prefix: str, commit: str) -> None:
    found = ImageTag(form).commit(prefix, ImageTag(form).tag(prefix, commit))
    assert found in (commit, commit[:8])


@pytest.mark.parametrize(
    ("glob", "part"),
    [
        ("common/**/*.go", "common"),
        ("go.mod", "go.mod"),
        ("*.go", "."),
        ("**", "."),
        ("!a/b/c?.go", "a/b"),
        ("a/[bc]/d", "a"),
        ("a/b", "a/b"),
        ("a/b/", "a/b"),
        ("./a//b/*", "a/b"),
    ],
)
def test_the_fixed_part_of_a_glob(glob: str, part: str) -> None:
    assert fixed_part(glob) == part


@pytest.mark.parametrize(
    ("text", "only", "shown"),
    [
        pytest.param("web", PairName("web", None), "web", id="an application"),
        pytest.param("web,v1", PairName("web", "v1"), "web,v1", id="a pair"),
        pytest.param(" web , release/1.10 ", PairName("web", "release/1.10"), "web,release/1.10", id="with blanks"),
    ],
)
def test_one_application_or_pair_is_named(text: str, only: PairName, shown: str) -> None:
    assert (PairName.parse(text), str(only)) == (only, shown)


@pytest.mark.parametrize("text", ["web\n", "\nweb", "web,v1\0", "w\u202eeb"], ids=ascii)
def test_no_control_character_names_an_application(text: str) -> None:
    with pytest.raises(ValueError, match="has a control character at position"):
        PairName.parse(text)


@pytest.mark.parametrize("text", ["", ",", "web,", ",v1", " , "])
def test_anything_else_names_none(text: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        PairName.parse(text)
    assert str(error.value) == f"{text!r} is not APPLICATION or APPLICATION,VERSION"


@pytest.fixture(scope="module")
def seed() -> str:
    if not SEED.exists():
        pytest.skip(f"{SEED} is not there")
    return SEED.read_text(encoding="utf-8")


def test_of_kubeflows_own_file_43_of_48_pairs_are_whole(seed: str) -> None:
    configuration = read(seed)
    of_v1_0 = "kubeflow, manifests, pytorch-operator, tf-operator"
    hint = "add it there, or leave the pair out by `exclude`"
    assert told(configuration.problems) == [
        f"120:17: version `v1-2` has no repository `pytorch-operator`, it has kubeflow, manifests: {hint}",
        f"132:17: version `v1-2` has no repository `tf-operator`, it has kubeflow, manifests: {hint}",
        f"144:17: version `v1-0` has no repository `xgboost-operator`, it has {of_v1_0}: {hint}",
        f"144:17: version `v1-1` has no repository `xgboost-operator`, it has {of_v1_0}: {hint}",
        f"144:17: version `v1-2` has no repository `xgboost-operator`, it has kubeflow, manifests: {hint}",
    ]
    assert broken(configuration) == [
        Broken(*key, problem)
        for key, problem in zip(
            [
                ("pytorch-operator", "v1-2"),
                ("tf-operator", "v1-2"),
                ("xgboost-operator", "v1-0"),
                ("xgboost-operator", "v1-1"),
                ("xgboost-operator", "v1-2"),
            ],
            configuration.problems,
            strict=True,
        )
    ]
    assert (len(configuration.pairs), len(bare(configuration)), configuration.is_lost) == (48, 43, False)


def test_the_pairs_of_kubeflows_own_file_are_what_it_says(seed: str) -> None:
    data = yaml.safe_load(seed)
    expected = []
    for application in data["applications"]:
        params = {param["name"]: param["value"] for param in application["params"]}
        for version in data["versions"]:
            places = {}
            for repo in version["repos"]:
                spec = {param["name"]: param["value"] for param in repo["resourceSpec"]["params"]}
                address = spec["url"].replace("git@github.com:", "https://github.com/")
                places[repo["name"]] = place(address, spec["revision"])
            if application["sourceRepo"] not in places:
                continue
            expected.append(
                dataclasses.replace(
                    API,
                    application=application["name"],
                    version=version["name"],
                    source=places[application["sourceRepo"]],
                    manifests=places["manifests"],
                    context=SourcePath(params["path_to_context"] or "."),
                    dockerfile=params["path_to_docker_file"],
                    manifests_dir=params["path_to_manifests_dir"],
                    image=params["src_image_url"],
                    pushed_image=params["src_image_url"],
                    prefix=version["tag"],
                )
            )
    assert bare(read(seed)) == expected


def check(configuration: Configuration) -> None:
    """What holds for any text."""
    problems = configuration.problems
    keys = [pair.key for pair in configuration.pairs]
    places = [(each.at.line, each.at.column) for each in problems]
    assert (places, len(set(problems))) == (sorted(places), len(problems))
    assert min(places, default=(1, 1)) >= (1, 1)
    assert {pair.problem for pair in broken(configuration)} <= set(problems)
    assert len(keys) == len(set(keys))
    if configuration.is_lost:
        assert (configuration.pairs, any(each.severity == "error" for each in problems)) == ((), True)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.text(max_size=60) | st.text("abn:-[]{}&*<|>'\"\n \t#,", max_size=40))
def test_any_text_gives_pairs_or_problems(text: str) -> None:
    check(read(text))


PIECES = [
    "",
    " ",
    "\n",
    "  ",
    "- ",
    ":",
    ": ",
    "~",
    "[]",
    "{}",
    "*web",
    "&web ",
    "<<: *web",
    "'",
    '"',
    "#",
    "|",
    "a",
    "1",
]
PIECES += ["\t", "---\n", "null", "!!set ", "name", "v1", "app-1", "[a]: b", "é", "🚀", "\x00"]


@st.composite
def mutated(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from([OF_KUBEFLOW, SHORTER, EVERYTHING.replace("OVERRIDE", "        suspend: true")]))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 12)))
        text = text[:start] + draw(st.sampled_from([*PIECES, text[start:end] * 2])) + text[end:]
    return text


@settings(deadline=None, derandomize=True, max_examples=200)
@given(mutated())
def test_any_change_of_a_configuration_gives_pairs_or_problems(text: str) -> None:
    check(read(text))


def test_aliases_that_multiply_are_refused_before_they_do() -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    began = time.process_time()
    configuration = read(bomb)
    assert told(configuration.problems) == [
        "10:20: up to here, aliases followed, these are over 100000 values: split the file"
    ]
    assert time.process_time() - began < 1
