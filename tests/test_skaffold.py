"""`skaffold.yaml` held against the image, the overlays and Kaniko's version, which it names again."""

import re
from pathlib import Path

import pytest
import yaml

from tests.sandbox import kaniko
from tests.sandbox.tekton import Object

ROOT = Path(__file__).parent.parent
CONFIG: Object = yaml.safe_load((ROOT / "skaffold.yaml").read_text(encoding="utf-8"))
PROFILES: dict[str, Object] = {"default": CONFIG, **{each["name"]: each for each in CONFIG["profiles"]}}
NAMESPACES = {"default": "apps-cd-dev", "dev": "apps-cd-dev", "prod": "apps-cd"}
OVERLAYS = {"default": "dev", "dev": "dev-sync", "prod": "prod"}
DOCKERFILES = {"default": "images/steps", "dev": "images/steps-dev", "prod": "images/steps"}
DOCKERFILE_OF_DEV = (ROOT / "images/steps-dev/Dockerfile").read_text(encoding="utf-8")

each_profile = pytest.mark.parametrize("profile", PROFILES)


def artifact(profile: str) -> Object:
    """What a profile builds; what it does not say is as in the default."""
    (only,) = PROFILES[profile]["build"].get("artifacts", CONFIG["build"]["artifacts"])
    result: Object = only
    return result


@each_profile
def test_the_image_is_built_by_the_kaniko_of_the_tasks_from_its_dockerfile(profile: str) -> None:
    built = artifact(profile)
    assert (built["image"], built["kaniko"]["image"]) == ("apps-cd/steps", kaniko.IMAGE)
    assert built["kaniko"]["dockerfile"] == f"{DOCKERFILES[profile]}/Dockerfile"


@each_profile
def test_a_profile_deploys_its_overlay_and_builds_in_its_namespace(profile: str) -> None:
    overlay = f"tekton/reconciler/overlays/{OVERLAYS[profile]}"
    assert (ROOT / overlay / "kustomization.yaml").is_file()
    assert PROFILES[profile]["manifests"] == {"kustomize": {"paths": [overlay]}}
    cluster = PROFILES[profile]["build"].get("cluster", CONFIG["build"]["cluster"])
    assert cluster == {**CONFIG["build"]["cluster"], "namespace": NAMESPACES[profile]}


def test_an_image_of_dev_takes_no_tag_of_production() -> None:
    policies = {profile: each["build"].get("tagPolicy") for profile, each in PROFILES.items()}
    assert policies == {"default": None, "dev": {"envTemplate": {"template": "dev"}}, "prod": None}


def test_files_are_copied_to_where_the_image_has_them_and_the_watcher_looks() -> None:
    (rule,) = artifact("dev")["sync"]["manual"]
    assert rule == {"src": "steps/**/*.py", "dest": "/opt/apps-cd"}
    assert "COPY steps /opt/apps-cd/steps\n" in (ROOT / "images/steps/Dockerfile").read_text(encoding="utf-8")
    # Their owner is who the container runs as, and who copies.
    assert "COPY --chown=65532:65532 steps /opt/apps-cd/steps\n" in DOCKERFILE_OF_DEV
    patch = (ROOT / "tekton/reconciler/overlays/dev-sync/deployment.yaml").read_text(encoding="utf-8")
    assert "- --directory=/opt/apps-cd/steps\n" in patch


def test_the_image_of_dev_is_a_pushed_one_and_a_watcher_pinned_by_its_hashes() -> None:
    assert artifact("dev")["kaniko"]["buildArgs"] == {"STEPS_IMAGE": "{{.STEPS_IMAGE}}"}
    assert re.findall(r"^(?:ARG|FROM) .+", DOCKERFILE_OF_DEV, re.MULTILINE) == [
        "ARG STEPS_IMAGE=apps-cd/steps:latest",
        "FROM ${STEPS_IMAGE}",
    ]
    assert "--no-deps --require-hashes" in DOCKERFILE_OF_DEV
    assert DOCKERFILE_OF_DEV.endswith("\nUSER 65532:65532\n")
    pins = (ROOT / "images/steps-dev/requirements.txt").read_text(encoding="utf-8")
    assert re.fullmatch(r"watchdog==[\d.]+( \\\n    --hash=sha256:[0-9a-f]{64})+\n    # via .+\n", pins)
