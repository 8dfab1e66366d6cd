import dataclasses
import itertools
import re
import subprocess
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from steps.core import kustomization
from steps.core.kustomization import LARGEST, DigestStyle, Edited, Entry, ImageEdit
from steps.errors import StepError
from tests.core import fuzz_kustomization
from tests.sandbox import go

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64

REAL = Path(__file__).parents[3] / "shared" / "data" / "kustomizations"
REAL_FILES = sorted(REAL.glob("*.yaml"))


@pytest.fixture(scope="session")
def kustomize() -> Path:
    """The real one, of the version that the image holds."""
    return go.program("kustomize")


def text(block: str) -> str:
    """A text as it stands in a case: without the indentation of the case, and `sha256:A` for a digest."""
    lines = textwrap.dedent(block).removeprefix("\n")
    return lines.replace("sha256:A", A).replace("sha256:B", B)


def edited(before: str | bytes, *arguments: str, style: DigestStyle = "both") -> str:
    """The text after the edit, which must be the same text when it is edited once more."""
    content = before if isinstance(before, bytes) else before.encode()
    edits = [ImageEdit.parse(text(argument)) for argument in arguments]
    after = kustomization.edited(content, edits, style)
    again = kustomization.edited(after.content, edits, style)
    assert again.content == after.content
    assert again.entries == {name: (entry, entry) for name, (_, entry) in after.entries.items()}
    assert after.entries == said_of(content, after.content, [edit.name for edit in edits])
    return after.content.decode()


def said_of(before: bytes, after: bytes, names: list[str]) -> dict[str, tuple[Entry | None, Entry]]:
    """What a reader of the two files is told of the images."""
    old, new = (kustomization.entries(content, names) for content in (before, after))
    return {name: (old.get(name), entry) for name, entry in new.items()}


ARGUMENTS = [
    ("app=new:v1", ImageEdit("app", "new", "v1", None)),
    ("app=new@sha256:A", ImageEdit("app", "new", None, A)),
    ("app=new:v1@sha256:A", ImageEdit("app", "new", "v1", A)),
    ("app=new", ImageEdit("app", "new", None, None)),
    ("app:v1", ImageEdit("app", None, "v1", None)),
    ("app@sha256:A", ImageEdit("app", None, None, A)),
    ("app:v1@sha256:A", ImageEdit("app", None, "v1", A)),
    ("app=*:v1", ImageEdit("app", "*", "v1", None)),
    ("app=new:*", ImageEdit("app", "new", "*", None)),
    ("app=new:v1@*", ImageEdit("app", "new", "v1", "*")),
    ("app=*:*@sha256:A", ImageEdit("app", "*", "*", A)),
    ("app=*", ImageEdit("app", "*", None, None)),
    ("app:*@*", ImageEdit("app", None, "*", "*")),
    ("r.io:5000/team/app=r.io:5001/team/app", ImageEdit("r.io:5000/team/app", "r.io:5001/team/app", None, None)),
    ("app=[::1]:5000/app:v1", ImageEdit("app", "[::1]:5000/app", "v1", None)),
    ("app:1.10", ImageEdit("app", None, "1.10", None)),
]


@pytest.mark.parametrize(("argument", "edit"), ARGUMENTS, ids=[argument for argument, _ in ARGUMENTS])
def test_an_argument_is_read_as_kustomize_reads_it(argument: str, edit: ImageEdit) -> None:
    assert ImageEdit.parse(text(argument)) == edit


NO_NAME = "is not an image name, such as registry.example.com:5000/team/app"
MALFORMED = [
    ("app", "'app' sets nothing: write NAME=NEW, NAME:TAG, NAME@DIGEST or NAME=NEW:TAG@DIGEST"),
    ("r.io:80/app", "'r.io:80/app' sets nothing: write NAME=NEW, NAME:TAG, NAME@DIGEST or NAME=NEW:TAG@DIGEST"),
    ("", "'' sets nothing: write NAME=NEW, NAME:TAG, NAME@DIGEST or NAME=NEW:TAG@DIGEST"),
    ("app=", "'app=' has no image after `=`: write NAME=*:TAG to keep it, NAME:TAG to have none"),
    ("app=:v1", "'app=:v1' has no image after `=`: write NAME=*:TAG to keep it, NAME:TAG to have none"),
    ("app=@sha256:A", f"'app=@{A}' has no image after `=`: write NAME=*:TAG to keep it, NAME:TAG to have none"),
    ("=new:v1", f"'' {NO_NAME}"),
    (":v1", f"'' {NO_NAME}"),
    ("a=b=c:v1", f"'b=c' {NO_NAME}"),
    ("*=new:v1", f"'*' {NO_NAME}"),
    ("*:v1", f"'*' {NO_NAME}"),
    ("app:v1=new:v2", f"'app:v1' {NO_NAME}"),
    ("app=New:v1", f"'New' {NO_NAME}; the repository is written in lower case"),
    ("app=new:bad tag", "'bad tag' is not an image tag: at most 128 of letters, digits, `_`, `.` and `-`"),
    ("app=new:", "'' is not an image tag: at most 128 of letters, digits, `_`, `.` and `-`"),
    ("app:v1\n", "'v1\\n' is not an image tag: at most 128 of letters, digits, `_`, `.` and `-`"),
    ("app:**", "'**' is not an image tag: at most 128 of letters, digits, `_`, `.` and `-`"),
    ("app@notadigest", "'notadigest' is not an image digest: `sha256:` and 64 hex digits in lower case"),
    ("app@sha256:A:v1", f"'{A}:v1' is not an image digest: `sha256:` and 64 hex digits in lower case"),
    ("app@", "'' is not an image digest: `sha256:` and 64 hex digits in lower case"),
]


