"""What kustomize makes of a package before and after an edit, and what is to be said of the two."""

import pytest

from steps.core.kustomization import Entry
from steps.core.rendering import LONGEST_DIFF, Built, Entries, Proof, Verdict, verdict
from steps.errors import StepError

DIGEST = "sha256:" + "d" * 64

BEFORE = """\
apiVersion: v1
data:
  text: |
    image: data:v3
  which: r.io/app:v1
kind: ConfigMap
metadata:
  name: web
---
apiVersion: apps/v1
kind: Deployment
metadata:
  labels:
    version: v1
  name: web
  namespace: shop
spec:
  replicas: 2
  template:
    spec:
      containers:
      - args:
        - --image=app:v1
        image: r.io/app:v1
        name: app
      - env:
        - name: RELATED
          value: operand:v7
        image: envoy:v3
        name: proxy
      initContainers:
      - image: r.io/app:v1
        name: migrate
---
apiVersion: batch/v1
kind: CronJob
metadata:
  name: sweep
spec:
  jobTemplate:
    spec:
      template:
        spec:
          containers:
          - image: r.io/app:v1
            name: sweep
"""

APP = (Entry("app", "r.io/app", "v1"), Entry("app", "r.io/app", "v2", DIGEST))
ENVOY = (None, Entry("envoy", None, "v4"))
NEW = ("image: r.io/app:v1", f"image: r.io/app:v2@{DIGEST}")
MORE = ": see what else of the package depends on that image, or do without --verify"

Replaced = list[tuple[str, str]]


def proof(*replaced: tuple[str, str], package: str = "web/base", before: str = BEFORE) -> Proof:
    """BEFORE, and after it the same with texts in place of others."""
    after = before
    for old, new in replaced:
        assert old in after
        after = after.replace(old, new)
    return Proof(package, Built(before), Built(after))


@pytest.mark.parametrize(
    ("replaced", "entries", "count"),
    [
        pytest.param([NEW], [APP], 3, id="three containers of one image, init containers and other kinds among them"),
        pytest.param([NEW, ("envoy:v3", "envoy:v4")], [APP, ENVOY], 4, id="containers of two images"),
        pytest.param([("envoy:v3", "envoy:v4")], [ENVOY], 1, id="an image that had no entry before"),
        pytest.param([], [(None, Entry("envoy", None, "v3"))], 0, id="an image that the manifests have already"),
        pytest.param([], [(APP[0], APP[0])], 0, id="an entry that says it already"),
        pytest.param(
            [],
            [(Entry("operand", None, "v7"), Entry("operand", None, "v7"))],
            0,
            id="an entry that says it already, of a field that is called otherwise",
        ),
        pytest.param(
            [], [(Entry("app", "r.io/app"), APP[0])], 0, id="an entry without a tag, which gets that of the manifests"
        ),
        pytest.param(
            [], [(Entry("envoy", "envoy", "v3"), Entry("envoy", None, "v3"))], 0, id="a new name that is the name"
        ),
        pytest.param(
            [("r.io/app:v1", "mirror/app:v1")],
            [(Entry("app", "r.io/app"), Entry("app", "mirror/app"))],
            3,
            id="a name alone, where the tag is what the manifests say",
        ),
        pytest.param(
            [("image: r.io/app:v1", "image: app:v0")],
            [(APP[0], Entry("app"))],
            3,
            id="an entry that says nothing any more, where name and tag are what the manifests say",
        ),
        pytest.param(
            [NEW, ("which: r.io/app:v1", f"which: r.io/app:v2@{DIGEST}")],
            [APP],
            3,
            id="a whole reference elsewhere, which is no container",
        ),
    ],
)
def test_containers_that_become_what_was_wanted_are_counted(replaced: Replaced, entries: Entries, count: int) -> None:
    found = verdict([(proof(*replaced), entries)], [])
    containers = "1 container" if count == 1 else f"{count} containers"
    assert (found.verified, found.containers) == ("rendered", count)
    assert found.told == [(False, f"web/base: another image in {containers}")]


