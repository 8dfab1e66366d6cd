import dataclasses
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from steps.core import applications, run_status
from steps.core.applications import Pair, TagPrefix
from steps.core.pipeline_run import (
    LONGEST_NAME,
    PARAMS,
    Template,
    attempt,
    file_names,
    label_value,
    param,
    read_template,
    render,
    run_name,
)
from steps.core.typed_yaml import Value
from steps.core.update import Application, Version
from tests.steps import kubeflow

FILE = "template.yaml"
ROOT = Path(__file__).parents[2]
SEED = kubeflow.SEED / "app-pipeline.template.yaml"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
CREATED = "2026-01-02T03:04:05Z"

TOKEN: dict[str, Value] = {"name": "github-token", "secret": {"secretName": "github-token"}}
BOUND = "`ci-pipeline` read the Secret `github-token` by itself; here it is bound as a workspace"


def read(text: str) -> tuple[Template | None, list[str]]:
    """A template and the problems with it, as `line:column: message`; before that of a warning stands `warning: `."""
    template, problems = read_template(FILE, textwrap.dedent(text).removeprefix("\n"))
    return template, [str(problem).removeprefix(f"{FILE}:").replace(" error: ", " ") for problem in problems]


def whole(text: str) -> Template:
    template, problems = read(text)
    assert template, problems
    return template


def test_kubeflows_own_template_is_brought_to_v1() -> None:
    if not SEED.exists():
        pytest.skip(f"{SEED} is not there")
    assert read(SEED.read_text(encoding="utf-8")) == (
        Template(
            metadata={},
            spec={
                "taskRunTemplate": {"serviceAccountName": "ci-pipeline-run-service-account"},
                "pipelineRef": {"name": "apps-cd"},
            },
            params={
                "app-repo-revision": "1795828",
                "app-repo-url": "git@github.com:kubeflow/kubeflow.git",
                "manifests-repo-revision": "master",
                "manifests-repo-url": "git@github.com:kubeflow/manifests.git",
                "image": "gcr.io/kubeflow-images-public/profile-controller:vmaster-g1795828",
                "path-to-context": "components/profile-controller",
                "path-to-docker-file": "components/profile-controller/Dockerfile",
                "path-to-manifests-dir": "profiles/base",
                "src-image-url": "gcr.io/kubeflow-images-public/profile-controller",
            },
            workspaces={"github-token": TOKEN},
            known_params=PARAMS,
        ),
        [
            f"10:5: warning: {BOUND}",
            (
                "20:5: warning: the parameter `container_image` is dropped: "
                "the steps' image is what tekton/kustomization.yaml says"
            ),
            "40:5: warning: the resource `ci-tools` is dropped: the tools are in the steps' image",
        ],
    )


def template(spec: str, version: str = "v1", metadata: str = "{}") -> str:
    """A template; what is given of its spec begins in line 5."""
    return f"apiVersion: tekton.dev/{version}\nkind: PipelineRun\nmetadata: {metadata}\nspec:\n" + textwrap.indent(
        textwrap.dedent(spec).removeprefix("\n"), "  "
    )


OURS: dict[str, Any] = {
    "metadata": {},
    "spec": {"pipelineRef": {"name": "apps-cd"}},
    "params": {},
    "workspaces": {},
    "known_params": PARAMS,
}
OLD = "pipelineRef: {name: ci-pipeline}\nworkspaces: [{name: github-token, secret: {secretName: github-token}}]\n"
OLD_WORKSPACES = {"github-token": TOKEN}