@pytest.mark.parametrize(("argument", "message"), MALFORMED, ids=[repr(argument) for argument, _ in MALFORMED])
def test_a_malformed_argument_is_refused(argument: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        ImageEdit.parse(text(argument))


UNCHANGED = [
    pytest.param(
        """
        images:
        - name: app
          newTag: v1
        """,
        ["app:v1"],
        id="the tag it has",
    ),
    pytest.param(
        """
        images:
          - digest:   "sha256:A"   # built by hand
            name: 'app'
            newName:  registry.example.com/app
            newTag:   'v1'
        """,
        ["app=registry.example.com/app:v1@sha256:A"],
        id="all it has, in another order, aligned and quoted",
    ),
    pytest.param(
        """
        images:
        - name: app
          newName: app
          newTag: v1
        """,
        ["app=app:v1"],
        id="a new name that says the same as the name",
    ),
    pytest.param(
        """
        images:
        - name: app
          newTag: v1
        """,
        ["app=app:v1"],
        id="no new name where none is needed",
    ),
    pytest.param(
        """
        images:
        - name: app
          newName: new
          newTag: v1
          digest: sha256:A
        """,
        ["app=*:*@*"],
        id="every slot kept",
    ),
    pytest.param(
        """
        images:
        - name: app
          newTag: v1@sha256:A
        """,
        ["app:v1@sha256:A"],
        id="tag and digest in one slot",
    ),
    pytest.param(
        """
        images:
        - name: app
          newName: registry.example.com/app:v1
          digest: sha256:A
        """,
        ["app=registry.example.com/app:v1@sha256:A"],
        id="the tag in the new name, beside a digest",
    ),
    pytest.param(
        """
        images:
        - name: app
          newTag: 2020-01-01
        """,
        ["app:2020-01-01"],
        id="a date, which kustomize takes for the text it is",
    ),
    pytest.param(
        """
        images:
        - name: app
          newName:
          newTag: v1
          digest: ""
        """,
        ["app:v1"],
        id="empty slots, which are none",
    ),
    pytest.param(
        """
        images:
        - name: app
          newTag: v1
        """,
        ["app:v2", "app:v1"],
        id="the last of two edits says what is there",
    ),
    pytest.param(
        """
        images:
        - &entry
          name: &name app
          newTag: &tag v1
        - *entry
        commonLabels: {version: *tag}
        """,
        [],
        id="no edit at all",
    ),
    pytest.param("", [], id="no edit of an empty file"),
]


@pytest.mark.parametrize(("before", "arguments"), UNCHANGED)
def test_what_a_file_says_already_is_left_as_it_is_written(before: str, arguments: list[str]) -> None:
    assert edited(text(before), *arguments) == text(before)


SLOTS = [
    pytest.param(
        """
        images:
        - name: app
          newTag: v1
        """,
        ["app:v2"],
        """
        images:
        - name: app
          newTag: v2
        """,
        id="a tag",
    ),
    pytest.param(
        """
        images:
        - name: app
          digest: sha256:A
        """,
        ["app@sha256:B"],
        """
        images:
        - name: app
          digest: sha256:B
        """,
        id="a digest",
    ),
    pytest.param(
        """
        images:
        - name: app
          newTag: v1  # the last good one
        """,
        ["app@sha256:A"],
        """
        images:
        - name: app
          digest: sha256:A  # the last good one
        """,
        id="a digest takes the line of the tag",
    ),
    pytest.param(
        """
        images:
        - digest: "sha256:A"
          name: app
        """,
        ["app=new:v1"],
        """
        images:
        - newTag: "v1"
          name: app
          newName: new
        """,
        id="a tag takes the line of the digest",
    ),
    pytest.param(
        """
        images:
        - name: app
          newName: old
          newTag: v1
        """,
        ["app:v2"],
        """
        images:
        - name: app
          newTag: v2
        """,
        id="what is not named is dropped with its line",
    ),
    pytest.param(
        """
        images:
        - newName: old
          newTag: v1
          # the name is that of the manifests
          name: app
        """,
        ["app@sha256:A"],
        """
        images:
        - digest: sha256:A
          # the name is that of the manifests
          name: app
        """,
        id="what follows a dropped slot moves up to the dash",
    ),
    pytest.param(
        """
        images:
        - digest: sha256:A
          newName: old
          # the name is that of the manifests
          name: app
          newTag: v1
        """,
        ["app:v1"],
        """
        images:
        - # the name is that of the manifests
          name: app
          newTag: v1
        """,
        id="a comment that follows dropped slots stays",
    ),
    pytest.param(
        """
        images:
        - digest: sha256:A
          # between
          newTag: v1
          name: app
          newName: old
        """,
        ["app=new"],
        """
        images:
        - # between
          name: app
          newName: new
        """,
        id="a comment between two dropped slots stays",
    ),
    pytest.param(
        """
        images:
        -
          newName: old
          name: app
        """,
        ["app:v1"],
        """
        images:
        -
          name: app
          newTag: v1
        """,
        id="a dash on a line of its own",
    ),
    pytest.param(
        """
        images:
        - name: app
          newName: old
          newTag: v1
          digest: sha256:A
        """,
        ["app=new"],
        """
        images:
        - name: app
          newName: new
        """,
        id="a new name alone drops tag and digest",
    ),
    pytest.param(
        """
        images:
        - name: app
          newName: old
          newTag: v1
        """,
        ["app=app:v2"],
        """
        images:
        - name: app
          newName: app
          newTag: v2
        """,
        id="a new name is changed in place, also to the name itself",
    ),
    pytest.param(
        """
        images:
        - name: app
          newName: old
          newTag: v1
        """,
        ["app=*:v2@sha256:A"],
        """
        images:
        - name: app
          newName: old
          newTag: v2
          digest: sha256:A
        """,
        id="a new name that is kept",
    ),
    pytest.param(
        """
        images:
        - name: app
          newTag: v1
        """,
        ["app=new:*@*"],
        """
        images:
        - name: app
          newName: new
          newTag: v1
        """,
        id="a tag that is kept, and a digest that is none",
    ),
    pytest.param(
        """
        images:
        - name: app
          newTag: v1
          tagSuffix: -debug
        """,
        ["app=new:v2"],
        """
        images:
        - name: app
          newName: new
          newTag: v2
          tagSuffix: -debug
        """,
        id="a tag suffix stays",
    ),
    pytest.param(
        """
        images:
        - name: app
          newTag:  # none yet
          newName: ~
        """,
        ["app=new:v1"],
        """
        images:
        - name: app
          newTag: v1  # none yet
          newName: new
        """,
        id="slots that are empty",
    ),
    pytest.param(
        """
        images:
        - name: app
          newTag: v1
        - name: app-proxy
          newTag: v1
        - name: registry.example.com/app
          newTag: v1
        """,
        ["app:v2", "registry.example.com/app:v3"],
        """
        images:
        - name: app
          newTag: v2
        - name: app-proxy
          newTag: v1
        - name: registry.example.com/app
          newTag: v3
        """,
        id="several images, and none of a similar name",
    ),
    pytest.param(
        """
        images:
        - name: app
          newTag: |-
            v1
        - name: proxy
          newTag:
            v1
        """,
        ["app:v2", "proxy:v2"],
        """
        images:
        - name: app
          newTag: v2
        - name: proxy
          newTag:
            v2
        """,
        id="a value that is a block, and one on the next line",
    ),
    pytest.param(
        """
        images:
        - name: app
          newTag: &tag !!str v1
        """,
        ["app:v2"],
        """
        images:
        - name: app
          newTag: &tag !!str v2
        """,
        id="an anchor that nothing refers to, and a tag of YAML's",
    ),
    pytest.param(
        """
        images:
        - name: app
          newTag: &tag  # ours
            # and theirs
            v1
        """,
        ["app:v2"],
        """
        images:
        - name: app
          newTag: &tag  # ours
            # and theirs
            v2
        """,
        id="comments between an anchor and its value",
    ),
    pytest.param(
        """
        images:
        - name: app
          ? newTag
          : v1
        """,
        ["app=new@sha256:A"],
        """
        images:
        - name: app
          newName: new
          ? digest
          : sha256:A
        """,
        id="a key with a question mark",
    ),
    pytest.param(
        """
        images:
        - &other
          name: proxy
          newTag: v1
        - <<: *other
          name: proxy2
        - name: app
          newTag: v1
        """,
        ["app:v2"],
        """
        images:
        - &other
          name: proxy
          newTag: v1
        - <<: *other
          name: proxy2
        - name: app
          newTag: v2
        """,
        id="aliases and merge keys of other entries",
    ),
    pytest.param(
        """
        images:
        -
        - newTag: v1
        - name: app
          newTag: v1
        """,
        ["app:v2"],
        """
        images:
        -
        - newTag: v1
        - name: app
          newTag: v2
        """,
        id="entries without a name",
    ),
]

LAYOUT = [
    pytest.param(
        """
        # Rendered by Argo CD.
        ---
        apiVersion: kustomize.config.k8s.io/v1beta1  # v1
        kind: Component


        resources:
            - deployment.yaml   # the app
            - "service.yaml"
        images:   # kept up to date
        # first
        -   name: app         # ours

            # moved on 1 May
            newTag: v1        # by hand

        # second
        -   name: proxy
            newTag: v7
        # the end of the list
        patches:
        - patch: |-
            # not a comment
            - op: remove
              path: /spec
        # the end
        """,
        ["app=new:v2"],
        """
        # Rendered by Argo CD.
        ---
        apiVersion: kustomize.config.k8s.io/v1beta1  # v1
        kind: Component


        resources:
            - deployment.yaml   # the app
            - "service.yaml"
        images:   # kept up to date
        # first
        -   name: app         # ours
            newName: new

            # moved on 1 May
            newTag: v2        # by hand

        # second
        -   name: proxy
            newTag: v7
        # the end of the list
        patches:
        - patch: |-
            # not a comment
            - op: remove
              path: /spec
        # the end
        """,
        id="comments, blank lines, indentation, ---, order",
    ),
    pytest.param(
        """
        images:
        - name:     app
          newTag:   v1
        """,
        ["app=new:v2@sha256:A"],
        """
        images:
        - name:     app
          newName:  new
          newTag:   v2
          digest:   sha256:A
        """,
        id="aligned values",
    ),
    pytest.param(
        """
        images:
        - name:  app
          newTag:  v1
        """,
        ["app=new:v2"],
        """
        images:
        - name:  app
          newName:  new
          newTag:  v2
        """,
        id="two blanks in front of every value",
    ),
    pytest.param(
        "images:\n- name:\tapp\n  newTag:\tv1\t# here\t\nresources:\n- a.yaml\t\n",
        ["app=new:v2"],
        "images:\n- name:\tapp\n  newName:\tnew\n  newTag:\tv2\t# here\t\nresources:\n- a.yaml\t\n",
        id="tabs in front of and behind values",
    ),
    pytest.param(
        "images:\n- name: app  \n  newTag: v1  \n",
        ["app=new:v2"],
        "images:\n- name: app  \n  newName: new\n  newTag: v2  \n",
        id="blanks at the ends of lines",
    ),
    pytest.param(
        "resources:\r\n- a.yaml\r\nimages:\r\n- name: app\r\n  newName: old\r\n  newTag: v1\r\n",
        ["app:v2@sha256:A", "proxy:v1"],
        "resources:\r\n- a.yaml\r\nimages:\r\n- name: app\r\n  newTag: v2\r\n  digest: sha256:A\r\n"
        "- name: proxy\r\n  newTag: v1\r\n",
        id="line ends of Windows",
    ),
    pytest.param(
        "resources:\n- a.yaml\nimages:\r\n- name: app\r\n  newTag: v1\r\nnamespace: a\n",
        ["app=new:v2"],
        "resources:\n- a.yaml\nimages:\r\n- name: app\r\n  newName: new\r\n  newTag: v2\r\nnamespace: a\n",
        id="line ends of two kinds: that of the line before",
    ),
    pytest.param(
        "images:\r- name: app\r  newTag: v1\r",
        ["app=new:v2"],
        "images:\r- name: app\r  newName: new\r  newTag: v2\r",
        id="line ends of an old Macintosh",
    ),
    pytest.param(
        "\ufeffimages:\n- name: app\n  newTag: v1\n",
        ["app=new:v2"],
        "\ufeffimages:\n- name: app\n  newName: new\n  newTag: v2\n",
        id="a byte order mark",
    ),
    pytest.param(
        "# größer \U0001f600\nnamePrefix: \U0001f600é-\nimages:\n- name: app # é\n  newTag: v1 # \U0001f600\n",
        ["app=new:v2"],
        "# größer \U0001f600\nnamePrefix: \U0001f600é-\nimages:\n- name: app # é\n  newName: new\n"
        "  newTag: v2 # \U0001f600\n",
        id="letters of several bytes",
    ),
    pytest.param(
        "images:\n- name: app\n  newTag: v1",
        ["app=new:v2@sha256:A"],
        "images:\n- name: app\n  newName: new\n  newTag: v2\n  digest: sha256:A",
        id="no line end behind the last line",
    ),
    pytest.param(
        "images:\r\n- name: app\r\n  newTag: v1\r\n  newName: old",
        ["app:v1"],
        "images:\r\n- name: app\r\n  newTag: v1",
        id="no line end behind the last line, which is dropped",
    ),
    pytest.param(
        """
        images:
        - "name": "app"
          "newTag": "v1"
        - 'name': 'proxy'
          'newTag': 'v1'
        """,
        ["app@sha256:A", "proxy=new:v2"],
        """
        images:
        - "name": "app"
          "digest": "sha256:A"
        - 'name': 'proxy'
          'newName': 'new'
          'newTag': 'v2'
        """,
        id="quoted keys and values",
    ),
    pytest.param(
        """
        images:
        - name: app
        - name: proxy
          newTag: "v1"
        """,
        ["app:v2"],
        """
        images:
        - name: app
          newTag: "v2"
        - name: proxy
          newTag: "v1"
        """,
        id="a slot quoted as it is elsewhere in the list",
    ),
]

FLOW = [
    pytest.param(
        """
        images:
        - {name: app, newTag: v1}   # one line
        - { name: r.io:5000/proxy, newName: old, newTag: v1@sha256:A }
        """,
        ["app=r.io:5000/app:v2", "r.io:5000/proxy@sha256:B"],
        """
        images:
        - {name: app, newName: r.io:5000/app, newTag: v2}   # one line
        - { name: r.io:5000/proxy, digest: sha256:B }
        """,
        id="entries in braces",
    ),
    pytest.param(
        """
        images: [{newName: old, newTag: v1, name: app,}, {name: proxy}]
        """,
        ["app@sha256:A", "proxy:v1", "db=mysql:8"],
        """
        images: [{digest: sha256:A, name: app,}, {name: proxy, newTag: v1}, {name: db, newName: mysql, newTag: "8"}]
        """,
        id="a list in brackets",
    ),
    pytest.param(
        """
        images:
        - {
            name: app,  # ours
            newTag: v1,
          }
        """,
        ["app=new:v2"],
        """
        images:
        - {
            name: app,
            newName: new,  # ours
            newTag: v2,
          }
        """,
        id="an entry in braces of several lines",
    ),
    pytest.param(
        """
        images:
        - name: app
        - {newName: old, name: proxy}
        """,
        ["proxy=*:v1", "db:v1"],
        """
        images:
        - name: app
        - {newName: old, newTag: v1, name: proxy}
        - {name: db, newTag: v1}
        """,
        id="a list of both kinds: as the last one is",
    ),
    pytest.param(
        """
        {"resources":["a.yaml"],"images":[{"name":"app","newTag":"v1"}]}
        """,
        ["app=new:v2"],
        """
        {"resources":["a.yaml"],"images":[{"name":"app","newName":"new","newTag":"v2"}]}
        """,
        id="JSON in one line",
    ),
    pytest.param(
        """
        {
          "resources": [
            "a.yaml"
          ],
          "images": [
            {
              "name": "app",
              "newTag": null
            }
          ]
        }
        """,
        ["app:v2@sha256:A", "proxy=new:v1"],
        """
        {
          "resources": [
            "a.yaml"
          ],
          "images": [
            {
              "name": "app",
              "newTag": "v2",
              "digest": "sha256:A"
            },
            {
              "name": "proxy",
              "newName": "new",
              "newTag": "v1"
            }
          ]
        }
        """,
        id="JSON in many lines",
    ),
    pytest.param(
        '{\n\t"images": [\n\t\t{\n\t\t\t"name": "app",\n\t\t\t"newTag": "v1"\n\t\t}\n\t]\n}\n',
        ["app=new:v2"],
        '{\n\t"images": [\n\t\t{\n\t\t\t"name": "app",\n\t\t\t"newName": "new",\n\t\t\t"newTag": "v2"\n\t\t}\n\t]\n}\n',
        id="JSON indented with tabs",
    ),
    pytest.param(
        """
        {
          "resources": [
            "a.yaml"
          ]
        }
        """,
        ["app:v1"],
        """
        {
          "resources": [
            "a.yaml"
          ],
          "images": [{"name": "app", "newTag": "v1"}]
        }
        """,
        id="JSON in many lines without a list",
    ),
    pytest.param(
        """
        {"kind": "Kustomization", "images": []}
        """,
        ["app:v1", "proxy:v2"],
        """
        {"kind": "Kustomization", "images": [{"name": "app", "newTag": "v1"}, {"name": "proxy", "newTag": "v2"}]}
        """,
        id="JSON with an empty list",
    ),
    pytest.param(
        """
        {"resources": ["a.yaml"]}
        """,
        ["app:v1"],
        """
        {"resources": ["a.yaml"], "images": [{"name": "app", "newTag": "v1"}]}
        """,
        id="JSON without a list",
    ),
    pytest.param(
        """
        {}
        """,
        ["app:v1"],
        """
        {images: [{name: app, newTag: v1}]}
        """,
        id="nothing but braces",
    ),
    pytest.param(
        """
        {resources: [a.yaml], images: }
        """,
        ["app:v1"],
        """
        {resources: [a.yaml], images: [{name: app, newTag: v1}]}
        """,
        id="braces with an empty key",
    ),
    pytest.param(
        """
        images: [
          # none yet but this
          {name: proxy}
        ]
        """,
        ["app:v1"],
        """
        images: [
          # none yet but this
          {name: proxy}, {name: app, newTag: v1}
        ]
        """,
        id="a comment in the brackets",
    ),
]

MISSING = [
    pytest.param(
        """
        images:
        - name: app
          newTag: v1
        resources:
        - a.yaml
        """,
        ["zebra=new:v1@sha256:A", "ant:v1"],
        """
        images:
        - name: app
          newTag: v1
        - name: zebra
          newName: new
          newTag: v1
          digest: sha256:A
        - name: ant
          newTag: v1
        resources:
        - a.yaml
        """,
        id="entries at the end of the list, in the order given",
    ),
    pytest.param(
        """
        images:
          -   name:    "app"
              newTag:  "v1"
        """,
        ["proxy=new:v2"],
        """
        images:
          -   name:    "app"
              newTag:  "v1"
          -   name:    "proxy"
              newName: "new"
              newTag:  "v2"
        """,
        id="an entry indented, aligned and quoted as the others",
    ),
    pytest.param(
        """
        images:
        - name: app
          newTag: v1

        # the proxy
        - name: proxy
          newTag: v1
          # newName: mirror/proxy

        # What Argo CD shows.
        commonLabels:
          app: web
        """,
        ["db:v1"],
        """
        images:
        - name: app
          newTag: v1

        # the proxy
        - name: proxy
          newTag: v1
          # newName: mirror/proxy

        - name: db
          newTag: v1

        # What Argo CD shows.
        commonLabels:
          app: web
        """,
        id="a blank line between entries, a field commented out",
    ),
    pytest.param(
        """
        images:
        - name: app
          newTag: v1
          # Both of these comments belong
        # to what follows.
        namespace: web
        """,
        ["proxy:v1"],
        """
        images:
        - name: app
          newTag: v1
        - name: proxy
          newTag: v1
          # Both of these comments belong
        # to what follows.
        namespace: web
        """,
        id="comments that belong to the next key",
    ),
    pytest.param(
        """
        images:
          - name: app
            newTag: v1
            # goes with the chart's version,
            # which is 4
        namespace: web
        """,
        ["proxy:v1"],
        """
        images:
          - name: app
            newTag: v1
            # goes with the chart's version,
            # which is 4
          - name: proxy
            newTag: v1
        namespace: web
        """,
        id="a comment below the last entry, indented as its fields",
    ),
    pytest.param(
        """
        images:
          - name: app
            newTag: v1
            # newName: mirror/app
          # - name: cache
          #   newTag: v1
        """,
        ["proxy:v1"],
        """
        images:
          - name: app
            newTag: v1
            # newName: mirror/app
          - name: proxy
            newTag: v1
          # - name: cache
          #   newTag: v1
        """,
        id="a field and an entry commented out below the last entry",
    ),
    pytest.param(
        """
        images:
          - name: app
            newTag: v1
          -   name: db
              newTag: v1
        """,
        ["proxy:v1"],
        """
        images:
          - name: app
            newTag: v1
          -   name: db
              newTag: v1
          -   name: proxy
              newTag: v1
        """,
        id="entries of two indentations: as the last one is",
    ),
    pytest.param(
        """
        images:
        - name: app:v0
          newTag: v1
        """,
        ["app:v2"],
        """
        images:
        - name: app:v0
          newTag: v1
        - name: app
          newTag: v2
        """,
        id="a tag in the name, which makes it another image",
    ),
    pytest.param(
        """
        images:
        -
        """,
        ["app:v1"],
        """
        images:
        -
        - name: app
          newTag: v1
        """,
        id="an entry that is empty",
    ),
    pytest.param(
        """
        images:
          []
        namespace: web
        """,
        ["app:v1"],
        """
        images:
        - name: app
          newTag: v1
        namespace: web
        """,
        id="an empty list on a line of its own",
    ),
    pytest.param(
        """
        images: ~ # none
        """,
        ["app:v1"],
        """
        images: # none
        - name: app
          newTag: v1
        """,
        id="a tilde for a list, and a comment behind it",
    ),
    pytest.param(
        "resources:\r\n  - a.yaml\r\n",
        ["app=new:v1"],
        "resources:\r\n  - a.yaml\r\nimages:\r\n  - name: app\r\n    newName: new\r\n    newTag: v1\r\n",
        id="no list, and line ends of Windows",
    ),
    pytest.param(
        "\ufeffresources:\r\n- a.yaml",
        ["app:v1"],
        "\ufeffresources:\r\n- a.yaml\r\nimages:\r\n- name: app\r\n  newTag: v1",
        id="no list, a byte order mark, line ends of Windows but for the last line, which has none",
    ),
    pytest.param(
        "images:\r\n- {name: proxy}\r\nnamespace: web\r\n",
        ["app:v1"],
        "images:\r\n- {name: proxy}\r\n- {name: app, newTag: v1}\r\nnamespace: web\r\n",
        id="entries in braces, and line ends of Windows",
    ),
    pytest.param(
        """
        images: []  # overrides

        # Example:
        # - name: app
        #   newTag: v1
        """,
        ["app:v1"],
        """
        images:  # overrides
        - name: app
          newTag: v1

        # Example:
        # - name: app
        #   newTag: v1
        """,
        id="an empty list with an example behind it",
    ),
    pytest.param(
        """
        resources:
          - a.yaml
        images:
        namespace: web
        """,
        ["app:v1"],
        """
        resources:
          - a.yaml
        images:
          - name: app
            newTag: v1
        namespace: web
        """,
        id="a key without a list, indented as the other lists",
    ),
    pytest.param(
        """
        images: null
        """,
        ["app=new"],
        """
        images:
        - name: app
          newName: new
        """,
        id="null for a list",
    ),
    pytest.param(
        """
        apiVersion: kustomize.config.k8s.io/v1beta1
        kind: Kustomization
        resources:
        - a.yaml
        """,
        ["app=new:v1", "proxy:v1"],
        """
        apiVersion: kustomize.config.k8s.io/v1beta1
        kind: Kustomization
        resources:
        - a.yaml
        images:
        - name: app
          newName: new
          newTag: v1
        - name: proxy
          newTag: v1
        """,
        id="no list: one at the end",
    ),
    pytest.param(
        """
        resources:
          - a.yaml

        # The web, and no more
        # than that.
        namespace: web
        # - commented out


        """,
        ["app:v1"],
        """
        resources:
          - a.yaml

        # The web, and no more
        # than that.
        namespace: web
        # - commented out

        images:
          - name: app
            newTag: v1


        """,
        id="no list: set off by a blank line where the other keys are",
    ),
    pytest.param(
        """
        ---
        namespace: web
        ...
        """,
        ["app:v1"],
        """
        ---
        namespace: web
        images:
        - name: app
          newTag: v1
        ...
        """,
        id="no list, and a document that is ended",
    ),
    pytest.param(
        "  namespace: 'web'",
        ["app:1"],
        "  namespace: 'web'\n  images:\n  - name: app\n    newTag: '1'",
        id="no list, and neither a line end nor keys at the margin",
    ),
    pytest.param("", ["app:v1"], "images:\n- name: app\n  newTag: v1\n", id="an empty file"),
    pytest.param("---\n", ["app:v1"], "---\nimages:\n- name: app\n  newTag: v1\n", id="nothing but ---"),
    pytest.param("# later", ["app:v1"], "# later\nimages:\n- name: app\n  newTag: v1", id="nothing but a comment"),
    pytest.param(
        """
        patches:
        - patch: |
            - op: remove

        """,
        ["app:v1"],
        """
        patches:
        - patch: |
            - op: remove
        images:
        - name: app
          newTag: v1

        """,
        id="behind a block of text",
    ),
    pytest.param(
        """
        images:
        - name: proxy
        """,
        ["app=*:*@*"],
        """
        images:
        - name: proxy
        - name: app
        """,
        id="nothing to keep",
    ),
]

WILD = [
    pytest.param(
        """
        images:
        - name: app
          newName: registry.example.com/app:v1
        """,
        ["app=*:v2"],
        """
        images:
        - name: app
          newName: registry.example.com/app
          newTag: v2
        """,
        id="a tag in the new name",
    ),
    pytest.param(
        """
        images:
        - digest: sha256:A
          name: app
          newName: registry.example.com:5000/app:v1
        """,
        ["app=registry.example.com:5000/app:v2@sha256:B"],
        """
        images:
        - digest: sha256:B
          name: app
          newName: registry.example.com:5000/app
          newTag: v2
        """,
        id="a tag in the new name, beside a digest",
    ),
    pytest.param(
        """
        images:
        - name: app
          newName: registry.example.com/app@sha256:A
        """,
        ["app=*@*"],
        """
        images:
        - name: app
          newName: registry.example.com/app
          digest: sha256:A
        """,
        id="a digest in the new name",
    ),
    pytest.param(
        """
        images:
        - name: app
          newTag: v1@sha256:A
        """,
        ["app:v2@sha256:B"],
        """
        images:
        - name: app
          newTag: v2@sha256:B
        """,
        id="tag and digest in one slot stay in one",
    ),
    pytest.param(
        """
        images:
        - name: app
          newTag: v1@sha256:A
        """,
        ["app=*:*@sha256:B"],
        """
        images:
        - name: app
          newTag: v1@sha256:B
        """,
        id="the tag of the one slot kept",
    ),
    pytest.param(
        """
        images:
        - name: app
          newTag: v1@sha256:A
        """,
        ["app:v2"],
        """
        images:
        - name: app
          newTag: v2
        """,
        id="a tag instead of both in one slot",
    ),
    pytest.param(
        """
        images:
        - name: app
          newTag: v1@sha256:A
        """,
        ["app@sha256:B"],
        """
        images:
        - name: app
          digest: sha256:B
        """,
        id="a digest instead of both in one slot",
    ),
    pytest.param(
        """
        images:
        - name: app
          newTag: v1 # {"$imagepolicy": "flux-system:app:tag"}

          # where it comes from
          newName: old
          unknown: field
        """,
        ["app=new:v2"],
        """
        images:
        - name: app
          newTag: v2 # {"$imagepolicy": "flux-system:app:tag"}

          # where it comes from
          newName: new
          unknown: field
        """,
        id="an entry split by a blank line and a comment",
    ),
    pytest.param(
        """
        images:
        - name: app
          newTag: v1
        - {name: proxy, newTag: v1}
        -   name: db
            newTag: v1
        """,
        ["app:v2", "proxy:v2", "db=mysql:v2"],
        """
        images:
        - name: app
          newTag: v2
        - {name: proxy, newTag: v2}
        -   name: db
            newName: mysql
            newTag: v2
        """,
        id="entries of every style",
    ),
    pytest.param(
        """
        images:
        - name: app
          newTag: v1@sha256:A
          digest: sha256:B
        """,
        ["app=*:*@*"],
        """
        images:
        - name: app
          newTag: v1@sha256:B
        """,
        id="two digests: that of its own slot",
    ),
    pytest.param(
        """
        images:
        - name: app
          newName: mirror/app:v1
          newTag: v2
        """,
        ["app=*:*"],
        """
        images:
        - name: app
          newName: mirror/app
          newTag: v2
        """,
        id="two tags: that of its own slot",
    ),
    pytest.param(
        """
        namePrefix: =
        images:
        - name: app
          newTag: =
        """,
        ["app:v2"],
        """
        namePrefix: =
        images:
        - name: app
          newTag: v2
        """,
        id="an equals sign for a value, of which YAML 1.1 has a type",
    ),
    pytest.param(
        """
        images:
        - name: app
          newTag: "${TAG}"
        """,
        ["app=new:*"],
        """
        images:
        - name: app
          newName: new
          newTag: "${TAG}"
        """,
        id="a placeholder that is kept",
    ),
]


@pytest.mark.parametrize(("before", "arguments", "after"), [*SLOTS, *LAYOUT, *FLOW, *MISSING, *WILD])
def test_an_edit_changes_what_says_which_image_and_no_other_byte(before: str, arguments: list[str], after: str) -> None:
    assert edited(text(before), *arguments) == text(after)


STYLES: list[tuple[str, DigestStyle, str]] = [
    ("newTag: v1", "both", "newTag: v2\n  digest: sha256:A"),
    ("newTag: v1", "inline", "newTag: v2@sha256:A"),
    ("newTag: v1", "digest", "digest: sha256:A"),
    ("digest: sha256:B", "both", "newTag: v2\n  digest: sha256:A"),
    ("digest: sha256:B", "inline", "newTag: v2@sha256:A"),
    ("digest: sha256:B", "digest", "digest: sha256:A"),
    ("newTag: v1\n  digest: sha256:B", "both", "newTag: v2\n  digest: sha256:A"),
    ("newTag: v1\n  digest: sha256:B", "inline", "newTag: v2@sha256:A"),
    ("newTag: v1\n  digest: sha256:B", "digest", "digest: sha256:A"),
    ("newTag: v1@sha256:B", "both", "newTag: v2@sha256:A"),
    ("newTag: v1@sha256:B", "inline", "newTag: v2@sha256:A"),
    ("newTag: v1@sha256:B", "digest", "digest: sha256:A"),
    ("digest: sha256:B\n  newName: r/app:v1", "both", "newTag: v2\n  digest: sha256:A"),
    ("digest: sha256:B\n  newName: r/app:v1", "inline", "newTag: v2@sha256:A"),
    ("digest: sha256:B\n  newName: r/app:v1", "digest", "digest: sha256:A"),
]


@pytest.mark.parametrize(("before", "style", "after"), STYLES, ids=[f"{b!r} as {s}" for b, s, _ in STYLES])
def test_tag_and_digest_are_written_in_the_style_asked_for(before: str, style: DigestStyle, after: str) -> None:
    entry = text(f"images:\n- name: app\n  {before}\n")
    assert edited(entry, "app:v2@sha256:A", style=style) == text(f"images:\n- name: app\n  {after}\n")


@pytest.mark.parametrize("style", get_args(DigestStyle))
def test_a_tag_alone_is_written_alike_in_every_style(style: DigestStyle) -> None:
    assert edited("images:\n- name: app\n", "app:v1", style=style) == "images:\n- name: app\n  newTag: v1\n"


NO_TEXTS = [
    "1",
    "1.10",
    "0x1F",
    "0b1",
    "0o17",
    "1e5",
    "12e4567",
    "1_000",
    "y",
    "No",
    "on",
    "TRUE",
    "null",
    "2020-01-01",
]


@pytest.mark.parametrize("tag", NO_TEXTS)
def test_what_yaml_takes_for_no_text_is_quoted_as_the_file_quotes(tag: str) -> None:
    assert edited("images:\n- name: app\n  newTag: v1\n", f"app:{tag}") == f'images:\n- name: app\n  newTag: "{tag}"\n'
    before = "images:\n- name: app\n  newTag: v1\n- name: 'proxy'\n"
    assert edited(before, f"app:{tag}") == f"images:\n- name: app\n  newTag: '{tag}'\n- name: 'proxy'\n"


@pytest.mark.parametrize("tag", ["v1", "1.2.3", "2020-01-01-fix", "7f3c1ab", "_1", "1-2", "0xg", "yes-man", "1.10-rc"])
def test_a_text_is_not_quoted(tag: str) -> None:
    assert (
        edited("images:\n- name: 'app'\n  newTag: v0\n", f"app:{tag}") == f"images:\n- name: 'app'\n  newTag: {tag}\n"
    )


@pytest.mark.parametrize("tag", ["1.10", "7654321", "on"])
def test_a_tag_that_yaml_misreads_gets_its_quotes(tag: str) -> None:
    assert edited(f"images:\n- name: app\n  newTag: {tag}\n", "app:*") == f'images:\n- name: app\n  newTag: "{tag}"\n'


def test_an_ipv6_host_and_a_numeric_name_are_quoted() -> None:
    assert edited("images:\n", "1=[::1]:5000/app:v1") == (
        'images:\n- name: "1"\n  newName: "[::1]:5000/app"\n  newTag: v1\n'
    )


REFUSED: list[tuple[str, str | bytes, str, str]] = [
    (
        "a second document",
        "images:\n- name: app\n---\nimages:\n- name: app\n",
        "several-documents",
        "line 3: a second document begins: keep one in the file",
    ),
    (
        "a second document that is empty",
        "images:\n- name: app\n---\n",
        "several-documents",
        "line 3: a second document begins: keep one in the file",
    ),
    (
        "the key images twice",
        "images:\n- name: app\nresources: []\nimages:\n  - name: proxy\n",
        "duplicate",
        "line 4: `images` stands in line 1 already: make them one list",
    ),
    (
        "two entries of one name",
        "images:\n- name: app\n- name: 'app'\n",
        "duplicate",
        "line 3: app has an entry in line 2 already: keep one of the two",
    ),
    (
        "an entry of two names",
        "images:\n- name: app\n- name: proxy\n  newTag: v1\n  name: app\n",
        "duplicate",
        "line 5: `name` stands in line 3 already: keep one of the two",
    ),
    (
        "a slot twice",
        "images:\n- name: app\n  newTag: v1\n  newTag: v1\n",
        "duplicate",
        "line 4: `newTag` stands in line 3 already: keep one of the two",
    ),
    (
        "an alias for the tag",
        "images:\n- name: proxy\n  newTag: &tag v1\n- name: app\n  newTag: *tag\n",
        "shared",
        "line 5: an alias shares this value (`tag`): write it out in each place",
    ),
    (
        "a tag that an alias refers to",
        "images:\n- name: app\n  newTag: &tag v1\n- name: proxy\n  newTag: *tag\n",
        "shared",
        "line 3: an alias shares this value (`tag`): write it out in each place",
    ),
    (
        "a new name to drop that an alias refers to",
        "images:\n- name: app\n  newName: &name new\nnamePrefix: *name\n",
        "shared",
        "line 3: an alias shares this value (`name`): write it out in each place",
    ),
    (
        "an alias for the entry",
        "x: &entry\n  name: app\nimages:\n- *entry\n",
        "shared",
        "line 4: an alias shares this value (`entry`): write it out in each place",
    ),
    (
        "an alias in front of its anchor",
        "images:\n- *entry\nx: &entry\n  name: app\n",
        "not-yaml",
        "line 2: nothing has the anchor that `*entry` refers to: mend it",
    ),
    (
        "an entry that an alias refers to",
        "images:\n- &entry\n  name: app\n- *entry\n",
        "shared",
        "line 2: an alias shares this value (`entry`): write it out in each place",
    ),
    (
        "an alias for the list",
        "x: &list\n- name: app\nimages: *list\n",
        "shared",
        "line 3: an alias shares this value (`list`): write it out in each place",
    ),
    (
        "a merge key in the entry",
        "x: &base\n  newTag: v1\nimages:\n- <<: *base\n  name: app\n",
        "shared",
        "line 4: a merge key brings in what another place of the file says: write it out",
    ),
    (
        "a merge key that may give the name",
        "x: &base\n  name: app\nimages:\n- <<: *base\n  newTag: v1\n",
        "shared",
        "line 4: the name of this entry may come from a merge key: write it out",
    ),
    (
        "a merge key that may give the list",
        "x: &base\n  images: []\n<<: *base\n",
        "shared",
        "line 3: a merge key may bring in `images`: write out what it stands for",
    ),
    (
        "a template in a value",
        "images:\n- name: app\n  newTag: {{ .Values.tag }}\n",
        "template",
        "line 3: this key is no text: if this is a template, edit the file that is made from it",
    ),
    (
        "a template between lines",
        "{{- if .Values.app }}\nimages:\n- name: app\n{{- end }}\n",
        "template",
        "line 1: this key is no text: if this is a template, edit the file that is made from it",
    ),
    (
        "a template of Jinja",
        "images:\n{% for image in images %}\n- name: app\n{% endfor %}\n",
        "template",
        "line 2: this is a template, not yet YAML: edit the file that is made from it",
    ),
    (
        "a template in quotes",
        "images:\n- name: app\n  newTag: '{{ tag }}'\n",
        "template",
        "line 3: '{{ tag }}' is a placeholder of a template: edit the file that is made from it",
    ),
    (
        "a variable of envsubst",
        "images:\n- name: app\n  newTag: ${TAG}\n",
        "template",
        "line 3: '${TAG}' is a placeholder of a template: edit the file that is made from it",
    ),
    (
        "a merge conflict",
        "images:\n- name: app\n<<<<<<< HEAD\n  newTag: v1\n=======\n  newTag: v2\n>>>>>>> main\n",
        "conflict-markers",
        "line 3: a merge conflict stands here: resolve it",
    ),
    (
        "a tab that indents, elsewhere in the file",
        "images:\n- name: app\nresources:\n\t- a.yaml\n",
        "not-yaml",
        "line 4: no YAML parser takes this (found character '\\t' that cannot start any token): mend it",
    ),
    (
        "a quote that is not closed",
        "images:\n- name: app\nnamePrefix: 'a\n",
        "not-yaml",
        "line 4: no YAML parser takes this (found unexpected end of stream): mend it",
    ),
    (
        "a directive that declares tags",
        "%TAG ! tag:example.com,2000:\n---\nimages: []\n",
        "not-yaml",
        "line 1: a directive other than `%YAML 1.2` is of no use here: remove it",
    ),
    (
        "a version of YAML that there is not",
        "%YAML 1.3\n---\nimages: []\n",
        "not-yaml",
        "line 1: a directive other than `%YAML 1.2` is of no use here: remove it",
    ),
    (
        "two byte order marks",
        "\ufeff\ufeffimages:\n- name: app\n",
        "not-yaml",
        "line 1: a byte order mark stands here once more: remove it",
    ),
    (
        "a pair without braces in a list in brackets",
        "images: [? name]\n",
        "unusual",
        "line 1: an item of this list is a pair without braces: write `{name: app}`",
    ),
    (
        "more values than a kustomization has",
        "images:\n- name: app\nx:\n" + "- a: b\n" * 5000,
        "too-large",
        "line 3334: up to here, aliases followed, these are over 10000 values: split the file",
    ),
    (
        "a control character",
        "images:\n- name: app # \x07\n",
        "not-yaml",
        "line 2: YAML has no character 0x7: remove it",
    ),
    (
        "a file in Latin-1",
        "# ok\n# größer\nimages:\n- name: app\n".encode("latin-1"),
        "not-utf-8",
        "line 2: this is not UTF-8: save the file in that encoding",
    ),
    (
        "a file in UTF-16",
        "images:\n- name: app\n".encode("utf-16"),
        "not-utf-8",
        "line 1: this is not UTF-8: save the file in that encoding",
    ),
    (
        "a file of more than 1 MiB",
        "images:\n- name: app\n".ljust(LARGEST + 1, "#"),
        "too-large",
        "line 1: the file has more than 1048576 bytes: is it a kustomization?",
    ),
    (
        "lists in lists",
        "images:\n- name: app\nx: " + "[" * 100_000,
        "too-large",
        "line 3: this is nested more than 100 deep: write it with fewer levels",
    ),
    (
        "dashes behind dashes",
        "images:\n- name: app\nx:\n" + "- " * 100_000,
        "too-large",
        "line 4: this is nested more than 100 deep: write it with fewer levels",
    ),
    (
        "aliases of aliases of aliases",
        "x0: &x0 [a, a, a, a, a, a, a, a, a, a]\n"
        + "".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10)}]\n" for n in range(1, 40)),
        "too-large",
        "line 4: up to here, aliases followed, these are over 10000 values: split the file",
    ),
    (
        "an alias of what it stands in",
        "x: &x [*x]\n",
        "not-yaml",
        "line 1: `*x` stands within what it stands for: write it out",
    ),
    (
        "a list in place of a file",
        "- name: app\n",
        "not-a-kustomization",
        "line 1: a kustomization is a mapping, such as `resources: [...]`",
    ),
    (
        "a mapping in place of the list",
        "images:\n  name: app\n",
        "not-a-kustomization",
        "line 2: `images` must be a list",
    ),
    (
        "a text in place of an entry",
        "images:\n- app:v1\n",
        "not-a-kustomization",
        "line 2: an item of `images` must be a mapping, such as `name: app`",
    ),
    (
        "a list in place of a tag",
        "images:\n- name: app\n  newTag: [v1]\n",
        "not-a-kustomization",
        "line 3: a text belongs here",
    ),
    (
        "a slot that only kustomize understands",
        "images:\n- name: app\n  newNAme: new\n",
        "misspelt",
        "line 3: kustomize takes `newNAme` for `newName`: write it so",
    ),
    (
        "a name that only kustomize understands",
        "images:\n- Name: app\n",
        "misspelt",
        "line 2: kustomize takes `Name` for `name`: write it so",
    ),
    (
        "the key images in capitals",
        "Images:\n- name: app\n",
        "misspelt",
        "line 1: kustomize takes `Images` for `images`: write it so",
    ),
    (
        "the old name of images",
        "imageTags:\n- name: app\n",
        "misspelt",
        "line 1: kustomize takes `imageTags` for `images`: write it so",
    ),
    (
        "a comment beside a slot to drop, in braces",
        "images:\n- {name: app, # ours\n   newName: new}\n",
        "comment",
        "line 3: a comment stands beside `newName`: write the entry in lines of its own",
    ),
    (
        "a text without an end to put a list behind",
        "patches:\n- patch: |\n    - op: remove",
        "unusual",
        "line 3: `images` cannot be added behind the last value: write `images: []` where it belongs",
    ),
    (
        "a key in braces that has no colon",
        "images:\n- {name: app, newTag}\n",
        "unusual",
        "line 2: this is written in a way that cannot be edited safely: write one field a line",
    ),
]


