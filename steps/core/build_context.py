"""What goes into a build context, and what its parts are called.

Ignore files are read as `docker build` reads them: https://docs.docker.com/build/concepts/context/#dockerignore-files,
in the letter of github.com/moby/patternmatcher and the filter of BuildKit. Where those two differ BuildKit decides: an
exception (`!docs`) brings back what an earlier line ignored at that path, not what one ignored below it (`**/secret`).
"""

import heapq
import itertools
import posixpath
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Self

from steps.core.image import Image
from steps.core.text import FilePath, Line

IGNORE_FILE = ".dockerignore"
LARGEST_SHOWN = 10
SECRETS_SHOWN = 20
LONGEST_BUCKET_PART = 63
LONGEST_OBJECT = 900

_BLANK = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
_ESCAPED_LETTERS = {letter: "\\" + letter for letter in "abfnrtvdDwWAB"} | {
    "s": "[\t\n\f\r ]",
    "S": "[^\t\n\f\r ]",
    "z": r"\Z",
}
_REPETITION = re.compile(r"\{\d+(,\d*)?\}")
_BUCKET = re.compile(r"(?!goog)(?!\d+\.\d+\.\d+\.\d+$)[a-z0-9][a-z0-9_.-]{1,220}[a-z0-9]", re.ASCII)
_OBJECT = re.compile(r"[A-Za-z0-9!$&'()+,;=@_.~-]+(?:/[A-Za-z0-9!$&'()+,;=@_.~-]+)*")
_SECRET_NAME = re.compile(r"\.env.*|.*\.pem|id_.*|\.git-credentials|.*credentials.*\.json", re.DOTALL | re.IGNORECASE)


class SourcePath(str):
    """A path in a repository, relative to its root, cleaned: `.`, `services/web`."""

    @classmethod
    def parse(cls, text: str) -> Self:
        path = posixpath.normpath(FilePath.parse(text))
        if path.startswith("/"):
            raise ValueError(f"{text!r} is absolute; write it relative to the root of the repository")
        if path == ".." or path.startswith("../"):
            raise ValueError(f"{text!r} leads out of the repository")
        return cls(path)


def below(directory: str, path: str) -> str:
    """A path in a directory, cleaned: `a` in `.` is `a`."""
    return posixpath.normpath(posixpath.join(directory, path))


def ignore_files(context: str, dockerfile: str) -> tuple[str, str]:
    """Where ignore rules may stand; the first that is there holds."""
    return f"{dockerfile}{IGNORE_FILE}", below(context, IGNORE_FILE)


class PushedImage(Image):
    """The image that a build is pushed as: a name, perhaps a tag, no digest, which only the build's outcome has."""

    @classmethod
    def parse(cls, text: str) -> Self:
        image = super().parse(text)
        if image.digest:
            raise ValueError(f"{text!r} has a digest, which an image gets by being built; give a name and a tag")
        return image


@dataclass(frozen=True)
class Destination:
    """Where a packed context goes: a file, or a folder of a Cloud Storage bucket.

    Attributes:
        path: of the file; in a bucket the folder, such as `contexts/web`, or ''.
        bucket: None for a file.
    """

    path: str
    bucket: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        scheme, separator, rest = Line.parse(text).partition("://")
        if not separator:
            if text.endswith("/"):
                raise ValueError(f"{text!r} is a directory; name the file, as in {text}context.tar.gz")
            return cls(FilePath.parse(text))
        if scheme != "gs":
            raise ValueError(f"{text!r} is neither a file nor gs://BUCKET/PREFIX")
        bucket, _, prefix = rest.rstrip("/").partition("/")
        return cls(_object(text, prefix) if prefix else "", _bucket(text, bucket))

    def object_name(self, sha256: str) -> str:
        """The object of a context, named by its content: 64 hex digits."""
        return posixpath.join(self.path, f"{sha256}.tar.gz")