@pytest.mark.parametrize(
    ("text", "changes", "warnings"),
    [
        pytest.param(template("pipelineRef: {name: apps-cd}"), {}, [], id="v1, and nothing else"),
        pytest.param(template("pipelineRef: {name: apps-cd}", "v1beta1"), {}, [], id="v1beta1, and nothing else"),
        pytest.param(
            template("pipelineRef: {name: ci-pipeline}", "v1alpha1"),
            {"workspaces": OLD_WORKSPACES},
            [f"5:16: warning: {BOUND}"],
            id="v1alpha1, and nothing else",
        ),
        pytest.param(template(OLD, "v1alpha1"), {"workspaces": OLD_WORKSPACES}, [], id="v1alpha1 with the token bound"),
        pytest.param(
            template("pipelineRef: {name: ci-pipeline}"),
            {"spec": {"pipelineRef": {"name": "ci-pipeline"}}, "known_params": None},
            [],
            id="v1 of a Pipeline that has the old name",
        ),
        pytest.param(
            template(
                "pipelineRef: {name: apps-cd}",
                metadata=(
                    "{name: a, generateName: b-, namespace: kf, labels: {team: web}, annotations: {note: '1'}, finalizers: [x]}"
                ),
            ),
            {
                "metadata": {
                    "namespace": "kf",
                    "labels": {"team": "web"},
                    "annotations": {"note": "1"},
                    "finalizers": ["x"],
                }
            },
            [],
            id="metadata, of which all but the name is kept",
        ),
        pytest.param(
            template("pipelineRef: {name: apps-cd}", metadata="{labels: , annotations: ~}"),
            {"metadata": {"labels": None, "annotations": None}},
            [],
            id="metadata that is empty",
        ),
        pytest.param(
            template(
                """
                pipelineRef: {name: apps-cd}
                params:
                  - {name: path_to_context, value: web}
                  - {name: extra-args, value: [--a, --b]}
                  - {name: depth, value: 5}
                  - {name: draft, value: yes}
                """
            ),
            {"params": {"path-to-context": "web", "extra-args": ["--a", "--b"], "depth": 5, "draft": True}},
            [],
            id="parameters, as Kubernetes reads their values",
        ),
        pytest.param(
            template(
                """
                pipelineRef: {name: apps-cd}
                params:
                  - {name: container_image, value: a}
                  - {name: draft, value: "true"}
                """
            ),
            {"params": {"draft": "true"}},
            [
                (
                    "7:7: warning: the parameter `container_image` is dropped: "
                    "the steps' image is what tekton/kustomization.yaml says"
                ),
            ],
            id="a parameter that is gone",
        ),
        pytest.param(
            template(
                """
                pipelineRef: {name: apps-cd}
                workspaces:
                  - name: dockerconfig
                    secret: {secretName: registry, defaultMode: 0400}
                """
            ),
            {
                "workspaces": {
                    "dockerconfig": {
                        "name": "dockerconfig",
                        "secret": {"secretName": "registry", "defaultMode": 256},
                    }
                }
            },
            [],
            id="a workspace",
        ),
        pytest.param(
            template(
                """
                timeouts: {pipeline: 1h}
                pipelineRef: {name: apps-cd}
                status: PipelineRunPending
                managedBy: queue
                taskRunTemplate: {serviceAccountName: build}
                taskRunSpecs: [{pipelineTaskName: update, serviceAccountName: other}]
                """
            ),
            {
                "spec": {
                    "timeouts": {"pipeline": "1h"},
                    "pipelineRef": {"name": "apps-cd"},
                    "status": "PipelineRunPending",
                    "managedBy": "queue",
                    "taskRunTemplate": {"serviceAccountName": "build"},
                    "taskRunSpecs": [{"pipelineTaskName": "update", "serviceAccountName": "other"}],
                }
            },
            [],
            id="all other fields of v1, as they are",
        ),
        pytest.param(
            template(
                """
                pipelineRef: {resolver: git, params: [{name: url, value: https://h/o/n}]}
                params: [{name: whatever_it_is, value: a}]
                """
            ),
            {
                "spec": {"pipelineRef": {"resolver": "git", "params": [{"name": "url", "value": "https://h/o/n"}]}},
                "params": {"whatever_it_is": "a"},
                "known_params": None,
            },
            [],
            id="a Pipeline by a resolver, whose parameters are not known",
        ),
        pytest.param(
            template("pipelineRef: {name: other}\nparams: [{name: container-image, value: a}]"),
            {
                "spec": {"pipelineRef": {"name": "other"}},
                "params": {"container-image": "a"},
                "known_params": None,
            },
            [],
            id="another Pipeline, whose parameters are not known",
        ),
        pytest.param(
            template("pipelineSpec: {tasks: []}"),
            {"spec": {"pipelineSpec": {"tasks": []}}, "known_params": None},
            [],
            id="a Pipeline that is written out",
        ),
        pytest.param(
            template("pipelineRef: {name: apps-cd}\nserviceAccountName: build", "v1beta1"),
            {"spec": {"taskRunTemplate": {"serviceAccountName": "build"}, "pipelineRef": {"name": "apps-cd"}}},
            [],
            id="the service account of v1beta1",
        ),
        pytest.param(
            template(
                "pipelineRef: {name: apps-cd}\npodTemplate: {nodeSelector: {a: b}}\nserviceAccountName: c", "v1beta1"
            ),
            {
                "spec": {
                    "taskRunTemplate": {"serviceAccountName": "c", "podTemplate": {"nodeSelector": {"a": "b"}}},
                    "pipelineRef": {"name": "apps-cd"},
                }
            },
            [],
            id="the pods of v1beta1",
        ),
        pytest.param(
            template("pipelineRef: {name: apps-cd}\ntimeout: 1h0m0s", "v1beta1"),
            {"spec": {"timeouts": {"pipeline": "1h0m0s"}, "pipelineRef": {"name": "apps-cd"}}},
            [],
            id="the time-out of v1beta1",
        ),
        pytest.param(
            template(
                """
                pipelineRef: {name: apps-cd}
                taskRunSpecs:
                  - pipelineTaskName: build
                    taskServiceAccountName: build
                    taskPodTemplate: {volumes: [{name: a, resources: b}]}
                    stepOverrides: [{name: push, resources: {limits: {cpu: 1}}}]
                    sidecarOverrides: [{name: proxy, resources: {limits: {cpu: 2}}}]
                    computeResources: {limits: {cpu: 3}}
                  - pipelineTaskName: update
                """,
                "v1beta1",
            ),
            {
                "spec": {
                    "taskRunSpecs": [
                        {
                            "pipelineTaskName": "build",
                            "serviceAccountName": "build",
                            "podTemplate": {"volumes": [{"name": "a", "resources": "b"}]},
                            "stepSpecs": [{"name": "push", "computeResources": {"limits": {"cpu": 1}}}],
                            "sidecarSpecs": [{"name": "proxy", "computeResources": {"limits": {"cpu": 2}}}],
                            "computeResources": {"limits": {"cpu": 3}},
                        },
                        {"pipelineTaskName": "update"},
                    ],
                    "pipelineRef": {"name": "apps-cd"},
                }
            },
            [],
            id="single tasks of v1beta1",
        ),
        pytest.param(
            template("pipelineRef: {name: apps-cd}\ntaskRunSpecs: [build]", "v1beta1"),
            {"spec": {"taskRunSpecs": ["build"], "pipelineRef": {"name": "apps-cd"}}},
            [],
            id="single tasks that are none, which Tekton refuses",
        ),
        pytest.param(
            template(
                OLD
                + textwrap.dedent(
                    """\
                    params: [{name: docker_target, value: a}]
                    resources:
                      - name: app-repo
                        resourceSpec:
                          type: git
                          params: [{name: url, value: https://h/o/code}, {name: revision, value: main}, {name: depth, value: "1"}]
                      - name: manifests
                        resourceSpec: {type: git, params: [{name: url, value: https://h/o/manifests}]}
                      - name: image
                        resourceSpec: {type: image, params: [{name: url, value: "r.io/app:v1"}]}
                      - name: ci-tools
                        resourceRef: {name: ci-tools}
                    """
                ),
                "v1alpha1",
            ),
            {
                "params": {
                    "app-repo-url": "https://h/o/code",
                    "app-repo-revision": "main",
                    "manifests-repo-url": "https://h/o/manifests",
                    "image": "r.io/app:v1",
                    "docker-target": "a",
                },
                "workspaces": OLD_WORKSPACES,
            },
            ["17:7: warning: the resource `ci-tools` is dropped: the tools are in the steps' image"],
            id="resources of v1alpha1",
        ),
    ],
)
def test_a_template_is_read(text: str, changes: dict[str, Any], warnings: list[str]) -> None:
    assert read(text) == (Template(**{**OURS, **changes}), warnings)