@pytest.mark.parametrize(("before", "reason", "message"), [pytest.param(*case, id=name) for name, *case in REFUSED])
def test_what_cannot_be_edited_faithfully_is_refused_with_its_line(
    before: str | bytes, reason: str, message: str
) -> None:
    with pytest.raises(StepError) as refusal:
        edited(before, "app:v2")
    assert (refusal.value.reason, str(refusal.value)) == (reason, message)


@pytest.mark.parametrize(
    ("before", "argument", "message"),
    [
        pytest.param(
            "images:\n- name: app\n  newName: new name@sha256:A\n",
            "app=*@*",
            "line 2: this cannot be kept as `newName`, 'new name' is not an image name,"
            " such as registry.example.com:5000/team/app: mend the entry or give a value",
            id="what is kept is no name",
        ),
        pytest.param(
            "images:\n- name: app\n  newName: new:bad tag\n",
            "app=*:*",
            "line 2: this cannot be kept as `newTag`, 'bad tag' is not an image tag:"
            " at most 128 of letters, digits, `_`, `.` and `-`: mend the entry or give a value",
            id="what is kept is no tag",
        ),
        pytest.param(
            "images:\n- name: app\n  newTag: v1@sha256:x\n",
            "app:v2@*",
            "line 2: this cannot be kept as `newTag`, 'sha256:x' is not an image digest:"
            " `sha256:` and 64 hex digits in lower case: mend the entry or give a value",
            id="what is kept is no digest",
        ),
        pytest.param(
            "images:\n- name: 1\n",
            "1=*:v1",
            "line 2: YAML takes 1 for no text: put quotes around it",
            id="a name that is a number to YAML",
        ),
        pytest.param(
            "images: [\n  # none\n]\n",
            "app:v1",
            "line 1: a comment stands in this empty list: take it out of the brackets",
            id="an empty list with a comment in it",
        ),
    ],
)
def test_other_refusals(before: str, argument: str, message: str) -> None:
    with pytest.raises(StepError) as refusal:
        edited(text(before), argument)
    assert str(refusal.value) == text(message)


