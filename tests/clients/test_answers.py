import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from steps.clients.answers import Answers
from tests.clients.test_mirrors import DAMAGES, ROOT, Damage, replace


def test_answers_are_kept_and_only_what_was_learned_is_known(tmp_path: Path) -> None:
    file = tmp_path / "answers.json"
    first = Answers(file)
    assert (first.has("question"), file.exists()) == (False, False)
    first.save()
    assert not file.exists()
    first.learn("question", {"ünï": [1, None, "\udcff"]})
    first.save()
    second = Answers(file)
    assert (second.has("question"), second.has("other"), second.known("question")) == (
        True,
        False,
        {"ünï": [1, None, "\udcff"]},
    )
    assert [path.name for path in tmp_path.iterdir()] == ["answers.json"]


def _deep(file: Path) -> None:
    file.write_text("[" * 100_000)


def _another(file: Path) -> None:
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "answers": {**content["answers"], "question": "wrong"}}))


@pytest.mark.parametrize(
    "damage",
    [
        *DAMAGES,
        Damage(lambda file: file.write_text(""), "empty"),
        Damage(lambda file: file.write_text("[]"), "a list"),
        Damage(lambda file: file.write_text('{"sha256": null, "answers": null}'), "without answers"),
        Damage(_deep, "deeper than can be read"),
        Damage(_another, "changed by hand"),
        Damage(lambda file: replace(file, lambda file: file.symlink_to(file)), "unreadable"),
        Damage(lambda file: replace(file, Path.mkdir), "a directory"),
    ],
    ids=str,
)
def test_a_file_of_answers_is_not_trusted_when_it_is(damage: Damage, tmp_path: Path) -> None:
    file = tmp_path / "answers.json"
    answers = Answers(file)
    answers.learn("question", "right")
    answers.save()
    damage.how(file)
    later = Answers(file)
    assert not later.has("question")
    later.learn("question", "right")
    later.save()
    assert Answers(file).has("question") is (damage.what != "a directory")


def test_a_file_of_answers_with_any_one_bit_flipped_is_not_trusted(tmp_path: Path) -> None:
    file = tmp_path / "answers.json"
    answers = Answers(file)
    answers.learn("question", ["right", 1])
    answers.save()
    whole = file.read_bytes()
    trusted = []
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        file.write_bytes(flipped)
        again = Answers(file)
        if again.has("question") and again.known("question") != ["right", 1]:
            trusted.append(bit)
    for end in range(len(whole)):
        file.write_bytes(whole[:end])
        assert not Answers(file).has("question")
    assert trusted == []


def test_answers_of_another_release_are_not_trusted(tmp_path: Path) -> None:
    program = f"""
from pathlib import Path
from steps.clients.answers import Answers
answers = Answers(Path({str(tmp_path / "answers.json")!r}))
answers.learn("question", "answer")
answers.save()
"""
    release = tmp_path / "release"
    shutil.copytree(ROOT / "steps", release / "steps", ignore=shutil.ignore_patterns("__pycache__"))
    known = []
    for more in ("", "# Another decision.\n"):
        with (release / "steps" / "core" / "needs_update.py").open("a") as file:
            file.write(more)
        subprocess.run([sys.executable, "-c", program], cwd=release, check=True)
        known.append(Answers(tmp_path / "answers.json").has("question"))
    assert known == [True, False]


def test_answers_that_nobody_asks_for_go_when_they_have_become_many(tmp_path: Path) -> None:
    file = tmp_path / "answers.json"
    first = Answers(file)
    for number in range(5000):
        first.learn(str(number), number)
    first.save()
    second = Answers(file)
    assert all(second.has(str(number)) for number in range(5000))
    second.known("7")
    second.learn("new", "answer")
    second.save()
    third = Answers(file)
    assert [third.has(question) for question in ("7", "new", "8", "4999")] == [True, True, False, False]
