"""What the repositories of a configuration's pairs say of them: each repository is asked once, all at the same time."""

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from steps.clients import files, progress
from steps.clients.files import KUSTOMIZATIONS
from steps.clients.git import GitOf
from steps.clients.mirrors import LARGEST_FILE, Entry, Mirror, literal
from steps.core import applications, kustomization
from steps.core.applications import SHORT, Broken, Pair, Place, fixed_part
from steps.core.build_context import below, ignore_files, is_within
from steps.core.image import Image
from steps.core.needs_update import Failure, Named, Seen
from steps.core.repository import Branch, Commit, Repository
from steps.core.typed_yaml import did_you_mean
from steps.core.visible_files import VisibleFiles
from steps.errors import StepError

Key = tuple[str, str]

_log = logging.getLogger("steps.observation")

_AT_ONCE = max(16, 2 * (os.cpu_count() or 1))
"""Repositories that are asked at a time: most of it is waiting for servers."""

_LONGEST_TIMEOUT = 86_400

_TOO_LARGE = b" " * (kustomization.LARGEST + 1)
"""In place of a file that is too large to be read: it is refused for its size."""


def observe(
    pairs: Sequence[Pair],
    configured: Iterable[Pair | Broken],
    src_dir: Path,
    git_of: GitOf,
    *,
    timeout: int,
) -> dict[Key, Seen | Failure]:
    """What the repositories say of each pair.

    Left by an error it leaves threads that wait for git: leave the context that `git_of` is of, and they end.

    Args:
        pairs: those that are asked about.
        configured: all that the configuration has, whose branches count as well.
        src_dir: where copies of repositories are kept; made when it is not there.
        git_of: gives git for each repository that is asked.
        timeout: seconds that another process which uses the copy of a repository is waited for.

    Returns:
        For each pair what was seen, or why nothing was; what is wrong with one repository is not with the others.
    """
    if not 0 < timeout <= _LONGEST_TIMEOUT:
        raise StepError("usage", f"--timeout={timeout} is not between 1 and {_LONGEST_TIMEOUT} seconds")
    files.make_directory(src_dir)
    repositories: dict[str, Repository] = {}
    for pair in pairs:
        for place in (pair.source, pair.manifests):
            repositories.setdefault(place.repository.identity, place.repository)
    branches = applications.branches(pair for pair in configured if isinstance(pair, Pair))
    with _pool() as pool:
        asked = {
            identity: _Asked(Mirror(git_of, src_dir, repository, timeout), identity, branches[identity], pairs)
            for identity, repository in repositories.items()
        }
        with progress.of_items("repositories", 2 * len(asked)) as advance:

            def all_at_once(ask: Callable[[_Asked], None]) -> None:
                for _ in pool.map(ask, asked.values()):
                    advance(1)

            all_at_once(_Asked.look)
            for pair in pairs:
                asked[pair.source.repository.identity].name(
                    pair, asked[pair.manifests.repository.identity].current(pair)
                )
            all_at_once(_Asked.compare)
    return {
        pair.key: _seen(pair, asked[pair.source.repository.identity], asked[pair.manifests.repository.identity])
        for pair in pairs
    }


@contextlib.contextmanager
def _pool() -> Iterator[ThreadPoolExecutor]:
    """Threads that wait for git; when the block is left by an error what they have not begun is not begun."""
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