@pytest.mark.parametrize(
    ("replaced", "entries", "message"),
    [
        pytest.param(
            [("image: r.io/app:v1", "image: r.io/app:v3")],
            [APP],
            "Deployment shop/web: spec.template.spec.containers[app].image becomes 'r.io/app:v3' in place of 'r.io/app:v1',"
            f" and not an image that is to become r.io/app:v2@{DIGEST}",
            id="another tag than was wanted",
        ),
        pytest.param(
            [("image: envoy:v3", f"image: r.io/app:v2@{DIGEST}")],
            [APP],
            "Deployment shop/web: spec.template.spec.containers[proxy].image becomes 'r.io/app:v2@"
            f"{DIGEST}' in place of 'envoy:v3', and not an image that is to become r.io/app:v2@{DIGEST}",
            id="another image than was meant, whose name a regular expression takes, too",
        ),
        pytest.param(
            [("image: r.io/app:v1", "image: mirror/app:v2")],
            [(Entry("app", "r.io/app"), Entry("app", "mirror/app"))],
            "Deployment shop/web: spec.template.spec.containers[app].image becomes 'mirror/app:v2' in place of"
            " 'r.io/app:v1', and not an image that is to become mirror/app",
            id="another tag, where a name alone was to change",
        ),
        pytest.param(
            [NEW, ("version: v1", "version: v2")],
            [APP],
            "Deployment shop/web: metadata.labels.version becomes 'v2' in place of 'v1', and not an image that is to become"
            f" r.io/app:v2@{DIGEST}",
            id="a label that a replacement takes from the tag",
        ),
        pytest.param(
            [NEW, ("  replicas: 2\n", "")],
            [APP],
            "Deployment shop/web: spec has other fields than before",
            id="a field that is gone",
        ),
        pytest.param(
            [NEW, ("        name: proxy\n", "        name: proxy\n      - image: other\n")],
            [APP],
            "Deployment shop/web: spec.template.spec.containers has other fields than before",
            id="a container more",
        ),
        pytest.param(
            [NEW, ("replicas: 2", 'replicas: "2"')],
            [APP],
            "Deployment shop/web: spec.replicas becomes '2' in place of '2', and not an image that is to become"
            f" r.io/app:v2@{DIGEST}",
            id="a number that has become a text",
        ),
        pytest.param(
            [(BEFORE[BEFORE.index("---\napiVersion: batch") :], "")],
            [APP],
            "nothing is where CronJob sweep was",
            id="a resource that is gone",
        ),
        pytest.param(
            [("kind: ConfigMap\n", "kind: Secret\n---\nkind: ConfigMap\n")],
            [APP],
            "Secret is where ConfigMap web was",
            id="a resource in front of the others",
        ),
    ],
)
def test_whatever_else_changes_is_refused_with_its_place(replaced: Replaced, entries: Entries, message: str) -> None:
    with pytest.raises(StepError) as refusal:
        verdict([(proof(*replaced), entries)], [])
    told = f"nothing was changed: web/base: {message}{MORE}"
    assert (refusal.value.reason, str(refusal.value)) == ("unproven", told)


@pytest.mark.parametrize(
    ("replaced", "entries", "name"),
    [
        pytest.param([NEW], [APP, (None, Entry("r.io/team/app", None, "v2"))], "r.io/team/app", id="beside another"),
        pytest.param(
            [NEW],
            [APP, (None, Entry("typo", "r.io/app", "v2", DIGEST))],
            "typo",
            id="that becomes what another becomes",
        ),
        pytest.param([], [(None, Entry("typo", "envoy", "v3"))], "typo", id="that becomes what is there already"),
        pytest.param([], [(None, Entry("typo", "envoy"))], "typo", id="that becomes what is there, by its name"),
        pytest.param([], [(None, Entry("data", None, "v3"))], "data", id="that a text of a ConfigMap has"),
        pytest.param([], [(None, Entry("operand", None, "v7"))], "operand", id="that kustomize takes for no image"),
        pytest.param(
            [],
            [(Entry("typo", "envoy", "v2"), Entry("typo", "envoy", "v3"))],
            "typo",
            id="whose entry did nothing before",
        ),
    ],
)
def test_an_image_that_nothing_has_is_refused(replaced: Replaced, entries: Entries, name: str) -> None:
    with pytest.raises(StepError) as refusal:
        verdict([(proof(*replaced), entries)], [])
    message, _, near = str(refusal.value).rpartition("; ")
    assert message == (
        f"nothing was changed: web/base: nothing has the image {name}, so that an entry for it would do nothing"
    )
    assert near.startswith("the nearest there are ")


