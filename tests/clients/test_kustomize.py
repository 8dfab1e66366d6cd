"""Packages rendered by the real kustomize, and by programs in its place that show what it is given."""

import os
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from steps.clients import kustomize
from steps.clients.kustomize import build
from steps.core.rendering import Built
from steps.errors import StepError
from tests.sandbox import go

POD = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\nspec:\n  containers:\n  - image: app:v1\n    name: web\n"


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(go.program("kustomize").parent))


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """The address of a server on this machine, for which no proxy is asked, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(POD.encode())

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}", asked
        listening.shutdown()


def tree(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def program(directory: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `kustomize` of one's own, in front of everything else."""
    directory.mkdir()
    (directory / "kustomize").write_text(f"#!/bin/sh\n{script}\n")
    (directory / "kustomize").chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")


@pytest.mark.usefixtures("real")
def test_an_overlay_is_rendered_with_what_it_includes(tmp_path: Path) -> None:
    tree(
        tmp_path,
        {
            "base/kustomization.yaml": "resources: [pod.yaml]\n",
            "base/pod.yaml": POD,
            "prod/kustomization.yaml": "namePrefix: prod-\nresources: [../base]\nimages:\n- name: app\n  newTag: v2\n",
        },
    )
    assert build(tmp_path / "base") == Built(POD)
    prod = POD.replace("name: web\nspec", "name: prod-web\nspec").replace("app:v1", "app:v2")
    assert build(tmp_path / "prod") == Built(prod)


@pytest.mark.usefixtures("real")
def test_a_package_that_wants_a_server_is_found_out_before_anything_is_asked(
    tmp_path: Path, server: tuple[str, list[str]]
) -> None:
    url, asked = server
    tree(
        tmp_path,
        {
            "base/kustomization.yaml": f"resources:\n- pod.yaml\n- {url}/pod.yaml\n",
            "base/pod.yaml": POD,
            "prod/kustomization.yaml": "resources:\n- ../base\n",
        },
    )
    why_not = f"line 3 of ../base/kustomization.yaml brings in {url}/pod.yaml, which is not fetched"
    assert (build(tmp_path / "prod"), asked) == (Built(why_not=why_not), [])


GENERATOR = "apiVersion: builtin\nkind: ConfigMapGenerator\nmetadata: {name: a}\nfiles: ['x=URL/x']\n"


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({"kustomization.yaml": "Resources: ['URL/x']\n"}, id="a field in capitals"),
        pytest.param({"kustomization.yaml": "patches: [{Path: 'URL/x', target: {kind: Pod}}]\n"}, id="a patch"),
        pytest.param({"kustomization.yaml": "configMapGenerator: [{name: a, files: ['k/y=URL/x']}]\n"}, id="a file"),
        pytest.param(
            {"kustomization.yaml": "generators: [g.yaml]\n", "g.yaml": GENERATOR}, id="a file of a generator's file"
        ),
        pytest.param(
            {"kustomization.yaml": "generators: [g]\n", "g/kustomization.yaml": "resources: [a]\n", "g/a": GENERATOR},
            id="a file of a generator in a directory",
        ),
        pytest.param(
            {"kustomization.yaml": "generators:\n- |-\n  " + GENERATOR.replace("\n", "\n  ") + "\n"},
            id="a file of a generator that is written out",
        ),
        pytest.param({"kustomization.yaml": "<<: {resources: ['URL/x']}\n"}, id="a merge key"),
        pytest.param(
            {"kustomization.yaml": "resources: ['URL/x']\n", "http:/127.0.0.1/x": POD}, id="a file of that name"
        ),
        pytest.param({"kustomization.yaml": f"#{'x' * (1 << 20)}\nresources: ['URL/x']\n"}, id="an address far behind"),
        pytest.param({"kustomization.yaml": "resources: ['URL/x']\n---\n"}, id="what the reader refuses"),
    ],
)
@pytest.mark.usefixtures("real")
def test_no_way_to_write_an_address_has_kustomize_ask_for_it(
    files: Mapping[str, str], tmp_path: Path, server: tuple[str, list[str]]
) -> None:
    url, asked = server
    tree(tmp_path, {name: text.replace("URL", url) for name, text in files.items()})
    assert (build(tmp_path).why_not != "", asked) == (True, [])


@pytest.mark.usefixtures("real")
def test_what_leads_out_of_the_repository_is_not_rendered(tmp_path: Path) -> None:
    tree(
        tmp_path,
        {
            "repository/web/kustomization.yaml": "resources: [../../outside]\n",
            "outside/kustomization.yaml": "resources: [pod.yaml]\n",
            "outside/pod.yaml": POD,
        },
    )
    why_not = "line 1 of kustomization.yaml brings in ../../outside, which leads out of the repository"
    web = tmp_path / "repository/web"
    assert build(web, tmp_path / "repository") == Built(why_not=why_not)
    assert build(web) == Built(POD)


