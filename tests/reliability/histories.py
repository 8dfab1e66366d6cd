"""Generated histories of one pull request: what we propose and what people do meanwhile, in any order.

Each is played twice: in a model of GitHub and git, which asks the functions of steps.core what to do and does it in the
order of steps/open_pull_request.py; and by the step itself, with real git on the sandbox's GitHub. Both must come to the
same, which is what makes ten thousand histories of the model worth something.
"""

import contextlib
import hashlib
import re
import urllib.error
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any, Literal, NamedTuple, Protocol

from steps.core import pull_request, pull_request_body
from steps.core import update as updates
from steps.core.image import Image
from steps.core.pull_request import PullRequest, Relation, Seen, Tip
from steps.core.pull_request_body import Facts as Text
from steps.core.repository import Commit as Sha
from steps.core.repository import Repository
from steps.core.update import AUTHOR, REOPEN_LABEL, Application, Remark, Update, Version
from steps.errors import StepError
from tests.reliability.places import BOT, PATH, Ground, Manifests, kustomization
from tests.sandbox.github import PullRequestFacts

HEAD, MAIN, ELSEWHERE = "apps-cd/main/web", "main", "elsewhere"
US, ALICE, STRANGER = str(AUTHOR), "alice", "stranger"
NEWEST = 5
"""The number of the last commit of the source, the tip of its branch."""
APPLICATION, VERSION = Application("web"), Version(MAIN)
KEYS = (
    "histories",
    "actions",
    "proposals",
    "foreign commits lost",
    "foreign pull requests touched",
    "second open pull requests",
    "vetoed ones proposed",
    "older over newer",
    "merge commits of ours",
    "wrong outcomes",
    "differences of model and step",
)

Kind = Literal[
    "propose",
    "push",
    "replace",
    "amend",
    "delete",
    "close",
    "merge",
    "squash",
    "reopen label",
    "take out marker",
    "write around",
    "open own",
    "open of fork",
    "move base",
    "write image",
]
PEOPLE: tuple[Kind, ...] = (
    "push",
    "replace",
    "amend",
    "delete",
    "close",
    "close",
    "merge",
    "squash",
    "reopen label",
    "reopen label",
    "take out marker",
    "write around",
    "open own",
    "open of fork",
    "move base",
    "write image",
)
"""What people do, each as often as it stands here."""
Place = Literal["ours", "fork"]
State = Literal["open", "closed", "merged"]


class Action(NamedTuple):
    """Something that is done; `number` is that of a commit of the source where there is one to tell."""

    kind: Kind
    number: int = 0


def history(seed: int) -> list[Action]:
    """What is done, ours first and last; an action that has nothing to act on leaves all as it is."""
    random = Random(f"history {seed}")  # noqa: S311 - not secret
    newest = random.randint(1, 3)
    actions = [Action("propose", newest)]
    for _ in range(random.randint(4, 9)):
        if random.random() < 0.5:
            number = random.choice((newest, min(newest + 1, NEWEST), random.randint(1, NEWEST)))
            newest = max(newest, number)
            actions.append(Action("propose", number))
        else:
            number = random.choice((newest, random.randint(1, NEWEST)))
            actions.append(Action(random.choice(PEOPLE), number))
    return [*actions, Action("propose", NEWEST)]


@dataclass(frozen=True)
class Branch:
    """A branch as both players tell it.

    Attributes:
        by: who wrote and who committed its commits that the base lacks.
        image: the number of the image in it.
        files: its other files.
        proposes: the number of the source commit that its tip says it proposes.
    """

    by: tuple[str, ...]
    image: int
    files: tuple[str, ...]
    proposes: int | None

    @property
    def is_foreign(self) -> bool:
        return any(who != f"{US} {US}" for who in self.by)