def test_what_a_secret_holds_is_not_told() -> None:
    secret = "kind: Secret\nmetadata:\n  name: web\nstringData:\n  password: hunter2\n"
    with pytest.raises(StepError, match=r"web/base: Secret web: stringData.password becomes another value, and not an"):
        verdict([(proof(("hunter2", "hunter3"), before=secret), [APP])], [])


def test_the_nearest_images_are_those_of_the_same_last_part_and_then_those_alike() -> None:
    with pytest.raises(StepError, match=r"; the nearest there are r.io/app, envoy$"):
        verdict([(proof(), [(None, Entry("e.io/app", None, "v1"))])], [])


def test_an_image_of_a_field_that_kustomize_does_not_know_is_told_with_its_place() -> None:
    manifests = "kind: Prometheus\nmetadata:\n  name: main\nspec:\n  image: quay.io/prometheus:v2\n"
    with pytest.raises(StepError) as refusal:
        verdict([(proof(before=manifests), [(None, Entry("quay.io/prometheus", None, "v2"))])], [])
    assert str(refusal.value) == (
        "nothing was changed: web/base: no entry changes the image quay.io/prometheus: it stands in spec.image of"
        " Prometheus main, which kustomize takes for an image only with `configurations`"
    )


def test_what_may_end_a_line_to_a_parser_and_what_none_reads() -> None:
    odd = "kind: Pod\nmetadata:\n  annotations:\n    a: |-\n      one\u2028 two\x85three\nspec:\n  containers:\n  - image: app:v1\n"
    entries = [(Entry("app", None, "v1"), Entry("app", None, "v2"))]
    assert verdict([(proof(("app:v1", "app:v2"), before=odd), entries)], []).containers == 1
    with pytest.raises(StepError, match=r"web/base: what kustomize prints is no YAML to us, at 'kind: Pod':"):
        verdict([(proof(("app:v1", "app:v2"), before=f"{odd}: [\n"), entries)], [])


def test_an_overlays_own_name_of_an_image_that_is_lost_is_told() -> None:
    overlay = proof(("envoy:v3", f"r.io/app:v2@{DIGEST}"), package="web/prod")
    assert verdict([(proof(NEW), [APP])], [overlay]).told[2:] == [
        (True, "web/prod: its own name of an image, envoy, becomes r.io/app")
    ]


def test_a_package_without_images_says_so() -> None:
    with pytest.raises(StepError, match=r"; there are no images at all$"):
        verdict([(proof(before="kind: Service\n"), [APP])], [])


@pytest.mark.parametrize(
    ("replaced", "entries", "told"),
    [
        pytest.param([NEW], [APP], [(False, "web/prod: another image in 3 containers")], id="the same images"),
        pytest.param(
            [],
            [APP],
            [
                (False, "web/prod: another image in 0 containers"),
                (True, "web/prod includes nothing that was edited, or has those images by itself"),
            ],
            id="images of its own in place of those",
        ),
        pytest.param(
            [("envoy:v3", f"envoy:v2@{DIGEST}")],
            [APP],
            [(False, "web/prod: another image in 1 container")],
            id="a name of its own for the image",
        ),
    ],
)
def test_a_package_that_includes_the_edited_one_may_have_names_and_images_of_its_own(
    replaced: Replaced, entries: Entries, told: list[tuple[bool, str]]
) -> None:
    found = verdict([(proof(NEW), entries)], [proof(*replaced, package="web/prod")])
    assert (found.verified, found.containers) == ("rendered", 3)
    assert found.told == [(False, "web/base: another image in 3 containers"), *told]


@pytest.mark.parametrize(
    ("replaced", "entries"),
    [
        pytest.param([("envoy:v3", "envoy:v2")], [APP], id="another image"),
        pytest.param([("envoy:v3", f"other:v2@{DIGEST}")], [APP], id="another name"),
        pytest.param(
            [("envoy:v3", "r.io/app:v1")],
            [(Entry("app", None, "v1"), Entry("app", "r.io/app"))],
            id="a tag that is lost",
        ),
    ],
)
def test_what_else_changes_in_a_package_that_includes_the_edited_one_is_refused(
    replaced: Replaced, entries: Entries
) -> None:
    with pytest.raises(StepError, match=r"^nothing was changed: web/prod: Deployment shop/web: .* becomes "):
        verdict(
            [(Proof("web/base", Built(why_not="x"), Built(why_not="x")), entries)],
            [proof(*replaced, package="web/prod")],
        )