@pytest.mark.usefixtures("real")
def test_aliases_of_aliases_end_before_they_fill_the_memory(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    bomb = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  " + "\n  ".join(lines) + "\n"
    tree(tmp_path, {"kustomization.yaml": "resources: [a.yaml]\n", "a.yaml": bomb})
    assert build(tmp_path) == Built(why_not="kustomize was ended: it takes too much time or memory")


@pytest.mark.usefixtures("real")
def test_what_kustomize_quotes_of_a_secret_is_not_told(tmp_path: Path) -> None:
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {password: hunter2, keystore: '\x7f'}\n"
    patch = "patches:\n- patch: |-\n    kind: Secret\n    metdata: {name: a}\n    stringData: {password: hunter2}\n"
    for number, files in enumerate(
        (
            {"kustomization.yaml": "resources: [a.yaml]\n", "a.yaml": secret},
            {"kustomization.yaml": "resources: [pod.yaml]\n" + patch, "pod.yaml": POD},
        )
    ):
        why_not = build(tree(tmp_path / str(number), files)).why_not
        assert why_not.startswith("kustomize ")
        assert "hunter2" not in why_not


@pytest.mark.usefixtures("real")
def test_a_long_patch_on_one_line_is_no_path(tmp_path: Path) -> None:
    names = ", ".join(f"{{name: A{number}, value: b}}" for number in range(40))
    patch = (
        f"{{apiVersion: v1, kind: Pod, metadata: {{name: web}}, spec: {{containers: [{{name: web, env: [{names}]}}]}}}}"
    )
    tree(
        tmp_path,
        {"kustomization.yaml": f"resources: [pod.yaml]\npatchesStrategicMerge: ['{patch}']\n", "pod.yaml": POD},
    )
    assert build(tmp_path).text.count("value: b") == 40


@pytest.mark.parametrize(
    ("kustomization", "message"),
    [
        pytest.param(
            "resources: [pod.yaml]\nhelmCharts:\n- name: web\n",
            "line 2 of kustomization.yaml needs helm, which is not run here",
            id="a chart",
        ),
        pytest.param(
            "resources:\n- github.com/example/manifests//web?ref=v1\n",
            "line 2 of kustomization.yaml brings in github.com/example/manifests//web?ref=v1, which is not fetched",
            id="a repository",
        ),
        pytest.param(
            "resources: [gone.yaml]\n",
            "kustomize says: lstat gone.yaml: no such file or directory",
            id="a file that is gone",
        ),
        pytest.param(
            "resources: [pod.yaml, .]\n",
            "kustomize says: cycle detected: candidate root '.' contains visited root '.'",
            id="itself",
        ),
        pytest.param(
            "- a\n", "kustomize says: cannot unmarshal array into Go value of type types.Kustomization", id="a list"
        ),
        pytest.param("", "kustomize says: kustomization.yaml is empty", id="nothing"),
        pytest.param("nope: a\n", 'kustomize says: unknown field "nope"', id="a field that there is not"),
        pytest.param(
            "resources: [pod.yaml]\npatches:\n- patch: |-\n    kind: Pod\n    metadata: {name: other}\n",
            "kustomize says: no matches for Id Pod.[noVer].[noGrp]/other.[noNs]",
            id="a patch of what is not there",
        ),
        pytest.param(
            "secretGenerator: [{name: a, literals: [hunter2]}]\n",
            "kustomize refuses it: `kustomize build` says why",
            id="what may be a secret",
        ),
    ],
)
@pytest.mark.usefixtures("real")
def test_what_cannot_be_rendered_here_says_why(kustomization: str, message: str, tmp_path: Path) -> None:
    tree(tmp_path, {"kustomization.yaml": kustomization, "pod.yaml": POD})
    assert build(tmp_path) == Built(why_not=message)


@pytest.mark.usefixtures("real")
def test_a_file_whose_name_looks_like_an_address_is_a_file(tmp_path: Path) -> None:
    tree(tmp_path, {"kustomization.yaml": "resources: ['github.com/pod.yaml']\n", "github.com/pod.yaml": POD})
    assert build(tmp_path) == Built(POD)


def test_kustomize_is_given_nothing_of_the_steps_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "secret")
    monkeypatch.setenv("NO_PROXY", "*")
    program(
        tmp_path / "bin",
        'read=$(/usr/bin/env | /usr/bin/sort); echo "$read"; echo "$@"; /bin/ls -A "$HOME"',
        monkeypatch,
    )
    tree(tmp_path / "web", {"kustomization.yaml": ""})
    environment, arguments = build(tmp_path / "web").text.rsplit("\n", 2)[:2]
    given = dict(line.split("=", 1) for line in environment.splitlines())
    empty = given["HOME"]
    assert arguments == f"build {tmp_path}/web"
    assert {name: value for name, value in given.items() if name not in ("PWD", "OLDPWD", "SHLVL", "_")} == {
        **dict.fromkeys(("HOME", "PATH", "TMPDIR", "XDG_CONFIG_HOME"), empty),
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9"),
        "GOMEMLIMIT": str(1 << 29),
    }
    assert not Path(empty).exists()


def test_one_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kustomize, "SECONDS", 1)
    program(tmp_path / "bin", f"echo $$ > {tmp_path}/pid; exec /bin/sleep 600", monkeypatch)
    tree(tmp_path / "web", {"kustomization.yaml": ""})
    assert build(tmp_path / "web") == Built(why_not="kustomize has not ended within 1 s")
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


def test_one_that_prints_without_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kustomize, "LARGEST", 1 << 20)
    program(tmp_path / "bin", "exec /usr/bin/yes", monkeypatch)
    tree(tmp_path / "web", {"kustomization.yaml": ""})
    assert build(tmp_path / "web") == Built(why_not="its manifests have more than 1048576 bytes")


def test_without_kustomize_the_step_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StepError) as refusal:
        build(tmp_path)
    assert (refusal.value.reason, str(refusal.value)) == (
        "no-kustomize",
        "rendering: there is no `kustomize` on PATH: install it, or do without --verify",
    )