@dataclass(frozen=True)
class Pull:
    """A pull request as both players tell it, and, not compared between them, what a person may not find changed.

    Attributes:
        proposes: the number of the source commit that its text says it proposes.
        around: what stands before and after our text.
        remarks: what our comments say.
    """

    number: int
    author: str
    place: Place
    base: str
    state: State
    closed_by_us: bool
    proposes: int | None
    around: tuple[str, str]
    labels: tuple[str, ...]
    remarks: tuple[Remark, ...]
    body: str = field(compare=False)
    sha: str = field(compare=False)
    title: str = field(compare=False)

    @property
    def is_ours(self) -> bool:
        """Whether we opened it, whatever became of its text."""
        return self.author == BOT

    @property
    def whole(self) -> tuple[object, ...]:
        return self, self.body, self.sha, self.title


@dataclass(frozen=True)
class Facts:
    """All that is there.

    Attributes:
        commits: those of all branches, and for each who wrote and who committed it, and how many parents it has.
    """

    branches: Mapping[str, Branch]
    pulls: tuple[Pull, ...]
    commits: Mapping[str, tuple[str, int]] = field(compare=False)

    @property
    def ours(self) -> list[Pull]:
        """Our pull requests, the newest first."""
        return [pull for pull in reversed(self.pulls) if pull.is_ours]

    @property
    def of_head(self) -> list[Pull]:
        """The open pull requests of our branch."""
        return [pull for pull in self.pulls if pull.state == "open" and pull.place == "ours"]

    def our_open(self) -> Pull | None:
        return next((pull for pull in self.of_head if pull.is_ours), None)


class World(Protocol):
    """A GitHub with one repository of manifests, and its forks."""

    def facts(self) -> Facts: ...

    def propose(self, number: int) -> tuple[str, int | None]:
        """Run open_pull_request; its operation or the reason of its failure, and the pull request that it names."""

    def commit(self, branch: str, parent: str, name: str, text: str, *, amends: bool = False) -> None:
        """Have a branch point at a commit of a person's on top of another one, which may be itself.

        Args:
            name: of the file that is written.
            amends: whether it is made of the former tip of the branch, whose author and message it keeps.
        """

    def delete(self) -> None: ...

    def fork(self) -> None:
        """A fork by the stranger, with a commit of theirs on a branch of our name."""

    def open(self, login: str, place: Place, body: str) -> None: ...

    def edit(self, number: int, **values: str) -> None: ...

    def label(self, number: int) -> None: ...

    def merge(self, number: int, method: str) -> None: ...


_MARKER = re.compile(r"<!-- apps-cd application=.*?-->")


def act(world: World, facts: Facts, action: Action, at: int) -> None:
    """Do what a person does, if there is something to do it to.

    Args:
        at: a number for the name of what is made.
    """
    one, text = facts.our_open(), f"{at}\n"
    any_one = next(iter(facts.of_head), None)
    tip = facts.branches.get(HEAD)
    match action.kind:
        case "push" if tip:
            world.commit(HEAD, HEAD, f"file-{at}", text)
        case "replace":
            world.commit(HEAD, MAIN, f"file-{at}", text)
        case "amend" if tip and not tip.is_foreign and tip.by:
            world.commit(HEAD, MAIN, f"file-{at}", text, amends=True)
        case "delete" if tip:
            world.delete()
        case "close" if any_one:
            world.edit(any_one.number, state="closed")
        case "merge" | "squash" if any_one:
            world.merge(any_one.number, action.kind)
        case "reopen label":
            closed = next((pull for pull in facts.ours if pull.state == "closed"), None)
            if closed:
                world.label(closed.number)
        case "take out marker" if one:
            world.edit(one.number, body=_MARKER.sub("", one.body))
        case "write around" if one:
            world.edit(one.number, body=f"Before {at}.\n\n{one.body}\n\nAfter {at}.")
        case "open own" if tip and not facts.of_head:
            world.open(ALICE, "ours", facts.ours[0].body if facts.ours else "Mine.")
        case "open of fork" if not any(pull.place == "fork" for pull in facts.pulls):
            world.fork()
            world.open(STRANGER, "fork", facts.ours[0].body if facts.ours else "Mine.")
        case "move base" if one:
            world.edit(one.number, base=ELSEWHERE if one.base == MAIN else MAIN)
        case "write image":
            world.commit(MAIN, MAIN, PATH, kustomization(f"v{action.number}"))


