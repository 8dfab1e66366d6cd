"""Every PipelineRun that is made of a template is accepted by every version of Tekton that we support."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from steps.core import applications, pipeline_run
from steps.core.applications import Pair
from tests.sandbox import go
from tests.sandbox.runner import TEKTON
from tests.steps.kubeflow import SEED
from tests.tekton import versions

COMMIT = "0123456789abcdef0123456789abcdef01234567"

OF_KUBEFLOW = """\
apiVersion: tekton.dev/v1alpha1
kind: PipelineRun
metadata:
  generateName: ci-
spec:
  pipelineRef:
    name: ci-pipeline
  params:
    - name: container_image
      value: gcr.io/kubeflow-releasing/update_kf_apps:060b1ab
    - name: path_to_context
      value: web
  resources:
    - name: app-repo
      resourceSpec:
        type: git
        params: [{name: revision, value: "1795828"}, {name: url, value: "git@github.com:kubeflow/kubeflow.git"}]
    - name: ci-tools
      resourceSpec: {type: git, params: []}
    - name: image
      resourceSpec: {type: image, params: [{name: url, value: "gcr.io/kubeflow/web:v1"}]}
  serviceAccountName: ci
"""
OF_V1BETA1 = """\
apiVersion: tekton.dev/v1beta1
kind: PipelineRun
metadata:
  name: ours
  namespace: kf-releasing
  labels: {team: web, release: "1.10"}
  annotations:
spec:
  pipelineRef:
    name: apps-cd
  params: [{name: depth, value: 0}, {name: draft, value: yes}, {name: extra-args, value: [--cache=true, ""]}]
  workspaces: [{name: dockerconfig, secret: {secretName: registry, defaultMode: 0400}}]
  serviceAccountName: build
  podTemplate: {nodeSelector: {disk: ssd}, automountServiceAccountToken: false}
  timeout: 1h0m0s
  taskRunSpecs:
    - pipelineTaskName: update-manifests
      taskServiceAccountName: update
      taskPodTemplate: {nodeSelector: {disk: ssd}}
    - pipelineTaskName: build-image
      stepOverrides: [{name: build, resources: {requests: {memory: 2Gi}}}]
      sidecarOverrides: [{name: proxy, resources: {requests: {cpu: 100m}}}]
"""
BY_RESOLVER = """\
apiVersion: tekton.dev/v1
kind: PipelineRun
spec:
  pipelineRef:
    resolver: git
    params: [{name: url, value: https://github.com/o/n}, {name: pathInRepo, value: pipeline.yaml}]
  params: [{name: colour, value: red}]
  timeouts: {pipeline: 2h, tasks: 1h}
  taskRunTemplate: {serviceAccountName: build}
"""

CONFIGURATION = f"""\
applications:
  - {{name: web, sourceRepo: code, manifestsDir: web, image: r.io/web}}
  - name: Everything_1.0
    sourceRepo: code
    context: services/web
    dockerfile: Dockerfile.prod
    target: release
    manifestsDir: web/base
    image: web
    pushedImage: registry.example.com:5000/team/web
    imageTag: $(tag)-$(commit)
    labels: [bug, "größer 🚀", "no", "a: b #c"]
    reviewers: [alice, kubeflow/owners]
    draft: true
    params:
      - {{name: author, value: "A <a@example.com>"}}
      - {{name: post-edit-command, value: [make, "0x10", "~", ""]}}
      - {{name: depth, value: 012}}
    workspaces:
      - {{name: app-repo-credentials, secret: {{secretName: code, defaultMode: 0400}}}}
      - {{name: dockerconfig, emptyDir: {{}}}}
  - {{name: {"a" * 100}, sourceRepo: code, manifestsDir: ., image: {"a" * 255}}}
versions:
  - &one
    name: v1
    tag: v1.0.0
    repos:
      - {{name: code, url: "git@github.com:o/code.git", branch: main}}
      - {{name: manifests, url: https://github.com/o/manifests, branch: release/1.10}}
  - {{<<: *one, name: 1.10, tag: 1.10}}
  - {{<<: *one, name: {"b" * 60}/{"c" * 39}, tag: {"t" * 60}}}
"""

TEMPLATES = {
    "tekton/runs/apps-cd.yaml": (TEKTON / "runs" / "apps-cd.yaml").read_text(encoding="utf-8"),
    "of kubeflow": OF_KUBEFLOW,
    "of v1beta1": OF_V1BETA1,
    "by a resolver": BY_RESOLVER,
}


def runs(template: str, configuration: str, commit: str = COMMIT) -> dict[str, str]:
    """The PipelineRuns of all pairs by application and version."""
    frame, problems = pipeline_run.read_template("template.yaml", template)
    assert frame, problems
    told = applications.parse({"applications.yaml": configuration}, pipeline_params=frame.known_params)
    pairs = [pair for pair in told.pairs if isinstance(pair, Pair)]
    return {f"{pair.application}, {pair.version}": pipeline_run.render(frame, pair, commit).text for pair in pairs}


def made() -> Iterator[tuple[str, str]]:
    for title, template in TEMPLATES.items():
        for pair, text in runs(template, CONFIGURATION).items():
            yield f"{title}: {pair}", text
    yield "of SHA-256", runs(OF_KUBEFLOW, CONFIGURATION, "ab" * 32)["web, v1"]
    if SEED.exists():
        for pair, text in runs(seed("app-pipeline.template.yaml"), seed("applications.yaml")).items():
            yield f"of kubeflow's own files: {pair}", text


def seed(name: str) -> str:
    return Path(SEED, name).read_text(encoding="utf-8")


@pytest.fixture(scope="module", params=versions.VERSIONS)
def problems(request: pytest.FixtureRequest) -> dict[str, list[str]]:
    """What a version says of all runs, asked in one go."""
    try:
        return versions.problems(str(request.param), dict(made()))
    except go.MissingError as error:
        if shutil.which("go"):
            raise pytest.fail.Exception(str(error), pytrace=False) from None
        pytest.skip(str(error))


@pytest.mark.parametrize("title", TEMPLATES)
def test_a_run_of_every_pair_is_accepted(problems: dict[str, list[str]], title: str) -> None:
    of_title = {name: found for name, found in problems.items() if name.startswith(f"{title}: ")}
    assert of_title == {name: [] for name, _ in made() if name.startswith(f"{title}: ")}
    assert len(of_title) == 9


def test_a_run_of_a_commit_of_sha_256_is_accepted(problems: dict[str, list[str]]) -> None:
    assert problems["of SHA-256"] == []


def test_a_run_of_every_pair_of_kubeflows_own_files_is_accepted(problems: dict[str, list[str]]) -> None:
    if not SEED.exists():
        pytest.skip(f"{SEED} is not there")
    of_kubeflow = [found for name, found in problems.items() if name.startswith("of kubeflow's own files: ")]
    assert of_kubeflow == [[]] * 43


def test_no_two_runs_have_one_name() -> None:
    names = [yaml.safe_load(text)["metadata"]["name"] for _, text in made()]
    assert len(names) == len(set(names))