V1 = "apiVersion: tekton.dev/v1\nkind: PipelineRun\n"
API = "is tekton.dev/v1 or tekton.dev/v1alpha1 or tekton.dev/v1beta1"


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        pytest.param("", ["1:1: a template is a PipelineRun"], id="it is empty"),
        pytest.param("- a", ["1:1: a template is a PipelineRun"], id="it is a list"),
        pytest.param(
            "a: [",
            ["1:5: no YAML parser takes this (expected the node content, but found '<stream end>'): mend it"],
            id="it is no YAML",
        ),
        pytest.param(
            template("pipelineRef: {name: apps-cd}") + "\n---\n" + template("pipelineRef: {name: apps-cd}"),
            ["6:1: a second document begins: keep one in the file"],
            id="there are two",
        ),
        pytest.param(
            template("pipelineRef: {name: apps-cd}").replace("PipelineRun", "Pipeline"),
            ["2:7: `kind` of a template is PipelineRun"],
            id="it is of another kind",
        ),
        pytest.param(
            template("pipelineRef: {name: apps-cd}", "v2"),
            [f"1:13: `apiVersion` of a template {API}"],
            id="it is of another version",
        ),
        pytest.param(
            "spec: {pipelineRef: {name: apps-cd}}",
            ["1:1: `kind` of a template is PipelineRun", f"1:1: `apiVersion` of a template {API}"],
            id="kind and version are missing",
        ),
        pytest.param(
            template("pipelineRef: {name: apps-cd}") + "\nspecs: {}\nstatus: {}",
            [
                "6:1: a PipelineRun has no key `specs`; did you mean `spec`?",
                "7:1: a PipelineRun has no key `status`",
            ],
            id="it has unknown keys",
        ),
        pytest.param(
            V1, ["1:1: `spec` of a template lacks `pipelineRef`, such as `name: apps-cd`"], id="it has no spec"
        ),
        pytest.param(
            f"{V1}spec:\n",
            ["1:1: `spec` of a template lacks `pipelineRef`, such as `name: apps-cd`"],
            id="its spec is empty",
        ),
        pytest.param(
            template("pipelineRef:"),
            ["1:1: `spec` of a template lacks `pipelineRef`, such as `name: apps-cd`"],
            id="its Pipeline is empty",
        ),
        pytest.param(
            template("pipelineRef: apps-cd"), ["5:16: `pipelineRef` is a mapping"], id="its Pipeline is a text"
        ),
        pytest.param(
            f"{V1}metadata: []\nspec: apps-cd\n",
            [
                "1:1: `spec` of a template lacks `pipelineRef`, such as `name: apps-cd`",
                "3:11: `metadata` is a mapping",
                "4:7: `spec` is a mapping",
            ],
            id="metadata and spec are none",
        ),
        pytest.param(
            template(
                "pipelineRef: {name: apps-cd}", metadata="{labels: {team: 5, 'bad key!': x, long: %s}}" % ("a" * 64)
            ),
            [
                "3:27: `team` of `labels` is text: put quotes around it",
                "3:30: `bad key!` is no name of one of `labels`",
                f"3:51: {'a' * 64!r} is not the value of a label: at most 63 of letters, digits, `-`, `_` and `.`",
            ],
            id="labels are not what Kubernetes takes for them",
        ),
        pytest.param(
            template("pipelineRef: {name: apps-cd}", metadata="{resourceVersion: '1', namspace: a}"),
            [
                "3:12: `metadata` of a template has no key `resourceVersion`",
                "3:34: `metadata` of a template has no key `namspace`; did you mean `namespace`?",
            ],
            id="metadata has what a server writes, and a typo",
        ),
        pytest.param(
            template("pipelineRef: {name: apps-cd}\nparams: [{name: extra-args, value: a}, {name: depth, value: [a]}]"),
            ["6:12: the parameter `extra-args` is a list of texts", "6:42: the parameter `depth` is one text"],
            id="a text and a list have each other's type",
        ),
        pytest.param(
            template("pipelineRef: {name: apps-cd}", metadata="{labels: [a], annotations: b}"),
            ["3:20: `labels` is a mapping", "3:38: `annotations` is a mapping"],
            id="labels and annotations are none",
        ),
        pytest.param(
            template("pipelineRef: {name: apps-cd}\nparam: []\nserviceAccountName: a\nresources: []"),
            [
                "6:3: `spec` of a PipelineRun has no key `param`; did you mean `params`?",
                "7:3: `spec` of a PipelineRun has no key `serviceAccountName`",
                "8:3: `spec` of a PipelineRun has no key `resources`",
            ],
            id="it has fields that v1 has not",
        ),
        pytest.param(
            template("pipelineRef: {name: ci-pipeline}\nserviceAccount: a", "v1alpha1"),
            [
                f"5:16: warning: {BOUND}",
                "6:3: `spec` of a PipelineRun has no key `serviceAccount`",
            ],
            id="it has fields that v1alpha1 has not",
        ),
        pytest.param(
            template("pipelineRef: {name: apps-cd}\npipelineRef: {name: apps-cd}"),
            ["6:3: `pipelineRef` stands in line 5 already: keep one of the two"],
            id="a key is there twice",
        ),
        pytest.param(
            template(
                """
                pipelineRef: {name: apps-cd}
                params:
                  - draft
                  - {name: darft, value: "true"}
                  - {name: colour, value: red}
                  - {value: a}
                  - {name: 5, value: a}
                  - {name: draft}
                  - {name: path_to_context, value: a}
                  - {name: path-to-context, value: a}
                  - {name: depth, value: 1, value: 2}
                """
            ),
            [
                "7:7: an item of `params` is a mapping with a `name`",
                "8:7: the Pipeline has no parameter `darft`; did you mean `draft`?",
                "9:7: the Pipeline has no parameter `colour`",
                "10:7: an item of `params` is a mapping with a `name`",
                "11:7: an item of `params` is a mapping with a `name`",
                "12:7: the parameter `draft` lacks its `value`",
                "14:7: `path-to-context` is there already: keep one of the two",
                "15:31: `value` stands in line 15 already: keep one of the two",
            ],
            id="parameters are broken",
        ),
        pytest.param(
            template("pipelineRef: {name: apps-cd}\nparams: {draft: true}\nworkspaces: github-token"),
            [f"{place} is a list: write each item behind a `- `" for place in ("6:11: `params`", "7:15: `workspaces`")],
            id="lists are none",
        ),
        pytest.param(
            template(
                """
                pipelineRef: {name: other}
                params: [{name: a, value: b}, {name: a, value: c}, {name: d}]
                """
            ),
            ["6:33: `a` is there already: keep one of the two", "6:54: the parameter `d` lacks its `value`"],
            id="parameters of another Pipeline are broken",
        ),
        pytest.param(
            template(
                """
                pipelineRef: {name: apps-cd}
                workspaces:
                  - github-token
                  - {name: a, emptyDir: {}}
                  - {name: a, emptyDir: {}}
                """
            ),
            [
                "7:7: an item of `workspaces` is a mapping with a `name`",
                "9:7: `a` is there already: keep one of the two",
            ],
            id="workspaces are broken",
        ),
        pytest.param(
            template(
                OLD
                + textwrap.dedent(
                    """\
                    resources:
                      - name: app-repo
                        resourceRef: {name: app-repo}
                      - name: image
                        resourceSpec: r.io/app
                      - name: database
                        resourceSpec: {type: git, params: []}
                      - name: [image]
                      - image
                      - {name: manifests, resourceSpec: {params: []}}
                      - {name: manifests, resourceSpec: {params: []}}
                    """
                ),
                "v1alpha1",
            ),
            [
                "8:7: the resource `app-repo` has no `resourceSpec` with `params`",
                "10:7: the resource `image` has no `resourceSpec` with `params`",
                "12:7: there is no parameter for the resource `database`: write what it is for as `params`",
                "14:7: an item of `resources` is a mapping with a `name`",
                "15:7: an item of `resources` is a mapping with a `name`",
                "17:7: `manifests` is there already: keep one of the two",
            ],
            id="resources are broken",
        ),
    ],
)
def test_a_template_is_refused(text: str, problems: list[str]) -> None:
    assert read(text) == (None, problems)


