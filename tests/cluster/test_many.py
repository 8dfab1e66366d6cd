"""Twenty updates of one manifests repository at once."""

from concurrent.futures import ThreadPoolExecutor
from itertools import chain

from tests.cluster.world import ClusterWorld
from tests.sandbox.world import package
from tests.tekton.update import Update

COUNT = 20


def kustomization(tag: str) -> str:
    return f"resources:\n- deployment.yaml\nimages:\n- name: ghcr.io/example/webapp\n  newTag: {tag}\n"


def test_twenty_runs_on_one_manifests_repository_make_twenty_pull_requests(cluster_world: ClusterWorld) -> None:
    update = Update(cluster_world)
    applications = [f"app-{number:02}" for number in range(COUNT)]
    packages = [package(application, kustomization("v0")).items() for application in applications]
    cluster_world.push("example/manifests", dict(chain.from_iterable(packages)))
    cluster_world.add_secrets(update.all_secrets)

    def start(application: str) -> str:
        return cluster_world.create(
            update.document(
                application=application,
                path_to_manifests_dir=application,
                image=f"{cluster_world.image(application)}:v1",
                fork_owner="example",
            )
        )

    with ThreadPoolExecutor(COUNT) as pool:
        runs = list(pool.map(cluster_world.wait, list(pool.map(start, applications))))
    assert [run.describe() for run in runs if not run.succeeded] == []
    pulls = cluster_world.pull_requests("example/manifests")
    assert sorted(pull.head for pull in pulls) == [
        f"example:apps-cd/v1.0/{application}" for application in applications
    ]
    for run, application in zip(runs, applications, strict=True):
        (pull,) = (pull for pull in pulls if pull.head.endswith(f"/{application}"))
        image = cluster_world.image(application)
        new = f"  newName: {image}\n  newTag: v1\n  digest: {run.results['IMAGE_DIGEST']}\n"
        found = cluster_world.read("example/manifests", pull.sha, f"{application}/kustomization.yaml")
        assert found == kustomization("v0").replace("  newTag: v0\n", new)
        assert cluster_world.changed_files("example/manifests", f"main...{pull.sha}") == [
            f"{application}/kustomization.yaml"
        ]
