"""What a kustomization brings in, told from its text alone, before kustomize is asked to make manifests of it."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from steps.core import located_yaml
from steps.core.located_yaml import Node, refuse

_PLUGINS = ("generators", "transformers", "validators")
_PATHS = {
    **dict.fromkeys(("resources", "bases", "components", "crds", "configurations", *_PLUGINS), ()),
    **dict.fromkeys(("patches", "patchesjson6902", "replacements", "openapi"), ("path",)),
    **dict.fromkeys(("configmapgenerator", "secretgenerator"), ("files", "envs", "env")),
    "patchesstrategicmerge": (),
}
"""Fields with paths, of files or of directories with a kustomization; or those fields of each of their items that have them."""

_REPOSITORY = re.compile(r"[\w.-]+@[\w.-]+:|(?:git::|gh:)|(?:github|gitlab|bitbucket)\.[a-z]+[/:]|.*\?(?:ref|version)=")
_DOCUMENT = re.compile(r"\n|^\s*[{\[]|:\s")
_PROGRAMS = {"helmcharts": "helm", "helmchartinflationgenerator": "helm"}


class Inclusion(NamedTuple):
    """A path, or what no file system knows by that name: a URL, or a document that is written out.

    Attributes:
        text: as it is written; of a generator's file, with the name that it gets.
        line: counted from 1.
        is_plugin: whether the document tells kustomize to bring in more.
    """

    text: str
    line: int
    is_plugin: bool = False

    @property
    def is_document(self) -> bool:
        return bool(_DOCUMENT.search(self.text))

    def is_remote(self, *, exists: bool) -> bool:
        """Whether kustomize may ask a server; it takes a URL for one even if there is a file of that name."""
        if self.is_document:
            return self.is_plugin and "://" in self.text
        return "://" in self.text or (not exists and bool(_REPOSITORY.match(self.text)))


class Package(NamedTuple):
    """What a kustomization brings in.

    Attributes:
        inclusions: in the order of the file.
        programs: those that it needs to be rendered, with the line that says so.
    """

    inclusions: list[Inclusion]
    programs: list[Inclusion]


def read(text: str) -> Package:
    """What a kustomization brings in.

    Raises:
        StepError: that cannot be said of it.
    """
    root = located_yaml.parse(text).root
    inclusions: list[Inclusion] = []
    programs: list[Inclusion] = []
    # To kustomize the names of fields are alike in any case.
    for key, value in root.pairs if root else ():
        name = key.meant.text.lower()
        inclusions += _inclusions(name, value.meant)
        if name in _PROGRAMS:
            programs.append(Inclusion(_PROGRAMS[name], key.line))
        if name == "<<":
            refuse("shared", key, "a merge key brings in what another place of the file says: write it out")
    return Package(inclusions, programs)


def _inclusions(name: str, value: Node) -> Iterator[Inclusion]:
    fields = _PATHS.get(name)
    if fields == ():
        for node in _texts(value):
            yield Inclusion(node.meant.text, node.line, name in _PLUGINS)
    for item in (value.children if value.kind == "sequence" else [value]) if fields else ():
        for key, field in item.meant.pairs:
            if key.meant.text == "<<":
                refuse("shared", key, "a merge key brings in what another place of the file says: write it out")
            if key.meant.text.lower() in (fields or ()):
                yield from (Inclusion(node.meant.text, node.line) for node in _texts(field.meant))


def _texts(value: Node) -> Iterator[Node]:
    """The texts of a list, or the one."""
    for node in value.children if value.kind == "sequence" else [value]:
        if node.meant.kind == "scalar" and not node.meant.is_null:
            yield node
