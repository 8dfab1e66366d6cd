"""`applications.yaml`: which applications are built at which versions, from what, and where their manifests are.

The form of kubeflow's apps-cd (`params`, `resourceSpec`) and a shorter one are one grammar: what the former says in a list of
parameters the latter says in a key. One broken entry costs its own pairs and no other's.
"""

import dataclasses
import itertools
import posixpath
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from steps.core import typed_yaml
from steps.core.build_context import SourcePath
from steps.core.image import checked_name, checked_tag, commit_of
from steps.core.located_yaml import Node
from steps.core.repository import Branch, Repository
from steps.core.text import Line
from steps.core.typed_yaml import Position, Problem, Reader, Section, declared, did_you_mean
from steps.core.update import Application, Version
from steps.errors import StepError

SHORT = 8
"""How many digits of a commit an image's tag has."""

LARGEST = 1 << 20
"""Bytes of one configuration file."""

MOST_PAIRS = 50_000
"""Of applications and versions."""

MANIFESTS = "manifests"
DEFAULT_TAG = "$(tag)-g$(short-commit)"

_FOR_ANCHORS = "x-"
_PLACEHOLDER = re.compile(r"\$\(([^()]*)\)")
_LABEL = re.compile(r"[^,\x00-\x1f]{1,50}")
_REVIEWER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:/[A-Za-z0-9._-]+)?")


class ImageName(str):
    """A registry and repository, `gcr.io/project/app`, without tag and digest."""

    @classmethod
    def parse(cls, text: str) -> Self:
        return cls(checked_name(text))


class TagPrefix(str):
    """What the tags of a version begin with, `vmaster`."""

    @classmethod
    def parse(cls, text: str) -> Self:
        return cls(checked_tag(text))


class ImageTag(str):
    """How an image's tag is made: text with `$(tag)`, `$(short-commit)` (8 digits) and `$(commit)` (all of them)."""

    @classmethod
    def parse(cls, text: str) -> Self:
        names = _PLACEHOLDER.findall(text)
        for name in names:
            if name not in ("tag", "short-commit", "commit"):
                raise ValueError(f"there is no `$({name})`: write $(tag), $(short-commit) or $(commit)")
        if not {"short-commit", "commit"} & set(names):
            raise ValueError(f"{text!r} would be the tag of every commit: it needs $(short-commit) or $(commit)")
        try:
            checked_tag(_PLACEHOLDER.sub("0", text))
        except ValueError as error:
            raise ValueError(f"{text!r} makes no tag: {error}") from None
        return cls(text)

    def tag(self, prefix: str, commit: str) -> str:
        """The tag of a commit, or ValueError when it is too long for one."""
        values = {"tag": prefix, "commit": commit, "short-commit": commit[:SHORT]}
        return checked_tag(_PLACEHOLDER.sub(lambda match: values[match[1]], self))

    def commit(self, prefix: str, tag: str) -> str | None:
        """The commit, whole or its first digits, that a tag names: by this form, as `git describe` does, or alone."""
        pattern = "".join(
            re.escape(prefix) if part == "tag" else "([0-9a-f]{4,64})" if odd else re.escape(part)
            for odd, part in ((index % 2, part) for index, part in enumerate(_PLACEHOLDER.split(self)))
        )
        if match := re.fullmatch(pattern, tag):
            return str(match[1])
        return commit_of(tag)


class Label(str):
    """A label of a pull request, at most 50 characters, without commas."""

    @classmethod
    def parse(cls, text: str) -> Self:
        if not _LABEL.fullmatch(Line.parse(text)) or text != text.strip():
            raise ValueError(f"{text!r} is not a label: at most 50 characters, none of them a comma")
        return cls(text)


class Reviewer(str):
    """A person of GitHub, or `org/team`."""

    @classmethod
    def parse(cls, text: str) -> Self:
        if not _REVIEWER.fullmatch(text):
            raise ValueError(f"{text!r} is neither a person of GitHub nor `org/team`")
        return cls(text)