EMPTY = Proof("shared", Built(), Built())
UNKNOWN = Proof("far", Built(why_not="it is far"), Built(why_not="it is far"))


def test_a_component_is_proven_by_what_includes_it() -> None:
    assert verdict([(EMPTY, [APP])], [proof(NEW)])[:2] == ("rendered", 3)
    assert verdict([(EMPTY, [(APP[1], APP[1])])], [proof()])[:2] == ("rendered", 0)
    for entries in ([APP, (None, Entry("typo", None, "v2"))], [(None, Entry("typo", "envoy", "v3"))]):
        with pytest.raises(StepError, match=r"^nothing was changed: shared: nothing has the image typo, .* envoy"):
            verdict([(EMPTY, entries)], [proof(*([NEW] if APP in entries else []))])


@pytest.mark.parametrize(
    ("own", "including", "told"),
    [
        pytest.param(
            EMPTY,
            [],
            "shared is not rendered: it has no resources of its own; name what includes it by --also-verify",
            id="a component alone",
        ),
        pytest.param(UNKNOWN, [], "far is not rendered: it is far", id="one that cannot be rendered"),
        pytest.param(UNKNOWN, [proof(NEW)], "far is not rendered: it is far", id="one beside a package that can"),
    ],
)
def test_what_has_no_manifests_is_told_and_not_refused(own: Proof, including: list[Proof], told: str) -> None:
    found = verdict([(own, [APP])], including)
    assert (found.verified, found.containers) == ("kustomization", 0)
    assert (True, told) in found.told
    assert f"{own.package} is not rendered: the log of set-image says why.\n" in found.diff


def test_a_package_that_includes_the_edited_one_and_has_no_manifests_is_told() -> None:
    found = verdict([(proof(NEW), [APP])], [UNKNOWN])
    assert (found.verified, found.containers) == ("kustomization", 3)
    assert found.told == [
        (False, "web/base: another image in 3 containers"),
        (True, "far is not rendered: it is far"),
    ]


def test_an_edit_after_which_nothing_can_be_rendered_is_refused() -> None:
    with pytest.raises(StepError) as refusal:
        verdict([(Proof("web", Built(BEFORE), Built(why_not="no such field")), [APP])], [])
    assert str(refusal.value) == "nothing was changed: web cannot be rendered with the new image: no such field"


def test_the_difference_is_told_by_resource_and_without_what_stands_around_it() -> None:
    assert verdict([(proof(NEW), [APP])], []) == Verdict(
        "rendered",
        3,
        f"""\
--- web/base: Deployment shop/web
+++ web/base: Deployment shop/web
@@ -15 +15 @@ spec.template.spec.containers[app].image
-        image: r.io/app:v1
+        image: r.io/app:v2@{DIGEST}
@@ -23 +23 @@ spec.template.spec.initContainers[migrate].image
-      - image: r.io/app:v1
+      - image: r.io/app:v2@{DIGEST}
--- web/base: CronJob sweep
+++ web/base: CronJob sweep
@@ -11 +11 @@ spec.jobTemplate.spec.template.spec.containers[sweep].image
-          - image: r.io/app:v1
+          - image: r.io/app:v2@{DIGEST}
""",
        [(False, "web/base: another image in 3 containers")],
    )


def test_of_very_long_differences_the_beginning_is_told() -> None:
    one = "kind: Pod\nmetadata:\n  name: a\nspec:\n  containers:\n  - image: app:v1\n    name: a\n"
    many = "---\n".join([one] * 3000)
    edited = (Entry("app", None, "v1"), Entry("app", None, "v2"))
    packages = [proof(("app:v1", "app:v2"), package=name, before=many) for name in ("one", "two")]
    told = verdict([(package, [edited]) for package in packages], []).diff
    assert len(told) < LONGEST_DIFF + 100
    lines = told.splitlines()
    assert lines[-1] == f"and {2 * (3000 * 3 + 2) - len(lines) + 1} more lines"