def test_parameters_of_the_pipeline_are_those_of_its_yaml() -> None:
    pipeline = yaml.safe_load((ROOT / "tekton" / "pipelines" / "apps-cd.yaml").read_text(encoding="utf-8"))
    assert list(PARAMS) == [param["name"] for param in pipeline["spec"]["params"]]


CONFIGURATION = """\
applications:
  - name: web
    sourceRepo: code
    context: services/web
    manifestsDir: web/base
    image: r.io/team/web
MORE
versions:
  - name: v1
    tag: 1.10
    repos:
      - {name: code, url: https://github.com/o/code.git, branch: main}
      - {name: manifests, url: https://github.com/o/manifests.git, branch: v1-branch}
"""


def pair(more: str = "") -> Pair:
    """A pair whose application says more than it must."""
    text = CONFIGURATION.replace("MORE\n", textwrap.indent(more + "\n", "    "))
    configuration = applications.parse({"applications.yaml": text}, pipeline_params=PARAMS)
    (found,) = configuration.pairs
    assert isinstance(found, Pair), configuration.problems
    return found


TEMPLATE = template(
    """
    pipelineRef:
      name: apps-cd
    params:
      - {name: digest-style, value: inline}
      - {name: path-to-context, value: elsewhere}
      - {name: extra-args, value: [--cache=true]}
      - {name: depth, value: "1"}
    workspaces:
      - name: dockerconfig
        secret: {secretName: registry}
      - name: github-token
        secret: {secretName: github-token}
    timeouts: {pipeline: 1h}
    taskRunTemplate:
      serviceAccountName: build
    """,
    metadata="{namespace: kf, labels: {team: web, apps-cd/version: none}, annotations: {note: two words}}",
)
MORE = """\
target: release
pushedImage: eu.r.io/team/web
labels: [bug, help wanted]
reviewers: [alice, o/owners]
draft: false
params:
  - {name: depth, value: 0}
  - {name: author, value: "A <a@example.com>"}
workspaces:
  - {name: dockerconfig, emptyDir: {}}
  - {name: app-repo-credentials, secret: {secretName: code, defaultMode: 0400}}
"""
RENDERED = """\
apiVersion: tekton.dev/v1
kind: PipelineRun
metadata:
  name: web-v1-01234567-487c7601
  namespace: kf
  labels:
    team: web
    apps-cd/version: v1
    apps-cd/application: web
  annotations:
    note: "two words"
    apps-cd/application: web
    apps-cd/version: v1
    apps-cd/source-commit: 0123456789abcdef0123456789abcdef01234567
    apps-cd/image-tag: 1.10-g01234567
spec:
  pipelineRef:
    name: apps-cd
  params:
    - name: digest-style
      value: inline
    - name: path-to-context
      value: services/web
    - name: extra-args
      value:
        - "--cache=true"
    - name: depth
      value: "0"
    - name: author
      value: "A <a@example.com>"
    - name: app-repo-url
      value: https://github.com/o/code.git
    - name: app-repo-revision
      value: 0123456789abcdef0123456789abcdef01234567
    - name: app-repo-branch
      value: main
    - name: path-to-docker-file
      value: services/web/Dockerfile
    - name: image
      value: eu.r.io/team/web:1.10-g01234567
    - name: manifests-repo-url
      value: https://github.com/o/manifests.git
    - name: manifests-repo-revision
      value: v1-branch
    - name: path-to-manifests-dir
      value: web/base
    - name: src-image-url
      value: r.io/team/web
    - name: application
      value: web
    - name: version
      value: v1
    - name: docker-target
      value: release
    - name: labels
      value: "bug,help wanted"
    - name: reviewer
      value: alice,o/owners
    - name: draft
      value: "false"
  workspaces:
    - name: dockerconfig
      emptyDir: {}
    - name: github-token
      secret:
        secretName: github-token
    - name: app-repo-credentials
      secret:
        secretName: code
        defaultMode: 256
  timeouts:
    pipeline: 1h
  taskRunTemplate:
    serviceAccountName: build
"""


