"""What a kustomization brings in, by its text."""

from textwrap import dedent

import pytest

from steps.core import package
from steps.errors import StepError

EVERYTHING = """\
resources:
- deployment.yaml
- ../base
bases: [../old]
components:
- ../feature
crds:
- crd.yaml
configurations:
- fields.yaml
generators:
- generator.yaml
transformers:
- |-
  kind: PrefixTransformer
  metadata: {name: https://example.com}
- transformer.yaml
validators:
- validator.yaml
patchesStrategicMerge:
- merge.yaml
patches:
- path: patch.yaml
  target: {kind: Deployment}
- patch: |-
    - op: remove
patchesJson6902:
- path: operations.yaml
replacements:
- path: replacement.yaml
- source: {kind: Deployment}
openapi:
  path: schema.json
configMapGenerator:
- name: one
  files:
  - one.properties
  - key=two.properties
  envs:
  - three.env
  env: four.env
  literals:
  - URL=https://example.com
secretGenerator:
- name: two
  files: [https://example.com/five?a=b]
commonAnnotations:
  home: https://example.com
images:
- name: app
"""


def test_every_field_with_a_path_is_read_and_no_other() -> None:
    told = package.read(EVERYTHING)
    assert [(entry.line, entry.text) for entry in told.inclusions if not entry.is_document] == [
        (2, "deployment.yaml"),
        (3, "../base"),
        (4, "../old"),
        (6, "../feature"),
        (8, "crd.yaml"),
        (10, "fields.yaml"),
        (12, "generator.yaml"),
        (17, "transformer.yaml"),
        (19, "validator.yaml"),
        (21, "merge.yaml"),
        (23, "patch.yaml"),
        (28, "operations.yaml"),
        (30, "replacement.yaml"),
        (33, "schema.json"),
        (37, "one.properties"),
        (38, "key=two.properties"),
        (40, "three.env"),
        (41, "four.env"),
        (46, "https://example.com/five?a=b"),
    ]
    assert told.programs == []


@pytest.mark.parametrize(
    "text",
    [
        "https://github.com/example/manifests//web?ref=v1",
        "https://example.com/web.yaml",
        "http://127.0.0.1:8080/web.yaml",
        "ssh://git@example.com/manifests",
        "git@github.com:example/manifests.git",
        "github.com/example/manifests/web",
        "git::https://example.com/manifests",
        "gh:example/manifests",
        "gitlab.com/example/manifests.git//web?ref=main",
        "example.com/manifests?ref=main",
        "file:///manifests",
        "oci://example.com/manifests",
    ],
)
def test_what_kustomize_asks_a_server_for_is_remote(text: str) -> None:
    (entry,) = package.read(f"resources:\n- {text}\n").inclusions
    assert (entry.text, entry.is_remote(exists=False)) == (text, True)


def test_fields_are_alike_in_any_case() -> None:
    text = "Resources: [a]\nOpenAPI: {Path: b}\nPATCHES: [{PATH: c}]\nconfigmapGenerator: [{Files: [d]}]\n"
    assert [each.text for each in package.read(text).inclusions] == ["a", "b", "c", "d"]


def test_a_plugin_that_is_written_out_is_remote_when_it_has_a_url_and_a_patch_is_not() -> None:
    document = "- |-\n  kind: Any\n  value: https://example.com\n- '{kind: Any, value: \"https://example.com\"}'\n"
    for field, is_remote in (("generators", True), ("transformers", True), ("patchesStrategicMerge", False)):
        told = package.read(f"{field}:\n{document}").inclusions
        assert [each.is_remote(exists=False) for each in told] == [is_remote, is_remote]


def test_what_has_a_scheme_is_remote_whatever_file_there_is() -> None:
    url, repository = package.Inclusion("https://example.com/a", 1), package.Inclusion("github.com/example/a", 1)
    assert (url.is_remote(exists=True), repository.is_remote(exists=True)) == (True, False)


@pytest.mark.parametrize(
    "text", ["<<: {resources: [a]}\n", "patches:\n- <<: {path: a}\n", "a: [\n", "a: b\n---\nc: d\n"]
)
def test_what_cannot_be_said_of_a_kustomization_is_refused(text: str) -> None:
    with pytest.raises(StepError):
        package.read(text)


@pytest.mark.parametrize("text", ["base", "../base", "./a.yaml", "github/a.yaml", "a@b/c.yaml", "a.git.yaml", "a b:c"])
def test_a_path_is_not(text: str) -> None:
    (entry,) = package.read(f"resources:\n- '{text}'\n").inclusions
    assert (entry.text, entry.is_remote(exists=False)) == (text, False)


def test_a_chart_needs_helm() -> None:
    told = package.read("resources: []\nhelmCharts:\n- name: web\n  repo: https://example.com\n")
    assert told == package.Package([], [package.Inclusion("helm", 2)])


def test_an_alias_is_followed() -> None:
    text = dedent(
        """\
        x: &x [https://example.com/a.yaml]
        resources: *x
        """
    )
    assert [entry.text for entry in package.read(text).inclusions] == ["https://example.com/a.yaml"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a\n",
        "resources",
        "patches: [[a]]\n",
        "resources: {a: b}\n",
        "patches: text\n",
        "resources: ~\n",
        "resources:\n- {a: b}\n",
    ],
)
def test_what_is_no_kustomization_brings_in_nothing(text: str) -> None:
    assert package.read(text) == package.Package([], [])
