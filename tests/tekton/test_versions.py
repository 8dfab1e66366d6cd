"""All YAML that we ship or show is accepted by every version of Tekton that we support, and what is broken is refused."""

import shutil

import pytest
from markdown_it import MarkdownIt

from tests.sandbox import go
from tests.sandbox.runner import TEKTON
from tests.tekton import versions

ROOT = TEKTON.parent

FILES = {
    str(path.relative_to(ROOT)): text
    for path in sorted(TEKTON.rglob("*.yaml"))
    if "apiVersion: tekton.dev/" in (text := path.read_text(encoding="utf-8")) or path.parent.name == "serviceaccounts"
}
SHOWN = {
    f"README.md, line {token.map[0] + 1}": token.content
    for token in MarkdownIt().parse((ROOT / "README.md").read_text(encoding="utf-8"))
    if token.map and token.info in ("yaml", "yml") and "apiVersion: tekton.dev/" in token.content
}

STEP_ACTION = """\
apiVersion: tekton.dev/v1beta1
kind: StepAction
metadata:
  name: greet
spec:
  params:
    - name: whom
      type: string
    - name: words
      type: array
  results:
    - name: length
      type: string
  image: registry.example.com/greet
  command: [greet]
  args:
    - --whom=$(params.whom)
    - --length-result=$(step.results.length.path)
    - --
    - $(params.words[*])
"""
TASK = """\
apiVersion: tekton.dev/v1
kind: Task
metadata:
  name: greet
spec:
  params:
    - name: whom
      type: string
  workspaces:
    - name: letters
  results:
    - name: length
      type: string
      value: $(steps.greet.results.length)
  steps:
    - name: greet
      ref:
        name: greet
      params:
        - name: whom
          value: $(params.whom)
      workspaces:
        - name: letters
          mountPath: /letters
    - name: count
      image: registry.example.com/count
      command: [count]
      args:
        - --length=$(steps.greet.results.length)
"""
PIPELINE = """\
apiVersion: tekton.dev/v1
kind: Pipeline
metadata:
  name: greet
spec:
  params:
    - name: whom
      type: string
  workspaces:
    - name: letters
  results:
    - name: length
      type: string
      value: $(tasks.greet.results.length)
  tasks:
    - name: greet
      taskRef:
        kind: Task
        name: greet
      params:
        - name: whom
          value: $(params.whom)
      workspaces:
        - name: letters
          workspace: letters
    - name: count
      runAfter: [greet]
      taskRef:
        kind: Task
        name: count
      params:
        - name: length
          value: $(tasks.greet.results.length)
"""
PIPELINE_RUN = """\
apiVersion: tekton.dev/v1
kind: PipelineRun
metadata:
  generateName: greet-
spec:
  pipelineRef:
    name: greet
  params:
    - name: whom
      value: world
  workspaces:
    - name: letters
      emptyDir: {}
  taskRunTemplate:
    serviceAccountName: greeter
"""
SERVICE_ACCOUNT = """\
apiVersion: v1
kind: ServiceAccount
metadata:
  name: greeter
automountServiceAccountToken: false
"""
EXAMPLES = {
    "a StepAction": STEP_ACTION,
    "a Task": TASK,
    "a Pipeline": PIPELINE,
    "a PipelineRun": PIPELINE_RUN,
    "two objects": f"{SERVICE_ACCOUNT}---\n{PIPELINE_RUN}",
    "a generated name that is cut": PIPELINE_RUN.replace("greet-", f"{'a' * 63}-"),
}