def test_an_entry_says_what_its_image_becomes_however_it_is_spelt() -> None:
    content = text(
        """
        images:
        - name: app
          newName: new
          newTag: v1@sha256:A
        - name: proxy
          newName: mirror:5000/proxy:v1
          digest: sha256:B
        - name: db
          newTag:
          tagSuffix: -debug
        """
    )
    entries = kustomization.entries(content.encode(), ["app", "proxy", "db", "none"])
    assert entries == {
        "app": Entry("app", "new", "v1", A),
        "proxy": Entry("proxy", "mirror:5000/proxy", "v1", B),
        "db": Entry("db", tag_suffix="-debug"),
    }
    assert [str(entry) for entry in entries.values()] == [f"new:v1@{A}", f"mirror:5000/proxy:v1@{B}", "db"]


def test_an_edit_says_what_each_entry_said_and_says() -> None:
    before = b"images:\n- name: app\n  newTag: v1\n  tagSuffix: -debug\n"
    edits = [ImageEdit.parse("zoo=new:v1"), ImageEdit.parse("app:v1"), ImageEdit.parse("app=*:v2")]
    assert kustomization.edited(before, edits) == Edited(
        b"images:\n- name: app\n  newTag: v2\n  tagSuffix: -debug\n- name: zoo\n  newName: new\n  newTag: v1\n",
        {
            "zoo": (None, Entry("zoo", "new", "v1")),
            "app": (Entry("app", None, "v1", None, "-debug"), Entry("app", None, "v2", None, "-debug")),
        },
        is_component=False,
    )
    component = b"kind: Component\nimages:\n- name: app\n  newTag: v1\n"
    assert kustomization.edited(component, [ImageEdit.parse("app:v1")]).is_component


