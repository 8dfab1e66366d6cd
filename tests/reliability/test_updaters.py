from pathlib import Path

from tests.reliability.updaters import measure_applications, measure_commits


def test_updaters_of_several_applications_do_not_hinder_each_other(tmp_path: Path) -> None:
    found = measure_applications(tmp_path / "site", 3)
    assert found.pop("seconds") <= 30
    assert found == {
        "updaters": 3,
        "runs": 3,
        "runs that ended 75": 0,
        "ended 0": 3,
        "pull requests": 3,
        "open pull requests": 3,
        "at the newest commit": 3,
        "merge commits": 0,
        "violations": 0,
    }


def test_of_several_updaters_of_one_application_the_newest_prevails(tmp_path: Path) -> None:
    found = measure_commits(tmp_path / "site", 3)
    assert {name: found[name] for name in ("updaters", "ended 0", "violations", "merge commits")} == {
        "updaters": 3,
        "ended 0": 3,
        "violations": 0,
        "merge commits": 0,
    }
    assert (found["open pull requests"], found["at the newest commit"]) == (1, 1)
