"""A typed function as a program: flags from its signature, values from its annotations, an exit code at the end.

Fire alone reads `--tag=1.10` as the number 1.1, `a,b` as a tuple, takes flags of its own behind `--`, and names a
mistyped flag only after the function ran. So every token is held against the signature first, fire gets a function that
only records the call, with the annotation as parser of each flag, and what follows the first `--` never reaches it.
"""

import contextlib
import difflib
import inspect
import logging
import os
import re
import signal
import sys
import textwrap
import threading
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from steps import log
from steps.core.annotations import without_none
from steps.core.text import FilePath, Line
from steps.errors import StepError

DONE, FAILED, USAGE, LATER, INTERRUPTED, TERMINATED = 0, 1, 2, 75, 130, 143

_HELP_WIDTH = 100
_AGAIN = 0.5
"""Seconds between one SIGTERM and the next, as long as nothing is seen of it."""

_EXIT_CODES = (
    "Exit codes: 0 done, 1 failed or refused, 2 wrong command line (nothing was touched), 75 worth trying later, "
    "143 ended by SIGTERM."
)
_ABSENT = object()


class _Usage(Exception):
    """A command line that cannot be carried out; nothing has been touched yet."""


class _Terminated(BaseException):
    """SIGTERM arrived: unwind, so that temporary files go and children are ended."""


def run(
    function: Callable[..., None], *, aliases: Mapping[str, str] | None = None, refused: Mapping[str, str] | None = None
) -> NoReturn:
    """Call a step with this process's command line and end the process with its exit code.

    0 is done (also when there was nothing to do), 1 failed or refused, 2 a wrong command line or a malformed value
    (nothing was touched), 75 worth trying later, 143 ended by SIGTERM.

    Args:
        function: a step: keyword-only parameters are its flags, `*args` what follows `--`.
        aliases: other names of flags (`noop` for `dry-run`).
        refused: flags people bring along from another program, and what replaces them here.
    """
    ending = threading.Event()

    def terminate(_signum: int, _frame: types.FrameType | None) -> None:
        # A second one must not interrupt the cleaning up: blocked, unless another thread gets it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        if not ending.is_set():
            ending.set()
            raise _Terminated

    signal.signal(signal.SIGTERM, terminate)
    _insist(ending)
    log.configure()
    code = main(function, sys.argv[1:], aliases=aliases, refused=refused)
    if code == TERMINATED:
        # All is cleaned up; a thread of a pool that waits for a server would be waited for.
        logging.shutdown()
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(code)
    sys.exit(code)


def _insist(ending: threading.Event) -> None:
    """Send SIGTERM again until its handler has run.

    Python runs a handler between two steps of the main thread. One that arrives when that thread is about to wait, for a lock
    or for another thread, would otherwise be seen when the wait is over.
    """
    arrived, signalled = os.pipe()
    os.set_blocking(signalled, False)
    signal.set_wakeup_fd(signalled, warn_on_full_buffer=False)

    def again() -> None:
        while signal.SIGTERM not in os.read(arrived, 1):
            pass
        while not ending.wait(_AGAIN):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    threading.Thread(target=again, daemon=True).start()


def main(
    function: Callable[..., None],
    argv: Sequence[str],
    *,
    aliases: Mapping[str, str] | None = None,
    refused: Mapping[str, str] | None = None,
) -> int:
    """What `run` does between reading `sys.argv` and ending the process: call the function, return the exit code."""
    logger = logging.getLogger(f"steps.{function.__name__}")
    flags = _flags(function)
    try:
        if "--help" in argv[: argv.index("--") if "--" in argv else None]:
            sys.stdout.write(_help(function, flags) + "\n")
            return DONE
        data, keywords = _call(function, argv, flags, aliases or {}, refused or {})
        function(*data, **keywords)
    except _Usage as error:
        logger.error("%s\nTry --help.", error, extra={"reason": "usage"})
        return USAGE
    except StepError as error:
        logger.error("%s", error, extra={"reason": error.reason, "retry_after": error.after})
        return error.exit_code
    except _Terminated:
        logger.error("ended by SIGTERM", extra={"reason": "terminated"})
        return TERMINATED
    except KeyboardInterrupt:
        logger.error("interrupted", extra={"reason": "interrupted"})
        return INTERRUPTED
    except Exception:
        logger.exception("a defect of this step, not of its input", extra={"reason": "defect"})
        return FAILED
    return DONE


