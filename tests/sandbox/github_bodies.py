"""GitHub's JSON bodies, rendered at each request from the world and from git, with URLs of the address that was asked."""

import base64
import urllib.parse
from collections.abc import Sequence
from typing import Any

from tests.sandbox.bare_repository import Commit, FileChange
from tests.sandbox.github_state import (
    App,
    AutoMerge,
    Comment,
    Installation,
    Issue,
    Label,
    Milestone,
    PullRequest,
    Repository,
    ReviewRequest,
    Status,
    User,
    World,
)

Body = dict[str, Any]

_REPOSITORY_URLS = {
    "archive": "{archive_format}{/ref}",
    "assignees": "assignees{/user}",
    "blobs": "git/blobs{/sha}",
    "branches": "branches{/branch}",
    "collaborators": "collaborators{/collaborator}",
    "comments": "comments{/number}",
    "commits": "commits{/sha}",
    "compare": "compare/{base}...{head}",
    "contents": "contents/{+path}",
    "contributors": "contributors",
    "deployments": "deployments",
    "downloads": "downloads",
    "events": "events",
    "forks": "forks",
    "git_commits": "git/commits{/sha}",
    "git_refs": "git/refs{/sha}",
    "git_tags": "git/tags{/sha}",
    "hooks": "hooks",
    "issue_comment": "issues/comments{/number}",
    "issue_events": "issues/events{/number}",
    "issues": "issues{/number}",
    "keys": "keys{/key_id}",
    "labels": "labels{/name}",
    "languages": "languages",
    "merges": "merges",
    "milestones": "milestones{/number}",
    "notifications": "notifications{?since,all,participating}",
    "pulls": "pulls{/number}",
    "releases": "releases{/id}",
    "stargazers": "stargazers",
    "statuses": "statuses/{sha}",
    "subscribers": "subscribers",
    "subscription": "subscription",
    "tags": "tags",
    "teams": "teams",
    "trees": "git/trees{/sha}",
}


def node_id(kind: str, number: int | str) -> str:
    return f"{kind}_{base64.urlsafe_b64encode(str(number).encode()).decode().rstrip('=')}"


def quoted(text: str) -> str:
    return urllib.parse.quote(text, safe="/")