@dataclass(frozen=True)
class Watch:
    """Which files count besides the context and the Dockerfile, or that the Dockerfile alone says what counts."""

    shape: ClassVar = "list, or `dockerfile`"

    globs: tuple[str, ...] = ()
    by_dockerfile: bool = False

    @classmethod
    def read(cls, reader: Reader, node: Node) -> Self | None:
        if node.meant.kind == "scalar":
            text = reader.scalar(node, "`watch`")
            if text is not None and text != "dockerfile":
                reader.refuse(node, f"`watch`: {text!r} is not `dockerfile`, nor a list of globs")
            return cls(by_dockerfile=True) if text == "dockerfile" else None
        globs = []
        for item in reader.items(node, "`watch`"):
            text = reader.scalar(item, "an item of `watch`")
            if text is None:
                continue
            try:
                globs.append(_checked_glob(text))
            except ValueError as error:
                reader.refuse(item, f"an item of `watch`: {error}")
        return cls(tuple(globs))

    @classmethod
    def schema(cls) -> dict[str, Any]:
        return {"oneOf": [{"const": "dockerfile"}, {"type": "array", "items": {"type": "string"}}]}


def _checked_glob(text: str) -> str:
    pattern = Line.parse(text).removeprefix("!")
    if not pattern or pattern.startswith("/") or ".." in pattern.split("/"):
        raise ValueError(f"{text!r} is not a glob below the root of the repository, such as `common/**/*.go`")
    return text


def fixed_part(glob: str) -> str:
    """The directory (or file) that all files of a glob are in."""
    parts = itertools.takewhile(lambda part: set("*?[\\").isdisjoint(part), glob.removeprefix("!").split("/"))
    return posixpath.normpath("/".join(parts))


@dataclass(frozen=True)
class ParamValue:
    """The value of a parameter: text, or a list of texts for one of type array."""

    shape: ClassVar = "text or list"

    value: str | list[str]

    @classmethod
    def read(cls, reader: Reader, node: Node) -> Self | None:
        if node.meant.kind == "sequence":
            texts = [reader.scalar(item, "an item of `value`", may_be_empty=True) for item in node.meant.children]
            return cls([text for text in texts if text is not None])
        if node.meant.kind == "mapping":
            reader.refuse(node, "`value` is text or a list of texts")
            return None
        text = reader.scalar(node, "`value`", may_be_empty=True)
        return None if text is None else cls(text)

    @classmethod
    def schema(cls) -> dict[str, Any]:
        text = {"type": ["string", "number", "boolean"]}
        return {"anyOf": [text, {"type": "array", "items": text}]}


@dataclass(frozen=True)
class Workspace:
    """A workspace of a PipelineRun: a mapping with a `name`, the rest as Tekton has it."""

    shape: ClassVar = "mapping"

    name: str
    binding: typed_yaml.Value

    @classmethod
    def read(cls, reader: Reader, node: Node) -> Self | None:
        binding = reader.plain(node)
        name = binding.get("name") if isinstance(binding, dict) else None
        if not isinstance(binding, dict) or not isinstance(name, str):
            reader.refuse(node, "an item of `workspaces` is a mapping with a `name`, as in a PipelineRun")
            return None
        return cls(name, binding)

    @classmethod
    def schema(cls) -> dict[str, Any]:
        return {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}


@dataclass(frozen=True, kw_only=True)
class Param(Section):
    """A parameter of the Pipeline."""

    name: str = declared("Name of the parameter; `_` and `-` are alike.")
    value: ParamValue = declared("Text, or a list of texts for a parameter of type array.")