class _Flag(typing.NamedTuple):
    """One parameter: its name as a flag, its annotation, and its default, `inspect.Parameter.empty` when it has none."""

    name: str
    kind: Any
    default: Any

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty


def _flags(function: Callable[..., None]) -> dict[str, _Flag]:
    hints = typing.get_type_hints(function)
    return {
        _kebab(name): _Flag(_kebab(name), without_none(hints[name]), parameter.default)
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }


def _kebab(name: str) -> str:
    return name.replace("_", "-")


def parser(kind: Any) -> Callable[[str], Any]:
    """How a token becomes a value of an annotation; what it returns raises ValueError with a sentence for a person."""
    if kind is bool:
        return _boolean
    if kind is int:
        return _integer
    if kind is str:
        return lambda text: str(Line.parse(text))
    if kind is Path:
        return lambda text: Path(FilePath.parse(text))
    if typing.get_origin(kind) is tuple:
        item = parser(typing.get_args(kind)[0])
        return lambda text: tuple(item(part.strip()) for part in text.split(",") if part.strip())
    if typing.get_origin(kind) is typing.Literal:
        return lambda text: _choice(text, typing.get_args(kind))
    parse: Callable[[str], Any] = kind.parse
    return parse


def _boolean(text: str) -> bool:
    return _choice(text.lower(), ("true", "false")) == "true"


def _integer(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise ValueError(f"{text!r} is not a whole number of at most 12 digits")
    return int(text)


def _choice(text: str, choices: Sequence[str]) -> str:
    if text not in choices:
        raise ValueError(f"{text!r} is not one of {', '.join(choices)}")
    return text


def _call(
    function: Callable[..., None],
    argv: Sequence[str],
    flags: Mapping[str, _Flag],
    aliases: Mapping[str, str],
    refused: Mapping[str, str],
) -> tuple[list[Any], dict[str, Any]]:
    """The positional and keyword arguments that a command line stands for."""
    end = argv.index("--") if "--" in argv else len(argv)
    given: dict[str, str] = {}
    for token in argv[:end]:
        name, value = _split(token, flags, aliases, refused)
        if name in given:
            raise _Usage(f"--{name} is given twice")
        given[name] = value
    keywords = _fire(flags, given)
    missing = [f"--{name}" for name, flag in flags.items() if flag.required and _snake(name) not in keywords]
    if missing:
        raise _Usage(f"{', '.join(missing)} must be given")
    return _data(function, argv[end + 1 :]), keywords


def _snake(name: str) -> str:
    return name.replace("-", "_")


def _split(
    token: str, flags: Mapping[str, _Flag], aliases: Mapping[str, str], refused: Mapping[str, str]
) -> tuple[str, str]:
    if not token.startswith("--"):
        hint = "; there are long flags only" if len(token) > 1 and token.startswith("-") else ""
        raise _Usage(f"{token!r} is neither --flag=value nor behind a `--`{hint}")
    written, equals, value = token[2:].partition("=")
    name = aliases.get(_kebab(written), _kebab(written))
    if name in refused:
        raise _Usage(f"--{name} is not taken here: {refused[name]}")
    if name not in flags:
        near = difflib.get_close_matches(name, [*flags, *aliases], n=1)
        raise _Usage(f"there is no flag {'--' + written!r}" + (f"; did you mean --{near[0]}?" if near else ""))
    if not equals:
        if flags[name].kind is not bool:
            raise _Usage(f"--{name} needs a value, in the same word: --{name}=VALUE")
        value = "true"
    return name, value


def _fire(flags: Mapping[str, _Flag], given: Mapping[str, str]) -> dict[str, Any]:
    import fire
    from fire.decorators import SetParseFns

    recorded: dict[str, Any] = {}

    def record(**keywords: Any) -> None:
        recorded.update({name: value for name, value in keywords.items() if value is not _ABSENT})

    record.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # what fire reads in place of **keywords
        [inspect.Parameter(_snake(name), inspect.Parameter.KEYWORD_ONLY, default=_ABSENT) for name in flags],
    )
    parsers = {_snake(name): _reporting(flag) for name, flag in flags.items()}
    fire.Fire(SetParseFns(**parsers)(record), command=[f"--{name}={value}" for name, value in given.items()])
    return recorded


