"""Steps killed right after each of their effects, and run again: what is there in the end is what would be there anyway.

The stand-ins kill: after a write took effect at GitHub, at git's server or in the bucket; in every other seed before its
reply is sent, in the others a moment after.
"""

import hashlib
import json
import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from tests.reliability.places import PATH, Ground, Manifests, kustomization

LATEST = 0.02
"""Seconds after an effect at most; some steps have ended by then."""
ENDS = {"created", "updated", "unchanged", "closed", "none", "done"}
"""How a step may end that had less to do, because the killed one had done it."""

Flags = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A step to be killed.

    Attributes:
        prepare: makes what the step finds, and says what it is given.
        step: its module.
    """

    prepare: Callable[[Manifests, int], Flags]
    step: str = "open_pull_request"


def kill(ground: Ground, item: tuple[str, int]) -> Counter[str]:
    """Kill the step of a case after each of its effects, one by one; how often it ended where it was to end.

    Args:
        item: name of the case, and a seed.
    """
    (name, seed), case = item, CASES[item[0]]
    effects, wanted = _run(ground, case, f"{name}-{seed}", seed, None)
    found = Counter({"effects": len(effects)})
    for number in range(len(effects)):
        first, state = _run(ground, case, f"{name}-{seed}-{number}", seed, number)
        is_equal = state == wanted
        found.update({"points": 1, "killed": first == ["killed"], "equal": is_equal})
        if not is_equal:
            found[f"not equal after {effects[number]} of {name}, {seed}"] += 1
    return found


def _run(ground: Ground, case: Case, name: str, seed: int, at: int | None) -> tuple[list[str], str]:
    """The effects of a step, or how it ended when it was to be killed after one of them; and the state in the end."""
    manifests = ground.manifests(name)
    flags = case.prepare(manifests, seed)
    numbers = random.Random(f"{name}")  # noqa: S311 - how long after
    effects: list[str] = []
    timers: list[threading.Timer] = []

    def after(effect: str) -> None:
        effects.append(effect)
        if len(effects) - 1 == at:
            if seed % 2:
                timers.append(threading.Timer(numbers.uniform(0, LATEST), ground.parent.kill))
                timers[0].start()
            else:
                ground.parent.kill()

    ground.github.after_effect = ground.storage.after_effect = after
    first = manifests.carry_out(case.step, flags)
    ground.github.after_effect = ground.storage.after_effect = None
    for timer in timers:
        timer.join()
    if at is None:
        return effects, state(manifests, first)
    return [first], state(manifests, manifests.carry_out(case.step, flags))


def state(manifests: Manifests, last: str) -> str:
    """One number for all that is there: branches, trees, pull requests, comments, objects, and how the last run ended."""
    ground = manifests.ground
    # People's commits have the time of day in them; what is ours is the same to the commit.
    refs = manifests.git("for-each-ref", "--format=%(refname) %(tree)", "refs/heads") + manifests.tip()
    pulls = [asdict(pull) for pull in manifests.pull_requests]
    objects = {
        name: hashlib.sha256(content).hexdigest()
        for name, content in ground.storage.objects("contexts").items()
        if name.startswith(f"{manifests.name}/")
    }
    ended = "done" if last in ENDS else last
    text = json.dumps([refs, pulls, objects, ended], sort_keys=True)
    return hashlib.sha256(text.replace(manifests.name, "NAME").encode()).hexdigest()


def _created(manifests: Manifests, seed: int) -> Flags:
    manifests.rest("POST", "milestones", {"title": "next"})
    decorations = {"labels": "apps-cd,size/XS", "assign": "alice", "reviewer": "alice", "milestone": "next"}
    return _given(manifests, 1 + seed % 3, **decorations, auto_merge="squash")


def _updated(manifests: Manifests, seed: int) -> Flags:
    manifests.propose(1)
    return _given(manifests, 2 + seed % 3, labels="apps-cd")


def _in_base(manifests: Manifests, seed: int) -> Flags:
    number = 1 + seed % 3
    manifests.propose(number)
    manifests.commit("main", PATH, kustomization(f"v{number}"))
    return _given(manifests, number)


def _taken(manifests: Manifests, seed: int) -> Flags:
    manifests.propose(1)
    manifests.commit("apps-cd/main/web", "theirs", f"{seed}\n")
    return _given(manifests, 2)


def _wanted_again(manifests: Manifests, seed: int) -> Flags:
    number = 1 + seed % 3
    manifests.propose(number)
    manifests.rest("PATCH", "pulls/1", {"state": "closed"})
    manifests.rest("POST", "issues/1/labels", {"labels": ["apps-cd/reopen"]})
    return _given(manifests, number, labels="apps-cd")


def _left_over(manifests: Manifests, seed: int) -> Flags:
    number = 1 + seed % 3
    manifests.propose(number)
    manifests.rest("PUT", "pulls/1/merge", {"merge_method": "merge"})
    return _given(manifests, number)


def _superseded(manifests: Manifests, seed: int) -> Flags:
    """Two of kubeflow's apps-cd and one of ours."""
    for number in range(2):
        branch = f"update_web_v-g{seed:04}{number}"
        manifests.git("update-ref", f"refs/heads/{branch}", "refs/heads/main")
        manifests.commit(branch, PATH, kustomization(f"old{number}"), login="bot")
        manifests.rest("POST", "pulls", {"title": "[auto PR]", "head": branch, "base": "main", "body": ""}, login="bot")
    manifests.propose(1, image=f"web:v-g{seed:08x}")
    given = _given(manifests, 1)
    return {name: given[name] for name in ("url", "github_url", "github_token")}


def _pack(manifests: Manifests, seed: int) -> Flags:
    source = manifests.tree
    (source / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    (source / "data").write_text(f"{seed}\n" * 1000)
    return {"source_dir": source, "destination": f"gs://contexts/{manifests.name}"}


def _given(manifests: Manifests, number: int, **more: Any) -> Flags:
    (manifests.tree / PATH).write_text(kustomization(f"v{number}"))
    return manifests.flags(number, **more)


CASES = {
    "created": Case(_created),
    "updated": Case(_updated),
    "in-base": Case(_in_base),
    "taken": Case(_taken),
    "wanted-again": Case(_wanted_again),
    "left-over": Case(_left_over),
    "superseded": Case(_superseded, "close_superseded_pull_requests"),
    "pack": Case(_pack, "prepare_build_context"),
}
