import json
from pathlib import Path

from steps.validate_config import validate_config
from tests.steps.conftest import Outcome, Run
from tests.steps.remotes import APPLICATION, VERSION, Remotes


def lines(outcome: Outcome, remotes: Remotes) -> list[str]:
    """What was said, without the directory of the files."""
    return outcome.stdout.replace(f"{remotes.root}/", "").splitlines()


def test_nothing_is_said_of_a_good_configuration(run: Run, remotes: Remotes) -> None:
    remotes.begin()
    flags = {name: path for name, path in remotes.flags.items() if name != "output_dir"}
    assert run(validate_config, **flags, format="table") == Outcome(0)


def test_all_problems_are_told_in_the_order_of_the_file(run: Run, remotes: Remotes) -> None:
    remotes.write(
        APPLICATION.replace("context: web", "contxt: web")
        + APPLICATION.replace("name: web", "name: api").replace("sourceRepo: source", "sourceRepo: sorce")
        + APPLICATION.replace("name: web", "name: api"),
        VERSION + "      - {name: tools, url: https://github.com/example/tools, branch: main}\n",
        "exclude:\n  - application: wbe\n",
    )
    outcome = run(validate_config, config=remotes.config, format="table")
    assert (outcome.code, outcome.problem) == (1, "config-error: the configuration has 3 errors")
    assert lines(outcome, remotes) == [
        "applications.yaml:4:5: error: an application has no key `contxt`; did you mean `context`?",
        "applications.yaml:12:5: error: an application `api` is there already: keep one of the two",
        "applications.yaml:25:18: error: there is no application `wbe`; did you mean `web`?",
    ]


def test_a_warning_is_no_failure(run: Run, remotes: Remotes) -> None:
    remotes.write(versions=VERSION + "      - {name: tools, url: https://github.com/example/tools, branch: main}\n")
    outcome = run(validate_config, config=remotes.config, format="table")
    assert (outcome.code, lines(outcome, remotes)) == (
        0,
        ["applications.yaml:13:9: warning: no application uses the repository `tools` of version `main`"],
    )


def test_a_program_gets_the_same_as_json(run: Run, remotes: Remotes) -> None:
    remotes.write(APPLICATION.replace("    image: example.com/web\n", "    image: Example.com/Web\n"))
    outcome = run(validate_config, config=remotes.config)
    assert json.loads(outcome.stdout) == {
        "problems": [
            {
                "file": str(remotes.config),
                "line": 6,
                "column": 12,
                "severity": "error",
                "message": "`image`: 'Example.com/Web' is not an image name, such as registry.example.com:5000/team/app; the repository is written in lower case",
            }
        ]
    }


def test_a_template_is_looked_at_too_and_says_which_parameters_there_are(run: Run, remotes: Remotes) -> None:
    more = "    params:\n      - {name: fork-ower, value: x}\n"
    remotes.write(APPLICATION + more)
    told = "applications.yaml:8:16: error: the Pipeline has no parameter `fork-ower`; did you mean `fork-owner`?"
    assert lines(run(validate_config, config=remotes.config, format="table"), remotes) == [told]
    remotes.template.write_text(remotes.template.read_text().replace("name: apps-cd", "name: another"))
    flags = {"config": remotes.config, "template": remotes.template, "format": "table"}
    assert lines(run(validate_config, **flags), remotes) == []
    remotes.template.write_text("kind: PipelineRun\napiVersion: tekton.dev/v1\nspec: {pipelineReff: {name: x}}\n")
    assert lines(run(validate_config, **flags), remotes) == [
        "template.yaml:1:1: error: `spec` of a template lacks `pipelineRef`, such as `name: apps-cd`",
        "template.yaml:3:8: error: `spec` of a PipelineRun has no key `pipelineReff`; did you mean `pipelineRef`?",
    ]


def test_what_is_not_at_the_tips_is_told_with_the_line_that_names_it(run: Run, remotes: Remotes) -> None:
    remotes.write(
        APPLICATION
        + "    watch: [common/**]\n"
        + APPLICATION.replace("name: web", "name: api").replace("context: web", "context: api")
        + APPLICATION.replace("name: web", "name: old").replace("web/base", "old/base"),
        VERSION + VERSION.replace("name: main", "name: next").replace("source, branch: main", "source, branch: next"),
    )
    tip = remotes.begin()[:8]
    manifests = remotes.manifests.git("rev-parse", "HEAD")[:8]
    outcome = run(validate_config, config=remotes.config, src_dir=remotes.src_dir, format="table")
    assert (outcome.code, lines(outcome, remotes)) == (
        1,
        [
            "applications.yaml:7:12: warning: `watch`: nothing is there for common/** on main of https://github.com/example/source",
            f"applications.yaml:10:14: error: there is no directory api on main of https://github.com/example/source (at {tip})",
            f"applications.yaml:16:19: error: there is no directory old/base on main of https://github.com/example/manifests (at {manifests})",
            "applications.yaml:27:72: error: there is no branch next in https://github.com/example/source",
        ],
    )


def test_an_image_that_the_kustomization_does_not_name_is_a_warning(run: Run, remotes: Remotes) -> None:
    remotes.begin()
    remotes.manifests.commit("Forget it", {"web/base/kustomization.yaml": "resources: []\n"})
    outcome = run(validate_config, config=remotes.config, src_dir=remotes.src_dir, format="table")
    assert (outcome.code, lines(outcome, remotes)) == (
        0,
        [
            "applications.yaml:6:12: warning: web/base/kustomization.yaml on main of https://github.com/example/manifests has no entry for example.com/web: one is made by the first update"
        ],
    )


def test_a_repository_that_cannot_be_asked_is_told_once(run: Run, remotes: Remotes) -> None:
    remotes.write(APPLICATION + APPLICATION.replace("name: web", "name: api"))
    remotes.begin()
    (remotes.root / "remotes/example/source").rename(remotes.root / "away")
    outcome = run(validate_config, config=remotes.config, src_dir=remotes.src_dir, format="table")
    assert outcome.code == 1
    (told,) = lines(outcome, remotes)
    assert told.startswith(
        "applications.yaml:16:72: error: cannot ask https://github.com/example/source for its branches: there is no such repository"
    )


def test_the_seeds_configuration_has_eight_pairs_that_cannot_be(
    run: Run, kubeflow: "tuple[Path, Path]", tmp_path: Path
) -> None:
    config, template = kubeflow
    outcome = run(validate_config, config=config, template=template, src_dir=tmp_path / "src", format="table")
    errors = [line for line in outcome.stdout.splitlines() if ": error: " in line]
    assert [line.split(":")[1] for line in errors] == ["36", "58", "92", "120", "132", "144", "144", "144"]