@dataclass(frozen=True)
class Location:
    """Where a context is, as Kaniko's `--context` has it, or as a path relative to a source directory.

    Attributes:
        scheme: `gs`, `s3`, `https`, `tar`, `dir`; `dir` also for a path without one.
        path: what follows `://`.
    """

    scheme: str
    path: str

    @classmethod
    def parse(cls, text: str) -> Self:
        scheme, separator, path = Line.parse(text).partition("://")
        if not separator:
            scheme, path = "dir", text
        if scheme not in ("gs", "s3", "https", "tar", "dir"):
            raise ValueError(f"{text!r} is none of gs://, s3://, https://, tar://FILE, dir://DIRECTORY or a directory")
        if scheme == "https" and "@" in path.partition("/")[0]:
            raise ValueError("the address holds a credential, which logs and results would show")
        if scheme == "gs":
            bucket, _, name = path.partition("/")
            _bucket(text, bucket)
            _object(text, name)
        elif not (path if scheme in ("tar", "dir") else all(path.partition("/")[::2])):
            raise ValueError(f"{text!r} does not say where the context is")
        return cls(scheme, FilePath.parse(path) if scheme in ("tar", "dir") else path)

    @property
    def is_local(self) -> bool:
        return self.scheme in ("tar", "dir")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.path}"


def _bucket(text: str, name: str) -> str:
    if not _BUCKET.fullmatch(name) or any(not 0 < len(part) <= LONGEST_BUCKET_PART for part in name.split(".")):
        raise ValueError(f"{text!r}: {name!r} is not the name of a bucket: 3 to 63 of a-z, 0-9, `-`, `_` and `.`")
    return name


def _object(text: str, name: str) -> str:
    if not _OBJECT.fullmatch(name) or len(name) > LONGEST_OBJECT or {".", ".."} & set(name.split("/")):
        raise ValueError(
            f"{text!r}: Kaniko cannot read an object of the name {name!r}; write it in ASCII, without spaces and any of ?#%*[]"
        )
    return name


Matched = tuple[bool, ...]
"""For a directory: which runs of ignore lines matched it or a directory above it."""


@dataclass(frozen=True)
class IgnoreRules:
    """The lines of an ignore file.

    Attributes:
        runs: successive lines of one kind, as (whether they are exceptions, the paths they match).
        below: directories that an exception can match something below; None without exceptions.
    """

    runs: tuple[tuple[bool, re.Pattern[str]], ...] = ()
    below: re.Pattern[str] | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an ignore file; ValueError says which line is wrong, and why."""
        runs: list[tuple[bool, list[str]]] = []
        below: list[str] = []
        for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
            pattern = _pattern(line)
            if not pattern:
                continue
            exception = pattern.startswith("!")
            pattern = pattern.removeprefix("!")
            if not pattern:
                raise ValueError(f"line {number}: `!` says that something is kept, but not what")
            try:
                expression = _expression(pattern)
                re.compile(expression)
            except (ValueError, re.error) as error:
                raise ValueError(f"line {number}: {line.strip(_BLANK)!r} is not a pattern: {error}") from None
            if not runs or runs[-1][0] != exception:
                runs.append((exception, []))
            runs[-1][1].append(expression)
            if exception:
                below.append(_below(pattern))
        return cls(
            tuple((exception, _any_of(expressions)) for exception, expressions in runs),
            _any_of(below) if below else None,
        )

    def judge(self, path: str, above: Matched) -> tuple[bool, Matched]:
        """Whether a path is ignored.

        Args:
            path: relative to the context, without `.` and `..`.
            above: what this returned for its directory; () at the top.

        Returns:
            The verdict, and what matched, for the paths below.
        """
        ignored = False
        matched = list(above) or [False] * len(self.runs)
        for index, (exception, pattern) in enumerate(self.runs):
            # A line that would change nothing is passed over, also for the paths below: so does BuildKit.
            if not matched[index] and exception == ignored:
                matched[index] = pattern.fullmatch(path) is not None
            if matched[index]:
                ignored = not exception
        return ignored, tuple(matched)

    def may_keep_below(self, directory: str) -> bool:
        """Whether an exception can match something in an ignored directory."""
        return self.below is not None and self.below.fullmatch(directory) is not None


def _any_of(expressions: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{expression})" for expression in expressions), re.ASCII)


def _pattern(line: str) -> str:
    """A line as a cleaned pattern, an exception with its `!`; '' when there is none on it."""
    text = line.strip(_BLANK)
    if line.startswith("#") or not text:
        return ""
    mark = "!" if text.startswith("!") else ""
    text = text[len(mark) :].strip(_BLANK)
    if text:
        text = _clean(text)
        text = text if text == "/" else text.removeprefix("/")
    return _clean((mark + text).strip(_BLANK))


def _clean(path: str) -> str:
    cleaned = posixpath.normpath(path)
    return cleaned[1:] if cleaned.startswith("//") else cleaned


def _expression(pattern: str) -> str:
    """The regular expression that patternmatcher makes of a pattern, in Python's words."""
    if not _is_special(pattern):
        return re.escape(pattern)
    if pattern.startswith("**") and not _is_special(pattern[2:]):
        rooted = pattern.startswith("**/")
        return f"(?s:.*/)?{re.escape(pattern[3:])}" if rooted else f"(?s:.*){re.escape(pattern[2:])}"
    if pattern.endswith("**") and not _is_special(pattern[:-2]):
        return f"{re.escape(pattern[:-2])}(?s:.*)"
    parts = []
    position = 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if pattern.startswith("**", position - 1):
            position += 2 if pattern.startswith("/", position + 1) else 1
            parts.append(".*" if position == len(pattern) else "(?:.*/)?")
        elif character == "*":
            parts.append("[^/]*")
        elif character == "?":
            parts.append("[^/]")
        elif character == "\\":
            parts.append(_escaped(pattern[position : position + 1]))
            position += 1
        elif character == "[":
            part, position = _character_class(pattern, position)
            parts.append(part)
        elif character == "|" or _REPETITION.match(pattern, position - 1):
            raise ValueError(
                f"beside a wildcard Docker takes {character!r} for a sign of regular expressions; write several lines"
            )
        else:
            parts.append(character if character == "^" else re.escape(character))
    return "".join(parts)


