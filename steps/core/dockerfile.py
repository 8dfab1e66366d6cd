"""What a Dockerfile reads from the build context.

Read as BuildKit reads it, whose parser Kaniko has too: https://docs.docker.com/reference/dockerfile/. Where the two
differ, or only a build could tell, the answer is the larger one: a build too many shows itself, one too few does not.

Not in the text are the triggers (ONBUILD) of an image from a registry and the symlinks of the context. And the value of
a variable is trusted not to climb by `..`.
"""

import itertools
import json
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Self

WHOLE_CONTEXT = "."

_BLANKS = re.compile(r"[\t\v\f\r ]+")
_FLAG = re.compile(
    r"""\s*(--(?:[^\s\\'"]++|\\.?|'(?:[^'\\]++|\\.?)*+(?:'|\Z)|"(?:[^"\\]++|\\.?)*+(?:"|\Z))*+)""", re.ASCII | re.DOTALL
)
_WITH_HEREDOCS = re.compile(r"(?:ONBUILD\s+)?(?:ADD|COPY|RUN)\s.*<<", re.IGNORECASE | re.DOTALL)
_SHELL_WORD = re.compile(r"""(?:[^\s\\'"]++|\\.|'[^']*+'|"(?:[^"\\]++|\\.)*+")++""", re.DOTALL)
_HEREDOC = re.compile(r"\d*<<(-?)([^<]+)")
_REMOTE = re.compile(r"(?:https?|ftp|git|ssh)://|git@[^/]*:")
_WITHOUT_SOURCES = {
    *("ARG", "CMD", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER"),
    *("SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
}
_MEMBER = r"(?:\\.|[^\\\]-])"
_PART = re.compile(rf"(\*+)|(\?)|\[(\^?+(?:{_MEMBER}(?:-{_MEMBER})?)++)\]|\\(.)|([^*?\[\\]+)", re.DOTALL)
_RANGE = re.compile(r"\\?(.)(?:-\\?(.))?", re.DOTALL)


@dataclass(frozen=True)
class Sources:
    """What the instructions of a Dockerfile read from the build context, ignore files aside.

    Attributes:
        patterns: cleaned, relative to the context, in the syntax of Go's filepath.Match; `.` is the whole context.
    """

    patterns: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a Dockerfile; ValueError when the text is none."""
        instructions = list(_instructions(text))
        if all(instruction.name != "FROM" for instruction in instructions):
            line = instructions[0].line if instructions else 1
            raise ValueError(f"line {line}: neither here nor below is a FROM, so this is no Dockerfile")
        patterns: set[str] = set()
        triggers: dict[str, set[str]] = {}
        stage = ""
        for instruction in instructions:
            if instruction.name == "FROM":
                # Triggers run also in a later stage of the same file, when it begins with theirs.
                base, *alias = _BLANKS.split(instruction.arguments.lower())
                named = [base] if set("$\"'\\`").isdisjoint(base) else list(triggers)
                patterns.update(*(triggers.pop(name, ()) for name in named))
                stage = alias[-1] if alias else ""
            elif instruction.name == "ONBUILD":
                trigger = _Instruction.parse(instruction.line, instruction.arguments, doubtful=instruction.doubtful)
                triggers.setdefault(stage, set()).update(trigger.sources())
            else:
                patterns.update(instruction.sources())
        return cls((WHOLE_CONTEXT,) if WHOLE_CONTEXT in patterns else tuple(sorted(patterns)))

    @property
    def roots(self) -> tuple[str, ...]:
        """Files and directories, without wildcards, that hold all that is read; none when nothing is."""
        roots = {_root(pattern) for pattern in self.patterns}
        return (WHOLE_CONTEXT,) if WHOLE_CONTEXT in roots else tuple(sorted(roots))

    def sees(self, path: str) -> bool:
        """Whether a pattern matches a path, relative to the context, or a directory above it."""
        return self._expression.fullmatch(path) is not None

    @cached_property
    def _expression(self) -> re.Pattern[str]:
        # Kaniko also takes a pattern literally (`[id].ts`), and the context for a file of the name `.`: `.*` matches.
        choices = [f"{_expression(pattern)}|{re.escape(pattern)}" for pattern in self.patterns] or ["(?!)"]
        expression = re.compile(f"(?:{'|'.join(choices)})(?:/.*)?", re.DOTALL)
        return re.compile(".*", re.DOTALL) if expression.fullmatch(".") else expression


@dataclass(frozen=True)
class _Instruction:
    line: int
    name: str
    flags: list[str]
    arguments: str
    doubtful: bool

    @classmethod
    def parse(cls, line: int, text: str, *, doubtful: bool) -> Self:
        name, *rest = _BLANKS.split(text.strip(), maxsplit=1)
        arguments = "".join(rest)
        flags = []
        position = 0
        while match := _FLAG.match(arguments, position):
            position = match.end()
            if match[1] == "--":
                break
            flags.append(re.sub("[\"']", "", match[1]))
        return cls(line, name.upper(), flags, arguments[position:].strip(), doubtful)

    def sources(self) -> Iterator[str]:
        if self.name in _WITHOUT_SOURCES:
            return
        if self.name not in ("ADD", "COPY", "RUN") or self.doubtful:
            yield WHOLE_CONTEXT
        elif self.name == "RUN":
            for flag in self.flags:
                if flag.startswith("--mount="):
                    yield from _mounted(flag.removeprefix("--mount="))
        elif all(flag == "--from=" for flag in self.flags if flag.startswith("--from=")):
            yield from self._copied()

    def _copied(self) -> Iterator[str]:
        parents = any(flag in ("--parents", "--parents=true") for flag in self.flags)
        words = _json_words(self.arguments) or _BLANKS.split(self.arguments)
        for word in words[:-1]:
            if _HEREDOC.fullmatch(word) or (self.name == "ADD" and _REMOTE.match(_before_variable(word)[0])):
                continue
            # Behind the pivot of --parents, `/./`, a `..` does not climb above the pivot.
            pattern = WHOLE_CONTEXT if parents and ".." in word else _pattern(word)
            yield _for_parents(pattern) if parents else pattern


def _instructions(text: str) -> Iterator[_Instruction]:
    lines = enumerate((line.rstrip("\r") for line in text.removeprefix("\ufeff").split("\n")), start=1)
    escape = "\\"
    in_directives = True
    for number, start in lines:
        key, _, value = (part.strip() for part in start.lstrip().partition("="))
        directive = key[1:].lstrip().lower() if key.startswith("#") and value else ""
        in_directives = in_directives and directive in ("check", "escape", "syntax")
        if in_directives and directive == "escape" and value == "`":
            escape = "`"
        if start.lstrip()[:1] in ("", "#"):
            continue
        parts: list[str] = []
        for line in itertools.chain([start], (line for _, line in lines)):
            if parts and line.lstrip()[:1] in ("", "#"):
                continue
            stripped = line.rstrip(" \t")
            if not stripped.endswith(escape) or stripped.endswith(2 * escape):
                parts.append(line)
                break
            parts.append(stripped[:-1])
        instruction = "".join(parts).strip()
        # Another sign of escape counts for BuildKit everywhere, for Kaniko only at the end of a line.
        doubtful = escape == "`" and not {"`", "\\"}.isdisjoint(instruction)
        yield _Instruction.parse(number, instruction, doubtful=doubtful)
        for tabs, end in _heredocs(instruction):
            if all((line.lstrip("\t") if tabs else line) != end for _, line in lines):
                # Whether a body followed is then open: an instruction that nobody knows stands for it.
                yield _Instruction(number, "<<", [], end, doubtful=True)


def _heredocs(instruction: str) -> Iterator[tuple[bool, str]]:
    """Of each heredoc: whether tabs before its end do not count, and the line that is its end."""
    # Without a quote's end BuildKit finds no words, so no heredocs either.
    if _WITH_HEREDOCS.match(instruction) and {'"', "'"}.isdisjoint(_SHELL_WORD.sub("", instruction)):
        for word in _SHELL_WORD.findall(instruction):
            match = _HEREDOC.fullmatch(word)
            if match and (end := _before_variable(match[2].replace("$", r"\$"))[0]):
                yield bool(match[1]), end


def _mounted(mount: str) -> Iterator[str]:
    options = {"type": "bind", "from": "", "source": ""}
    for option in mount.split(","):
        key, _, value = option.partition("=")
        options["source" if key.lower() == "src" else key.lower()] = value
    if "\\" in mount:
        yield WHOLE_CONTEXT
    elif options["type"].lower() not in ("cache", "secret", "ssh", "tmpfs") and options["from"] in ("", "context"):
        # To Kaniko `from=context` is the context. The source of a mount has no wildcards.
        yield _root(_pattern(options["source"]))


def _json_words(text: str) -> list[str] | None:
    if not text.startswith("["):
        return None
    try:
        words = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return words if all(isinstance(word, str) for word in words) else None


def _before_variable(word: str) -> tuple[str, bool, bool]:
    """The text of a word up to its first variable, whether there is one, and whether its quotes are closed."""
    text = []
    quote = ""
    signs = iter(word)
    for sign in signs:
        if sign == quote:
            quote = ""
        elif quote == "'":
            text.append(sign)
        elif sign == "$":
            return "".join(text), True, True
        elif sign == "\\":
            escaped = next(signs, "")
            text.append(sign + escaped if quote and escaped not in ('"', "$", "\\") else escaped)
        elif not quote and sign in ('"', "'"):
            quote = sign
        else:
            text.append(sign)
    return "".join(text), False, not quote


def _pattern(word: str) -> str:
    """The cleaned pattern that a source is, or one that matches more."""
    text, variable, certain = _before_variable(word)
    if variable:
        # With an empty value `a/.$X` is `a`, and `a/$X/../b` is `b`; a backslash would escape the star.
        certain = ".." not in word and "\\" not in text and text.rpartition("/")[2] != "."
        text += "" if text.endswith("/") or not text else "*"
    pattern = posixpath.normpath("/" + text.lstrip("/"))[1:] or WHOLE_CONTEXT
    return pattern if certain and _expression(pattern) is not None else WHOLE_CONTEXT


def _for_parents(pattern: str) -> str:
    """What to read for a pattern of --parents, whose matcher is that of ignore files: it knows more than Go's."""
    root = _root(pattern)
    if root != pattern and not set("|{}()+^!").isdisjoint(pattern):
        return WHOLE_CONTEXT
    return root if any(sign in pattern for sign in ("**", "[", "\\")) else pattern


def _root(pattern: str) -> str:
    plain = itertools.takewhile(set("*?[\\").isdisjoint, pattern.split("/"))
    return "/".join(plain) or WHOLE_CONTEXT


def _expression(pattern: str) -> str | None:
    """A pattern of Go as an expression, which like Go's matcher moves no `*` twice; None when it is malformed."""
    if pattern == WHOLE_CONTEXT:
        return ".*"
    chunks: list[list[str]] = [[]]
    position = 0
    while position < len(pattern):
        match = _PART.match(pattern, position)
        if match is None:
            return None
        position = match.end()
        star, any_sign, members, escaped, plain = match.groups()
        if star:
            chunks.append([])
        elif any_sign:
            chunks[-1].append("[^/]")
        elif members:
            chunks[-1].append(_character_class(members))
        else:
            # BuildKit takes a backslash literally as long as no wildcard came.
            chunks[-1].append(rf"\\?{re.escape(escaped)}" if escaped else re.escape(plain))
    first, *others = map("".join, chunks)
    atoms = [f"(?>[^/]*?{chunk})" for chunk in others[:-1]]
    return "".join([first, *atoms, *(f"[^/]*{chunk}" for chunk in others[-1:])])


def _character_class(members: str) -> str:
    negated = members.startswith("^")
    ranges = [(low, high or low) for low, high in _RANGE.findall(members, negated)]
    inside = "".join(f"{re.escape(low)}-{re.escape(high)}" for low, high in ranges if low <= high)
    if not inside:
        return "." if negated else "(?!)"
    return f"[{'^' * negated}{inside}]"