def test_a_file_of_1_mib_is_edited() -> None:
    before = "images:\n- name: app\n  newTag: v1\n".ljust(LARGEST, "#")
    assert edited(before, "app:v2") == before.replace("v1", "v2")


HEADS = [
    "# made by hand",
    "---",
    "",
    "namespace: web  # ours",
    "resources:\n- a.yaml\n- b.yaml # é",
    "labels:\n  - {a: b}",
]
TAILS = [
    "",
    "# the end",
    "namePrefix: 'a-'",
    "patches:\n- patch: |-\n    # text\n    - op: remove",
    'commonLabels: {a: "b"}',
]
NAMES = ["app", "team/app", "r.io:5000/app", "db"]
VALUES = {
    "newName": ["old", "r.io:5000/old", "app"],
    "newTag": ["v1", "1.10", "on", "2020-01-01"],
    "digest": [A],
    "tagSuffix": ["-debug"],
}


@st.composite
def entries(draw: st.DrawFn, name: str, dash: str) -> str:
    """An entry, of any style that the wild files show."""
    slots = draw(st.permutations(["name", *draw(st.sets(st.sampled_from(list(VALUES))))]))
    quote = draw(st.sampled_from(["", "'", '"']))
    values = {slot: name if slot == "name" else draw(st.sampled_from(VALUES[slot])) for slot in slots}
    written = {
        slot: f"{quote or chr(34)}{value}{quote or chr(34)}" if quote or value in ("1.10", "on") else value
        for slot, value in values.items()
    }
    if draw(st.booleans()):
        return f"{dash}- {{{', '.join(f'{slot}: {value}' for slot, value in written.items())}}}"
    gap = draw(st.sampled_from([" ", "  ", "aligned"]))
    lead = draw(st.sampled_from([f"{dash}- ", f"{dash}-   "]))
    lines = []
    for slot, value in written.items():
        column = " " * (11 - len(slot)) if gap == "aligned" else gap
        lines.append(f"{slot}:{column}{value}{draw(st.sampled_from(['', '  ', ' # a comment']))}")
        lines += draw(st.sampled_from([[], [], ["# between"], [""]])) if slot != slots[-1] else []
    return lead + f"\n{' ' * len(lead)}".join(lines).replace(f"\n{' ' * len(lead)}\n", "\n\n")


