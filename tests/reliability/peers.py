"""The same life with what others use for it: PyGithub as it comes, and hub, in a few lines of a script each.

Both look before they write, as a careful script does: for an open pull request of the branch, and for their own comment.
"""

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable

from tests.reliability import children
from tests.reliability.lives import PROFILE
from tests.reliability.places import AGAIN, BOT, PAUSE, TOKEN, Ground, Manifests
from tests.sandbox.faults import Faults

BRANCH, WORD = "apps-cd/main/web", "<!-- seen -->"


def plain_pygithub(*, url: str, repository: str) -> None:
    """Open a pull request, label it, comment on it, once each."""
    import github

    client = github.Github(auth=github.Auth.Token(TOKEN), base_url=f"{url}/api/v3", lazy=False)
    repo = client.get_repo(repository)
    found = list(repo.get_pulls(state="open", head=f"example:{BRANCH}"))
    pull = found[0] if found else repo.create_pull("main", BRANCH, title="Update web", body="text")
    pull.add_to_labels("apps-cd")
    if not any(WORD in comment.body for comment in pull.get_issue_comments()):
        pull.create_issue_comment(f"A word. {WORD}")


def live_with_pygithub(ground: Ground, seed: int) -> Counter[str]:
    """Run the script, again when it fails, and count what is there then."""
    manifests = _pushed(ground, f"pygithub{seed}")

    def once() -> bool:
        flags = {"url": ground.github.url, "repository": manifests.name}
        return ground.parent.run("plain_pygithub", flags).code == 0

    return _counted(ground, manifests, seed, once, comments=1)


def live_with_hub(ground: Ground, seed: int) -> Counter[str]:
    """The same with `hub pr list` and `hub pull-request`; hub cannot comment."""
    manifests = _pushed(ground, f"hub{seed}")
    home = manifests.tree.parents[1] / f"home-{seed}"
    host = ground.github.url.removeprefix("http://")
    home.mkdir()
    (home / "hub").write_text(f"{host}:\n- user: {BOT}\n  oauth_token: {TOKEN}\n  protocol: http\n")
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "GITHUB_HOST": host, "HUB_CONFIG": str(home / "hub")}
    clone = home / "clone"
    for command in (
        ["git", "clone", "--quiet", "--branch", BRANCH, str(manifests.bare), str(clone)],
        ["git", "-C", str(clone), "remote", "set-url", "origin", f"{ground.github.url}/{manifests.name}.git"],
        ["git", "-C", str(clone), "config", "hub.host", host],
    ):
        subprocess.run(command, check=True, capture_output=True, env=environment)

    def hub(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["hub", *arguments]
        return subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=False)

    def once() -> bool:
        listed = hub("pr", "list", f"--head=example:{BRANCH}", "--format=%I%n")
        if listed.returncode != 0 or listed.stdout.strip():
            return listed.returncode == 0
        opened = ["--base=example:main", f"--head=example:{BRANCH}", "--message=Update web", "--labels=apps-cd"]
        return hub("pull-request", *opened).returncode == 0

    return _counted(ground, manifests, seed, once, comments=0)


def has_hub() -> bool:
    return shutil.which("hub") is not None


def _pushed(ground: Ground, name: str) -> Manifests:
    manifests = ground.manifests(name)
    manifests.git("update-ref", f"refs/heads/{BRANCH}", "refs/heads/main")
    manifests.commit(BRANCH, "new", "text\n", login=BOT)
    return manifests


def _counted(
    ground: Ground, manifests: Manifests, seed: int, once: Callable[[], bool], *, comments: int
) -> Counter[str]:
    faults = ground.github.faults = Faults(PROFILE, seed, clock=children.clock)
    ended = False
    for _ in range(AGAIN + 1):
        ended = once()
        if ended:
            break
        children.wait(PAUSE)
    ground.github.faults = None
    pulls = manifests.pull_requests
    said = sum(len(pull.comments) for pull in pulls)
    labelled = [pull.labels for pull in pulls] == [("apps-cd",)]
    return Counter(
        {
            "lives": 1,
            "done": ended and len(pulls) == 1 and said == comments and labelled,
            "duplicate pull requests": max(len(pulls) - 1, 0),
            "duplicate comments": max(said - 1, 0),
            "impatient": len(faults.impatient),
        }
    )