@dataclass(frozen=True, kw_only=True)
class Settings(Section):
    """What an application says, and an override of it for one version may say otherwise."""

    source_repo: str | None = declared(
        "Name of the repository, among those of the version, that the image is built from.", default=None
    )
    context: SourcePath | None = declared(
        "Directory of the build context, relative to the root of that repository; by default the root. (`path_to_context`)",
        default=None,
    )
    dockerfile: SourcePath | None = declared(
        "Dockerfile, relative to the root of that repository; by default `Dockerfile` in the context. (`path_to_docker_file`)",
        default=None,
    )
    target: str | None = declared("Stage of the Dockerfile; by default the last. (`docker_target`)", default=None)
    manifests_repo: str | None = declared(
        "Name of the repository, among those of the version, that holds the manifests; by default `manifests`.",
        default=None,
    )
    manifests_dir: SourcePath | None = declared(
        "Directory of the kustomization, relative to the root of that repository. (`path_to_manifests_dir`)",
        default=None,
    )
    image: ImageName | None = declared(
        "The image as the manifests name it, without tag. (`src_image_url`)", default=None
    )
    pushed_image: ImageName | None = declared(
        "Where the image is pushed to, without tag; by default `image`.", default=None
    )
    image_tag: ImageTag | None = declared(
        f"How the tag is made of the version's `tag` and the source commit; by default `{DEFAULT_TAG}`.", default=None
    )
    watch: Watch | None = declared(
        "Globs of further files that a change of makes an update, relative to the root of the source repository, `!` before those that do not count; or `dockerfile`: only what the Dockerfile can see.",
        default=None,
    )
    labels: tuple[Label, ...] | None = declared("Labels of the pull request.", default=None)
    reviewers: tuple[Reviewer, ...] | None = declared("People or `org/team` to ask for a review.", default=None)
    draft: bool | None = declared("Whether a new pull request is a draft.", default=None)
    suspend: bool | None = declared("Whether to make no runs for now.", default=None)
    params: tuple[Param, ...] | None = declared(
        "Further parameters of the Pipeline, in place of the template's of the same name.", default=None
    )
    workspaces: tuple[Workspace, ...] | None = declared(
        "Workspaces, in place of the template's of the same name.", default=None
    )


@dataclass(frozen=True, kw_only=True)
class Override(Settings):
    """What holds for one version of an application in place of what the application says."""

    version: str = declared("The version that this holds for.")


@dataclass(frozen=True, kw_only=True)
class ApplicationEntry(Settings):
    """An item of `applications`."""

    name: Application = declared("Name of the application; part of the name of its branch.")
    overrides: tuple[Override, ...] | None = declared("What holds for single versions instead.", default=None)


@dataclass(frozen=True, kw_only=True)
class ResourceParam(Section):
    """A parameter of a git resource of Tekton's v1alpha1."""

    name: Literal["url", "revision"] = declared("`url` or `revision`.")
    value: str = declared("Address or branch.")


@dataclass(frozen=True, kw_only=True)
class ResourceSpec(Section):
    """A git resource of Tekton's v1alpha1."""

    type: Literal["git"] = declared("`git`.")
    params: tuple[ResourceParam, ...] = declared("`url` and `revision`.")


@dataclass(frozen=True, kw_only=True)
class RepoEntry(Section):
    """An item of a version's `repos`."""

    name: str = declared("What applications call it.")
    url: Repository | None = declared(
        "Address, `https://HOST/OWNER/NAME`; `git@HOST:OWNER/NAME` is read over https unless an ssh key is given.",
        default=None,
    )
    branch: Branch | None = declared("Branch whose tip is built, or proposed to.", default=None)
    resource_spec: ResourceSpec | None = declared("The same as a git resource of Tekton's v1alpha1.", default=None)


@dataclass(frozen=True, kw_only=True)
class VersionEntry(Section):
    """An item of `versions`."""

    name: Version = declared("Name of the version; part of the names of its branches.")
    tag: TagPrefix = declared("What the tags of its images begin with, such as `vmaster`.")
    repos: tuple[RepoEntry, ...] = declared("Repositories, and the branch of each, of this version.")


@dataclass(frozen=True, kw_only=True)
class Pairs(Section):
    """An item of `only` or `exclude`."""

    application: str | None = declared("Its name; by default all.", default=None)
    version: str | None = declared("Its name; by default all.", default=None)

    def hold(self, application: str, version: str) -> bool:
        return self.application in (None, application) and self.version in (None, version)


@dataclass(frozen=True, kw_only=True)
class File(Section):
    """A configuration file; a directory of them is read as one."""

    applications: tuple[ApplicationEntry, ...] | None = declared("What is built.", default=None)
    versions: tuple[VersionEntry, ...] | None = declared(
        "At which branches, and how the images are tagged.", default=None
    )
    only: tuple[Pairs, ...] | None = declared(
        "The pairs of application and version to make runs for; by default all.", default=None
    )
    exclude: tuple[Pairs, ...] | None = declared("Pairs to leave out.", default=None)
    suspend: bool | None = declared("Whether to make no runs at all for now.", default=None)


