"""Lives of pull requests, from the first image to the end that people give them, on a GitHub that fails as it is told to."""

import dataclasses
import itertools
from collections import Counter
from dataclasses import dataclass, field

from steps.core.update import remark_marker
from tests.reliability import children
from tests.reliability.places import PATH, PAUSE, Ground, Manifests, kustomization
from tests.sandbox.faults import BAD_DAY, Faults, Profile

PROFILE = dataclasses.replace(BAD_DAY, lag=30)


DONE_BEFORE = {"created": ("updated", "unchanged"), "updated": ("unchanged",), "closed": ("none",)}


@dataclass
class Life:
    """What became of one.

    Attributes:
        wanted: what each of its proposals was to end as, and what it did end as.
        problems: what is not as it was to be at its end.
    """

    wanted: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        return not self.problems and all(wanted == found for wanted, found in self.wanted)


def live(ground: Ground, seed: int, profile: Profile = PROFILE) -> Counter[str]:
    """Live one, and count; what a seed stands for is the same in each run."""
    manifests, life = ground.manifests(f"life{seed}"), Life()
    faults = ground.github.faults = Faults(profile, seed, clock=children.clock)
    try:
        LIVES[seed % len(LIVES)](manifests, life)
    except (OSError, ValueError) as error:
        life.problems.append(f"cut short: {error!r}")
    finally:
        ground.github.faults = None
    codes = [run.code for run in manifests.runs]
    counts = Counter(
        lives=1,
        done=life.is_done,
        runs=len(codes),
        later=codes.count(75),
        defects=sum(reason == "defect" for run in manifests.runs for reason in run.reasons),
        requests=len(faults.log),
        faults=sum(record.fault is not None for record in faults.log),
        impatient=len(faults.impatient),
        hasty=_hasty(manifests, faults),
        unlabelled=sum(not pull.labels for pull in manifests.pull_requests),
        **_duplicates(manifests, faults),
    )
    if not life.is_done:
        counts["ended for good"] = codes[-1] != 75
        told = [run.log.splitlines()[-1] for run in manifests.runs if run.code not in (0, 75)]
        counts[f"not done, {seed}: {life.wanted} {life.problems} {told}"] = 1
    return counts


def _hasty(manifests: Manifests, faults: Faults) -> int:
    """How many writes of one process came less than a second after the one before."""
    found = 0
    for start, end in itertools.pairwise([*manifests.starts, len(faults.log)]):
        times = sorted(record.time for record in faults.log[start:end] if record.is_write)
        found += sum(later - earlier < 1 for earlier, later in itertools.pairwise(times))
    return found


def _duplicates(manifests: Manifests, faults: Faults) -> dict[str, int]:
    """What is there twice, or was written twice."""
    pulls = manifests.pull_requests
    remarks = Counter((pull.number, comment) for pull in pulls for comment in pull.comments)
    labels = Counter(effect for record in faults.log for effect in record.effects if effect.startswith("label "))
    return {
        "duplicate pull requests": max(sum(pull.state == "open" for pull in pulls) - 1, 0),
        "duplicate comments": sum(count - 1 for count in remarks.values()),
        "duplicate labels": sum(count - 1 for count in labels.values()),
    }


def _propose(manifests: Manifests, life: Life, number: int, wanted: str) -> None:
    before = len(manifests.runs)
    found = manifests.propose(number, labels="apps-cd")
    is_again = len(manifests.runs) > before + 1
    # What a run that ended 75 had done already is not done by the next one.
    life.wanted.append((wanted, wanted if is_again and found in DONE_BEFORE.get(wanted, ()) else found))


def _expect(life: Life, what: str, found: object, wanted: object) -> None:
    if found != wanted:
        life.problems.append(f"{what}: {found!r} is not {wanted!r}")


def _states(manifests: Manifests) -> list[str]:
    return ["merged" if pull.merged else pull.state for pull in manifests.pull_requests]


def _updated(manifests: Manifests, life: Life) -> None:
    """Two images, one pull request."""
    _propose(manifests, life, 1, "created")
    _propose(manifests, life, 2, "updated")
    _expect(life, "proposed", manifests.at(manifests.tip(), PATH), kustomization("v2"))
    _expect(life, "in the end", _states(manifests), ["open"])


def _merged(manifests: Manifests, life: Life) -> None:
    """It is merged, there is nothing more to do, and the branch is not left over."""
    _propose(manifests, life, 1, "created")
    children.wait(PAUSE)
    manifests.rest("PUT", "pulls/1/merge", {"merge_method": "merge"})
    _propose(manifests, life, 1, "none")
    _expect(life, "in the end", (_states(manifests), manifests.tip()), (["merged"], ""))


def _refused(manifests: Manifests, life: Life) -> None:
    """A person closes it: it does not come back, but the next image does."""
    _propose(manifests, life, 1, "created")
    children.wait(PAUSE)
    manifests.rest("PATCH", "pulls/1", {"state": "closed"})
    _propose(manifests, life, 1, "vetoed")
    _propose(manifests, life, 2, "created")
    _expect(life, "in the end", _states(manifests), ["closed", "open"])


def _in_base(manifests: Manifests, life: Life) -> None:
    """A person writes the same into the base: the pull request is closed with a word, and its branch is gone."""
    _propose(manifests, life, 1, "created")
    children.wait(PAUSE)
    manifests.commit("main", PATH, kustomization("v1"))
    _propose(manifests, life, 1, "closed")
    (pull,) = manifests.pull_requests
    words = [remark_marker("in-base") in comment for comment in pull.comments]
    _expect(life, "in the end", (pull.state, pull.merged, words, manifests.tip()), ("closed", False, [True], ""))


def _taken(manifests: Manifests, life: Life) -> None:
    """A person pushes to the branch: it is theirs, and that is said once."""
    _propose(manifests, life, 1, "created")
    children.wait(PAUSE)
    theirs = manifests.commit("apps-cd/main/web", "theirs", "mine\n")
    _propose(manifests, life, 2, "foreign-commit")
    children.wait(PAUSE)
    _propose(manifests, life, 3, "foreign-commit")
    (pull,) = manifests.pull_requests
    words = [remark_marker("foreign-commit") in comment for comment in pull.comments]
    _expect(life, "in the end", (pull.state, words, manifests.tip()), ("open", [True], theirs))


def _late(manifests: Manifests, life: Life) -> None:
    """An older image comes after a newer one, and a still newer one."""
    _propose(manifests, life, 2, "created")
    children.wait(PAUSE)
    _propose(manifests, life, 1, "superseded")
    _propose(manifests, life, 3, "updated")
    _expect(life, "proposed", manifests.at(manifests.tip(), PATH), kustomization("v3"))
    _expect(life, "in the end", _states(manifests), ["open"])


def _wanted_again(manifests: Manifests, life: Life) -> None:
    """A person closes it, and then wants it after all."""
    _propose(manifests, life, 1, "created")
    children.wait(PAUSE)
    manifests.rest("PATCH", "pulls/1", {"state": "closed"})
    manifests.rest("POST", "issues/1/labels", {"labels": ["apps-cd/reopen"]})
    _propose(manifests, life, 1, "created")
    _expect(life, "in the end", _states(manifests), ["closed", "open"])
    _expect(life, "follows", "#1" in (manifests.pull_requests[-1].body or ""), True)


LIVES = (_updated, _merged, _refused, _in_base, _taken, _late, _wanted_again)