@dataclass
class Played:
    """What came of a history.

    Attributes:
        told: each outcome of ours and what was there after it; last what is there in the end.
    """

    counts: Counter[str]
    told: list[tuple[str, Facts]]


def play(world: World, actions: Iterable[Action]) -> Played:
    """Play a history, and look at each action of ours whether it kept what it had to."""
    counts, told = Counter(dict.fromkeys(KEYS, 0)), []
    facts, outcome = world.facts(), ""
    for at, action in enumerate(actions):
        before = facts
        counts["actions"] += 1
        if action.kind == "propose":
            outcome, number = world.propose(action.number)
            facts = world.facts()
            counts["proposals"] += 1
            counts.update(broken(before, facts, action.number, outcome, number))
            told.append((outcome, facts))
        else:
            act(world, before, action, at)
            facts = world.facts()
    counts["histories"] = 1
    return Played(counts, told)


def broken(before: Facts, after: Facts, number: int, outcome: str, named: int | None) -> dict[str, int]:
    """How often a proposal of the image of a source commit did what it must not do.

    Args:
        named: the pull request that it named as its own.
    """
    foreign = {sha for sha, (who, _) in before.commits.items() if who != f"{US} {US}"}
    theirs = [pull for pull in before.pulls if not pull.is_ours]
    now = {pull.number: pull for pull in after.pulls}
    opened = [pull for pull in after.pulls if pull.state == "open" and pull.is_ours]
    is_proposed = outcome in ("created", "updated", "unchanged")
    return {
        "foreign commits lost": len(foreign - after.commits.keys()),
        "foreign pull requests touched": sum(now[pull.number].whole != pull.whole for pull in theirs)
        + any(pull.number == named for pull in theirs),
        "second open pull requests": max(len(opened) - 1, 0),
        "vetoed ones proposed": is_proposed and _is_vetoed(before, number),
        "older over newer": after != before and _newest(before) > number,
        "merge commits of ours": sum(who == f"{US} {US}" and parents > 1 for who, parents in after.commits.values()),
        "wrong outcomes": not _is_right(before, after, number, outcome),
    }


def _is_vetoed(facts: Facts, number: int) -> bool:
    """Whether a person closed one with the same source commit, and did not ask for it again."""
    return any(
        pull.state == "closed"
        and not pull.closed_by_us
        and (pull.base, pull.proposes) == (MAIN, number)
        and REOPEN_LABEL not in pull.labels
        for pull in facts.ours
    )


def _newest(facts: Facts) -> int:
    """The newest that was proposed, as far as anything still tells of it; 0 when nothing does."""
    told = [pull.proposes for pull in facts.ours if pull.base == MAIN]
    tip = facts.branches.get(HEAD)
    return max((each for each in (*told, tip.proposes if tip else None) if each), default=0)


def _is_right(before: Facts, after: Facts, number: int, outcome: str) -> bool:
    """Whether a proposal ended as what was there asks for, and left there what it says."""
    main, tip, opened = before.branches[MAIN], before.branches.get(HEAD), before.of_head
    is_ours = all(pull.is_ours and pull.proposes for pull in opened)
    match outcome:
        case "created" | "updated" | "unchanged":
            one = after.our_open()
            ours = Branch((f"{US} {US}",), number, main.files, number)
            is_there = one is not None and (one.base, one.proposes) == (MAIN, number)
            is_kept = outcome == "created" or [pull.around for pull in opened] == [one.around if one else None]
            return is_there and is_kept and after.branches[HEAD] == ours and after.branches[MAIN] == main
        case "closed" | "none":
            return main.image == number and not after.of_head and after.branches[MAIN] == main
        case "superseded":
            return before == after and _newest(before) > number
        case "vetoed":
            return before == after and _is_vetoed(before, number)
        case "foreign-commit":
            return tip is not None and tip.is_foreign and after.branches == before.branches
        case "foreign-pull-request":
            return before == after and not is_ours
        case "other-base":
            return before == after and any(pull.base != MAIN for pull in opened)
    return False


