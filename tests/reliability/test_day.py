import pytest

from tests.reliability.day import NEVER, PAIRS, Day, Variant, measure


@pytest.mark.parametrize("seed", range(4))
def test_three_replicas_bring_each_pair_to_its_end_whatever_befalls_them(seed: int) -> None:
    counts, _ = measure([seed])
    assert {name: count for name, count in counts.items() if name.startswith(NEVER) and count} == {}
    happened = (
        "kills",
        "stalls",
        "failures before the effect",
        "replies lost",
        "runs pruned",
        "passes that ended stale",
    )
    assert {name for name in happened if not counts[name]} == set()
    assert sum(count for name, count in counts.items() if name.startswith("ended ")) == PAIRS


def test_a_seed_always_stands_for_the_same_day() -> None:
    assert Day(1).play() == Day(1).play()


@pytest.mark.parametrize(
    ("variant", "harm"),
    [
        pytest.param(
            Variant(generates_names=True), "two runs of a commit at once", id="each run has a name of its own"
        ),
        pytest.param(Variant(forgets=True), "attempts beyond the last", id="nothing is remembered"),
    ],
)
def test_a_reconciler_that_is_not_as_it_should_be_is_found_out(variant: Variant, harm: str) -> None:
    assert any(measure([seed], variant)[0][harm] for seed in range(4))