def _is_special(text: str) -> bool:
    return not set("*?[]\\").isdisjoint(text)


def _escaped(character: str) -> str:
    if character in _ESCAPED_LETTERS:
        return _ESCAPED_LETTERS[character]
    if not character or character.isalnum() or not character.isascii():
        raise ValueError("a backslash goes before a sign that would mean something else; between directories goes `/`")
    return re.escape(character)


def _character_class(pattern: str, position: int) -> tuple[str, int]:
    """The `[...]` whose first sign is at a position, and where the pattern goes on."""
    negated = pattern.startswith("^", position)
    position += negated
    parts: list[str] = []
    while not (parts and pattern.startswith("]", position)):
        low, position = _class_member(pattern, position)
        if pattern.startswith("-", position):
            high, position = _class_member(pattern, position + 1)
            low = f"{low}-{high}"
        parts.append(low)
    return f"[{'^' if negated else ''}{''.join(parts)}]", position + 1


def _class_member(pattern: str, position: int) -> tuple[str, int]:
    escaped = pattern.startswith("\\", position)
    position += escaped
    character = pattern[position : position + 1]
    if not character:
        raise ValueError("`[` lacks its `]`")
    if escaped:
        if character.isalnum() or not character.isascii():
            raise ValueError(f"a backslash before {character!r} in `[]` has no certain meaning")
    elif character in "-]":
        raise ValueError(f"{character!r} in `[]` needs a backslash before it")
    elif character in "*?" or pattern.startswith("[:", position):
        raise ValueError(f"{character!r} in `[]` has no certain meaning; put a backslash before it")
    return re.sub(r"([\\\]\[^&|~-])", r"\\\1", character), position + 1


def _below(pattern: str) -> str:
    """An expression of the directories in which something may match a pattern."""
    parts = pattern.split("/")
    plain = list(itertools.takewhile(lambda part: "**" not in part and set("[]\\^").isdisjoint(part), parts))
    if len(plain) == len(parts):
        del plain[-1]
        expression = ""
    elif plain:
        expression = "(?s:/.*)?"
    else:
        return "(?s:.*)"
    for part in reversed(plain[1:]):
        expression = f"(?:/{_expression(part)}{expression})?"
    return f"{_expression(plain[0])}{expression}" if plain else "(?!)"


@dataclass(frozen=True)
class Selection:
    """Which paths of a directory go into the context.

    Attributes:
        rules: the ignore file's.
        keep_git_dir: whether a `.git` is an entry like any other.
        archive: path of the file that is being written, when it lies in the directory itself.
    """

    rules: IgnoreRules
    keep_git_dir: bool
    archive: str | None

    def judge(self, path: str, above: Matched) -> tuple[bool, bool, Matched]:
        """Whether to pack a path, whether to look into it when it is a directory, and `above` for what is in it.

        Args:
            path: relative to the directory.
            above: what this returned for the path's own directory; () at the top.
        """
        if path.rpartition("/")[2] == ".git" and not self.keep_git_dir:
            return False, False, ()
        if self.archive and (path == self.archive or is_partial(path, self.archive)):
            return False, False, ()
        ignored, matched = self.rules.judge(path, above)
        return not ignored, not ignored or self.rules.may_keep_below(path), matched