@dataclass(frozen=True)
class Place:
    """A branch of a repository, and where the configuration names it."""

    repository: Repository
    branch: Branch
    at: Position = dataclasses.field(compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.branch} of {self.repository}"


@dataclass(frozen=True)
class Pair:
    """One application at one version: all that a run of it is made from but its commit.

    Attributes:
        image: as the manifests name it.
        params: of the Pipeline, by name.
        workspaces: by name.
        at: where the application stands in the configuration.
        where: where a value of it stands, by the field's name.
    """

    application: Application
    version: Version
    source: Place
    manifests: Place
    context: SourcePath
    dockerfile: SourcePath
    target: str | None
    manifests_dir: SourcePath
    image: ImageName
    pushed_image: ImageName
    prefix: TagPrefix
    image_tag: ImageTag
    watch: Watch
    labels: tuple[str, ...] | None
    reviewers: tuple[str, ...] | None
    draft: bool | None
    suspended: bool
    params: Mapping[str, typed_yaml.Value]
    workspaces: Mapping[str, typed_yaml.Value]
    at: Position
    where: Mapping[str, Position]

    @property
    def key(self) -> tuple[str, str]:
        return self.application, self.version

    def tag(self, commit: str) -> str:
        """The tag of the image of a commit."""
        return self.image_tag.tag(self.prefix, commit)


@dataclass(frozen=True)
class Broken:
    """A pair that cannot be told from the configuration, and why."""

    application: str
    version: str
    problem: Problem

    @property
    def key(self) -> tuple[str, str]:
        return self.application, self.version


@dataclass(frozen=True)
class PairName:
    """`APP[,VERSION]` of a command line."""

    application: str
    version: str | None

    @classmethod
    def parse(cls, text: str) -> Self:
        application, comma, version = (part.strip() for part in Line.parse(text).partition(","))
        if not application or (comma and not version):
            raise ValueError(f"{text!r} is not APPLICATION or APPLICATION,VERSION")
        return cls(application, version or None)

    def __str__(self) -> str:
        return self.application + (f",{self.version}" if self.version else "")


@dataclass(frozen=True)
class Configuration:
    """What the files say.

    Attributes:
        pairs: in the order of applications and, for each, of versions; those left out are not among them.
        problems: all of them, also those of broken pairs, in the order of files and lines.
        general: the errors among them that are of no pair.
        is_lost: whether something is wrong that no pair can be told without.
    """

    pairs: tuple[Pair | Broken, ...]
    problems: tuple[Problem, ...]
    general: tuple[Problem, ...]
    is_lost: bool


ALIASES = {
    "path-to-context": "context",
    "path-to-docker-file": "dockerfile",
    "path-to-manifests-dir": "manifests_dir",
    "src-image-url": "image",
    "docker-target": "target",
}
"""Parameters of the Pipeline that a key of an application stands for."""

OF_KEYS = {"labels": "labels", "reviewer": "reviewers", "draft": "draft"}
"""Parameters that may be set as such, but not beside the key that sets them, too."""

OF_THE_PAIR = {
    "app-repo-url": "`sourceRepo` and the version's `repos`",
    "app-repo-revision": "the branch of the version's `repos`",
    "app-repo-branch": "the branch of the version's `repos`",
    "image": "`image` or `pushedImage`, and the version's `tag`",
    "manifests-repo-url": "`manifestsRepo` and the version's `repos`",
    "manifests-repo-revision": "the branch of the version's `repos`",
    "application": "`name`",
    "version": "the name of the version",
}
"""Parameters of the Pipeline that come from elsewhere, and from where."""

DROPPED = {"container-image": "the steps' image is what tekton/kustomization.yaml says"}
"""Parameters of kubeflow's Pipeline that have no successor."""


@dataclass
class _Entry:
    """An application or version as far as it can be told; `value` is None when something is wrong with it."""

    name: str
    value: Any
    problem: Problem | None