@st.composite
def kustomizations(draw: st.DrawFn) -> tuple[str, list[str], str]:
    """What stands in front of the entries, the entries, what stands behind them; no list when there are no entries."""
    head = [*draw(st.lists(st.sampled_from(HEADS), unique=True)), "kind: Kustomization"]
    tail = draw(st.lists(st.sampled_from(TAILS), unique=True))
    names = draw(st.lists(st.sampled_from(NAMES), unique=True))
    dash = draw(st.sampled_from(["", "  "]))
    listed = [draw(entries(name, dash)) for name in names]
    before = "".join(
        f"{each}\n" for each in [*sorted(head, key=lambda each: each != "---"), *(["images:"] if names else [])]
    )
    behind = "".join(f"{each}\n" for each in tail)
    return before, [f"{each}\n" for each in listed], behind


arguments = st.builds(
    lambda new, tag, digest: f"{new}{tag}{digest}",
    st.sampled_from(["=new", "=*", "=r.io:5000/new", "=app", ""]),
    st.sampled_from(["", ":v2", ":1.20", ":*", ":v1"]),
    st.sampled_from(["", f"@{B}", "@*"]),
).filter(bool)


def data(content: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.load(content.removeprefix("\ufeff"), Loader=yaml.CBaseLoader)  # noqa: S506 - texts only
    return loaded


def meant(entry: dict[str, str], edit: ImageEdit) -> dict[str, str]:
    """What kustomize makes of an entry, but that a suffix stays, and a new name that is the name is not added."""
    slots = {"newName": edit.new_name, "newTag": edit.tag, "digest": edit.digest}
    wanted = {slot: entry.get(slot, "") if value == "*" else value for slot, value in slots.items()}
    if wanted["newName"] == edit.name and "newName" not in entry:
        wanted["newName"] = None
    others = {key: value for key, value in entry.items() if key not in slots}
    return others | {slot: value for slot, value in wanted.items() if value}


@settings(deadline=None, derandomize=True, max_examples=60)
@given(kustomizations(), st.sampled_from(NAMES), arguments, st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_any_edit_of_any_file_changes_one_entry_only(
    file: tuple[str, list[str], str], name: str, reference: str, end_of_line: str, finished: bool
) -> None:
    head, listed, tail = file
    before = written([head, *listed, tail], end_of_line, finished=finished)
    old = data(before).get("images", [])
    place = [entry["name"] for entry in old].index(name) if name in [entry["name"] for entry in old] else None

    after = edited(before, name + reference)

    edit = ImageEdit.parse(name + reference)
    if place is None:
        images = [*old, meant({"name": name}, edit)]
        assert is_put_into(before, after)
    else:
        images = [*old[:place], meant(old[place], edit), *old[place + 1 :]]
        assert after.startswith(written([head, *listed[:place]], end_of_line))
        assert after.endswith(written([*listed[place + 1 :], tail], end_of_line, finished=finished))
        assert after.count("# between") == before.count("# between")
    assert data(after) == data(before) | {"images": images}


def is_put_into(before: str, after: str) -> bool:
    """Whether the one text is the other with something put into it, in one place."""
    place = next((n for n, (one, other) in enumerate(zip(before, after, strict=False)) if one != other), len(before))
    return after.endswith(before[place:])


def written(parts: Iterable[str], end_of_line: str, *, finished: bool = True) -> str:
    whole = "".join(parts)
    return (whole if finished else whole[:-1]).replace("\n", end_of_line)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_edited_or_refused(content: bytes) -> None:
    try:
        after = kustomization.edited(content, [ImageEdit.parse("app:v1")])
    except StepError as refusal:
        assert re.match(r"line [0-9]+: ", str(refusal))  # noqa: PT017 - either may come
    else:
        assert kustomization.entries(after.content, ["app"]) == {"app": Entry("app", None, "v1")}


CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())


@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in CORPUS])
def test_what_the_fuzzer_starts_from_is_edited_rightly_or_refused(path: Path) -> None:
    fuzz_kustomization.check(path.read_bytes())