def measure_model(count: int) -> Counter[str]:
    """Play histories 0 to count - 1 in the model."""
    found = Counter(dict.fromkeys(KEYS, 0))
    for seed in range(count):
        found.update(play(Model(), history(seed)).counts)
    return found


def measure_real(ground_directory: Path, seeds: Iterable[int]) -> Counter[str]:
    """Play histories with the step, and compare what came of each of its runs with what the model says."""
    found = Counter(dict.fromkeys(KEYS, 0))
    with Ground(ground_directory) as ground:
        for seed in seeds:
            found.update(compare(ground, seed))
    return found


def compare(ground: Ground, seed: int) -> Counter[str]:
    """The same for one history."""
    actions = history(seed)
    played = play(Real(ground, f"history-{seed}"), actions)
    is_different = differs(played.told, play(Model(), actions).told)
    return Counter({**played.counts, "differences of model and step": is_different})


def differs(one: Sequence[tuple[str, Facts]], other: Sequence[tuple[str, Facts]]) -> bool:
    return list(one) != list(other)


def measure_orders(count: int) -> Counter[str]:
    """Runs of commits 1 to 5 that end in any order, some not at all and some again; the newest is proposed in the end.

    In every other order the source cannot be read, and its dates alone tell what is newer.
    """
    found = Counter({"orders": 0, "runs": 0, "final is newest": 0, "second open pull requests": 0})
    for seed in range(count):
        random = Random(f"order {seed}")  # noqa: S311 - not secret
        runs = [number for number in range(1, NEWEST) for _ in range(random.randint(0, 2))]
        runs += [NEWEST] * random.randint(1, 2)
        random.shuffle(runs)
        model = Model(reads_source=seed % 2 == 0)
        played = play(model, [Action("propose", number) for number in runs])
        facts = played.told[-1][1]
        one = facts.our_open()
        is_newest = one is not None and one.proposes == facts.branches[HEAD].image == NEWEST
        found.update(orders=1, runs=len(runs))
        found["final is newest"] += is_newest
        found["second open pull requests"] += played.counts["second open pull requests"]
    return found


@dataclass(frozen=True)
class Commit:
    """A commit of either player.

    Attributes:
        author: `Name <mail>`, as committer.
        image: the number of the image in it.
        files: its other files.
    """

    sha: str
    parents: tuple[str, ...]
    author: str
    committer: str
    message: str
    image: int
    files: frozenset[str]

    @property
    def by(self) -> str:
        return f"{self.author} {self.committer}"


Commits = dict[str, Commit]


def history_of(commits: Commits, sha: str) -> set[str]:
    """A commit and all before it."""
    found: set[str] = set()
    left = [sha]
    while left:
        each = left.pop()
        if each not in found:
            found.add(each)
            left += commits[each].parents
    return found


def _facts(commits: Commits, tips: Mapping[str, str], pulls: Iterable[Pull], sources: list[str]) -> Facts:
    histories = {name: history_of(commits, tip) for name, tip in tips.items()}
    return Facts(
        {
            name: Branch(
                tuple(sorted(commits[sha].by for sha in histories[name] - histories[MAIN])),
                commits[tip].image,
                tuple(sorted(commits[tip].files)),
                _number(updates.trailed(commits[tip].message), sources),
            )
            for name, tip in tips.items()
        },
        tuple(pulls),
        {sha: (commits[sha].by, len(commits[sha].parents)) for sha in set().union(*histories.values())},
    )