def parse(
    files: Mapping[str, str], *, over_ssh: bool = False, pipeline_params: Mapping[str, str] | None = None
) -> Configuration:
    """What the files of a configuration say together.

    Args:
        files: texts by their names, which messages show.
        over_ssh: leave `git@HOST:OWNER/NAME` as it is, in place of reading it over https.
        pipeline_params: the parameters that the Pipeline has, `string` or `array`; None when that is not known.
    """
    parser = _Parser(over_ssh, pipeline_params)
    for name, text in files.items():
        parser.read(name, text)
    return parser.configuration()


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a configuration file, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "applications.yaml of apps-cd",
        **typed_yaml.schema(File),
        "patternProperties": {f"^{_FOR_ANCHORS}": {"description": "For values that are referred to by aliases."}},
    }


def selected(pairs: Sequence[Pair | Broken], only: PairName | None, flag: str) -> list[Pair | Broken]:
    """The pairs that somebody asks for; all of them when nobody does.

    Args:
        flag: that asks, which the message names.

    Raises:
        StepError: there are none.
    """
    if only is None:
        return list(pairs)
    found = [pair for pair in pairs if only.application == pair.application and only.version in (None, pair.version)]
    if not found:
        names = {str(pair.application) for pair in pairs}
        versions = {str(pair.version) for pair in pairs}
        hint = did_you_mean(only.application, names - {only.application})
        if only.application in names and only.version:
            hint = did_you_mean(only.version, versions)
        raise StepError("usage", f"{flag}={only}: the configuration has no such pair{hint}")
    return found