MANY = [
    *("[", "{", "- ", "? ", "{a: ", "[], ", "- {}\n", "- a\n", "x: y\n", "a: ", ": ", "'", '"', "''", "\\", "\\n"),
    *("&a ", "*a ", "- &a a\n- *a\n", "!a ", "<<: *a\n", "\t", " ", "\n", "\r", "\r\n", "\u2028", "a", "a ", "é"),
    *("%", "%TAG ", "#", "# a\n", "  # newTag: a\n", "---\n", "...\n", "<<<<<<< ", "${", "{{", "1_", "|\n", ">\n"),
    *("- name: app\n", "- name: a\n  newTag: b\n", "  name: app\n", "- {name: app}\n"),
]


@pytest.mark.parametrize("many", [pytest.param(many, id=repr(many)) for many in MANY])
@pytest.mark.parametrize(
    "file", [b"%s%s", b"%sx: %s", b"%sx: '%s'", b"%sx:\n  %s\n"], ids=["bare", "a value", "quoted", "a block"]
)
def test_64_kib_of_one_thing_are_edited_or_refused_within_a_second(many: str, file: bytes) -> None:
    entry, repeated = b"images:\n- name: app\n  newTag: v1\n", many.encode()
    content = file % (entry, repeated * ((fuzz_kustomization.LONGEST - len(entry) - 9) // len(repeated)))
    fuzz_kustomization.check(b"both app=new:v2 proxy:v1\n" + content)


real_files = pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem) for path in REAL_FILES]
    or [pytest.param(REAL, marks=pytest.mark.skip(reason=f"there are no real files in {REAL}"))],
)