def _pull(pull: PullRequest, place: Place, closed_by: str | None, comments: Sequence[str], sources: list[str]) -> Pull:
    """A pull request in the words of both players."""
    proposes = updates.marked(pull.body)
    before, _, rest = pull.body.partition(updates.OPENING)
    return Pull(
        number=pull.number,
        author=pull.author,
        place=place,
        base=pull.base,
        state=pull.state,
        closed_by_us=closed_by == BOT,
        proposes=_number(proposes, sources),
        around=(before, _MARKER.split(rest)[-1]) if proposes else ("", ""),
        labels=tuple(sorted(pull.labels)),
        remarks=tuple(
            kind
            for kind in ("foreign-commit", "in-base", "superseded")
            for comment in comments
            if updates.remark_marker(kind) in comment
        ),
        body=pull.body,
        sha=pull.sha,
        title=pull.title,
    )


def _number(update: Update | None, sources: list[str]) -> int | None:
    return sources.index(update.source) if update and update.source else None


# The model


@dataclass
class Entry:
    """A pull request of the model, and what GitHub knows of it beside."""

    pull: PullRequest
    place: Place
    closed_by: str | None = None
    comments: list[str] = field(default_factory=list)


def _person(login: str) -> str:
    return f"{login} <{login}@users.noreply.github.com>"


