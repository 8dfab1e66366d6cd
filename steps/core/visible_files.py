"""Which files of a repository the build of an image can see: its Dockerfile, and what that copies of what is not ignored."""

import dataclasses
import posixpath
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Self

from steps.core.build_context import IgnoreRules, Matched, Selection, below, ignore_files
from steps.core.dockerfile import WHOLE_CONTEXT, Sources


@dataclass(frozen=True)
class VisibleFiles:
    """The files that a build sees, by their paths in the repository.

    Attributes:
        context: directory of the build context.
        named: files that count wherever they lie: the Dockerfile and its rules.
    """

    context: str
    named: frozenset[str]
    _sources: Sources
    _selection: Selection
    _directories: dict[str, tuple[bool, Matched]] = field(default_factory=dict, compare=False)

    @classmethod
    def parse(cls, context: str, dockerfile: str, text: str, rules: str, links: Collection[str] = ()) -> Self:
        """What the text of a Dockerfile, and of its ignore file, say; ValueError when they cannot be read.

        Args:
            links: further files that count, such as symbolic links that lead to the context.
        """
        named = frozenset((dockerfile, *ignore_files(context, dockerfile), *links))
        selection = Selection(IgnoreRules.parse(rules), keep_git_dir=False, archive=None)
        return cls(context, named, Sources.parse(text), selection)

    @property
    def paths(self) -> list[str]:
        """Files and directories that hold all that is seen."""
        return sorted({*self.named, *(below(self.context, root) for root in self._sources.roots)})

    @property
    def of_whole_context(self) -> Self:
        """The same when all of the context is copied."""
        return dataclasses.replace(self, _sources=Sources((WHOLE_CONTEXT,)))

    def sees(self, path: str) -> bool:
        """Whether a file is seen."""
        if path in self.named:
            return True
        if self.context != "." and not path.startswith(f"{self.context}/"):
            return False
        below = path if self.context == "." else path[len(self.context) + 1 :]
        if not self._sources.sees(below):
            return False
        entered, above = self._judged(posixpath.dirname(below))
        return entered and self._selection.judge(below, above)[0]

    def _judged(self, directory: str) -> tuple[bool, Matched]:
        """Whether a directory is looked into, and what is to be known of it for what is in it."""
        if not directory:
            return True, ()
        if directory not in self._directories:
            entered, above = self._judged(posixpath.dirname(directory))
            if entered:
                _, entered, above = self._selection.judge(directory, above)
            self._directories[directory] = entered, above
        return self._directories[directory]