def test_a_run_is_its_template_with_what_the_pair_says() -> None:
    run = render(whole(TEMPLATE), pair(MORE), COMMIT)
    assert (run.name, run.image) == ("web-v1-01234567-487c7601", "eu.r.io/team/web:1.10-g01234567")
    assert run.text == RENDERED
    assert yaml.safe_load(run.text) == run.document


def test_a_run_of_a_pipeline_that_is_written_out_has_no_reference() -> None:
    run = render(whole(template("pipelineSpec: {tasks: []}\ntimeouts: {tasks: 1h}")), pair(), COMMIT)
    document = yaml.safe_load(run.text)
    assert list(document["spec"]) == ["params", "pipelineSpec", "timeouts"]


def test_parameters_stand_in_the_order_of_template_pair_and_pipeline() -> None:
    text = template("pipelineRef: {name: apps-cd}\nparams: [{name: version, value: a}, {name: depth, value: a}]")
    run = render(whole(text), pair("params: [{name: symlinks, value: keep}, {name: depth, value: 1}]"), COMMIT)
    names = [param["name"] for param in yaml.safe_load(run.text)["spec"]["params"]]
    of_the_pair = ["version", "depth", "symlinks"]
    always = (*list(PARAMS)[:10], "application")
    assert names == [*of_the_pair, *always]