def branches(pairs: Iterable[Pair]) -> dict[str, set[Branch]]:
    """All branches of each repository that pairs are of, by `Repository.identity`."""
    found: dict[str, set[Branch]] = {}
    for pair in pairs:
        for place in (pair.source, pair.manifests):
            found.setdefault(place.repository.identity, set()).add(place.branch)
    return found


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Each problem once, by file, line and column."""
    return sorted(dict.fromkeys(problems), key=lambda problem: (problem.at.file, problem.at.line, problem.at.column))


class _Parser:
    def __init__(self, over_ssh: bool, pipeline_params: Mapping[str, str] | None) -> None:
        self._over_ssh = over_ssh
        self._pipeline_params = pipeline_params
        self._problems: list[Problem] = []
        self._is_lost = False
        self._applications: dict[str, _Entry] = {}
        self._versions: dict[str, _Entry] = {}
        self._only: list[Pairs] = []
        self._exclude: list[Pairs] = []
        self._suspended = False
        self._used: set[tuple[str, str]] = set()
        self._start = Position("", 1, 1)
        self._of_pairs: set[Problem] = set()

    def read(self, file: str, text: str) -> None:
        """Take in what one file says, entry by entry, so that what is wrong with one is not with the others."""
        reader = Reader(file)
        self._start = Position(file, 1, 1)
        root = reader.document(text)
        if root is None and not reader.problems:
            reader.refuse(Position(file, 1, 1), "there is nothing in this file: write `applications:` and `versions:`")
        given = reader.pairs(root) if root and root.meant.kind == "mapping" else {}
        if root and root.meant.kind != "mapping":
            reader.refuse(root, "a configuration is a mapping with `applications:` and `versions:`")
        known = typed_yaml.fields_of(File)
        for key, (key_node, _) in given.items():
            if key not in known and not key.startswith(_FOR_ANCHORS):
                reader.refuse(key_node, f"a configuration has no key `{key}`" + did_you_mean(key, known))
        self._only += self._pairs(reader, given, "only")
        self._exclude += self._pairs(reader, given, "exclude")
        if "suspend" in given:
            self._suspended |= bool(reader.value(given["suspend"][1], bool, "`suspend`"))
        self._is_lost |= bool(reader.problems)
        if "applications" in given:
            self._entries(reader, given["applications"][1], ApplicationEntry, "an application", self._applications)
        if "versions" in given:
            self._entries(reader, given["versions"][1], VersionEntry, "a version", self._versions)
        self._problems += reader.problems

    def _pairs(self, reader: Reader, given: Mapping[str, tuple[Node, Node]], key: str) -> Iterator[Pairs]:
        for item in reader.items(given[key][1], f"`{key}`") if key in given else []:
            pairs = reader.mapping(item, Pairs, f"an item of `{key}`")
            if pairs and pairs.application is None and pairs.version is None:
                reader.refuse(item, f"an item of `{key}` names an `application`, a `version` or both")
            elif pairs:
                yield pairs

    def _entries(
        self,
        reader: Reader,
        node: Node,
        kind: type[ApplicationEntry] | type[VersionEntry],
        what: str,
        entries: dict[str, _Entry],
    ) -> None:
        before = len(reader.problems)
        items = reader.items(node, f"`{what.split()[1]}s`")
        self._is_lost |= len(reader.problems) > before
        for item in items:
            before = len(reader.problems)
            value = reader.mapping(item, kind, what)
            if value is not None:
                self._check(reader, value)
            problem = next((each for each in reader.problems[before:] if each.severity == "error"), None)
            name = str(value.name) if value is not None else _name(item)
            if name is None:
                continue
            if name in entries:
                reader.refuse(item, f"{what} `{name}` is there already: keep one of the two")
                entries[name] = _Entry(name, None, reader.problems[-1])
            else:
                entries[name] = _Entry(name, None if problem else value, problem)
            self._of_pairs.update(reader.problems[before:])

    def _check(self, reader: Reader, value: Any) -> None:
        """What one entry must be beyond its grammar."""
        if isinstance(value, VersionEntry):
            seen: set[str] = set()
            for repo in value.repos:
                if repo.name in seen:
                    reader.refuse(repo.at, f"a repository `{repo.name}` is there already: keep one of the two")
                seen.add(repo.name)
                _check_repo(reader, repo)
            return
        for settings in (value, *(value.overrides or ())):
            _check_params(reader, settings, self._pipeline_params)
            names = [workspace.name for workspace in settings.workspaces or ()]
            for name in dict.fromkeys(name for name in names if names.count(name) > 1):
                reader.refuse(
                    settings.where("workspaces"), f"the workspace `{name}` is there twice: keep one of the two"
                )

    def configuration(self) -> Configuration:
        count = len(self._applications) * len(self._versions)
        if count > MOST_PAIRS:
            message = (
                f"these would be {count} pairs of application and version, over {MOST_PAIRS}: split the configuration"
            )
            self._problems.append(Problem(self._start, message))
            self._is_lost = True
        pairs = () if self._is_lost else tuple(self._crossed())
        if not self._is_lost:
            self._check_whole(pairs)
        problems = in_order(self._problems)
        errors = [problem for problem in problems if problem.severity == "error"]
        general = tuple(problem for problem in errors if problem not in self._of_pairs)
        return Configuration(pairs, tuple(problems), general, self._is_lost)

    def _check_whole(self, crossed: Collection[Pair | Broken]) -> None:
        """What only all files together tell."""
        for key, entries in (("applications", self._applications), ("versions", self._versions)):
            if not entries:
                self._problems.append(Problem(self._start, f"there are no `{key}`", "warning"))
        for pairs in (*self._only, *self._exclude):
            for name, known, field in (
                (pairs.application, self._applications, "application"),
                (pairs.version, self._versions, "version"),
            ):
                if name is not None and name not in known:
                    message = f"there is no {field} `{name}`" + did_you_mean(name, known)
                    self._problems.append(Problem(pairs.where(field), message))
        for entry in self._applications.values():
            for override in (entry.value.overrides or ()) if entry.value else ():
                if override.version not in self._versions:
                    message = f"there is no version `{override.version}`" + did_you_mean(
                        override.version, self._versions
                    )
                    self._problems.append(Problem(override.where("version"), message))
        is_whole = all(entry.value for entry in (*self._applications.values(), *self._versions.values()))
        for entry in self._versions.values() if crossed and is_whole else ():
            for repo in entry.value.repos:
                if (entry.name, repo.name) not in self._used:
                    message = f"no application uses the repository `{repo.name}` of version `{entry.name}`"
                    self._problems.append(Problem(repo.at, message, "warning"))

    def _crossed(self) -> Iterator[Pair | Broken]:
        for application in self._applications.values():
            for version in self._versions.values():
                names = application.name, version.name
                if self._only and not any(pairs.hold(*names) for pairs in self._only):
                    continue
                if any(pairs.hold(*names) for pairs in self._exclude):
                    continue
                problem = application.problem or version.problem
                pair = problem or self._pair(application.value, version.value)
                if isinstance(pair, Problem):
                    self._problems.append(pair)
                    self._of_pairs.add(pair)
                    yield Broken(*names, pair)
                else:
                    yield pair

    def _pair(self, application: ApplicationEntry, version: VersionEntry) -> Pair | Problem:
        layers: list[Settings] = [application]
        matching = [each for each in application.overrides or () if each.version == version.name]
        if len(matching) > 1:
            return Problem(
                matching[1].at, f"an override for version `{version.name}` is there already: keep one of the two"
            )
        layers += matching
        said: dict[str, Any] = {}
        where: dict[str, Position] = {}
        params: dict[str, typed_yaml.Value] = {}
        workspaces: dict[str, typed_yaml.Value] = {}
        for layer in layers:
            for name, value, at in _said(layer):
                said[name], where[name] = value, at
            for param in layer.params or ():
                name = _canonical(param.name, self._pipeline_params)
                if name not in ALIASES and name not in DROPPED:
                    params[name] = list(param.value.value) if isinstance(param.value.value, list) else param.value.value
            workspaces |= {workspace.name: workspace.binding for workspace in layer.workspaces or ()}
        problem: Problem | None = None
        for field, hint in (
            ("source_repo", ""),
            ("manifests_dir", " (`path_to_manifests_dir` of `params`)"),
            ("image", " (`src_image_url` of `params`)"),
        ):
            if said.get(field) is None:
                problem = problem or Problem(application.at, f"an application lacks `{typed_yaml.key_of(field)}`{hint}")
        places: dict[str, Place] = {}
        for field, called in (
            ("source_repo", said.get("source_repo")),
            ("manifests_repo", said.get("manifests_repo") or MANIFESTS),
        ):
            repo = next((repo for repo in version.repos if repo.name == called), None)
            if repo is not None:
                self._used.add((version.name, repo.name))
                places[field] = self._place(repo)
            elif called is not None:
                known = ", ".join(each.name for each in version.repos) or "none"
                problem = problem or Problem(
                    where.get(field, application.at),
                    f"version `{version.name}` has no repository `{called}`, it has {known}: "
                    "add it there, or leave the pair out by `exclude`",
                )
        if problem:
            return problem
        context = said.get("context") or SourcePath(".")
        image_tag = said.get("image_tag") or ImageTag(DEFAULT_TAG)
        try:
            image_tag.tag(version.tag, "0" * 64)
        except ValueError as error:
            return Problem(version.where("tag"), f"`tag`: {error}")
        return Pair(
            application=application.name,
            version=version.name,
            source=places["source_repo"],
            manifests=places["manifests_repo"],
            context=context,
            dockerfile=said.get("dockerfile") or SourcePath.parse(f"{context}/Dockerfile"),
            target=said.get("target"),
            manifests_dir=said["manifests_dir"],
            image=said["image"],
            pushed_image=said.get("pushed_image") or said["image"],
            prefix=version.tag,
            image_tag=image_tag,
            watch=said.get("watch") or Watch(),
            labels=said.get("labels"),
            reviewers=said.get("reviewers"),
            draft=said.get("draft"),
            suspended=self._suspended or bool(said.get("suspend")),
            params=params,
            workspaces=workspaces,
            at=layers[-1].at,
            where=where,
        )

    def _place(self, repo: RepoEntry) -> Place:
        url, branch, at = _url_and_branch(repo)
        repository = Repository.parse(url)
        return Place(repository if self._over_ssh else repository.over_https(), Branch.parse(branch), at)


def _name(item: Node) -> str | None:
    """The name of an entry that something is wrong with."""
    if item.meant.kind == "mapping":
        for key, value in item.meant.pairs:
            if key.meant.text == "name" and value.meant.kind == "scalar" and not value.meant.is_null:
                return value.meant.text
    return None


def _said(settings: Settings) -> Iterator[tuple[str, Any, Position]]:
    """What one layer says of a pair: field, value, where; parameters that stand for a field count as that field."""
    for field in dataclasses.fields(Settings):
        if field.name in settings.keys_at and field.name not in ("params", "workspaces"):
            yield field.name, getattr(settings, field.name), settings.where(field.name)
    for param in settings.params or ():
        if (field_name := ALIASES.get(param.name.replace("_", "-"))) and param.value.value:
            yield field_name, _parsed(field_name, param), param.where("value")


def _parsed(field: str, param: Param) -> Any:
    value = param.value.value
    if isinstance(value, list):
        raise ValueError("is one text, not a list")  # noqa: TRY004 - what a value's parse raises
    _, hint = typed_yaml.fields_of(Settings)[typed_yaml.key_of(field)]
    return Line.parse(value) if hint is str else hint.parse(value)


def _canonical(param: str, known: Mapping[str, str] | None) -> str:
    """A parameter's name with `-` for `_`, as all of our Pipeline are; one of another Pipeline as it is."""
    name = param.replace("_", "-")
    return name if known is not None or name in ALIASES else param