# What is broken, and why it is refused.
REFUSED = {
    "there is an unknown field": (
        STEP_ACTION.replace("  image:", "  imagePullPolicy: Always\n  image:"),
        'StepAction greet: strict decoding error: unknown field "spec.imagePullPolicy"',
    ),
    "there is an unknown field of metadata": (
        STEP_ACTION.replace("  name: greet", "  name: greet\n  label: {}"),
        'StepAction greet: strict decoding error: unknown field "metadata.label"',
    ),
    "a field has a capital letter": (
        STEP_ACTION.replace("  image:", "  Image:"),
        'StepAction greet: strict decoding error: unknown field "spec.Image"',
    ),
    "a key is there twice": (
        STEP_ACTION.replace("  command:", "  command: [greet]\n  command:"),
        'StepAction greet: strict decoding error: yaml: unmarshal errors:\n  line 16: key "command" already set in map',
    ),
    "a text is meant and a number written": (
        STEP_ACTION.replace("  name: greet", "  name: 1"),
        "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.name of type string",
    ),
    "a kind is of another version": (
        STEP_ACTION.replace("tekton.dev/v1beta1", "tekton.dev/v1"),
        "StepAction of tekton.dev/v1 is no kind that is known here",
    ),
    "a file holds no object": ("", "no object"),
    "the second object of a file is broken": (
        f"{PIPELINE_RUN}---\n{SERVICE_ACCOUNT}".replace("automount", "mount"),
        'ServiceAccount greeter: strict decoding error: unknown field "mountServiceAccountToken"',
    ),
    "a name is longer than 63": (
        STEP_ACTION.replace("name: greet", f"name: {'a' * 64}"),
        f"StepAction {'a' * 64}: Invalid resource name: length must be no more than 63 characters: metadata.name",
    ),
    "a StepAction has no image": (
        STEP_ACTION.replace("  image: registry.example.com/greet\n", ""),
        "StepAction greet: missing field(s): spec.Image",
    ),
    "a StepAction has a script beside its command": (
        STEP_ACTION.replace("  command:", "  script: greet\n  command:"),
        "StepAction greet: script cannot be used with command: spec.script",
    ),
    "a StepAction's script has a parameter in it": (
        STEP_ACTION.replace("  command: [greet]", "  script: greet $(params.whom)"),
        "StepAction greet: param substitution in scripts is not allowed.: spec.script",
    ),
    "a StepAction's argument is of an undeclared parameter": (
        STEP_ACTION.replace("$(params.whom)", "$(params.who)"),
        'StepAction greet: non-existent variable in "--whom=$(params.who)": spec.args[0]',
    ),
    "a list stands inside a longer text": (
        STEP_ACTION.replace("- $(params.words[*])", "- --words=$(params.words[*])"),
        'StepAction greet: variable is not properly isolated in "--words=$(params.words[*])": spec.args[3]',
    ),
    "a default is not of its parameter's type": (
        STEP_ACTION.replace("      type: array", "      type: array\n      default: hello"),
        (
            'StepAction greet: "array" type does not match default value\'s type: "string": '
            "spec.params.words.default.type, spec.params.words.type"
        ),
    ),
    "a Task has a parameter with an enum, which is alpha": (
        TASK.replace("    - name: whom\n      type", "    - name: whom\n      enum: [world]\n      type"),
        "Task greet: feature flag `enable-param-enum` should be set to true to use Enum: spec.params[whom]",
    ),
    "a step has a command beside its StepAction": (
        TASK.replace("      ref:", "      command: [greet]\n      ref:"),
        "Task greet: command cannot be used with Ref: spec.steps[0].command",
    ),
    "a step's script has a result of another step in it": (
        TASK.replace("      command: [count]\n      args:\n        - --", "      script: count --"),
        (
            "Task greet: stepResult substitutions are only allowed in env, command and args. Found usage in: "
            "spec.steps[1].script"
        ),
    ),
    "two steps have one name": (
        TASK.replace("- name: count", "- name: greet"),
        "Task greet: expected exactly one, got both: spec.steps[1].name",
    ),
    "a step has a workspace that its Task has not": (
        TASK.replace("        - name: letters", "        - name: parcels"),
        'Task greet: undefined workspace "parcels": spec.steps[0].workspaces[0].name',
    ),
    "a Pipeline hands on an undeclared parameter": (
        PIPELINE.replace("$(params.whom)", "$(params.who)"),
        'Pipeline greet: non-existent variable in "$(params.who)": spec.tasks[0].params[whom]',
    ),
    "a Pipeline hands on an undeclared workspace": (
        PIPELINE.replace("workspace: letters", "workspace: parcels"),
        (
            'Pipeline greet: invalid value: pipeline task "greet" expects workspace with name "parcels" '
            "but none exists in pipeline spec: spec.tasks[0].workspaces[0]"
        ),
    ),
    "a Pipeline's result is of a task that is not there": (
        PIPELINE.replace("string\n      value: $(tasks.greet.", "string\n      value: $(tasks.greeting."),
        "Pipeline greet: invalid value: referencing a nonexistent task: spec.results[0].value",
    ),
    "two tasks wait for each other": (
        PIPELINE.replace(
            "    - name: greet\n      taskRef:", "    - name: greet\n      runAfter: [count]\n      taskRef:"
        ),
        'Pipeline greet: invalid value: cycle detected; task "count" depends on "greet": spec.tasks',
    ),
    "a task runs when an expression in CEL says so, which is alpha": (
        PIPELINE.replace("      runAfter:", '      when: [{cel: "true"}]\n      runAfter:'),
        (
            "Pipeline greet: feature flag enable-cel-in-whenexpression should be set to true to use CEL: true "
            "in WhenExpression: spec.tasks[1].when[0]"
        ),
    ),
    "a PipelineRun names its service account as in v1beta1": (
        PIPELINE_RUN.replace("  taskRunTemplate:\n  ", ""),
        'PipelineRun greet-xxxxx: strict decoding error: unknown field "spec.serviceAccountName"',
    ),
    "a PipelineRun runs nothing": (
        PIPELINE_RUN.replace("  pipelineRef:\n    name: greet\n", ""),
        "PipelineRun greet-xxxxx: expected exactly one, got neither: spec.pipelineRef, spec.pipelineSpec",
    ),
    "a PipelineRun has neither a name nor one to generate": (
        PIPELINE_RUN.replace("generateName: greet-", "labels: {}"),
        'PipelineRun : invalid resource name "": must be a valid DNS label: metadata.name',
    ),
    "a PipelineRun gives a parameter twice": (
        PIPELINE_RUN.replace("  params:\n", "  params:\n    - name: whom\n      value: you\n"),
        "PipelineRun greet-xxxxx: expected exactly one, got both: spec.params[whom].name",
    ),
    "a workspace is bound to nothing": (
        PIPELINE_RUN.replace("      emptyDir: {}\n", ""),
        (
            "PipelineRun greet-xxxxx: expected exactly one, got neither: spec.workspaces[0].configmap, "
            "spec.workspaces[0].emptydir, spec.workspaces[0].persistentvolumeclaim, spec.workspaces[0].secret, "
            "spec.workspaces[0].volumeclaimtemplate"
        ),
    ),
}