def names_in(content: str) -> list[str]:
    """The names of entries that an argument can give; `$(registry)/app` is none to a registry or a container runtime."""
    return [entry["name"] for entry in data(content)["images"] if "$(" not in entry["name"]]


def place_of(name: str, lines: list[str]) -> tuple[int, int]:
    """The first line of an entry, and the one behind its last."""
    line = re.compile(rf"[ -]*name: *['\"]?{re.escape(name)}['\"]?\s*")
    first = next(n for n in range(lines.index("images:\n"), len(lines)) if line.fullmatch(lines[n]))
    while not lines[first].lstrip().startswith("- "):
        first -= 1
    dash = lines[first].index("-")
    text_lines = [n for n, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")]
    behind = [n for n in text_lines if n > first and lines[n][: dash + 1].strip()]
    return first, max(n for n in text_lines if n < min(behind, default=len(lines))) + 1


@real_files
def test_every_entry_of_a_real_file_is_edited_in_its_own_lines(path: Path) -> None:
    before = path.read_bytes().decode()
    lines = before.splitlines(keepends=True)
    for name in names_in(before):
        first, end = place_of(name, lines)
        for reference in ("=r.io:5000/new:v9", f"=r.io/new:1.10@{B}", f"@{B}", ":v9", "=*:v9"):
            after = edited(before, name + reference)
            assert after.startswith("".join(lines[:first]))
            assert after.endswith("".join(lines[end:]))
            assert {**data(after), "images": None} == {**data(before), "images": None}


@real_files
def test_an_image_is_added_to_a_real_file_in_one_place(path: Path) -> None:
    before = path.read_bytes().decode()
    after = edited(before, "zoo=r.io:5000/new:v9")
    assert is_put_into(before.replace("images: []\n", "images:\n"), after)
    entry = {"name": "zoo", "newName": "r.io:5000/new", "newTag": "v9"}
    assert data(after) == data(before) | {"images": [*data(before)["images"], entry]}


REFERENCES = [
    *("=r.io:5000/new:v9", f"=r.io/new:1.10@{B}", f"@{B}", ":v9", "=*:v9", f"=*@{B}", "=new", f"=*:*@{B}"),
    *(f":v9@{B}", "=new:*@*"),
]


@real_files
def test_a_real_file_says_the_same_after_kustomize_has_edited_every_entry(
    path: Path, kustomize: Path, tmp_path: Path
) -> None:
    before = path.read_bytes().decode()
    names = names_in(before)
    references = itertools.islice(itertools.cycle(REFERENCES), REAL_FILES.index(path), None)
    arguments = [name + reference for name, reference in zip([*names, "zoo"], references, strict=False)]
    after = edited(before, *arguments)
    (tmp_path / "kustomization.yaml").write_bytes(path.read_bytes())
    subprocess.run([kustomize, "edit", "set", "image", *arguments], cwd=tmp_path, check=True)
    theirs = data((tmp_path / "kustomization.yaml").read_text("utf-8"))
    assert sorted(data(after)["images"], key=itemgetter("name")) == theirs["images"]
    assert beside(after, [*names, "zoo"]) == beside(before, names)


def beside(content: str, names: list[str]) -> list[str]:
    """The lines that no entry of these names stands in; a list that is empty is none."""
    lines = content.replace("images: []\n", "images:\n").splitlines(keepends=True)
    own = {number for name in names for number in range(*place_of(name, lines))}
    return [line for number, line in enumerate(lines) if number not in own]


README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
PAIRS = re.findall(r"^(.+): `set_image -- (.+)`\n\n```diff\n((?:.*\n)+?)```\n", README, re.MULTILINE)


def test_the_readme_shows_six_edits() -> None:
    assert len(PAIRS) == 6


def sides(diff: str) -> tuple[str, str]:
    """The text before and the text after."""
    lines = diff.splitlines(keepends=True)
    before, after = ("".join(line[1:] for line in lines if line[0] in kept) for kept in (" -", " +"))
    return before, after


readme_pairs = pytest.mark.parametrize(("arguments", "diff"), [pytest.param(*pair, id=what) for what, *pair in PAIRS])


@readme_pairs
def test_an_edit_makes_what_the_readme_shows(arguments: str, diff: str) -> None:
    before, after = sides(diff)
    assert edited(before, *arguments.split()) == after


@readme_pairs
def test_kustomize_makes_something_else_of_what_the_readme_shows(
    arguments: str, diff: str, kustomize: Path, tmp_path: Path
) -> None:
    before, after = sides(diff)
    (tmp_path / "kustomization.yaml").write_text(before)
    subprocess.run([kustomize, "edit", "set", "image", *arguments.split()], cwd=tmp_path, check=True)
    assert (tmp_path / "kustomization.yaml").read_text() != after


@dataclass(frozen=True)
class Difference:
    """What an edit makes of an entry here, and what of kustomize: its entry, or a part of its error."""

    why: str
    entry: str
    argument: str
    ours: dict[str, str]
    theirs: dict[str, str] | str


DIFFERENCES = [
    Difference(
        "a suffix is not what the edit is about",
        "{name: app, newTag: v1, tagSuffix: -debug}",
        "app:v2",
        {"name": "app", "newTag": "v2", "tagSuffix": "-debug"},
        {"name": "app", "newTag": "v2"},
    ),
    Difference(
        "a new name that is the name says nothing",
        "{name: app, newTag: v1}",
        "app=app:v2",
        {"name": "app", "newTag": "v2"},
        {"name": "app", "newName": "app", "newTag": "v2"},
    ),
    Difference(
        "a new name that holds a tag and gets another renders as new:v1:v2",
        "{name: app, newName: new:v1}",
        "app=*:v2",
        {"name": "app", "newName": "new", "newTag": "v2"},
        {"name": "app", "newName": "new:v1", "newTag": "v2"},
    ),
    Difference(
        "a tag that holds a digest and gets another renders with two",
        f"{{name: app, newTag: 'v1@{A}'}}",
        f"app=*:*@{B}",
        {"name": "app", "newTag": f"v1@{B}"},
        {"name": "app", "newTag": f"v1@{A}", "digest": B},
    ),
    Difference(
        "a tag and a digest in one slot stay in one, which renders the same",
        f"{{name: app, newTag: 'v1@{A}'}}",
        f"app:v2@{B}",
        {"name": "app", "newTag": f"v2@{B}"},
        {"name": "app", "newTag": "v2", "digest": B},
    ),
    Difference(
        "a tag that YAML takes for a number is what the edit mends",
        "{name: app, newTag: 1.10}",
        "app:v2",
        {"name": "app", "newTag": "v2"},
        "cannot unmarshal number into Go struct field",
    ),
]


@pytest.mark.parametrize("case", [pytest.param(case, id=case.why) for case in DIFFERENCES])
def test_these_edits_mean_something_else_than_those_of_kustomize(
    case: Difference, kustomize: Path, tmp_path: Path
) -> None:
    before = f"images:\n- {case.entry}\n"
    assert data(edited(before, case.argument)) == {"images": [case.ours]}
    (tmp_path / "kustomization.yaml").write_text(before)
    command = [str(kustomize), "edit", "set", "image", case.argument]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    if isinstance(case.theirs, str):
        assert case.theirs in ended.stderr
    else:
        assert data((tmp_path / "kustomization.yaml").read_text())["images"] == [case.theirs]


@settings(deadline=None, derandomize=True, max_examples=25)
@given(st.data(), st.lists(st.sampled_from(NAMES), unique=True), st.sampled_from(NAMES), arguments)
def test_kustomize_renders_the_image_that_an_edit_asked_for(
    kustomize: Path,
    tmp_path_factory: pytest.TempPathFactory,
    drawn: st.DataObject,
    names: list[str],
    name: str,
    reference: str,
) -> None:
    dash = drawn.draw(st.sampled_from(["", "  "]))
    listed = [f"{drawn.draw(entries(each, dash))}\n" for each in names]
    after = edited("".join(["resources: [web.yaml]\n", *(["images:\n"] if names else []), *listed]), name + reference)
    entry = kustomization.entries(after.encode(), [name])[name]
    assume(entry.new_name not in NAMES or entry.new_name == name)  # what one entry made, the next may take
    assume(entry.tag or entry.digest or not entry.tag_suffix)  # kustomize 5.8 puts a suffix alone there twice
    package = tmp_path_factory.mktemp("package")
    (package / "kustomization.yaml").write_text(after)
    (package / "web.yaml").write_text(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n"
        f"spec: {{template: {{spec: {{containers: [{{name: web, image: '{name}:v0'}}]}}}}}}\n"
    )
    rendered = subprocess.run([kustomize, "build", package], capture_output=True, text=True, check=True).stdout
    [container] = data(rendered)["spec"]["template"]["spec"]["containers"]
    wanted = entry if entry.tag or entry.digest else dataclasses.replace(entry, tag="v0")
    assert container["image"] == str(wanted)