def _check_params(reader: Reader, settings: Settings, known: Mapping[str, str] | None) -> None:
    seen: set[str] = set()
    for param in settings.params or ():
        name = _canonical(param.name, known)
        if name in DROPPED:
            reader.warn(param.where("name"), f"the parameter `{param.name}` is of no use any more: {DROPPED[name]}")
        elif known is not None and name not in known:
            hint = did_you_mean(name, known)
            reader.refuse(param.where("name"), f"the Pipeline has no parameter `{param.name}`{hint}")
        elif (
            known is not None
            and name not in ALIASES
            and isinstance(param.value.value, list) != (known[name] == "array")
        ):
            form = "a list of texts" if known[name] == "array" else "one text"
            reader.refuse(param.where("value"), f"the parameter `{param.name}` is {form}")
        if name in seen:
            reader.refuse(param.where("name"), f"the parameter `{param.name}` is there already: keep one of the two")
        seen.add(name)
        if name in OF_THE_PAIR:
            reader.refuse(
                param.where("name"), f"the parameter `{name}` is not set here: it comes from {OF_THE_PAIR[name]}"
            )
        field = ALIASES.get(name) or OF_KEYS.get(name)
        if field and field in settings.keys_at:
            key = typed_yaml.key_of(field)
            reader.refuse(param.where("name"), f"`{key}` says what `{param.name}` does: keep one of the two")
        if name in ALIASES and param.value.value:
            try:
                _parsed(ALIASES[name], param)
            except ValueError as error:
                reader.refuse(param.where("value"), f"`{param.name}`: {error}")