SINCE_1_15 = PIPELINE.replace("$(params.whom)", "$(HOME)")


@pytest.fixture(scope="session", params=versions.VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def problems(version: str) -> dict[str, list[str]]:
    """What a version says of all texts here, asked in one go."""
    broken = {title: text for title, (text, _) in REFUSED.items()}
    try:
        return versions.problems(version, {**FILES, **SHOWN, **EXAMPLES, **broken, "since 1.15": SINCE_1_15})
    except go.MissingError as error:
        if shutil.which("go"):
            raise pytest.fail.Exception(str(error), pytrace=False) from None
        pytest.skip(str(error))


@pytest.mark.parametrize("title", [*FILES, *SHOWN, *EXAMPLES])
def test_our_yaml_is_accepted(problems: dict[str, list[str]], title: str) -> None:
    assert problems[title] == []


@pytest.mark.parametrize("title", REFUSED)
def test_it_is_refused_when(problems: dict[str, list[str]], title: str) -> None:
    assert problems[title] == [REFUSED[title][1]]


def test_each_version_is_asked_by_its_own_code(version: str, problems: dict[str, list[str]]) -> None:
    """Only from 1.15 on is a variable of the environment noticed that is taken for one of Tekton's."""
    noticed = (
        'Pipeline greet: invalid value: invalid variable reference "$(HOME)", must start with a valid prefix: params, '
        "tasks, finally, context, workspaces, or results; if you meant a shell variable, use ${VAR} instead: "
        "spec.tasks[0].params[whom].value"
    )
    assert problems["since 1.15"] == {"v1.12.0": [], "v1.15.0": [noticed]}[version]