def partial_affixes(name: str) -> tuple[str, str]:
    """How the name of an archive begins and ends while it is written."""
    return f".{name}.", ".partial"


def is_partial(path: str, archive: str) -> bool:
    """Whether a path is an archive that is being written, or was when its writer was killed."""
    directory, _, name = archive.rpartition("/")
    prefix, suffix = partial_affixes(name)
    return path.startswith(posixpath.join(directory, prefix)) and path.endswith(suffix)


def lay_out_dockerfile(
    path: str | None, content: bytes, rules: IgnoreRules, taken: Collection[str]
) -> tuple[str, dict[str, bytes]]:
    """Where the Dockerfile is in the archive, and what is packed beside the context for that.

    Kaniko reads ignore files once more, with a matcher that loses files below nested exceptions, and prefers the one
    beside the Dockerfile. So where there are rules, or the Dockerfile is not in the context, it goes into a directory of
    its own together with an ignore file that names that directory and nothing else: `COPY . .` takes what was packed.

    Args:
        path: of the Dockerfile in the context; None when it lies outside or is a symlink.
        content: the Dockerfile.
        rules: the ignore file's.
        taken: the names at the top of the context.
    """
    if path is not None and not rules.runs:
        return path, {}
    names = itertools.chain([".apps-cd"], (f".apps-cd-{number}" for number in itertools.count(2)))
    directory = next(name for name in names if name not in taken)
    dockerfile = f"{directory}/Dockerfile"
    return dockerfile, {dockerfile: content, dockerfile + IGNORE_FILE: f"{directory}\n".encode()}


def is_within(path: str, directory: str) -> bool:
    """Whether an absolute path without `.`, `..` and symlinks is a directory or below it."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def link_problem(target: str, resolved: str, context: str) -> str | None:
    """Why a symlink has no place in a context, or None.

    Args:
        target: what the link says.
        resolved: where that leads, without symlinks.
        context: the context, likewise.
    """
    if target.startswith("/"):
        return "is absolute"
    return None if is_within(resolved, context) else "leads out of the context"


def looks_secret(path: str) -> bool:
    """Whether a path has the name that secrets commonly have."""
    name = path.rpartition("/")[2]
    return _SECRET_NAME.fullmatch(name) is not None or f"/{path}".endswith("/.docker/config.json")


@dataclass
class Contents:
    """What has been packed, for the report."""

    files: int = 0
    symlinks: int = 0
    size: int = 0
    secrets: list[str] = field(default_factory=list)
    _largest: list[tuple[int, str]] = field(default_factory=list)

    def add_file(self, path: str, size: int) -> None:
        self.files += 1
        self.size += size
        if len(self._largest) < LARGEST_SHOWN:
            heapq.heappush(self._largest, (size, path))
        else:
            heapq.heappushpop(self._largest, (size, path))
        if looks_secret(path):
            self.secrets.append(path)

    @property
    def is_empty(self) -> bool:
        return not self.files and not self.symlinks

    def report(self, packed_size: int) -> str:
        """How much was packed into how many bytes, and the largest files."""
        lines = [
            f"packed {self.files:,} files and {self.symlinks:,} symlinks: {self.size:,} bytes into {packed_size:,}; largest:"
        ]
        lines += [f"{size:>15,} {shown(path)}" for size, path in sorted(self._largest, reverse=True)]
        return "\n".join(lines)

    def warning(self) -> str | None:
        """What to say of paths that look like secrets."""
        if not self.secrets:
            return None
        more = len(self.secrets) - SECRETS_SHOWN
        names = ", ".join(shown(path) for path in self.secrets[:SECRETS_SHOWN]) + (
            f" and {more} more" if more > 0 else ""
        )
        return f"the context holds what looks like secrets; if they are, keep them out by an ignore file: {names}"


def shown(path: str) -> str:
    """A path for a person, whatever signs are in it."""
    return path if path.isprintable() else repr(path)