@pytest.mark.parametrize(
    ("commit", "tag", "value"),
    [
        pytest.param(COMMIT, "$(tag)-g$(short-commit)", "1.10-g01234567", id="of SHA-1"),
        pytest.param(COMMIT, "$(commit)", COMMIT, id="of SHA-1, whole"),
        pytest.param("ab" * 32, "$(tag)-g$(short-commit)", "1.10-gabababab", id="of SHA-256"),
        pytest.param("12345678" * 5, "$(short-commit)", "12345678", id="that reads as a number"),
        pytest.param("1234e567" * 5, "$(short-commit)", "1234e567", id="that reads as a number with an exponent"),
    ],
)
def test_a_run_names_its_commit(commit: str, tag: str, value: str) -> None:
    run = render(whole(template("pipelineRef: {name: apps-cd}")), pair(f"imageTag: {tag}"), commit)
    document = yaml.safe_load(run.text)
    params = {param["name"]: param["value"] for param in document["spec"]["params"]}
    annotations = document["metadata"]["annotations"]
    assert (run.image, params["image"], params["app-repo-revision"]) == (*[f"r.io/team/web:{value}"] * 2, commit)
    assert (annotations["apps-cd/image-tag"], annotations["apps-cd/source-commit"]) == (value, commit)


def test_a_tag_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        render(whole(TEMPLATE), dataclasses.replace(pair(), prefix=TagPrefix("v" * 119)), COMMIT)
    message = "is not an image tag: at most 128 of letters, digits, `_`, `.` and `-`"
    assert str(error.value) == f"'{'v' * 119}-g01234567' {message}"


def test_the_same_arguments_make_the_same_run() -> None:
    assert render(whole(TEMPLATE), pair(MORE), COMMIT) == render(whole(TEMPLATE), pair(MORE), COMMIT)


