import pytest

from steps.core.visible_files import VisibleFiles

DOCKERFILE = "FROM scratch\nCOPY src/ *.json /\n"
FILES = ["web/Dockerfile", "web/Dockerfile.dockerignore", "web/.dockerignore", "web/src/a", "web/src/a.md", "web/src/doc/a", "web/p.json", "web/x", "src/a", "webb/src/a"]  # fmt: skip


@pytest.mark.parametrize(
    ("rules", "seen"),
    [
        pytest.param("", ["web/src/a", "web/src/a.md", "web/src/doc/a", "web/p.json"], id="no rules"),
        pytest.param("**/*.md\n", ["web/src/a", "web/src/doc/a", "web/p.json"], id="a pattern"),
        pytest.param("src/doc\n*.json\n", ["web/src/a", "web/src/a.md"], id="a directory"),
        pytest.param("*\n!src/a\n", ["web/src/a"], id="an exception"),
    ],
)
def test_what_is_copied_and_not_ignored_is_seen_and_so_is_what_says_that(rules: str, seen: list[str]) -> None:
    visible = VisibleFiles.parse("web", "web/Dockerfile", DOCKERFILE, rules)
    assert [path for path in FILES if visible.sees(path)] == [*FILES[:3], *seen]
    assert visible.paths == ["web", "web/.dockerignore", "web/Dockerfile", "web/Dockerfile.dockerignore"]


def test_a_context_at_the_root_and_a_dockerfile_outside_of_it() -> None:
    root = VisibleFiles.parse(".", "build/Dockerfile", "FROM scratch\nCOPY src /\n", "src/x\n")
    assert [path for path in ("src/a", "src/x", "build/Dockerfile", "build/a", ".git/config") if root.sees(path)] == ["src/a", "build/Dockerfile"]  # fmt: skip
    outside = VisibleFiles.parse("web", "build/Dockerfile", "FROM scratch\nCOPY . /\n", "")
    assert [path for path in ("web/a", "build/Dockerfile", "build/a") if outside.sees(path)] == ["web/a", "build/Dockerfile"]  # fmt: skip


def test_all_of_the_context_can_be_asked_for() -> None:
    visible = VisibleFiles.parse("web", "web/Dockerfile", DOCKERFILE, "x\n").of_whole_context
    assert [path for path in FILES if visible.sees(path)] == [path for path in FILES if path.startswith("web/") and path != "web/x"]  # fmt: skip