class _Asked:
    """One repository, as the source of some pairs and the manifests of others.

    Attributes:
        failure: why it says nothing.
    """

    def __init__(self, mirror: Mirror, identity: str, branches: Collection[Branch], pairs: Sequence[Pair]) -> None:
        self._mirror = mirror
        self._answers = mirror.answers
        self._branches = sorted(branches)
        self._sources = [pair for pair in pairs if pair.source.repository.identity == identity]
        self._manifests = [pair for pair in pairs if pair.manifests.repository.identity == identity]
        self._tips: dict[Branch, Commit] = {}
        self._names: dict[Key, str] = {}
        self._passing: dict[str, dict[str, Any]] = {}
        self.failure: Failure | None = None

    def look(self) -> None:
        """Find the source commits, and what the kustomizations say."""
        with self._failing():
            self._tips = self._mirror.tips(self._branches)
            if self._tips and (self._unknown_sources() or self._unknown_kustomizations()):
                self._mirror.using(self._tips, self._find_out)

    def name(self, pair: Pair, current: Image | None) -> None:
        """Say which image a pair's manifests have; its tag may name a commit of this repository."""
        if current and (name := pair.image_tag.commit(pair.prefix, current.tag or "")):
            self._names[pair.key] = name

    def compare(self) -> None:
        """Find out what the commits are that tags name."""
        if self.failure:
            return
        with self._failing():
            questions = ((self._relation_question(pair), pair) for pair in self._sources)
            asked = [pair for question, pair in questions if question and not self._answers.has(question)]
            if asked:
                self._mirror.using(self._tips, lambda _: self._relate(asked))

    def unmatched(self, pair: Pair) -> tuple[str, ...]:
        """The globs of a pair that lead nowhere."""
        return tuple(self._answers.known(_source_question(self._tips[pair.source.branch], pair))["unmatched"])

    def commit(self, pair: Pair) -> str | Failure:
        """The source commit of a pair."""
        if tip := self._tips.get(pair.source.branch):
            question = _source_question(tip, pair)
            answer = self._passing.get(question) or self._answers.known(question)
            return str(answer["commit"]) if "commit" in answer else _failure(pair, pair.source, answer)
        return self._no_branch(pair.source)

    def kustomization(self, pair: Pair) -> str | Failure:
        """The path of a pair's kustomization."""
        if tip := self._tips.get(pair.manifests.branch):
            answer = self._answers.known(_kustomization_question(tip, pair))
            return str(answer["path"]) if "path" in answer else _failure(pair, pair.manifests, answer)
        return self._no_branch(pair.manifests)

    def image(self, pair: Pair) -> Image | Failure | None:
        """What the kustomization gives for the pair's image now."""
        answer = self._answers.known(self._image_question(pair))
        if "unreadable" in answer:
            path = self.kustomization(pair)
            return Failure("unreadable", f"{path} on {pair.manifests}: {answer['unreadable']}")
        return Image.parse(answer["image"]) if answer["image"] else None

    def current(self, pair: Pair) -> Image | None:
        """The same, or nothing when it cannot be told."""
        if self.failure or isinstance(self.kustomization(pair), Failure):
            return None
        image = self.image(pair)
        return image if isinstance(image, Image) else None

    def named(self, pair: Pair) -> tuple[str | None, Named | None]:
        """What the tag names, as written and as found."""
        question = self._relation_question(pair)
        return self._names.get(pair.key), Named(*self._answers.known(question)) if question else None

    def tip(self, place: Place) -> str:
        return self._tips[place.branch]

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        """Make what goes wrong the failure of this repository; what was found out before is kept."""
        try:
            yield
        except StepError as error:
            self.failure = Failure(error.reason, str(error), error.later)
        except Exception as error:  # noqa: BLE001 - one repository must not end the others'
            _log.exception("a defect of this program, not of its input")
            self.failure = Failure("defect", f"a defect of this program, not of its input: {type(error).__name__}")
        finally:
            self._answers.save()

    def _no_branch(self, place: Place) -> Failure:
        message = f"there is no branch {place.branch} in {place.repository}{did_you_mean(place.branch, self._tips)}"
        return Failure("config-error", message, at=place.at)

    def _unknown_sources(self) -> list[tuple[str, Pair]]:
        found = [(self._tips[pair.source.branch], pair) for pair in self._sources if pair.source.branch in self._tips]
        return [(tip, pair) for tip, pair in found if not self._answers.has(_source_question(tip, pair))]

    def _unknown_kustomizations(self) -> list[tuple[str, Pair]]:
        found = [
            (self._tips[pair.manifests.branch], pair) for pair in self._manifests if pair.manifests.branch in self._tips
        ]
        return [
            (tip, pair)
            for tip, pair in found
            if not self._answers.has(_kustomization_question(tip, pair))
            or (self._image_question(pair) and not self._answers.has(self._image_question(pair)))
        ]

    def _image_question(self, pair: Pair) -> str:
        """What is asked of the object that a kustomization is, which many commits have; '' when there is none."""
        answer = self._answers.known(_kustomization_question(self._tips[pair.manifests.branch], pair))
        return f"image {answer['oid']} {pair.image}" if "oid" in answer else ""

    def _relation_question(self, pair: Pair) -> str | None:
        """What is asked of the commit that a tag names; None when it names none."""
        commit = None if self.failure or pair.key not in self._names else self.commit(pair)
        if commit is None or isinstance(commit, Failure):
            return None
        tips = hashlib.sha256(json.dumps(sorted(self._tips.items())).encode()).hexdigest()
        return f"relation {tips} {self._names[pair.key]} {commit}"

    def _find_out(self, tips: dict[Branch, Commit]) -> None:
        self._tips = tips
        self._take_over()
        for tip in dict.fromkeys(tips.values()):
            self._find_commits(
                tip, {_source_question(tip, pair): pair for at, pair in self._unknown_sources() if at == tip}
            )
        unknown = self._unknown_kustomizations()
        for tip in dict.fromkeys(tips.values()):
            self._find_kustomizations(tip, [pair for at, pair in unknown if at == tip])
        self._read_images([pair for _, pair in unknown])
        for branch, tip in tips.items():
            self._answers.learn(f"tip {branch}", tip)

    def _take_over(self) -> None:
        """Answer for new tips what was known for those of the last pass, where no commit in between touched what counts."""
        unknown = self._unknown_sources()
        for branch, tip in self._tips.items():
            pairs = [pair for _, pair in unknown if pair.source.branch == branch]
            last = self._answers.known(f"tip {branch}") if self._answers.has(f"tip {branch}") else None
            if not pairs or last in (None, tip) or (changed := self._mirror.changed_between(last, tip)) is None:
                continue
            for pair in pairs:
                question = _source_question(last, pair)
                answer = self._answers.known(question) if self._answers.has(question) else {}
                if answer.get("plain") and not any(_counts(pair, path) for path in changed):
                    self._answers.learn(_source_question(tip, pair), answer)

    def _find_commits(self, tip: str, pairs: Mapping[str, Pair]) -> None:
        if not pairs:
            return
        paths = {str(path) for pair in pairs.values() for path in (pair.context, pair.dockerfile)}
        paths |= {fixed_part(glob) for pair in pairs.values() for glob in pair.watch.globs}
        entries = self._mirror.entries(tip, paths)
        for question, pair in pairs.items():
            answer = self._source(tip, pair, entries)
            if answer.get("reason") == "shallow":
                self._passing[question] = answer  # the server may have got the rest by the next pass
            else:
                self._answers.learn(question, answer)

    def _source(self, tip: str, pair: Pair, entries: Mapping[str, Entry]) -> dict[str, Any]:
        for field, path, kind, what in (
            ("context", pair.context, "tree", "directory"),
            ("dockerfile", pair.dockerfile, "blob", "file"),
        ):
            if path not in entries or entries[path].kind != kind:
                return {"field": field, "wrong": f"there is no {what} {path} on {{}} (at {tip[:SHORT]})"}
        found = {str(path): entries[path] for path in (pair.context, pair.dockerfile)}
        if pair.watch.by_dockerfile:
            try:
                visible = self._visible(tip, pair, found[pair.context], found[pair.dockerfile])
            except ValueError as error:
                return {"field": "watch", "wrong": f"what {pair.dockerfile} can see cannot be told: {error}"}
            commit = self._last_to_touch(tip, visible)
        else:
            own = {path for name, entry in found.items() for path in (name, entry.path)}
            # git uses the filters of its commit graph for one path alone.
            outer = [path for path in sorted(own) if not any(path != each and _holds(each, path) for each in own)]
            commit = self._mirror.last_to_touch(tip, [*map(literal, outer), *map(_glob, pair.watch.globs)]) or tip
        if self._mirror.is_cut(commit):
            return {
                "reason": "shallow",
                "wrong": f"the server of {{}} has no history before {commit}, so that what is older cannot be told; give a repository that is not shallow",
            }
        return {
            "commit": commit,
            "unmatched": [glob for glob in pair.watch.globs if fixed_part(glob) not in entries],
            "plain": not pair.watch.globs and all(path == entry.path for path, entry in found.items()),
        }

    def _find_kustomizations(self, tip: str, pairs: Sequence[Pair]) -> None:
        asked = {_kustomization_question(tip, pair): pair for pair in pairs}
        asked = {question: pair for question, pair in asked.items() if not self._answers.has(question)}
        if not asked:
            return
        directories = {str(pair.manifests_dir) for pair in asked.values()}
        names = {directory: [below(directory, name) for name in KUSTOMIZATIONS] for directory in directories}
        entries = self._mirror.entries(tip, {*directories, *(path for paths in names.values() for path in paths)})
        for question, pair in asked.items():
            directory = str(pair.manifests_dir)
            found = [path for path in names[directory] if path in entries]
            where = f"{directory} on {{}} (at {tip[:SHORT]})"
            answer: dict[str, Any]
            if directory not in entries or entries[directory].kind != "tree":
                answer = {"field": "manifests_dir", "wrong": f"there is no directory {where}"}
            elif not found or entries[found[0]].kind != "blob":
                answer = {"field": "manifests_dir", "wrong": f"there is no kustomization in {where}"}
            elif len(found) > 1:
                both = " and ".join(path.rpartition("/")[2] for path in found)
                answer = {"reason": "unreadable", "wrong": f"there are {both} in {where}: keep one of them"}
            else:
                answer = {"path": found[0], "oid": entries[found[0]].oid}
            self._answers.learn(question, answer)

    def _read_images(self, pairs: Sequence[Pair]) -> None:
        asked = {self._image_question(pair): pair for pair in pairs}
        asked = {question: pair for question, pair in asked.items() if question and not self._answers.has(question)}
        contents = self._mirror.contents({question.split()[1] for question in asked})
        for question, pair in asked.items():
            try:
                content = contents.get(question.split()[1], _TOO_LARGE)
                entry = kustomization.entries(content, [pair.image]).get(pair.image)
                if entry:
                    Image.parse(str(entry))
                self._answers.learn(question, {"image": str(entry) if entry else None})
            except (StepError, ValueError) as error:
                self._answers.learn(question, {"unreadable": str(error)})

    def _relate(self, pairs: Sequence[Pair]) -> None:
        asked = {}
        for pair in pairs:
            commit = self.commit(pair)
            if not isinstance(commit, Failure):
                asked[self._names[pair.key], commit] = self._relation_question(pair)
        for key, named in self._mirror.relations(asked, self._tips.values()).items():
            self._answers.learn(str(asked[key]), list(named))

    def _visible(self, tip: str, pair: Pair, context: Entry, dockerfile: Entry) -> VisibleFiles:
        """What the build of a pair sees at a tip; ValueError when that cannot be told."""
        candidates = ignore_files(context.path, dockerfile.path)
        entries = self._mirror.entries(tip, candidates)
        ignoring = next((entries[path].oid for path in candidates if path in entries), None)
        contents = self._mirror.contents([dockerfile.oid, *([ignoring] if ignoring else [])])
        if len(contents) < len({dockerfile.oid, ignoring} - {None}):
            raise ValueError(f"it, or its ignore file, has more than {LARGEST_FILE} bytes")
        text, rules = (contents[oid].decode(errors="replace") if oid else "" for oid in (dockerfile.oid, ignoring))
        links = {str(pair.context), str(pair.dockerfile)} - {context.path}
        visible = VisibleFiles.parse(context.path, dockerfile.path, text, rules, links)
        # What a link that is copied leads to cannot be told from the Dockerfile.
        return visible.of_whole_context if self._mirror.has_links(tip, visible.paths) else visible

    def _last_to_touch(self, tip: str, visible: VisibleFiles) -> str:
        """The last commit that changed a file that is seen, as `git log` finds it for files that can be named."""
        pathspecs = list(map(literal, visible.paths))
        while True:
            for commit, changes in self._mirror.newest_to_touch(tip, pathspecs):
                same = [parent for parent, paths in changes.items() if not any(map(visible.sees, paths))]
                if not same:
                    return commit
                tip = same[0]
                if len(changes) > 1:
                    break  # what follows in the list may be of another side of the merge