class Model:
    """GitHub and git in memory, and the step as its effects.

    Args:
        reads_source: whether our token may read the source.
    """

    _source = Repository.parse("https://github.example.com/example/source")

    def __init__(self, *, reads_source: bool = True) -> None:
        self._reads_source = reads_source
        self._sources = [f"{number:040x}" for number in range(NEWEST + 1)]
        self._commits: Commits = {}
        self._entries: list[Entry] = []
        first = self._add((), _person(ALICE), _person(ALICE), "one", 0, frozenset({"README.md"}))
        self._branches = {MAIN: first, ELSEWHERE: first}

    def facts(self) -> Facts:
        pulls = (_pull(each.pull, each.place, each.closed_by, each.comments, self._sources) for each in self._entries)
        return _facts(self._commits, self._branches, pulls, self._sources)

    # What people do

    def commit(self, branch: str, parent: str, name: str, text: str, *, amends: bool = False) -> None:
        former = self._commits[self._branches[branch if amends else parent]]
        parents = former.parents if amends else (former.sha,)
        author, message = (former.author, former.message) if amends else (_person(ALICE), f"By hand {name}")
        image = int(text.rpartition("v")[2]) if name == PATH else former.image
        files = former.files if name == PATH else former.files | {name}
        self._branches[branch] = self._add(parents, author, _person(ALICE), message, image, files)
        self._settle("example")

    def delete(self) -> None:
        del self._branches[HEAD]
        self._settle("example")

    def fork(self) -> None:
        main = self._commits[self._branches[MAIN]]
        who = _person(STRANGER)
        self._branches["fork"] = self._add((main.sha,), who, who, "By hand", main.image, main.files | {"theirs"})

    def open(self, login: str, place: Place, body: str) -> None:
        tip = self._branches[HEAD if place == "ours" else "fork"]
        if tip not in self._history(self._branches[MAIN]):
            self._open(login, place, tip, "By hand", body)

    def edit(self, number: int, **values: str) -> None:
        entry = self._entries[number - 1]
        if "base" in values and entry.pull.sha in self._history(self._branches[values["base"]]):
            return
        entry.pull = replace(entry.pull, **values)  # type: ignore[arg-type]  # mypy takes them for one field's
        if "state" in values:
            entry.closed_by = ALICE

    def label(self, number: int) -> None:
        entry = self._entries[number - 1]
        entry.pull = replace(entry.pull, labels=entry.pull.labels | {REOPEN_LABEL})

    def merge(self, number: int, method: str) -> None:
        entry = self._entries[number - 1]
        base, head = self._branches[entry.pull.base], entry.pull.sha
        one, other = self._commits[base], self._commits[head]
        # Merges go one way, so the youngest one that both have is the only one to merge by.
        former = max(self._history(base) & self._history(head), key=list(self._commits).index)
        changed = {self._commits[former].image, one.image, other.image}
        if len(changed) == 3:
            return
        image = other.image if one.image == self._commits[former].image else one.image
        parents = (base, head) if method == "merge" else (base,)
        who = _person(ALICE)
        self._branches[entry.pull.base] = self._add(parents, who, who, "Merge", image, one.files | other.files)
        entry.pull, entry.closed_by = replace(entry.pull, state="merged"), ALICE
        self._settle(ALICE)

    # What we do

    def propose(self, number: int) -> tuple[str, int | None]:
        """As open_pull_request has it, from the tip of the base."""
        image = Image.parse(f"web:v{number}")
        update = updates.update(APPLICATION, VERSION, image, Sha(self._sources[number]), 1_767_323_040 + number)
        text = Text(APPLICATION, VERSION, None, None, image, self._source, self._sources[number])
        base = self._commits[self._branches[MAIN]]
        commit = None
        if base.image != number:
            message = pull_request_body.message(text).commit_text(update)
            commit = self._add((base.sha,), US, US, message, number, base.files)
        seen = self._seen()
        update = replace(update, commit=commit)
        try:
            operation, found = pull_request.operation(
                seen, update, is_overtaken=self._is_overtaken(seen, update), is_vetoed=self._is_vetoed(seen, update)
            )
        except StepError as error:
            return error.reason, None
        if operation in ("created", "updated", "closed") and seen.tip and seen.tip.foreign:
            if found:
                self._remark(found, "foreign-commit")
            return "foreign-commit", None
        if operation in ("closed", "none"):
            self._close(seen, update, found)
        elif commit and operation in ("created", "updated"):
            last = pull_request.follows(seen, update)
            told = pull_request_body.message(replace(text, follows=last.number if last else None))
            body = pull_request_body.body(told, update, found.body if found else None)
            self._branches[HEAD] = commit
            self._settle(BOT)
            if found is None:
                found = self._open(BOT, "ours", commit, told.title, body)
            if found.proposes != update:
                entry = self._entries[found.number - 1]
                if entry.pull.state != "open":
                    return "conflict", None
                entry.pull = replace(entry.pull, body=body, title=told.title)
        return operation, found.number if found else None

    def _seen(self) -> Seen:
        tip = None
        if HEAD in self._branches:
            own = self._history(self._branches[HEAD]) - self._history(self._branches[MAIN])
            commits = [self._commits[sha] for sha in own]
            tip = Tip(
                self._branches[HEAD],
                updates.trailed(self._commits[self._branches[HEAD]].message),
                pull_request.foreign(
                    [pull_request.Commit(each.sha, each.author, each.committer) for each in commits], US
                ),
            )
        pulls = tuple(entry.pull for entry in reversed(self._entries) if entry.place == "ours")
        return Seen(pulls, BOT if pulls else "", MAIN, tip)

    def _is_overtaken(self, seen: Seen, update: Update) -> bool:
        return any(not self._is_newer(update, other) for other in pull_request.rivals(seen, update))

    def _is_newer(self, update: Update, other: Update) -> bool:
        if not self._reads_source:
            return pull_request.is_newer(update, other, None)
        ours, theirs = update.source or "", other.source or ""
        if self._sources[NEWEST] in (ours, theirs):
            return ours == self._sources[NEWEST]
        relation: Relation = "ahead" if ours > theirs else "behind"
        return pull_request.is_newer(update, other, relation, is_on_branch=True, other_is_on_branch=True)

    def _is_vetoed(self, seen: Seen, update: Update) -> bool:
        closed = pull_request.veto(seen, update)
        if closed is None:
            return False
        entry = self._entries[closed.number - 1]
        marks = [updates.remark_marker(kind) for kind in updates.CLOSES]
        return entry.closed_by != BOT or not any(mark in comment for mark in marks for comment in entry.comments)

    def _close(self, seen: Seen, update: Update, found: PullRequest | None) -> None:
        if found:
            self._remark(found, "in-base")
            entry = self._entries[found.number - 1]
            entry.pull, entry.closed_by = replace(entry.pull, state="closed"), BOT
        tip = seen.tip
        if tip and not tip.foreign and tip.update and tip.update.is_of(update) and tip.update.source:
            del self._branches[HEAD]
            self._settle(BOT)

    def _remark(self, found: PullRequest, kind: Remark) -> None:
        comments = self._entries[found.number - 1].comments
        if not any(updates.remark_marker(kind) in comment for comment in comments):
            comments.append(pull_request_body.remark(kind))

    # What GitHub and git do

    def _add(
        self,
        parents: tuple[str, ...],
        author: str,
        committer: str,
        message: str,
        image: int,
        files: frozenset[str],
    ) -> str:
        values = (parents, author, committer, message, image, sorted(files))
        sha = hashlib.sha1(repr(values).encode()).hexdigest()  # noqa: S324 - as git's
        self._commits.setdefault(sha, Commit(sha, parents, author, committer, message, image, files))
        return sha

    def _history(self, sha: str) -> set[str]:
        return history_of(self._commits, sha)

    def _open(self, login: str, place: Place, sha: str, title: str, body: str) -> PullRequest:
        number = len(self._entries) + 1
        head = f"example/manifests:{HEAD}"
        pull = PullRequest(number, f"https://github.example.com/{number}", login, head, MAIN, sha, "open", title, body)
        self._entries.append(Entry(pull, place))
        return pull

    def _settle(self, login: str) -> None:
        """Let pull requests follow their branches."""
        for entry in self._entries:
            pull = entry.pull
            if pull.state != "open":
                continue
            base = self._history(self._branches[pull.base])
            tip = self._branches.get(HEAD if entry.place == "ours" else "fork")
            if pull.sha in base:
                entry.pull, entry.closed_by = replace(pull, state="merged"), login
            elif tip is None:
                entry.pull, entry.closed_by = replace(pull, state="closed"), login
            elif tip in base:
                entry.pull, entry.closed_by = replace(pull, state="closed", sha=tip), login
            else:
                entry.pull = replace(pull, sha=tip)