@pytest.mark.parametrize(
    ("text", "changes", "commit"),
    [
        pytest.param(TEMPLATE, {}, COMMIT[:-1] + "8", id="the last digit of the commit"),
        pytest.param(TEMPLATE, {"params": {"depth": "2"}}, COMMIT, id="a parameter"),
        pytest.param(TEMPLATE, {"labels": ("bug",)}, COMMIT, id="a label of the pull request"),
        pytest.param(TEMPLATE, {"workspaces": {}}, COMMIT, id="a workspace"),
        pytest.param(TEMPLATE, {"context": "."}, COMMIT, id="the context"),
        pytest.param(TEMPLATE, {"version": "v-1"}, COMMIT, id="the version"),
        pytest.param(TEMPLATE.replace("team: web", "team: api"), {}, COMMIT, id="a label of the template"),
        pytest.param(TEMPLATE.replace("1h", "2h"), {}, COMMIT, id="a time-out of the template"),
        pytest.param(TEMPLATE.replace("{namespace: kf,", "{namespace: kg,"), {}, COMMIT, id="the namespace"),
    ],
)
def test_another_name_is_made_by_another(text: str, changes: dict[str, Any], commit: str) -> None:
    changed = render(whole(text), dataclasses.replace(pair(MORE), **changes), commit)
    assert changed.name != render(whole(TEMPLATE), pair(MORE), COMMIT).name


def test_no_other_name_is_made_by_the_order_of_labels_or_by_a_comment() -> None:
    text = TEMPLATE.replace("{team: web, apps-cd/version: none}", "{apps-cd/version: none, team: web}")
    assert render(whole(f"# a comment\n{text}"), pair(MORE), COMMIT).name == "web-v1-01234567-487c7601"


# Attempts.


def test_a_second_attempt_is_the_same_run_under_a_name_of_its_own() -> None:
    second = attempt(render(whole(TEMPLATE), pair(MORE), COMMIT), 2)
    tag = "    apps-cd/image-tag: 1.10-g01234567\n"
    more = '    apps-cd/first-attempt: web-v1-01234567-487c7601\n    apps-cd/attempt: "2"\n'
    assert (second.name, second.image) == ("web-v1-01234567-487c7601-r2", "eu.r.io/team/web:1.10-g01234567")
    assert second.text == RENDERED.replace("487c7601\n", "487c7601-r2\n", 1).replace(tag, tag + more)


def test_the_first_attempt_is_the_run_itself() -> None:
    first = render(whole(TEMPLATE), pair(MORE), COMMIT)
    assert attempt(first, 1) is first


@pytest.mark.parametrize("number", [2, 10, 999, 1000, 999_999])
@pytest.mark.parametrize("application", ["web", "a" * 100])
def test_any_attempt_has_a_name_for_kubernetes_and_tells_which_it_is(application: str, number: int) -> None:
    first = render(whole(TEMPLATE), dataclasses.replace(pair(), application=Application(application)), COMMIT)
    made = attempt(first, number)
    assert len(made.name) <= LONGEST_NAME
    assert made.name.endswith(f"-r{number}")
    told = run_status.run({**made.document, "metadata": {**made.document["metadata"], "creationTimestamp": CREATED}})
    assert told
    assert (told.first, told.attempt) == (first.name, number)


def test_a_run_that_is_taken_for_a_template_hands_on_nothing_of_itself() -> None:
    text = TEMPLATE.replace(
        "{note: two words}",
        "{apps-cd/attempt: '2', note: two words, apps-cd/first-attempt: a, apps-cd/superseded-by: b}",
    )
    assert render(whole(text), pair(MORE), COMMIT) == render(whole(TEMPLATE), pair(MORE), COMMIT)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("digest-style", "inline", id="of the template"),
        pytest.param("author", "A <a@example.com>", id="of the pair"),
        pytest.param("path-to-context", "services/web", id="of the pair, in place of the template's"),
        pytest.param("labels", "bug,help wanted", id="of a key of the pair"),
        pytest.param("draft", "false", id="of a key that is no text"),
        pytest.param("title", None, id="that nobody sets"),
        pytest.param("extra-args", None, id="that is a list"),
        pytest.param("fork-owner", "", id="that is empty"),
        pytest.param("submodules", "true", id="that is written without quotes"),
        pytest.param("symlinks", None, id="that is null"),
    ],
)
def test_the_value_of_a_parameter_is_what_a_run_gets(name: str, value: str | None) -> None:
    more = "  - {name: fork-owner, value: ''}\n  - {name: submodules, value: true}\n  - {name: symlinks, value: ~}"
    text = TEMPLATE.replace("  workspaces:", textwrap.indent(more, "  ") + "\n  workspaces:")
    assert param(whole(text), pair(MORE), name) == value
    params = {
        each["name"]: each["value"] for each in render(whole(text), pair(MORE), COMMIT).document["spec"]["params"]
    }
    assert value is None or params[name] in (value, True)