def _reporting(flag: _Flag) -> Callable[[str], Any]:
    """The parser of a flag, for which '' is absent (an unbound workspace, an unset parameter) and an error has a name."""

    def parse(text: str) -> Any:
        if text == "":
            return _ABSENT
        return _parsed(f"--{flag.name}", parser(flag.kind), text)

    return parse


def _parsed(name: str, parse: Callable[[str], Any], text: str) -> Any:
    try:
        text.encode()
        return parse(text)
    except UnicodeEncodeError:
        raise _Usage(f"{name}: {text!r} is not UTF-8") from None
    except ValueError as error:
        raise _Usage(f"{name}: {error}") from None


def _data(function: Callable[..., None], items: Sequence[str]) -> list[Any]:
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            parse = parser(typing.get_type_hints(function)[name])
            return [_parsed(f"{name}[{index}]", parse, item) for index, item in enumerate(items)]
    if items:
        raise _Usage(f"nothing is taken behind `--`, but there is {items[0]!r}")
    return []


def _help(function: Callable[..., None], flags: Mapping[str, _Flag]) -> str:
    told, texts = _docstring(function)
    required = [flag for flag in flags.values() if flag.required]
    optional = [flag for flag in flags.values() if not flag.required]
    data = [_kebab(n) for n, p in inspect.signature(function).parameters.items() if p.kind is p.VAR_POSITIONAL]
    usage = [f"python -m steps.{function.__name__}", *map(_written, required)]
    usage += ["[--FLAG=VALUE ...]"] if optional else []
    usage += [f"[-- {name.upper()} ...]" for name in data]
    lines = ["Usage: " + " ".join(usage)]
    for paragraph in told:
        lines += ["", *_wrapped(paragraph)]
    for title, entries in (
        ("Required:", [(_written(flag), flag.name) for flag in required]),
        (
            "Optional (an empty value counts as absent):",
            [(_written(flag) + _default(flag), flag.name) for flag in optional],
        ),
        ("Behind `--`:", [(f"{name.upper()} ...", name) for name in data]),
    ):
        lines += ["", title] if entries else []
        for written, name in entries:
            lines += [f"  {written}", *_wrapped(texts[name], indent=" " * 6)]
    return "\n".join([*lines, "", *_wrapped(_EXIT_CODES)])


def _docstring(function: Callable[..., None]) -> tuple[list[str], dict[str, str]]:
    """The paragraphs of a docstring, and what its last section, `Args:`, says of each flag."""
    told, _, arguments = (inspect.getdoc(function) or "").partition("\n\nArgs:\n")
    parts = re.split(r"^    (\w+): ", arguments, flags=re.MULTILINE)
    return told.split("\n\n"), dict(zip(map(_kebab, parts[1::2]), parts[2::2], strict=True))


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        " ".join(text.split()),
        _HELP_WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _written(flag: _Flag) -> str:
    """A flag with a word for its value: `--depth=NUMBER`, `--draft`."""
    return f"--{flag.name}" if flag.kind is bool else f"--{flag.name}={_word(flag.kind)}"


def _word(kind: Any) -> str:
    if typing.get_origin(kind) is tuple:
        return f"{_word(typing.get_args(kind)[0])},..."
    if typing.get_origin(kind) is typing.Literal:
        return "|".join(typing.get_args(kind))
    words = {int: "NUMBER", str: "TEXT", Path: "PATH"}
    return words.get(kind) or re.sub(r"(?<=[a-z])(?=[A-Z])", "-", kind.__name__).upper()


def _default(flag: _Flag) -> str:
    if flag.default is None or flag.default is False:
        return ""
    values = flag.default if isinstance(flag.default, tuple) else [flag.default]
    text = "true" if flag.default is True else ",".join(map(str, values))
    return f"  (default: {text})" if text else ""