def _source_question(tip: str, pair: Pair) -> str:
    by = "dockerfile" if pair.watch.by_dockerfile else list(pair.watch.globs)
    return f"source {tip} {json.dumps([pair.context, pair.dockerfile, by])}"


def _counts(pair: Pair, path: str) -> bool:
    """Whether a file may be a relevant one of a pair that watches no globs."""
    return _holds(pair.context, path) or path == pair.dockerfile or path in ignore_files(pair.context, pair.dockerfile)


def _kustomization_question(tip: str, pair: Pair) -> str:
    return f"kustomization {tip} {pair.manifests_dir}"


def _failure(pair: Pair, place: Place, answer: Mapping[str, str]) -> Failure:
    """What is wrong at a tip, which several branches may have, told of the place that was asked about."""
    message = answer["wrong"].replace("{}", str(place), 1)
    if "field" in answer:
        return Failure("config-error", message, at=pair.where.get(answer["field"], pair.at))
    return Failure(answer["reason"], message)


def _holds(directory: str, path: str) -> bool:
    return directory == "." or is_within(path, directory)


def _glob(pattern: str) -> str:
    return f":(exclude,glob){pattern[1:]}" if pattern.startswith("!") else f":(glob){pattern}"


def _seen(pair: Pair, source: _Asked, manifests: _Asked) -> Seen | Failure:
    for asked, place in ((source, pair.source), (manifests, pair.manifests)):
        if asked.failure:
            return dataclasses.replace(asked.failure, at=place.at)
    commit, path = source.commit(pair), manifests.kustomization(pair)
    for found in (commit, path):
        if isinstance(found, Failure):
            return found
    current = manifests.image(pair)
    if isinstance(current, Failure):
        return current
    abbreviation, named = source.named(pair)
    return Seen(
        tip=source.tip(pair.source),
        commit=str(commit),
        kustomization=str(path),
        current=current,
        abbreviation=abbreviation,
        named=named,
        unmatched=source.unmatched(pair),
    )
