from collections import Counter
from pathlib import Path

from steps.core import pull_request_body
from steps.core.update import Update
from tests.reliability import histories
from tests.reliability.histories import (
    HEAD,
    KEYS,
    US,
    Facts,
    Model,
    history,
    measure_model,
    measure_orders,
    measure_real,
)

TOLD = ("histories", "actions", "proposals")


def broken(found: Counter[str]) -> dict[str, int]:
    return {key: found[key] for key in KEYS if key not in TOLD and found[key]}


def test_a_seed_always_stands_for_the_same_history() -> None:
    assert [history(seed) for seed in range(50)] == [history(seed) for seed in range(50)]
    assert {action.kind for seed in range(200) for action in history(seed)} == {"propose", *histories.PEOPLE}


def test_the_model_breaks_nothing_in_hundreds_of_histories() -> None:
    found = measure_model(300)
    assert (found["histories"], broken(found)) == (300, {})


def test_the_step_comes_to_what_the_model_says(tmp_path: Path) -> None:
    found = measure_real(tmp_path / "ground", range(2))
    assert (found["histories"], broken(found)) == (2, {})


def test_whatever_order_runs_end_in_the_newest_is_proposed() -> None:
    found = measure_orders(100)
    assert found == Counter({"orders": 100, "runs": found["runs"], "final is newest": 100})


class Careless(Model):
    """Proposes whatever comes, by a merge commit, over whatever is there."""

    def propose(self, number: int) -> tuple[str, int | None]:
        facts = self.facts()
        for pull in facts.pulls:
            self.edit(pull.number, title="Update")
        base = self._branches["main"]
        self._branches[HEAD] = self._add((base, base), US, US, f"Update {number}", number, frozenset())
        self._settle("example")
        body = pull_request_body.body(pull_request_body.split("Update"), Update("web", "main", source=f"{number:040x}"))
        return "created", self._open("bot", "ours", self._branches[HEAD], "Update", body).number


def test_a_step_that_does_not_look_is_found_out() -> None:
    found: Counter[str] = Counter()
    for seed in range(100):
        found.update(histories.play(Careless(), history(seed)).counts)
    assert list(broken(found)) == [key for key in KEYS if key not in (*TOLD, "differences of model and step")]


def test_what_differs_between_two_worlds_is_a_difference() -> None:
    one, other = Model(), Model()
    actions = history(0)
    assert not histories.differs(histories.play(one, actions).told, histories.play(other, actions).told)
    facts: Facts = other.facts()
    other.label(1)
    assert histories.differs([("created", facts)], [("created", other.facts())])
