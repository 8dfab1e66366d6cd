"""The two operations of GitHub's GraphQL interface that clients of the sandbox use, in the form in which they send them."""

import re
from typing import Any

from tests.sandbox.github_bodies import Body, node_id
from tests.sandbox.github_rest import NO_PERMISSION_OF_APP, Exchange, Refused, json_response
from tests.sandbox.github_state import AutoMerge, PullRequest, now
from tests.sandbox.http_server import Response

PATH = "/api/graphql"

_VIEWER = re.compile(r"(query( \w+)? ?)?\{ ?viewer ?\{ ?login ?\} ?\}")
_ENABLE = "enablePullRequestAutoMerge"
_ENABLE_AUTO_MERGE = (
    f"mutation Mutation($input: EnablePullRequestAutoMergeInput!) {{ {_ENABLE}(input: $input) {{ %s }} }}"
)
_OF_PYGITHUB = _ENABLE_AUTO_MERGE % "actor { avatarUrl login resourcePath url } clientMutationId"
_OF_OURS = _ENABLE_AUTO_MERGE % "pullRequest { id }"


class UnknownOperation(Exception):
    """An operation that the sandbox does not have."""


class _Failed(Exception):
    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def answer(x: Exchange) -> Response:
    """Run an operation.

    Raises:
        Refused: nobody asks.
        UnknownOperation: it is none of the two.
    """
    if not x.user:
        raise Refused(401, "This endpoint requires you to be authenticated.")
    query = " ".join(str(x.data.get("query")).split())
    if _VIEWER.fullmatch(query):
        return json_response(200, {"data": {"viewer": {"login": x.asker.login}}})
    if query not in (_OF_PYGITHUB, _OF_OURS):
        raise UnknownOperation(query)
    wanted = x.data["variables"]["input"]
    try:
        actor = _enable_auto_merge(x, wanted)
        shown = actor if query == _OF_PYGITHUB else {"pullRequest": {"id": wanted["pullRequestId"]}}
        return json_response(200, {"data": {_ENABLE: shown}})
    except _Failed as failure:
        place = {"path": [_ENABLE], "locations": [{"line": 1, "column": query.index(_ENABLE) + 1}]}
        errors = [{"type": failure.kind, **place, "message": str(failure)}]
        return json_response(200, {"data": {_ENABLE: None}, "errors": errors})


def _enable_auto_merge(x: Exchange, wanted: dict[str, Any]) -> Body:
    pull = _pull(x, wanted["pullRequestId"])
    if not pull.repository.can_write(x.user):
        login, words = x.asker.login, NO_PERMISSION_OF_APP
        if not x.asker.account:
            words = f"{login} does not have the correct permissions to execute `EnablePullRequestAutoMerge`"
        raise _Failed("FORBIDDEN", words)
    if pull.repository.archived:
        raise _Failed("UNPROCESSABLE", "Repository was archived so is read-only.")
    if not pull.repository.allow_auto_merge:
        raise _Failed("UNPROCESSABLE", "Pull request Auto merge is not allowed for this repository")
    if pull.state == "closed":
        raise _Failed("UNPROCESSABLE", "Pull request is closed")
    if wanted.get("expectedHeadOid") not in (None, pull.head(pull.repository.git.refs())):
        raise _Failed("UNPROCESSABLE", "Head branch was modified. Review and try the merge again.")
    method = wanted.get("mergeMethod", "MERGE").lower()
    pull.auto_merge = AutoMerge(x.asker, method, wanted.get("commitHeadline"), wanted.get("commitBody"))
    pull.updated_at = now()
    x.effects.append(f"enable auto merge of {pull.number}")
    user = x.bodies.user(x.asker)
    actor = {
        "avatarUrl": user["avatar_url"],
        "login": user["login"],
        "resourcePath": user["html_url"].removeprefix(x.call.base_url),
        "url": user["html_url"],
    }
    return {"actor": actor, "clientMutationId": wanted.get("clientMutationId")}


def _pull(x: Exchange, wanted: str) -> PullRequest:
    for repository in x.world.repositories():
        for pull in repository.pulls:
            if node_id("PR", pull.id) == wanted and repository.can_read(x.user):
                x.world.settle(repository, None)
                return pull
    raise _Failed("NOT_FOUND", f"Could not resolve to a node with the global id of '{wanted}'")
