"""What create_runs makes, given to a real Tekton."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster, CommandError
from tests.tekton.test_created_runs import made

NAMESPACE = re.compile(r"^  namespace: .*\n", re.MULTILINE)


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace without any Pipeline, so that no run in it starts a pod."""
    name = "apps-cd-test-created-runs"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def test_every_run_is_accepted_once(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    texts = [NAMESPACE.sub("", text) for _, text in made()]
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.yaml").write_text(text)
    created = cluster.kubectl(f"--namespace={namespace}", "create", f"--filename={tmp_path}").splitlines()
    assert len(created) == len(texts)
    assert [line for line in created if not line.endswith(" created")] == []
    with pytest.raises(CommandError) as again:
        cluster.kubectl(f"--namespace={namespace}", "create", f"--filename={tmp_path}")
    assert str(again.value).count("already exists") == len(texts)