def _check_repo(reader: Reader, repo: RepoEntry) -> None:
    if repo.resource_spec and (repo.url or repo.branch):
        reader.refuse(repo.at, f"the repository `{repo.name}` has both `resourceSpec` and `url` or `branch`: keep one")
        return
    if not repo.resource_spec:
        for field in ("url", "branch"):
            if getattr(repo, field) is None:
                reader.refuse(repo.at, f"the repository `{repo.name}` lacks `{field}`")
        if repo.url:
            try:
                repo.url.over_https()
            except ValueError as error:
                reader.refuse(repo.where("url"), f"`url`: {error}")
        return
    parse = {"url": lambda text: Repository.parse(text).over_https(), "revision": Branch.parse}
    missing = set(parse)
    for param in repo.resource_spec.params:
        if param.name not in missing:
            reader.refuse(param.at, f"the parameter `{param.name}` is there already: keep one of the two")
            continue
        missing.remove(param.name)
        try:
            parse[param.name](param.value)
        except ValueError as error:
            reader.refuse(param.where("value"), f"`{param.name}`: {error}")
    for name in sorted(missing):
        reader.refuse(repo.resource_spec.at, f"the repository `{repo.name}` lacks the parameter `{name}`")


def _url_and_branch(repo: RepoEntry) -> tuple[str, str, Position]:
    """The address, the branch, and where the branch stands."""
    if repo.resource_spec:
        params = {param.name: param for param in repo.resource_spec.params}
        return params["url"].value, params["revision"].value, params["revision"].where("value")
    return str(repo.url), str(repo.branch), repo.where("branch")
