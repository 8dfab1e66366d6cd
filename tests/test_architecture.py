"""The architecture, held against the syntax of every module: see the README's page on it."""

import ast
import fnmatch
import importlib
import inspect
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from steps import command_line

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "steps").rglob("*.py"))
CORE = sorted((ROOT / "steps" / "core").glob("*.py"))
STEPS = sorted(
    path.stem
    for path in (ROOT / "steps").glob("*.py")
    if path.stem not in {"__init__", "command_line", "errors", "log", "passes", "report", "results"}
)

EFFECTS = {
    *("os", "pathlib", "shutil", "tempfile", "glob", "fcntl", "io", "tarfile"),
    *("subprocess", "signal", "sh", "multiprocessing", "threading", "asyncio", "concurrent"),
    *("socket", "ssl", "http", "urllib.request", "requests", "urllib3", "git", "github", "google"),
    *("time", "random", "secrets", "uuid", "logging", "sys", "fire", "tqdm", "steps.clients"),
    *("steps.command_line", "steps.log", "steps.results"),
}
HOME_OF = {
    "fire": "steps/command_line.py",
    "git": "steps/clients/git.py",
    "github": "steps/clients/github*.py",
    "google": "steps/clients/storage.py",
    "lightkube": "steps/clients/cluster_wire.py",
    "prometheus_client": "steps/clients/metrics.py",
    "sh": "steps/clients/kustomize.py",
    "waitress": "steps/clients/server.py",
}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
HEAVY = (
    *("fire", "git", "github", "google.cloud", "lightkube", "prometheus_client"),
    *("requests", "ruamel", "sh", "tqdm", "waitress", "yaml"),
)


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imported(path: Path) -> Iterator[str]:
    """The modules that a module imports, wherever in it, by their full names; `from a import b` gives `a.b`."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{relative(path)}:{node.lineno}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_of(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


@pytest.mark.parametrize("path", CORE, ids=relative)
def test_core_imports_nothing_that_has_effects(path: Path) -> None:
    assert [name for name in imported(path) if any(is_of(name, effect) for effect in EFFECTS)] == []


@pytest.mark.parametrize("path", CORE, ids=relative)
def test_core_opens_and_prints_nothing_and_has_no_clock(path: Path) -> None:
    calls = [node.func for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    assert {call.attr for call in calls if isinstance(call, ast.Attribute)} & {"now", "utcnow", "today"} == set()
    assert {call.id for call in calls if isinstance(call, ast.Name)} & {
        "open",
        "print",
        "input",
        "exec",
        "eval",
    } == set()


@pytest.mark.parametrize(("library", "home"), HOME_OF.items())
def test_a_foreign_library_has_one_home(library: str, home: str) -> None:
    homes = {relative(path) for path in MODULES if any(is_of(name, library) for name in imported(path))}
    assert homes
    assert {path for path in homes if not fnmatch.fnmatch(path, home)} == set()


@pytest.mark.parametrize("path", sorted((ROOT / "steps" / "clients").glob("*.py")), ids=relative)
def test_a_client_knows_no_step(path: Path) -> None:
    assert [name for name in imported(path) if any(is_of(name, f"steps.{step}") for step in STEPS)] == []


@pytest.mark.parametrize("step", STEPS)
def test_a_step_is_one_function_and_the_line_that_runs_it(step: str) -> None:
    body = tree(ROOT / "steps" / f"{step}.py").body
    defined = [node.name for node in body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))]
    assert [name for name in defined if not name.startswith("_")] == [step]
    last = body[-1]
    assert isinstance(last, ast.If)
    assert ast.unparse(last.test) == "__name__ == '__main__'"
    assert re.fullmatch(rf"command_line\.run\({step}(, .*)?\)", "\n".join(map(ast.unparse, last.body)))


@pytest.mark.parametrize("step", STEPS)
def test_a_step_is_called_with_keywords_that_its_help_explains(step: str, capsys: pytest.CaptureFixture[str]) -> None:
    function = getattr(importlib.import_module(f"steps.{step}"), step)
    parameters = inspect.signature(function).parameters.values()
    assert {parameter.kind for parameter in parameters} <= {
        inspect.Parameter.KEYWORD_ONLY,
        inspect.Parameter.VAR_POSITIONAL,
    }
    assert command_line.main(function, ["--help"]) == 0
    shown = capsys.readouterr().out
    entries = re.findall(r"^  (?:--)?([\w-]+).*\n(      \S.*)", shown, re.MULTILINE)
    assert sorted(name.lower().replace("-", "_") for name, _ in entries) == sorted(p.name for p in parameters)
    names = {"Args:", *(f"{parameter.name}:" for parameter in parameters)}
    told = Counter(word for word in (inspect.getdoc(function) or "").split() if word not in names)
    assert told - Counter(shown.split()) == Counter()


@pytest.mark.parametrize("step", STEPS)
def test_a_step_is_imported_without_the_libraries_that_take_long(step: str) -> None:
    program = f"import json, sys, steps.{step}; print(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    out = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True).stdout
    assert json.loads(out) == []


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_what_no_module_does(path: Path) -> None:
    printing = {"steps/open_pull_request.py"}
    found = []
    for node in ast.walk(tree(path)):
        match node:
            case ast.ExceptHandler(type=None):
                found.append((node.lineno, "bare except"))
            case ast.Call(func=ast.Name(id="print")) if relative(path) not in printing:
                found.append((node.lineno, "print"))
            case ast.Call(func=ast.Attribute(attr="system" | "popen")):
                found.append((node.lineno, "a shell"))
            case ast.keyword(arg="shell"):
                found.append((node.lineno, "a shell"))
            case ast.ImportFrom(names=[ast.alias(name="*")]):
                found.append((node.lineno, "import of everything"))
            case _:
                pass
    assert found == []


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_a_push_is_forced_only_with_a_lease_on_the_commit_that_was_read(path: Path) -> None:
    forcing = [
        text
        for text in _texts(tree(path))
        if re.match(r"-f$|--force$|--force-(with|if)-|--mirror|\+.*:refs/heads/", text)
    ]
    lease = "--force-with-lease=refs/heads/{places.head}:{expected or ''}"
    assert forcing == ([lease] if relative(path) == "steps/clients/manifests.py" else [])


def _texts(module: ast.Module) -> Iterator[str]:
    """The texts of a module, with what is filled in between braces; a name that a function gives a text once is that text."""
    for scope in [module, *(node for node in ast.walk(module) if isinstance(node, FUNCTIONS))]:
        nodes = list(_of_scope(scope))
        given: dict[str, list[ast.expr]] = {}
        for node in nodes:
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    given.setdefault(ast.unparse(target), []).append(node.value)
        named = {name: values[0] for name, values in given.items() if len(values) == 1}
        pieces = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in nodes:
            if isinstance(node, ast.JoinedStr):
                yield _filled(node, named)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in pieces:
                yield node.value


def _of_scope(scope: ast.AST) -> Iterator[ast.AST]:
    """What belongs to a module or a function, and to none of the functions in it."""
    for node in ast.iter_child_nodes(scope):
        if not isinstance(node, FUNCTIONS):
            yield node
            yield from _of_scope(node)


def _filled(text: ast.JoinedStr, named: dict[str, ast.expr]) -> str:
    parts = []
    for part in text.values:
        value = part.value if isinstance(part, ast.FormattedValue) else part
        value = named.get(ast.unparse(value), value)
        if isinstance(value, ast.JoinedStr):
            parts.append(_filled(value, {}))
        elif isinstance(value, ast.Constant):
            parts.append(str(value.value))
        else:
            parts.append(f"{{{ast.unparse(value)}}}")
    return "".join(parts)


def test_the_search_for_forced_pushes_finds_them() -> None:
    program = """