# Names.


@pytest.mark.parametrize(
    ("application", "version", "name"),
    [
        pytest.param("web", "v1", "web-v1-01234567-f25a9ce5", id="as they are"),
        pytest.param(
            "Web_App", "release/1.10", "web-app-release-1-10-01234567-ed5b86d1", id="in small letters and digits"
        ),
        pytest.param("a" * 100, "v1", f"{'a' * 40}-01234567-65bf2108", id="cut"),
        pytest.param("a" * 39 + "-b", "v1", f"{'a' * 39}-01234567-25037b79", id="cut, without a dash at the end"),
        pytest.param("0", "0", "0-0-01234567-efce6408", id="digits"),
    ],
)
def test_the_names_of_application_and_version_stand_in_a_name(application: str, version: str, name: str) -> None:
    assert run_name(application, version, COMMIT, "") == name


@pytest.mark.parametrize(
    ("text", "label"),
    [
        pytest.param("web", "web", id="a word"),
        pytest.param("Web_App-1.10", "Web_App-1.10", id="all characters"),
        pytest.param("a" * 63, "a" * 63, id="63 characters"),
        pytest.param("a" * 64, f"{'a' * 50}-ffe054fe", id="64 characters"),
        pytest.param("release/1.10", "release-1.10-ce4af056", id="a slash"),
        pytest.param("web-", "web--9161755a", id="a dash at the end"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_a_label_is(text: str, label: str) -> None:
    assert label_value(text) == label


def is_valid(kind: type[Application] | type[Version], text: str) -> bool:
    try:
        kind.parse(text)
    except ValueError:
        return False
    return True


parts = st.from_regex(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9_-])?", fullmatch=True) | st.text("aA0", min_size=1)
names = parts.filter(lambda text: is_valid(Application, text))
versions = st.lists(parts, min_size=1, max_size=3).map("/".join).filter(lambda text: is_valid(Version, text))


@settings(deadline=None, derandomize=True, max_examples=80)
@given(names, versions, st.text("0123456789abcdef", min_size=40, max_size=40), st.text(max_size=5))
def test_any_name_is_one_for_kubernetes_and_leaves_room_for_a_retry(
    application: str, version: str, commit: str, content: str
) -> None:
    name = run_name(application, version, commit, content)
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name)
    assert len(f"{name}-r999") <= LONGEST_NAME
    assert name.rpartition("-")[0].endswith(f"-{commit[:8]}")


@settings(deadline=None, derandomize=True, max_examples=80)
@given(names | versions)
def test_any_label_is_one_for_kubernetes(text: str) -> None:
    label = label_value(text)
    assert re.fullmatch(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?", label)
    assert len(label) <= 63


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.sets(versions, min_size=2, max_size=4))
def test_labels_of_different_names_are_different(texts: set[str]) -> None:
    assert len({label_value(text) for text in texts}) == len(texts)


FILE_NAMES: dict[tuple[str, str], str] = {
    ("web", "v1"): "web-v1",
    ("web", "release/1.10"): "web-release-1.10",
    ("a-b", "c"): "a-b-c-97a16767",
    ("a", "b-c"): "a-b-c-310c6517",
    ("api", "x/y"): "api-x-y-37759ba1",
    ("api", "x-y"): "api-x-y-13b612de",
    ("Api", "v1"): "Api-v1-95ccd0e0",
    ("api", "v1"): "api-v1-0bee3f59",
}


def test_files_are_named_after_their_pairs() -> None:
    assert file_names(FILE_NAMES) == FILE_NAMES


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.sets(st.tuples(st.text("aA-", min_size=1, max_size=3), st.text("aA-/", min_size=1, max_size=3)), max_size=12))
def test_names_of_files_differ_on_any_file_system(pairs: set[tuple[str, str]]) -> None:
    made = file_names(pairs)
    assert set(made) == pairs
    assert len({name.lower() for name in made.values()}) == len(pairs)
    assert not [name for name in made.values() if "/" in name]


def test_what_a_pair_sets_is_what_a_configuration_may_not_set_beside_it() -> None:
    everything = pair("target: a\nlabels: [a]\nreviewers: [a]\ndraft: true")
    run = render(whole(template("pipelineRef: {name: apps-cd}")), everything, COMMIT)
    names = {param["name"] for param in yaml.safe_load(run.text)["spec"]["params"]}
    assert names == {*applications.ALIASES, *applications.OF_KEYS, *applications.OF_THE_PAIR}
