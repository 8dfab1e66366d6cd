"""The PipelineRun of a pair at a commit: a template with its parameters and workspaces replaced by name.

Templates of kubeflow's apps-cd, of Tekton's v1alpha1 and v1beta1, are brought to v1 on the way.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from steps.core import applications, block_yaml
from steps.core.applications import Pair
from steps.core.located_yaml import Node
from steps.core.typed_yaml import Position, Problem, Reader, Value, did_you_mean

LONGEST_NAME = 63
"""Characters of a PipelineRun's name: Tekton refuses more."""

LONGEST_RETRY = len("-r999")
"""What is left of them for the number of a retry."""

APPLICATION = "apps-cd/application"
VERSION = "apps-cd/version"
"""Labels, shortened to what a label may be, and annotations, exact."""

SOURCE_COMMIT = "apps-cd/source-commit"
IMAGE_TAG = "apps-cd/image-tag"
FIRST_ATTEMPT = "apps-cd/first-attempt"
ATTEMPT = "apps-cd/attempt"
SUPERSEDED_BY = "apps-cd/superseded-by"
"""Annotations; the last one says which commit a run was cancelled for."""

PIPELINE = "apps-cd"
OLD_PIPELINE = "ci-pipeline"

PARAMS = {
    "app-repo-url": "string",
    "app-repo-revision": "string",
    "app-repo-branch": "string",
    "path-to-context": "string",
    "path-to-docker-file": "string",
    "image": "string",
    "manifests-repo-url": "string",
    "manifests-repo-revision": "string",
    "path-to-manifests-dir": "string",
    "src-image-url": "string",
    "docker-target": "string",
    "extra-args": "array",
    "builder-image": "string",
    "application": "string",
    "version": "string",
    "fork-owner": "string",
    "post-edit-command": "array",
    "post-edit-image": "string",
    "digest-style": "string",
    "verify": "string",
    "also-verify": "string",
    "labels": "string",
    "reviewer": "string",
    "author": "string",
    "title": "string",
    "draft": "string",
    "auto-merge": "string",
    "dashboard-url": "string",
    "github-url": "string",
    "depth": "string",
    "submodules": "string",
    "keep-git-dir": "string",
    "symlinks": "string",
}
"""The parameters of our Pipeline, and the type of each."""