class Bodies:
    """The bodies of one request.

    Args:
        world: what there is.
        base_url: scheme, host and port as the client wrote them: PyGithub refuses URLs of another host.
        asker: whose permissions a repository states.
    """

    def __init__(self, world: World, base_url: str, asker: User | None) -> None:
        self._world = world
        self._web = base_url
        self._api = f"{base_url}/api/v3"
        self._asker = asker
        self._refs_read: dict[Repository, dict[str, str]] = {}

    def _refs(self, repository: Repository) -> dict[str, str]:
        """The refs of a repository, read once for all the pull requests of an answer."""
        if repository not in self._refs_read:
            self._refs_read[repository] = repository.git.refs()
        return self._refs_read[repository]

    def user(self, user: User) -> Body:
        url = f"{self._api}/users/{urllib.parse.quote(user.login)}"
        kind = "Organization" if user.organization else "Bot" if user.login.endswith("[bot]") else "User"
        page = f"apps/{user.login.removesuffix('[bot]')}" if kind == "Bot" else user.login
        return {
            "login": user.login,
            "id": user.id,
            "node_id": node_id({"Organization": "O", "User": "U", "Bot": "BOT"}[kind], user.id),
            "avatar_url": f"{self._web}/avatars/u/{user.id}?v=4",
            "gravatar_id": "",
            "url": url,
            "html_url": f"{self._web}/{page}",
            "followers_url": f"{url}/followers",
            "following_url": f"{url}/following{{/other_user}}",
            "gists_url": f"{url}/gists{{/gist_id}}",
            "starred_url": f"{url}/starred{{/owner}}{{/repo}}",
            "subscriptions_url": f"{url}/subscriptions",
            "organizations_url": f"{url}/orgs",
            "repos_url": f"{url}/repos",
            "events_url": f"{url}/events{{/privacy}}",
            "received_events_url": f"{url}/received_events",
            "type": kind,
            "user_view_type": "public",
            "site_admin": False,
        }

    def _user_or_none(self, user: User | None) -> Body | None:
        return self.user(user) if user else None

    def full_user(self, user: User) -> Body:
        owned = sum(repository.owner is user for repository in self._world.repositories())
        nothing = dict.fromkeys(("name", "company", "blog", "location", "email", "hireable", "bio", "twitter_username"))
        counts = dict.fromkeys(("public_gists", "followers", "following"), 0)
        dates = {"created_at": user.created_at, "updated_at": user.created_at}
        return self.user(user) | nothing | counts | dates | {"public_repos": owned}

    def permissions(self) -> Body:
        """What the owner of a repository has granted to an app."""
        return {"contents": "write", "issues": "write", "metadata": "read", "pull_requests": "write"}

    def app(self, app: App) -> Body:
        return {
            "id": app.id,
            "slug": app.slug,
            "node_id": node_id("A", app.id),
            "owner": self.user(app.bot),
            "name": app.slug,
            "description": None,
            "external_url": self._web,
            "html_url": f"{self._web}/apps/{app.slug}",
            "created_at": app.bot.created_at,
            "updated_at": app.bot.created_at,
            "permissions": self.permissions(),
            "events": [],
            "installations_count": len(app.installations),
        }

    def installation(self, installation: Installation) -> Body:
        account = self.user(installation.account)
        return {
            "id": installation.id,
            "account": account,
            "repository_selection": "all",
            "access_tokens_url": f"{self._api}/app/installations/{installation.id}/access_tokens",
            "repositories_url": f"{self._api}/installation/repositories",
            "html_url": f"{self._web}/settings/installations/{installation.id}",
            "app_id": installation.app.id,
            "app_slug": installation.app.slug,
            "target_id": account["id"],
            "target_type": account["type"],
            "permissions": self.permissions(),
            "events": [],
            "created_at": installation.created_at,
            "updated_at": installation.created_at,
            "single_file_name": None,
            "suspended_by": None,
            "suspended_at": None,
        }

    def repository(self, repository: Repository) -> Body:
        """Everything a full repository has; the shorter models take their part of it."""
        url = f"{self._api}/repos/{repository.full_name}"
        web = f"{self._web}/{repository.full_name}"
        host = urllib.parse.urlsplit(self._web).hostname
        forks = sum(other.parent is repository for other in self._world.repositories())
        issues = sum(issue.state == "open" for issue in repository.issues.values())
        body: Body = {
            "id": repository.id,
            "node_id": node_id("R", repository.id),
            "name": repository.name,
            "full_name": repository.full_name,
            "owner": self.user(repository.owner),
            "private": repository.private,
            "visibility": "private" if repository.private else "public",
            "html_url": web,
            "description": None,
            "fork": repository.parent is not None,
            "url": url,
            **{f"{name}_url": f"{url}/{path}" for name, path in _REPOSITORY_URLS.items()},
            "clone_url": f"{web}.git",
            "git_url": f"git://{host}/{repository.full_name}.git",
            "ssh_url": f"git@{host}:{repository.full_name}.git",
            "svn_url": web,
            "mirror_url": None,
            "homepage": None,
            "language": None,
            "license": None,
            "topics": [],
            "size": 0,
            "forks": forks,
            "forks_count": forks,
            "network_count": forks,
            "open_issues": issues,
            "open_issues_count": issues,
            **dict.fromkeys(("stargazers_count", "subscribers_count", "watchers", "watchers_count"), 0),
            "archived": repository.archived,
            **dict.fromkeys(("disabled", "is_template"), False),
            **dict.fromkeys(("has_discussions", "has_downloads", "has_pages", "has_projects", "has_wiki"), False),
            **dict.fromkeys(("has_issues", "has_pull_requests", "allow_forking", "allow_merge_commit"), True),
            **dict.fromkeys(("allow_squash_merge", "allow_rebase_merge", "delete_branch_on_merge"), False),
            "allow_auto_merge": repository.allow_auto_merge,
            **dict.fromkeys(("allow_update_branch", "web_commit_signoff_required"), False),
            "default_branch": repository.git.default_branch(),
            **dict.fromkeys(("created_at", "updated_at", "pushed_at"), repository.created_at),
        }
        if self._asker:
            write = repository.can_write(self._asker)
            admin = repository.owner is self._asker
            body["permissions"] = {"admin": admin, "maintain": admin, "push": write, "triage": write, "pull": True}
        return body

    def full_repository(self, repository: Repository) -> Body:
        body = self.repository(repository)
        if repository.owner.organization:
            body["organization"] = self.user(repository.owner)
        if repository.parent:
            body["parent"] = self.repository(repository.parent)
            body["source"] = self.repository(repository.root)
        return body

    def _association(self, user: User, repository: Repository) -> str:
        if user is repository.owner:
            return "OWNER"
        return "COLLABORATOR" if repository.can_write(user) else "NONE"

    def label(self, label: Label, repository: Repository) -> Body:
        return {
            "id": label.id,
            "node_id": node_id("LA", label.id),
            "url": f"{self._api}/repos/{repository.full_name}/labels/{urllib.parse.quote(label.name, safe='')}",
            "name": label.name,
            "color": label.color,
            "description": label.description,
            "default": False,
            "archived_at": None,
            "archived_by": None,
        }

    def milestone(self, milestone: Milestone, repository: Repository) -> Body:
        url = f"{self._api}/repos/{repository.full_name}/milestones/{milestone.number}"
        states = [issue.state for issue in repository.issues.values() if issue.milestone is milestone]
        return {
            "url": url,
            "html_url": f"{self._web}/{repository.full_name}/milestone/{milestone.number}",
            "labels_url": f"{url}/labels",
            "id": milestone.id,
            "node_id": node_id("MI", milestone.id),
            "number": milestone.number,
            "title": milestone.title,
            "description": milestone.description,
            "creator": self.user(milestone.creator),
            "open_issues": states.count("open"),
            "closed_issues": states.count("closed"),
            "state": milestone.state,
            "created_at": milestone.created_at,
            "updated_at": milestone.created_at,
            "closed_at": milestone.closed_at,
            "due_on": None,
        }

    def comment(self, comment: Comment, issue: Issue) -> Body:
        repository = issue.repository
        kind = "pull" if isinstance(issue, PullRequest) else "issues"
        return {
            "id": comment.id,
            "node_id": node_id("IC", comment.id),
            "url": f"{self._api}/repos/{repository.full_name}/issues/comments/{comment.id}",
            "html_url": f"{self._web}/{repository.full_name}/{kind}/{issue.number}#issuecomment-{comment.id}",
            "issue_url": f"{self._api}/repos/{repository.full_name}/issues/{issue.number}",
            "user": self.user(comment.user),
            "body": comment.body,
            "created_at": comment.created_at,
            "updated_at": comment.updated_at,
            "author_association": self._association(comment.user, repository),
            "performed_via_github_app": None,
        }

    def review_requested(self, request: ReviewRequest, issue: Issue) -> Body:
        repository, of = issue.repository, request.of
        return {
            "id": request.id,
            "node_id": node_id("RRE", request.id),
            "url": f"{self._api}/repos/{repository.full_name}/issues/events/{request.id}",
            "actor": self.user(request.by),
            "event": "review_requested",
            "commit_id": None,
            "commit_url": None,
            "created_at": request.created_at,
            "performed_via_github_app": None,
            "review_requester": self.user(request.by),
            **(
                {"requested_team": self.team(of, repository)}
                if isinstance(of, str)
                else {"requested_reviewer": self.user(of)}
            ),
        }

    def _discussion(self, issue: Issue) -> Body:
        """What an issue and a pull request have in common."""
        return {
            "id": issue.id,
            "number": issue.number,
            "state": issue.state,
            "locked": False,
            "active_lock_reason": None,
            "title": issue.title,
            "body": issue.body,
            "user": self.user(issue.user),
            "labels": [self.label(label, issue.repository) for label in issue.labels],
            "milestone": self.milestone(issue.milestone, issue.repository) if issue.milestone else None,
            "assignee": self.user(issue.assignees[0]) if issue.assignees else None,
            "assignees": [self.user(user) for user in issue.assignees],
            "created_at": issue.created_at,
            "updated_at": issue.updated_at,
            "closed_at": issue.closed_at,
            "author_association": self._association(issue.user, issue.repository),
        }

    def issue(self, issue: Issue) -> Body:
        """An issue; also the issue that every pull request is, where alone `closed_by` stands."""
        repository_url = f"{self._api}/repos/{issue.repository.full_name}"
        url = f"{repository_url}/issues/{issue.number}"
        web = f"{self._web}/{issue.repository.full_name}"
        body = self._discussion(issue) | {
            "node_id": node_id("I", issue.id),
            "url": url,
            "repository_url": repository_url,
            "labels_url": f"{url}/labels{{/name}}",
            "comments_url": f"{url}/comments",
            "events_url": f"{url}/events",
            "timeline_url": f"{url}/timeline",
            "html_url": f"{web}/issues/{issue.number}",
            "state_reason": issue.state_reason,
            "comments": len(issue.comments),
            "closed_by": self._user_or_none(issue.closed_by),
            "performed_via_github_app": None,
        }
        if isinstance(issue, PullRequest):
            html = f"{web}/pull/{issue.number}"
            body |= {
                "html_url": html,
                "draft": issue.draft,
                "pull_request": {
                    "url": f"{repository_url}/pulls/{issue.number}",
                    "html_url": html,
                    "diff_url": f"{html}.diff",
                    "patch_url": f"{html}.patch",
                    "merged_at": issue.merged_at,
                },
            }
        return body

    def pull(self, pull: PullRequest) -> Body:
        """A pull request as lists show it."""
        repository_url = f"{self._api}/repos/{pull.repository.full_name}"
        url = f"{repository_url}/pulls/{pull.number}"
        issue_url = f"{repository_url}/issues/{pull.number}"
        html = f"{self._web}/{pull.repository.full_name}/pull/{pull.number}"
        refs = self._refs(pull.repository)
        head, base = pull.head(refs), pull.base(refs)
        links = {
            "html": html,
            "issue": issue_url,
            "comments": f"{issue_url}/comments",
            "commits": f"{url}/commits",
            "review_comments": f"{url}/comments",
            "review_comment": f"{repository_url}/pulls/comments{{/number}}",
            "statuses": f"{repository_url}/statuses/{head}",
        }
        return self._discussion(pull) | {
            "node_id": node_id("PR", pull.id),
            "url": url,
            "html_url": html,
            "diff_url": f"{html}.diff",
            "patch_url": f"{html}.patch",
            **{f"{name}_url": link for name, link in links.items() if name != "html"},
            "_links": {name: {"href": link} for name, link in {"self": url, **links}.items()},
            "merged_at": pull.merged_at,
            "merge_commit_sha": pull.merge_commit,
            "requested_reviewers": [self.user(user) for user in pull.reviewers],
            "requested_teams": [self.team(slug, pull.repository) for slug in pull.teams],
            "head": self._end(pull.head_repository, pull.head_branch, head),
            "base": self._end(pull.repository, pull.base_branch, base),
            "auto_merge": self._auto_merge(pull.auto_merge) if pull.auto_merge else None,
            "draft": pull.draft,
        }

    def _auto_merge(self, auto_merge: AutoMerge) -> Body:
        return {
            "enabled_by": self.user(auto_merge.enabled_by),
            "merge_method": auto_merge.method,
            "commit_title": auto_merge.title,
            "commit_message": auto_merge.message,
        }

    def full_pull(self, pull: PullRequest) -> Body:
        git = pull.repository.git
        refs = self._refs(pull.repository)
        head, base = pull.head(refs), pull.base(refs)
        changes = git.diff(git.merge_base(base, head) or base, head)
        mergeable = git.merged_tree(base, head) is not None if pull.state == "open" else None
        state = "draft" if pull.draft else "clean" if mergeable else "dirty"
        return self.pull(pull) | {
            "merged": pull.merged_at is not None,
            "merged_by": self._user_or_none(pull.merged_by),
            "mergeable": mergeable,
            "mergeable_state": "unknown" if mergeable is None else state,
            "rebaseable": mergeable,
            "comments": len(pull.comments),
            "review_comments": 0,
            "maintainer_can_modify": pull.maintainer_can_modify,
            "commits": git.count(head, without=base),
            "additions": sum(change.additions for change in changes),
            "deletions": sum(change.deletions for change in changes),
            "changed_files": len(changes),
        }

    def _end(self, repository: Repository, branch: str, sha: str) -> Body:
        return {
            "label": f"{repository.owner.login}:{branch}",
            "ref": branch,
            "sha": sha,
            "user": self.user(repository.owner),
            "repo": self.repository(repository),
        }

    def team(self, slug: str, repository: Repository) -> Body:
        organization = repository.owner
        url = f"{self._api}/organizations/{organization.id}/team/{slug}"
        return {
            "id": sum(slug.encode()),
            "node_id": node_id("T", slug),
            "url": url,
            "html_url": f"{self._web}/orgs/{organization.login}/teams/{slug}",
            "members_url": f"{url}/members{{/member}}",
            "repositories_url": f"{url}/repos",
            "name": slug,
            "slug": slug,
            "description": None,
            "privacy": "closed",
            "permission": "pull",
            "type": "organization",
            "organization_id": organization.id,
            "parent": None,
        }

    def commit(self, commit: Commit, repository: Repository) -> Body:
        api = f"{self._api}/repos/{repository.full_name}"
        html = f"{self._web}/{repository.full_name}/commit"
        people = {
            role: {"name": who.name, "email": who.email, "date": who.date}
            for role, who in (("author", commit.author), ("committer", commit.committer))
        }
        unsigned = {"verified": False, "reason": "unsigned", "signature": None, "payload": None, "verified_at": None}
        return {
            "sha": commit.sha,
            "node_id": node_id("C", commit.sha),
            "url": f"{api}/commits/{commit.sha}",
            "html_url": f"{html}/{commit.sha}",
            "comments_url": f"{api}/commits/{commit.sha}/comments",
            "commit": {
                **people,
                "url": f"{api}/git/commits/{commit.sha}",
                "message": commit.message,
                "tree": {"sha": commit.tree, "url": f"{api}/git/trees/{commit.tree}"},
                "comment_count": 0,
                "verification": unsigned,
            },
            "author": self._user_or_none(self._world.user_of_email(commit.author.email)),
            "committer": self._user_or_none(self._world.user_of_email(commit.committer.email)),
            "parents": [
                {"sha": sha, "url": f"{api}/commits/{sha}", "html_url": f"{html}/{sha}"} for sha in commit.parents
            ],
        }

    def full_commit(self, commit: Commit, repository: Repository) -> Body:
        changes = repository.git.commit_diff(commit)
        additions = sum(change.additions for change in changes)
        deletions = sum(change.deletions for change in changes)
        return self.commit(commit, repository) | {
            "stats": {"additions": additions, "deletions": deletions, "total": additions + deletions},
            "files": self.files(changes, commit.sha, repository),
        }

    def files(self, changes: Sequence[FileChange], sha: str, repository: Repository) -> list[Body]:
        web = f"{self._web}/{repository.full_name}"
        api = f"{self._api}/repos/{repository.full_name}"
        bodies = []
        for change in changes:
            path = quoted(change.path)
            body: Body = {
                "sha": change.blob,
                "filename": change.path,
                "status": change.status,
                "additions": change.additions,
                "deletions": change.deletions,
                "changes": change.additions + change.deletions,
                "blob_url": f"{web}/blob/{sha}/{path}",
                "raw_url": f"{web}/raw/{sha}/{path}",
                "contents_url": f"{api}/contents/{path}?ref={sha}",
            }
            if change.patch:
                body["patch"] = change.patch
            if change.previous_path:
                body["previous_filename"] = change.previous_path
            bodies.append(body)
        return bodies

    def comparison(self, base: str, head: str, repository: Repository, basehead: str) -> Body:
        git = repository.git
        merge_base = git.merge_base(base, head)
        assert merge_base
        ahead = list(reversed(git.commits(head, without=base)))
        behind = git.count(base, without=head)
        status = ("diverged" if behind else "ahead") if ahead else ("behind" if behind else "identical")
        web = f"{self._web}/{repository.full_name}/compare/{quoted(basehead)}"
        return {
            "url": f"{self._api}/repos/{repository.full_name}/compare/{quoted(basehead)}",
            "html_url": web,
            "permalink_url": web,
            "diff_url": f"{web}.diff",
            "patch_url": f"{web}.patch",
            "base_commit": self.commit(git.commit(base), repository),
            "merge_base_commit": self.commit(git.commit(merge_base), repository),
            "status": status,
            "ahead_by": len(ahead),
            "behind_by": behind,
            "total_commits": len(ahead),
            "commits": [self.commit(commit, repository) for commit in ahead[:250]],
            "files": self.files(git.diff(merge_base, head), head, repository),
        }

    def ref(self, ref: str, sha: str, repository: Repository) -> Body:
        api = f"{self._api}/repos/{repository.full_name}/git"
        return {
            "ref": ref,
            "node_id": node_id("REF", f"{repository.id}:{ref}"),
            "url": f"{api}/{quoted(ref)}",
            "object": {"sha": sha, "type": "commit", "url": f"{api}/commits/{sha}"},
        }

    def short_branch(self, branch: str, sha: str, repository: Repository) -> Body:
        url = f"{self._api}/repos/{repository.full_name}/commits/{sha}"
        return {"name": branch, "commit": {"sha": sha, "url": url}, "protected": False}

    def branch(self, branch: str, sha: str, repository: Repository) -> Body:
        url = f"{self._api}/repos/{repository.full_name}/branches/{quoted(branch)}"
        checks = {"enforcement_level": "off", "contexts": [], "checks": []}
        return {
            "name": branch,
            "commit": self.commit(repository.git.commit(sha), repository),
            "_links": {"self": url, "html": f"{self._web}/{repository.full_name}/tree/{quoted(branch)}"},
            "protected": False,
            "protection": {"enabled": False, "required_status_checks": checks},
            "protection_url": f"{url}/protection",
        }

    def status(self, status: Status, repository: Repository) -> Body:
        return {
            "url": f"{self._api}/repos/{repository.full_name}/statuses/{status.sha}",
            "avatar_url": f"{self._web}/avatars/u/{status.creator.id}?v=4",
            "id": status.id,
            "node_id": node_id("SC", status.id),
            "state": status.state,
            "description": status.description,
            "target_url": status.target_url,
            "context": status.context,
            "created_at": status.created_at,
            "updated_at": status.created_at,
            "creator": self.user(status.creator),
        }

    def combined_status(self, sha: str, repository: Repository) -> Body:
        latest = {status.context: status for status in repository.statuses if status.sha == sha}
        states = {status.state for status in latest.values()}
        failed = states & {"error", "failure"}
        state = "failure" if failed else "success" if states == {"success"} else "pending"
        api = f"{self._api}/repos/{repository.full_name}/commits/{sha}"
        return {
            "state": state,
            "statuses": [self.status(status, repository) for status in latest.values()],
            "sha": sha,
            "total_count": len(latest),
            "repository": self.repository(repository),
            "commit_url": api,
            "url": f"{api}/status",
        }