# The step itself


class Real:
    """A repository of manifests on a ground, and the step as a process."""

    def __init__(self, ground: Ground, name: str) -> None:
        self._ground, self._name = ground, name
        self._manifests = ground.manifests(name)
        self._manifests.git("update-ref", f"refs/heads/{ELSEWHERE}", f"refs/heads/{MAIN}")
        self._fork: Manifests | None = None
        self._commits: Commits = {}

    def facts(self) -> Facts:
        pulls = self._manifests.pull_requests  # before all else: they follow their branches when they are looked at
        tips = self._tips(self._manifests)
        if self._fork:
            tips["fork"] = self._tips(self._fork)[HEAD]
        return _facts(self._commits, tips, map(self._pull, pulls), self._ground.source)

    def _tips(self, manifests: Manifests) -> dict[str, str]:
        """The branches of a repository, all of whose commits are known then."""
        log = ["log", "--branches", "-z", "--format=%H%n%P%n%T%n%an <%ae>%n%cn <%ce>%n%B"]
        for each in manifests.git(*log).removesuffix("\0").split("\0"):
            # Whom GitHub merges for has his number before his name.
            sha, parents, tree, author, committer, message = re.sub(r"<\d+\+", "<", each).split("\n", 5)
            if sha not in self._commits:
                entries = [line.split() for line in manifests.git("ls-tree", "-r", tree).splitlines()]
                files = {path: blob for _, _, blob, path in entries}
                image = _IMAGES[files.pop(PATH)]
                known = Commit(sha, tuple(parents.split()), author, committer, message, image, frozenset(files))
                self._commits[sha] = known
        refs = manifests.git("for-each-ref", "--format=%(refname:lstrip=2) %(objectname)", "refs/heads")
        return dict(line.split() for line in refs.splitlines())

    def _pull(self, pull: PullRequestFacts) -> Pull:
        state: State = "merged" if pull.merged else "open" if pull.state == "open" else "closed"
        labels = frozenset(pull.labels)
        found = PullRequest(
            pull.number, "", pull.user, "", pull.base, pull.sha, state, pull.title, pull.body or "", labels
        )
        place: Place = "ours" if pull.head.startswith("example:") else "fork"
        return _pull(found, place, pull.closed_by, pull.comments, self._ground.source)

    def propose(self, number: int) -> tuple[str, int | None]:
        manifests = self._manifests
        tree = ["--work-tree", str(manifests.tree), "checkout", "--quiet", "--force", MAIN, "--", "."]
        manifests.git(*tree)
        outcome = manifests.propose(number)
        url = manifests.runs[-1].stdout.strip()
        return outcome, int(url.rpartition("/")[2]) if url else None

    def commit(self, branch: str, parent: str, name: str, text: str, *, amends: bool = False) -> None:
        manifests = self._manifests
        former = manifests.tip(branch)
        if branch != parent and not amends:
            manifests.git("update-ref", f"refs/heads/{branch}", f"refs/heads/{parent}")
        made = manifests.commit(branch, name, text)
        if amends:
            ours = manifests.git("log", "-1", "--format=%B", former)
            people = {"author.name": AUTHOR.name, "author.email": AUTHOR.mail, "committer.name": ALICE}
            people["committer.email"] = f"{ALICE}@users.noreply.github.com"
            settings = [item for key, value in people.items() for item in ("-c", f"{key}={value}")]
            made = manifests.git(
                *settings, "commit-tree", f"{made}^{{tree}}", "-p", f"{former}^", "-m", ours.strip()
            ).strip()
            manifests.git("update-ref", f"refs/heads/{branch}", made)

    def delete(self) -> None:
        self._manifests.git("update-ref", "-d", f"refs/heads/{HEAD}")

    def fork(self) -> None:
        bare = self._ground.github.add_repository(f"{STRANGER}/{self._name}", fork_of=self._manifests.name)
        fork = self._fork = Manifests(self._ground, f"{STRANGER}/{self._name}", bare, self._manifests.tree)
        fork.git("update-ref", f"refs/heads/{HEAD}", f"refs/heads/{MAIN}")
        fork.commit(HEAD, "theirs", "theirs\n", login=STRANGER)

    def open(self, login: str, place: Place, body: str) -> None:
        head = HEAD if place == "ours" else f"{STRANGER}:{HEAD}"
        values = {"title": "By hand", "head": head, "base": MAIN, "body": body}
        self._ask("POST", "pulls", values, login)

    def edit(self, number: int, **values: str) -> None:
        self._ask("PATCH", f"pulls/{number}", values)

    def label(self, number: int) -> None:
        self._ask("POST", f"issues/{number}/labels", {"labels": [REOPEN_LABEL]})

    def merge(self, number: int, method: str) -> None:
        self._ask("PUT", f"pulls/{number}/merge", {"merge_method": method})

    def _ask(self, method: str, path: str, values: dict[str, Any], login: str = ALICE) -> None:
        """Ask for a change, which GitHub may refuse."""
        with contextlib.suppress(urllib.error.HTTPError):
            self._manifests.rest(method, path, values, login)


def _blob(text: str) -> str:
    return hashlib.sha1(f"blob {len(text)}\0{text}".encode()).hexdigest()  # noqa: S324 - git's


_IMAGES = {_blob(kustomization(f"v{number}")): number for number in range(NEWEST + 1)}
"""The number of the image, by the blob of a kustomization."""