_SPEC = (
    *("pipelineRef", "pipelineSpec", "params", "workspaces", "timeouts"),
    *("taskRunTemplate", "taskRunSpecs", "status", "managedBy"),
)
_OLD_API = ("tekton.dev/v1alpha1", "tekton.dev/v1beta1")
_TASK_RUN_SPEC = {"taskServiceAccountName": "serviceAccountName", "taskPodTemplate": "podTemplate", "stepOverrides": "stepSpecs", "sidecarOverrides": "sidecarSpecs"}  # fmt: skip
_STEP_SPEC = {"resources": "computeResources"}
_LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
_ANY = re.compile(r".*", re.DOTALL)
_QUALIFIED = re.compile(r"(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_METADATA = ("name", "generateName", "namespace", "labels", "annotations", "finalizers")
_NOT_IN_NAME = re.compile(r"[^a-z0-9]+")
_OF_ONE_RUN = (FIRST_ATTEMPT, ATTEMPT, SUPERSEDED_BY)


@dataclass(frozen=True)
class Template:
    """A PipelineRun of v1 to be filled in.

    Attributes:
        metadata: without a name.
        spec: without `params` and `workspaces`.
        params: values by name.
        workspaces: bindings by name.
        known_params: the parameters of the Pipeline; None when it is not ours.
    """

    metadata: Mapping[str, Value]
    spec: Mapping[str, Value]
    params: Mapping[str, Value]
    workspaces: Mapping[str, Value]
    known_params: Mapping[str, str] | None


@dataclass(frozen=True)
class Run:
    """A PipelineRun that is to be made.

    Attributes:
        name: its `metadata.name`.
        image: what will be pushed, name and tag.
        document: the object.
    """

    name: str
    image: str
    document: Mapping[str, Any]

    @property
    def text(self) -> str:
        """The object as YAML."""
        return block_yaml.written(self.document)


def read_template(file: str, text: str) -> tuple[Template | None, list[Problem]]:
    """A template and what is to be said of it; None when it cannot be used."""
    reader = Reader(file)
    root = reader.document(text)
    if root is None or root.meant.kind != "mapping":
        if not reader.problems:
            reader.refuse(root or Position(file, 1, 1), "a template is a PipelineRun")
        return None, reader.problems
    template = _Converter(reader, root).template()
    problems = applications.in_order(reader.problems)
    return None if any(problem.severity == "error" for problem in problems) else template, problems


class _Converter:
    """Brings a template to v1."""

    def __init__(self, reader: Reader, root: Node) -> None:
        self._reader = reader
        self._root = root
        self._given = reader.pairs(root)
        self._params: dict[str, Value] = {}

    def template(self) -> Template:
        reader = self._reader
        for key, wanted in (("kind", ("PipelineRun",)), ("apiVersion", ("tekton.dev/v1", *_OLD_API))):
            if self._text(self._given, key) not in wanted:
                where = self._given[key][1] if key in self._given else self._root
                reader.refuse(where, f"`{key}` of a template is {' or '.join(wanted)}")
        for key, (node, _) in self._given.items():
            if key not in ("apiVersion", "kind", "metadata", "spec"):
                reader.refuse(node, f"a PipelineRun has no key `{key}`" + did_you_mean(key, ("metadata", "spec")))
        spec = self._mapping(self._given, "spec")
        metadata = {key: reader.plain(value) for key, (_, value) in self._mapping(self._given, "metadata").items()}
        for key in ("name", "generateName"):
            metadata.pop(key, None)
        for key, (node, _) in self._mapping(self._given, "metadata").items():
            if key not in _METADATA:
                reader.refuse(node, f"`metadata` of a template has no key `{key}`" + did_you_mean(key, _METADATA))
        for key, pattern in (("labels", _LABEL_VALUE), ("annotations", _ANY)):
            self._check_texts(key, pattern)
        is_old = self._text(self._given, "apiVersion") in _OLD_API
        reference = self._mapping(spec, "pipelineRef")
        name = self._text(reference, "name")
        if all(spec[key][1].is_null for key in ("pipelineRef", "pipelineSpec") if key in spec):
            reader.refuse(self._root, f"`spec` of a template lacks `pipelineRef`, such as `name: {PIPELINE}`")
        made: dict[str, Value] = {}
        if is_old:
            self._resources(spec)
            made = self._old_fields(spec)
        for key, (node, value) in spec.items():
            if key in ("params", "workspaces"):
                continue
            if key in _SPEC:
                made.setdefault(key, reader.plain(value))
            elif not (is_old and key in ("resources", "serviceAccountName", "podTemplate", "timeout")):
                reader.refuse(node, f"`spec` of a PipelineRun has no key `{key}`" + did_you_mean(key, _SPEC))
        workspaces: dict[str, Value] = {name: binding for _, name, binding in self._by_name(spec, "workspaces")}
        if is_old and name == OLD_PIPELINE:
            made["pipelineRef"] = {"name": PIPELINE}
            name = PIPELINE
            if "github-token" not in workspaces:
                reader.warn(
                    reader.at(spec["pipelineRef"][1]),
                    f"`{OLD_PIPELINE}` read the Secret `github-token` by itself; here it is bound as a workspace",
                )
                workspaces["github-token"] = {"name": "github-token", "secret": {"secretName": "github-token"}}
        known = PARAMS if name == PIPELINE else None
        self._plain_params(spec, known)
        return Template(metadata, made, self._params, workspaces, known)

    def _check_texts(self, key: str, pattern: re.Pattern[str]) -> None:
        """See that labels or annotations are what Kubernetes takes for them."""
        for name, (node, value) in self._mapping(self._mapping(self._given, "metadata"), key).items():
            if not _QUALIFIED.fullmatch(name):
                self._reader.refuse(node, f"`{name}` is no name of one of `{key}`")
            text = self._reader.plain(value)
            if not isinstance(text, str):
                self._reader.refuse(value, f"`{name}` of `{key}` is text: put quotes around it")
            elif not pattern.fullmatch(text):
                self._reader.refuse(
                    value, f"{text!r} is not the value of a label: at most 63 of letters, digits, `-`, `_` and `.`"
                )

    def _mapping(self, given: Mapping[str, tuple[Node, Node]], key: str) -> dict[str, tuple[Node, Node]]:
        if key not in given or given[key][1].is_null:
            return {}
        if given[key][1].meant.kind != "mapping":
            self._reader.refuse(given[key][1], f"`{key}` is a mapping")
            return {}
        return self._reader.pairs(given[key][1])

    @staticmethod
    def _text(given: Mapping[str, tuple[Node, Node]], key: str) -> str | None:
        return given[key][1].meant.text if key in given else None

    def _by_name(
        self, spec: Mapping[str, tuple[Node, Node]], key: str, *, is_dashed: bool = False
    ) -> Iterator[tuple[Node, str, dict[str, Value]]]:
        """The items of a list, each the only one of its name, in which `_` may stand for `-`."""
        names: set[str] = set()
        for item in self._reader.items(spec[key][1], f"`{key}`") if key in spec else []:
            value = self._reader.plain(item)
            written = value.get("name") if isinstance(value, dict) else None
            if not isinstance(value, dict) or not isinstance(written, str):
                self._reader.refuse(item, f"an item of `{key}` is a mapping with a `name`")
                continue
            name = written.replace("_", "-") if is_dashed else written
            if name in names:
                self._reader.refuse(item, f"`{written}` is there already: keep one of the two")
            else:
                names.add(name)
                yield item, name, value

    def _plain_params(self, spec: Mapping[str, tuple[Node, Node]], known: Mapping[str, str] | None) -> None:
        reader = self._reader
        for item, name, param in self._by_name(spec, "params", is_dashed=known is not None):
            written = param["name"]
            if known is not None and name in applications.DROPPED:
                reader.warn(reader.at(item), f"the parameter `{written}` is dropped: {applications.DROPPED[name]}")
            elif known is not None and name not in known:
                reader.refuse(item, f"the Pipeline has no parameter `{written}`" + did_you_mean(name, known))
            elif "value" not in param:
                reader.refuse(item, f"the parameter `{written}` lacks its `value`")
            elif known is not None and isinstance(param["value"], list) != (known[name] == "array"):
                form = "a list of texts" if known[name] == "array" else "one text"
                reader.refuse(item, f"the parameter `{written}` is {form}")
            else:
                self._params[name] = param["value"]

    def _old_fields(self, spec: Mapping[str, tuple[Node, Node]]) -> dict[str, Value]:
        """What has another name or place in v1."""
        reader = self._reader
        made: dict[str, Value] = {}
        of_task_runs = {key: reader.plain(spec[key][1]) for key in ("serviceAccountName", "podTemplate") if key in spec}
        if of_task_runs:
            made["taskRunTemplate"] = of_task_runs
        if "timeout" in spec:
            made["timeouts"] = {"pipeline": reader.plain(spec["timeout"][1])}
        if "taskRunSpecs" in spec:
            made["taskRunSpecs"] = _renamed(reader.plain(spec["taskRunSpecs"][1]), _TASK_RUN_SPEC)
        return made

    def _resources(self, spec: Mapping[str, tuple[Node, Node]]) -> None:
        """PipelineResources, which Tekton has no more, as the parameters that took their place."""
        reader = self._reader
        names = {
            "app-repo": {"url": "app-repo-url", "revision": "app-repo-revision"},
            "manifests": {"url": "manifests-repo-url", "revision": "manifests-repo-revision"},
            "image": {"url": "image"},
        }
        for item, name, resource in self._by_name(spec, "resources"):
            resource_spec = resource.get("resourceSpec")
            params = resource_spec.get("params") if isinstance(resource_spec, dict) else None
            if name == "ci-tools":
                reader.warn(reader.at(item), "the resource `ci-tools` is dropped: the tools are in the steps' image")
            elif name not in names:
                reader.refuse(
                    item, f"there is no parameter for the resource `{name}`: write what it is for as `params`"
                )
            elif not isinstance(params, list):
                reader.refuse(item, f"the resource `{name}` has no `resourceSpec` with `params`")
            else:
                values = {str(param.get("name")): param.get("value") for param in params if isinstance(param, dict)}
                self._params |= {names[name][key]: value for key, value in values.items() if key in names[name]}


def _renamed(items: Value, names: Mapping[str, str]) -> Value:
    """Mappings of a list with the names that keys have in v1."""
    if not isinstance(items, list):
        return items
    return [
        {
            names.get(key, key): _renamed(value, _STEP_SPEC) if key in ("stepOverrides", "sidecarOverrides") else value
            for key, value in item.items()
        }
        if isinstance(item, dict)
        else item
        for item in items
    ]


def render(template: Template, pair: Pair, commit: str) -> Run:
    """The PipelineRun of a pair.

    The same arguments give the same name, so that who creates it twice has one run.

    Args:
        commit: the source commit, 40 hex digits (64 in a SHA-256 repository).

    Raises:
        ValueError: the image's tag would be none.
    """
    tag = pair.tag(commit)
    params = {**template.params, **pair.params, **_own_params(pair, commit, tag)}
    workspaces = {**template.workspaces, **pair.workspaces}
    spec: dict[str, Value] = {
        **({"pipelineRef": template.spec["pipelineRef"]} if "pipelineRef" in template.spec else {}),
        "params": [{"name": name, "value": value} for name, value in params.items()],
        **({"workspaces": list(workspaces.values())} if workspaces else {}),
        **{key: value for key, value in template.spec.items() if key != "pipelineRef"},
    }
    annotations = _part(template.metadata, "annotations")
    metadata = {
        **template.metadata,
        "labels": {
            **_part(template.metadata, "labels"),
            APPLICATION: label_value(pair.application),
            VERSION: label_value(pair.version),
        },
        "annotations": {
            # Those of a run that somebody took for a template say nothing of this one.
            **{name: value for name, value in annotations.items() if name not in _OF_ONE_RUN},
            APPLICATION: str(pair.application),
            VERSION: str(pair.version),
            SOURCE_COMMIT: commit,
            IMAGE_TAG: tag,
        },
    }
    content = json.dumps([metadata, spec], sort_keys=True, ensure_ascii=False)
    name = run_name(pair.application, pair.version, commit, content)
    document: dict[str, Value] = {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {"name": name, **metadata},
        "spec": spec,
    }
    return Run(name, f"{pair.pushed_image}:{tag}", document)


def attempt(run: Run, number: int) -> Run:
    """A run that `render` made, which is the first attempt, at another one: the second is named NAME-r2, and so on."""
    if number == 1:
        return run
    metadata = run.document["metadata"]
    name = attempt_name(run.name, number)
    annotations = {**metadata["annotations"], FIRST_ATTEMPT: run.name, ATTEMPT: str(number)}
    changed = {**metadata, "name": name, "annotations": annotations}
    return replace(run, name=name, document={**run.document, "metadata": changed})


def attempt_name(first: str, number: int) -> str:
    """The name of a run at an attempt, by that of the first one."""
    end = f"-r{number}" if number > 1 else ""
    return first[: LONGEST_NAME - len(end)].rstrip("-") + end


def param(template: Template, pair: Pair, name: str) -> str | None:
    """The text that a parameter of a pair's run gets, whatever the commit.

    Args:
        name: of a parameter that does not depend on the commit, such as `fork-owner` or `author`.

    Returns:
        None when the Pipeline's default holds, or when it is a list.
    """
    value = {**template.params, **pair.params, **_own_params(pair, "", "")}.get(name)
    if isinstance(value, bool | int | float):
        return json.dumps(value)  # which is what Tekton makes of it
    return value if isinstance(value, str) else None


def _part(metadata: Mapping[str, Value], key: str) -> dict[str, Value]:
    part = metadata.get(key)
    return part if isinstance(part, dict) else {}


def _own_params(pair: Pair, commit: str, tag: str) -> dict[str, Value]:
    """The parameters that the pair and its commit decide, in the order of the Pipeline."""
    optional: dict[str, Value] = {
        "docker-target": pair.target,
        "labels": None if pair.labels is None else ",".join(pair.labels),
        "reviewer": None if pair.reviewers is None else ",".join(pair.reviewers),
        "draft": None if pair.draft is None else str(pair.draft).lower(),
    }
    return {
        "app-repo-url": str(pair.source.repository),
        "app-repo-revision": commit,
        "app-repo-branch": str(pair.source.branch),
        "path-to-context": str(pair.context),
        "path-to-docker-file": str(pair.dockerfile),
        "image": f"{pair.pushed_image}:{tag}",
        "manifests-repo-url": str(pair.manifests.repository),
        "manifests-repo-revision": str(pair.manifests.branch),
        "path-to-manifests-dir": str(pair.manifests_dir),
        "src-image-url": str(pair.image),
        "application": str(pair.application),
        "version": str(pair.version),
        **{name: value for name, value in optional.items() if value is not None},
    }


def file_name(stem: str, commit: str) -> str:
    """The file of a pair's run.

    Args:
        stem: what `file_names` says of the pair.
        commit: the source commit.
    """
    return f"{stem}-{commit[: applications.SHORT]}.yaml"


def pair_of(name: str, text: str) -> tuple[str, str] | None:
    """The application and version of a file of a run, by its name and what `render` wrote; None for any other file."""
    found = {}
    for key in (APPLICATION, VERSION, SOURCE_COMMIT):
        values = re.findall(rf"^    {re.escape(key)}: (\S+)$", text, re.MULTILINE)
        if not values:
            return None
        try:
            found[key] = str(json.loads(values[-1])) if values[-1].startswith('"') else values[-1]
        except ValueError:
            return None
    pair = found[APPLICATION], found[VERSION]
    names = {file_name(stem, found[SOURCE_COMMIT]) for stem in (_stem(pair), _own_stem(pair))}
    return pair if name in names else None


def run_name(application: str, version: str, commit: str, content: str) -> str:
    """A name that says what runs, and is another for any other content."""
    digest = _digest(json.dumps([application, version, commit, content]))
    end = f"-{commit[: applications.SHORT]}-{digest}"
    start = _NOT_IN_NAME.sub("-", f"{application}-{version}".lower()).strip("-")
    return start[: LONGEST_NAME - LONGEST_RETRY - len(end)].rstrip("-") + end


def label_value(text: str) -> str:
    """The text as a label's value; shortened, and told apart by a hash, when it cannot be one."""
    if _LABEL_VALUE.fullmatch(text):
        return text
    return f"{re.sub(r'[^A-Za-z0-9_.-]', '-', text)[:50]}-{_digest(text)}"


def file_names(pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """What the files of all pairs of a configuration begin with, each its own on any file system."""
    names = {pair: _stem(pair) for pair in pairs}
    counts = Counter(name.lower() for name in names.values())
    return {pair: name if counts[name.lower()] == 1 else _own_stem(pair) for pair, name in names.items()}


def _stem(pair: tuple[str, str]) -> str:
    return "-".join(pair).replace("/", "-")


def _own_stem(pair: tuple[str, str]) -> str:
    return f"{_stem(pair)}-{_digest(json.dumps(pair))}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