def one():
    ref, other = f"refs/heads/{b}", "x"
    ref = f"refs/heads/{b}"
    run("push", "-f", "--force", f"--force-with-lease={ref}:{c or ''}", f"+{c}:{ref}", f"--mirror={other}")

def two():
    ref = "refs/tags/x"
    run(f"{ref}")
"""
    assert sorted(set(_texts(ast.parse(program)))) == [
        "",
        "+{c}:refs/heads/{b}",
        "--force",
        "--force-with-lease=refs/heads/{b}:{c or ''}",
        "--mirror={other}",
        "-f",
        "push",
        "refs/heads/{b}",
        "refs/tags/x",
        "x",
    ]


@pytest.mark.parametrize("step", STEPS)
def test_a_step_has_its_tests(step: str) -> None:
    assert (ROOT / "tests" / "steps" / f"test_{step}.py").is_file()


def test_tests_stand_where_what_they_test_stands() -> None:
    places = [
        (path, ROOT / "steps" / ("" if folder == "steps" else folder) / f"{path.stem.removeprefix('test_')}.py")
        for folder in ("core", "clients", "steps")
        for path in (ROOT / "tests" / folder).glob("test_*.py")
    ]
    assert [relative(path) for path, module in places if not module.is_file()] == []


def test_no_file_names_a_place_of_the_machine_it_was_written_on() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout, so git cannot tell which files are tracked")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    files = [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    assert Path(__file__) in files
    places = [r"(?<![\w.])/(home|Users)/[a-z]\w*/", r"(?<![\w.])/root/", r"[A-Z]:\\Users\\"]
    # A checkout right below the root may be called as many a thing in a container is.
    places += [re.escape(str(ROOT)) + r"\b"] if len(ROOT.parts) > 2 else []
    pattern = re.compile("|".join(places))
    own = Path(__file__)
    found = {
        relative(path): match[0]
        for path in files
        if path != own and (match := pattern.search(path.read_text(encoding="utf-8", errors="replace")))
    }
    assert found == {}
