"""The runner, on Pipelines of its own: each rule of Tekton that ours rely on, and each thing it refuses."""

import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.sandbox import containers, tekton
from tests.sandbox.containers import Container, OnHost
from tests.sandbox.runner import Run, Runner, Step
from tests.sandbox.tekton import Invalid

Object = dict[str, Any]


def action(name: str, script: str, *args: str, **spec: Any) -> Object:
    """A StepAction that runs a shell script, whose arguments are $1, $2, ..."""
    fields = {"image": "shell", "command": ["sh", "-euc", script, "sh"], "args": list(args), **spec}
    return {"apiVersion": "tekton.dev/v1beta1", "kind": "StepAction", "metadata": {"name": name}, "spec": fields}


def task(name: str, *steps: Object, **spec: Any) -> Object:
    fields = {**spec, "steps": list(steps)}
    return {"apiVersion": "tekton.dev/v1", "kind": "Task", "metadata": {"name": name}, "spec": fields}


def step(name: str, reference: str, **fields: Any) -> Object:
    return {"name": name, "ref": {"name": reference}, **fields}


def use(name: str, reference: str, **fields: Any) -> Object:
    return {"name": name, "taskRef": {"name": reference}, **fields}


def pipeline_run(pipeline: Object, **spec: Any) -> Object:
    fields = {"pipelineSpec": pipeline, **spec}
    return {"apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "metadata": {"generateName": "t-"}, "spec": fields}


def declared(*names: str, **fields: Any) -> list[Object]:
    return [{"name": name, **fields} for name in names]


def given(**values: Any) -> list[Object]:
    return [{"name": name, "value": value} for name, value in values.items()]


ECHO = action("echo", 'printf "%s\\n" "$@"', "$(params.words[*])", params=declared("words", type="array"))
WRITE = action(
    "write",
    'printf %s "$1" > "$2"',
    "$(params.text)",
    "$(step.results.text.path)",
    params=declared("text"),
    results=declared("text"),
)
CAT = action("cat", 'cat -- "$1"', "$(params.file)", params=declared("file"))
SAY = task("say", step("echo", "echo", params=given(words=["$(params.word)"])), params=declared("word"))
KEEP = task(
    "keep",
    step("write", "write", params=given(text="$(params.text)")),
    params=declared("text", default="kept"),
    results=declared("text", value="$(steps.write.results.text)"),
)
READ = task("read", step("cat", "cat", params=given(file="$(workspaces.w.path)/k")), workspaces=declared("w"))
ALL = (ECHO, WRITE, CAT, SAY, KEEP, READ)


def runner(directory: Path, *objects: Object, **options: Any) -> Runner:
    file = directory / "objects.yaml"
    with file.open("w", encoding="utf-8") as stream:
        YAML(typ="safe").dump_all((*ALL, *objects), stream)
    return Runner(file, **{"images": {"shell": OnHost({"HOME": "/tekton/home"})}, **options})


def one(run: Run) -> Step:
    """The only step of a run that succeeded."""
    assert run.succeeded, run.describe()
    ((only,),) = ([*each.steps.values()] for each in run.tasks.values())
    return only


@pytest.mark.parametrize(
    ("parameter", "values", "word", "expected"),
    [
        pytest.param({"default": "a"}, {}, "$(params.p)", "a", id="a default stands for what is not given"),
        pytest.param({"default": "a"}, {"p": "b"}, "$(params.p)", "b", id="a value wins over the default"),
        pytest.param({"default": "a"}, {"p": ""}, "$(params.p)", "", id="an empty value wins over the default"),
        pytest.param({}, {"p": "b"}, "<$(params.p)/$(params.p)>", "<b/b>", id="parameters stand within a text"),
        pytest.param({}, {"p": "a b"}, "$(params.p)", "a b", id="a value with a space stays one word"),
        pytest.param({}, {"p": "$(params.q)"}, "$(params.p)", "$(params.q)", id="a value is not looked at again"),
        pytest.param({}, {"p": "$(HOME)"}, "$(params.p)", "$(HOME)", id="an image's variable is not expanded"),
        pytest.param({}, {"p": "$(SET)"}, "$(params.p)", "here", id="a container's variable is expanded"),
        pytest.param({}, {"p": "$$(SET)"}, "$(params.p)", "$(SET)", id="two dollar signs become one"),
    ],
)
def test_a_text_as_parameter(tmp_path: Path, parameter: Object, values: Object, word: str, expected: str) -> None:
    pipeline = {"params": declared("p", **parameter), "tasks": [use("say", "say", params=given(word=word))]}
    run = runner(tmp_path, extra_environment={"SET": "here"}).run(pipeline_run(pipeline, params=given(**values)))
    assert one(run).stdout == f"{expected}\n"


@pytest.mark.parametrize(
    ("parameter", "values", "words", "expected"),
    [
        pytest.param(
            {}, {"p": ["a b", "", "c"]}, ["$(params.p[*])"], "a b\n\nc\n", id="items are handed on as they are"
        ),
        pytest.param({"default": []}, {}, ["a", "$(params.p[*])", "b"], "a\nb\n", id="no items leave nothing behind"),
        pytest.param(
            {"default": ["x"]}, {}, ["$(params.p[*])", "$(params.p[*])"], "x\nx\n", id="a list may be used twice"
        ),
    ],
)
def test_a_list_as_parameter(
    tmp_path: Path, parameter: Object, values: Object, words: Sequence[str], expected: str
) -> None:
    sayings = task(
        "sayings",
        step("echo", "echo", params=given(words=["$(params.words[*])"])),
        params=declared("words", type="array"),
    )
    pipeline = {
        "params": declared("p", type="array", **parameter),
        "tasks": [use("sayings", "sayings", params=given(words=list(words)))],
    }
    run = runner(tmp_path, sayings).run(pipeline_run(pipeline, params=given(**values)))
    assert one(run).stdout == expected


def test_parameters_of_the_call_stand_in_place_of_those_of_the_run(tmp_path: Path) -> None:
    pipeline = {"params": declared("p"), "tasks": [use("say", "say", params=given(word="$(params.p)"))]}
    run = runner(tmp_path).run(pipeline_run(pipeline, params=given(p="a")), params={"p": "b"})
    assert one(run).stdout == "b\n"


def test_results_go_from_step_to_step_to_task_to_pipeline(tmp_path: Path) -> None:
    twice = task(
        "twice",
        step("first", "write", params=given(text="$(params.text)!")),
        step("second", "write", params=given(text="$(steps.first.results.text)!")),
        params=declared("text"),
        results=declared("text", value="$(steps.second.results.text)"),
    )
    pipeline = {
        "tasks": [
            use("say", "say", params=given(word="$(tasks.twice.results.text)")),
            use("twice", "twice", params=given(text="$(tasks.keep.results.text)")),
            use("keep", "keep"),
        ],
        "results": declared("both", value="$(tasks.keep.results.text) $(tasks.twice.results.text)"),
    }
    run = runner(tmp_path, twice).run(pipeline_run(pipeline))
    assert run.succeeded, run.describe()
    assert list(run.tasks) == ["keep", "twice", "say"]
    assert run.tasks["twice"].results == {"text": "kept!!"}
    assert run.tasks["say"].steps["echo"].stdout == "kept!!\n"
    assert run.results == {"both": "kept kept!!"}


def test_run_after_orders_tasks(tmp_path: Path) -> None:
    pipeline = {"tasks": [use("b", "keep", runAfter=["a"]), use("a", "keep")]}
    assert list(runner(tmp_path).run(pipeline_run(pipeline)).tasks) == ["a", "b"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param({"secret": {"secretName": "s"}}, "of s", id="a Secret"),
        pytest.param(
            {"secret": {"secretName": "s", "items": [{"key": "j", "path": "k"}]}}, "j of s", id="items of a Secret"
        ),
        pytest.param({"configMap": {"name": "c"}}, "of c", id="a ConfigMap"),
    ],
)
def test_a_workspace_of_keys(tmp_path: Path, source: Object, expected: str) -> None:
    pipeline = {
        "workspaces": declared("v"),
        "tasks": [use("read", "read", workspaces=[{"name": "w", "workspace": "v"}])],
    }
    run = runner(tmp_path).run(
        pipeline_run(pipeline, workspaces=[{"name": "v", **source}]),
        secrets={"s": {"k": "of s", "j": b"j of s"}},
        config_maps={"c": {"k": "of c"}},
    )
    assert one(run).stdout == expected


@pytest.mark.parametrize(
    ("source", "shared"),
    [
        pytest.param({"emptyDir": {}}, False, id="an emptyDir is each task's own"),
        pytest.param({"volumeClaimTemplate": {"spec": {}}}, True, id="a new volume is shared by the tasks of a run"),
        pytest.param(
            {"persistentVolumeClaim": {"claimName": "c"}}, True, id="a volume is shared by the tasks of a run"
        ),
    ],
)
def test_a_workspace_that_is_written_to(tmp_path: Path, source: Object, shared: bool) -> None:
    put = task(
        "put",
        step("put", "put", params=given(directory="$(workspaces.w.path)")),
        workspaces=declared("w"),
    )
    pipeline = {
        "workspaces": declared("v"),
        "tasks": [
            use("put", "put", workspaces=[{"name": "w", "workspace": "v"}]),
            use("read", "read", workspaces=[{"name": "w", "workspace": "v"}], runAfter=["put"]),
        ],
    }
    run = runner(
        tmp_path, put, action("put", 'echo kept > "$1/k"', "$(params.directory)", params=declared("directory"))
    ).run(pipeline_run(pipeline, workspaces=[{"name": "v", **source}]))
    assert (run.succeeded, run.tasks["read"].steps["cat"].stdout) == (shared, "kept\n" if shared else "")


def test_an_optional_workspace_that_is_not_bound_has_no_path(tmp_path: Path) -> None:
    look = task(
        "look",
        step("echo", "echo", params=given(words=["<$(workspaces.w.path)>", "$(workspaces.w.bound)"])),
        workspaces=declared("w", optional=True),
    )
    pipeline = {
        "workspaces": declared("v", optional=True),
        "tasks": [use("look", "look", workspaces=[{"name": "w", "workspace": "v"}])],
    }
    assert one(runner(tmp_path, look).run(pipeline_run(pipeline))).stdout == "<>\nfalse\n"


def test_a_result_of_a_step_lifted_twice_is_refused_because_tekton_forgets_one(tmp_path: Path) -> None:
    twice = [{"name": name, "value": "$(steps.write.results.text)"} for name in ("one", "other")]
    write = task("write", step("write", "write", params=given(text="x")), results=twice)
    with pytest.raises(Invalid) as refusal:
        runner(tmp_path, write).run(pipeline_run({"tasks": [use("write", "write")]}))
    assert str(refusal.value) == "Task write: Tekton lifts $(steps.write.results.text) into one result only"


def test_a_workspace_of_one_step_is_not_seen_by_the_others(tmp_path: Path) -> None:
    listing = action("list", 'cd "$1" && find . -name k', "$(params.where)", params=declared("where"))
    only = [{"name": "w", "mountPath": "/kept/here"}]
    look = task(
        "look",
        step("before", "list", params=given(where="/workspace")),
        step("with", "cat", params=given(file="$(workspaces.w.path)/k"), workspaces=only),
        step("after", "list", params=given(where="/workspace")),
        step("path", "echo", params=given(words=["$(workspaces.w.path)"])),
        workspaces=declared("w"),
    )
    pipeline = {
        "workspaces": declared("v"),
        "tasks": [use("look", "look", workspaces=[{"name": "w", "workspace": "v"}])],
    }
    started: list[tuple[str, list[str]]] = []
    run = runner(
        tmp_path,
        listing,
        look,
        before_step=lambda _task, name, container: started.append((name, sorted(container.mounts))),
    ).run(
        pipeline_run(pipeline, workspaces=[{"name": "v", "secret": {"secretName": "s"}}]),
        secrets={"s": {"k": "secret"}},
    )
    assert run.succeeded, run.describe()
    assert {name: each.stdout for name, each in run.tasks["look"].steps.items()} == {
        "before": "",
        "with": "secret",
        "after": "",
        "path": "/workspace/w\n",
    }
    assert started == [
        ("before", ["/tekton", "/workspace"]),
        ("with", ["/kept/here", "/tekton", "/workspace"]),
        ("after", ["/tekton", "/workspace"]),
        ("path", ["/tekton", "/workspace"]),
    ]


def test_steps_of_a_pod_share_its_directories_and_pods_do_not(tmp_path: Path) -> None:
    mark = action(
        "mark", 'ls "$1" "$HOME"; : > "$1/$2"; : > "$HOME/$2"', "/workspace", "$(params.name)", params=declared("name")
    )
    marks = task("marks", step("a", "mark", params=given(name="a")), step("b", "mark", params=given(name="b")))
    run = runner(tmp_path, mark, marks).run(pipeline_run({"tasks": [use("one", "marks"), use("two", "marks")]}))
    assert run.succeeded, run.describe()
    names = [
        [line for line in each.stdout.splitlines() if line in ("a", "b")]
        for task_ in run.tasks.values()
        for each in task_.steps.values()
    ]
    assert names == [[], ["a", "a"], [], ["a", "a"]]


def test_places_of_this_machine_do_not_leave_a_step(tmp_path: Path) -> None:
    where = action(
        "where",
        'cd "$1"; pwd; pwd | tr -d "\\n" > "$2"; pwd >&2',
        "/workspace",
        "$(step.results.place.path)",
        results=declared("place"),
    )
    pipeline = {"tasks": [use("look", "look")], "results": declared("place", value="$(tasks.look.results.place)")}
    look = task("look", step("where", "where"), results=declared("place", value="$(steps.where.results.place)"))
    run = runner(tmp_path, where, look).run(pipeline_run(pipeline))
    assert (one(run).log, run.results) == ("/workspace\n/workspace\n", {"place": "/workspace"})
    assert one(run).arguments[-2:] == ["/workspace", "/tekton/steps/step-where/results/place"]


def test_a_step_has_the_variables_of_its_image_and_action_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FROM_OUTSIDE", "1")
    show = action(
        "show",
        "env | cut -d= -f1 | sort",
        env=[{"name": "OWN", "value": "1"}, {"name": "SECOND", "value": "<$(OWN)>"}],
    )
    run = runner(tmp_path, show, task("show", step("show", "show")), extra_environment={"EVERYWHERE": "1"}).run(
        pipeline_run({"tasks": [use("show", "show")]})
    )
    assert set(one(run).stdout.split()) - {"_", "PWD", "SHLVL", "OLDPWD"} == {
        "EVERYWHERE",
        "HOME",
        "OWN",
        "PATH",
        "SECOND",
    }
    assert one(run).environment == {"EVERYWHERE": "1", "OWN": "1", "SECOND": "<1>"}


FAIL = action("fail", 'echo problem >&2; exit "$1"', "3")
FAIL_TASK = task("fail", step("say", "echo", params=given(words=["a"])), step("fail", "fail"), step("not", "fail"))


def test_a_step_that_fails_ends_the_run(tmp_path: Path) -> None:
    pipeline = {
        "tasks": [use("keep", "keep"), use("fail", "fail", runAfter=["keep"]), use("not", "keep", runAfter=["fail"])],
        "results": [
            *declared("kept", value="$(tasks.keep.results.text)"),
            *declared("not", value="$(tasks.not.results.text)"),
        ],
    }
    run = runner(tmp_path, FAIL, FAIL_TASK).run(pipeline_run(pipeline))
    assert (run.reason, run.message) == ("Failed", "Task fail, step fail: exited with code 3")
    assert {name: list(each.steps) for name, each in run.tasks.items()} == {"keep": ["write"], "fail": ["say", "fail"]}
    assert run.tasks["fail"].steps["fail"].exit_code == 3
    assert run.results == {"kept": "kept"}
    assert (
        run.describe()
        == """\
t-x7k2p: Failed. Task fail, step fail: exited with code 3
--- keep, write: sh -euc printf %s "$1" > "$2" sh kept /tekton/steps/step-write/results/text
--- exit code 0
    text: kept
--- fail, say: sh -euc printf "%s\\n" "$@" sh a
a
--- exit code 0
--- fail, fail: sh -euc echo problem >&2; exit "$1" sh 3
problem
--- exit code 3
kept: kept
"""
    )


def test_a_program_that_is_not_there_fails_the_step(tmp_path: Path) -> None:
    run = runner(tmp_path, action("gone", "", command=["/nowhere/program"]), task("gone", step("gone", "gone"))).run(
        pipeline_run({"tasks": [use("gone", "gone")]})
    )
    assert run.tasks["gone"].steps["gone"].log == "/nowhere/program: No such file or directory\n"
    assert run.message == "Task gone, step gone: exited with code 127"


@pytest.mark.parametrize(
    ("steps", "size", "succeeds"),
    [
        pytest.param(1, 3900, True, id="nearly 4096 bytes pass"),
        pytest.param(1, 4090, False, id="4096 bytes count what surrounds the text"),
        pytest.param(5, 1900, True, id="six containers of a pod have 2048 bytes each"),
        pytest.param(5, 2100, False, id="and not more"),
    ],
)
def test_results_have_a_size(tmp_path: Path, steps: int, size: int, succeeds: bool) -> None:
    many = task("many", *(step(f"s{index}", "write", params=given(text="x" * size)) for index in range(steps)))
    run = runner(tmp_path, many).run(pipeline_run({"tasks": [use("many", "many")]}))
    limit = 4096 if steps == 1 else 2048
    message = f"Task many, step s0: Termination message is above max allowed size {limit}, caused by large results"
    assert run.message == ("" if succeeds else message)


def test_a_result_that_was_not_written_fails_who_wants_it(tmp_path: Path) -> None:
    silent = action("silent", "", results=declared("text"))
    lazy = task("lazy", step("silent", "silent"), results=declared("text", value="$(steps.silent.results.text)"))
    pipeline = {
        "tasks": [use("lazy", "lazy"), use("say", "say", params=given(word="$(tasks.lazy.results.text)"))],
        "results": declared("text", value="$(tasks.lazy.results.text)"),
    }
    run = runner(tmp_path, silent, lazy).run(pipeline_run(pipeline))
    assert (run.reason, run.results, list(run.tasks)) == ("Failed", {}, ["lazy"])
    assert run.message == (
        "the Pipeline of the PipelineRun, task say, parameter word: $(tasks.lazy.results.text) was not written"
    )


SLEEP = action("sleep", 'trap "echo ending; exit 5" TERM; echo ready; while :; do sleep 0.01; done')
DEAF = action("sleep", 'trap "" TERM; echo ready; sleep 60')
SLEEP_TASK = task("sleep", step("sleep", "sleep"), step("not", "sleep"))


def test_a_cancelled_run_ends_its_step_with_sigterm(tmp_path: Path) -> None:
    def cancel(_task: str, _step: str, line: str) -> None:
        if line == "ready\n":
            threading.Thread(target=cancelled.cancel).start()

    cancelled = runner(tmp_path, SLEEP, SLEEP_TASK, output=cancel)
    run = cancelled.run(pipeline_run({"tasks": [use("sleep", "sleep")]}))
    assert (run.reason, run.message) == ("Cancelled", "Task sleep, step sleep: cancelled")
    assert [(each.exit_code, each.stdout) for each in run.tasks["sleep"].steps.values()] == [(5, "ready\nending\n")]


def test_a_run_cancelled_between_steps_does_not_start_the_next(tmp_path: Path) -> None:
    def cancel(_task: str, name: str, _container: Container) -> None:
        if name == "second":
            cancelled.cancel()

    both = task("both", step("first", "write", params=given(text="a")), step("second", "write", params=given(text="b")))
    cancelled = runner(tmp_path, both, before_step=cancel)
    run = cancelled.run(pipeline_run({"tasks": [use("both", "both")]}))
    assert (run.reason, run.message) == ("Cancelled", "Task both, step second: cancelled before it started")
    assert run.tasks["both"].steps["second"].exit_code is None


def test_a_step_that_takes_too_long_is_killed_when_it_does_not_end(tmp_path: Path) -> None:
    run = runner(tmp_path, DEAF, SLEEP_TASK, timeout=2, grace=0.1).run(pipeline_run({"tasks": [use("sleep", "sleep")]}))
    assert (run.reason, run.message) == ("Failed", "Task sleep, step sleep: not done in 2 s")
    assert run.tasks["sleep"].steps["sleep"].exit_code == 128 + 9


def test_what_a_step_leaves_running_ends_with_it(tmp_path: Path) -> None:
    leave = action("leave", "sleep 60 & echo started")
    run = runner(tmp_path, leave, task("leave", step("leave", "leave"))).run(
        pipeline_run({"tasks": [use("leave", "leave")]})
    )
    assert one(run).stdout == "started\n"


def test_lines_are_handed_on_as_they_come(tmp_path: Path) -> None:
    lines: list[tuple[str, str, str]] = []
    run = runner(tmp_path, output=lambda *line: lines.append(line)).run(
        pipeline_run({"tasks": [use("say", "say", params=given(word="a\nb"))]})
    )
    assert one(run).log == "a\nb\n"
    assert lines == [("say", "echo", "a\n"), ("say", "echo", "b\n")]


def test_the_image_of_our_steps_runs_this_checkout(tmp_path: Path) -> None:
    script = "import sys, steps; print(sys.executable, steps.__file__, sys.flags.safe_path, sys.flags.no_user_site)"
    show = action("show", "", image="apps-cd/steps", command=["python", "-c", script])
    nested = action("nested", "", image="apps-cd/steps", command=["sh", "-c", f'echo; python -c "{script}"'])
    run = runner(tmp_path, show, nested, task("show", step("show", "show"), step("nested", "nested"))).run(
        pipeline_run({"tasks": [use("show", "show")]})
    )
    assert run.succeeded, run.describe()
    expected = f"{sys.executable} {containers.REPOSITORY / 'steps' / '__init__.py'} True 1"
    assert [each.stdout.strip() for each in run.tasks["show"].steps.values()] == [expected, expected]


TASKS = [use("keep", "keep")]


@pytest.mark.parametrize(
    ("spec", "objects", "message"),
    [
        pytest.param(
            {"pipelineSpec": {"params": declared("p"), "tasks": TASKS}},
            [],
            "the PipelineRun: the parameter p is missing",
            id="a parameter without value or default",
        ),
        pytest.param(
            {"pipelineSpec": {"tasks": TASKS}, "params": given(p="a")},
            [],
            "the PipelineRun: there is no parameter p",
            id="a parameter that the Pipeline does not have",
        ),
        pytest.param(
            {"pipelineSpec": {"params": declared("p", type="array"), "tasks": TASKS}, "params": given(p="a")},
            [],
            "the PipelineRun: the parameter p is of type array, not 'a'",
            id="a text for a list",
        ),
        pytest.param(
            {"pipelineSpec": {"params": declared("p"), "tasks": TASKS}, "params": given(p=["a"])},
            [],
            "the PipelineRun: the parameter p is of type string, not ['a']",
            id="a list for a text",
        ),
        pytest.param(
            {"pipelineSpec": {"params": declared("p", default=False), "tasks": TASKS}},
            [],
            "the PipelineRun.spec.pipelineSpec.params[0].default: the sandbox's runner does not know False here",
            id="a truth value that is not quoted",
        ),
        pytest.param(
            {"pipelineSpec": {"params": declared("p", enum=["a"]), "tasks": TASKS}},
            [],
            "the PipelineRun.spec.pipelineSpec.params[0]: the sandbox's runner does not know enum",
            id="a field of a parameter",
        ),
        pytest.param(
            {"pipelineSpec": {"params": [*declared("p"), *declared("p")], "tasks": TASKS}},
            [],
            "the PipelineRun.spec.pipelineSpec.params: p is there twice",
            id="two parameters of one name",
        ),
        pytest.param(
            {"pipelineSpec": {"tasks": [use("keep", "keep", params=given(nope="a"))]}},
            [],
            "Task keep: there is no parameter nope",
            id="a parameter that the Task does not have",
        ),
        pytest.param(
            {"pipelineSpec": {"tasks": [use("say", "say")]}},
            [],
            "Task say: the parameter word is missing",
            id="a parameter that the Task needs",
        ),
        pytest.param(
            {"pipelineSpec": {"tasks": [use("t", "t")]}},
            [task("t", step("s", "write", params=given(text="a", nope="b")))],
            "Task t, step s: there is no parameter nope",
            id="a parameter that the StepAction does not have",
        ),
        pytest.param(
            {"pipelineSpec": {"tasks": [use("keep", "keep", params=given(text="$(params.nope)"))]}},
            [],
            "the Pipeline of the PipelineRun, task keep, parameter text: $(params.nope) stands for nothing here",
            id="a reference to nothing",
        ),
        pytest.param(
            {
                "pipelineSpec": {
                    "params": declared("p", default=["a"]),
                    "tasks": [use("keep", "keep", params=given(text="-$(params.p[*])"))],
                }
            },
            [],
            "the Pipeline of the PipelineRun, task keep, parameter text: "
            "$(params.p[*]) is a list and must be an item of a list by itself",
            id="a list within a text",
        ),
        pytest.param(
            {"pipelineSpec": {"tasks": [use("a", "say", params=given(word="$(context.pipelineRun.uid)"))]}},
            [],
            "the Pipeline of the PipelineRun, task a, parameter word: $(context.pipelineRun.uid) stands for nothing here",
            id="a reference that Tekton knows and the runner does not",
        ),
        pytest.param(
            {"pipelineSpec": {"tasks": [use("a", "say", params=given(word="$(tasks.b.results.text)"))]}},
            [],
            "the Pipeline of the PipelineRun: there is no task b",
            id="a result of a task that is not there",
        ),
        pytest.param(
            {"pipelineSpec": {"tasks": [use("a", "keep", runAfter=["b"]), use("b", "keep", runAfter=["a"])]}},
            [],
            "the Pipeline of the PipelineRun: a, b wait for each other",
            id="tasks in a circle",
        ),
        pytest.param(
            {"pipelineSpec": {"tasks": [use("a", "nope")]}},
            [],
            "the Pipeline of the PipelineRun: there is no Task nope",
            id="a Task that is not there",
        ),
        pytest.param(
            {"pipelineSpec": {"tasks": [use("t", "t")]}},
            [task("t", step("s", "nope"))],
            "Task t, step s: there is no StepAction nope",
            id="a StepAction that is not there",
        ),
        pytest.param(
            {"pipelineRef": {"name": "nope"}},
            [],
            "the PipelineRun: there is no Pipeline nope",
            id="a Pipeline that is not there",
        ),
        pytest.param({}, [], "the PipelineRun: there must be either pipelineRef or pipelineSpec", id="no Pipeline"),
        pytest.param(
            {"pipelineSpec": {"tasks": TASKS}, "taskRunSpecs": [{"pipelineTaskName": "nope"}]},
            [],
            "the PipelineRun.taskRunSpecs: the Pipeline of the PipelineRun has no task nope",
            id="a specification for a task that is not there",
        ),
        pytest.param(
            {"pipelineSpec": {"tasks": TASKS}, "serviceAccountName": "x"},
            [],
            "the PipelineRun.spec: the sandbox's runner does not know serviceAccountName",
            id="a field of the PipelineRun",
        ),
        pytest.param(
            {"pipelineSpec": {"tasks": [use("keep", "keep", when=[])]}},
            [],
            "the PipelineRun.spec.pipelineSpec.tasks[0]: the sandbox's runner does not know when",
            id="a field of a task",
        ),
        pytest.param(
            {"pipelineSpec": {"tasks": [{"name": "a"}]}},
            [],
            "the PipelineRun.spec.pipelineSpec.tasks[0]: taskRef is missing",
            id="a field that must be there",
        ),
        pytest.param(
            {"pipelineSpec": {"workspaces": declared("w"), "tasks": TASKS}},
            [],
            "the PipelineRun: the workspace w is missing",
            id="a workspace that the Pipeline needs",
        ),
        pytest.param(
            {"pipelineSpec": {"tasks": TASKS}, "workspaces": [{"name": "w", "emptyDir": {}}]},
            [],
            "the PipelineRun: there is no workspace w",
            id="a workspace that the Pipeline does not have",
        ),
        pytest.param(
            {"pipelineSpec": {"tasks": [use("read", "read")]}},
            [],
            "Task read: the workspace w is missing",
            id="a workspace that the Task needs",
        ),
        pytest.param(
            {
                "pipelineSpec": {
                    "workspaces": declared("v", optional=True),
                    "tasks": [use("read", "read", workspaces=[{"name": "w", "workspace": "v"}])],
                }
            },
            [],
            "Task read: the workspace w is missing",
            id="an optional workspace for one that is needed",
        ),
        pytest.param(
            {"pipelineSpec": {"tasks": [use("read", "read", workspaces=[{"name": "w", "workspace": "nope"}])]}},
            [],
            "the Pipeline of the PipelineRun, task read: there is no workspace nope",
            id="a workspace that is not declared",
        ),
        pytest.param(
            {
                "pipelineSpec": {"workspaces": declared("w"), "tasks": TASKS},
                "workspaces": [{"name": "w", "secret": {"secretName": "nope"}}],
            },
            [],
            "the PipelineRun, workspace w: there is no secret nope",
            id="a Secret that is not there",
        ),
        pytest.param(
            {
                "pipelineSpec": {"workspaces": declared("w"), "tasks": TASKS},
                "workspaces": [{"name": "w", "secret": {"secretName": "s", "items": [{"key": "nope", "path": "k"}]}}],
            },
            [],
            "the PipelineRun, workspace w: there is no key nope",
            id="a key that the Secret does not have",
        ),
        pytest.param(
            {
                "pipelineSpec": {"workspaces": declared("w"), "tasks": TASKS},
                "workspaces": [{"name": "w", "secret": {"secretName": "s"}, "emptyDir": {}}],
            },
            [],
            "the PipelineRun, workspace w: it must be bound to one thing, not ['secret', 'emptyDir']",
            id="a workspace bound to two things",
        ),
        pytest.param(
            {"pipelineSpec": {"tasks": [use("t", "t")]}},
            [action("a", "", image="nope"), task("t", step("s", "a"))],
            "Task t, step s: the sandbox's runner has no image nope, only apps-cd/steps, "
            "ghcr.io/osscontainertools/kaniko:v1.28.3, shell",
            id="an image that is not known",
        ),
        pytest.param(
            {"pipelineSpec": {"tasks": [use("t", "t")]}},
            [
                action("a", "", image="$(params.image)", params=declared("image")),
                task(
                    "t",
                    step("w", "write", params=given(text="shell")),
                    step("s", "a", params=given(image="$(steps.w.results.text)")),
                ),
            ],
            "Task t, step s: an image cannot be the result of a step",
            id="an image that an earlier step names",
        ),
    ],
)
def test_a_run_is_refused(tmp_path: Path, spec: Object, objects: Sequence[Object], message: str) -> None:
    run = pipeline_run({"tasks": TASKS}) | {"spec": spec}
    with pytest.raises(Invalid) as refusal:
        runner(tmp_path, *objects).run(run, secrets={"s": {"k": "v"}})
    assert str(refusal.value) == message


HEAD = "apiVersion: tekton.dev/v1beta1\nkind: StepAction\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "apiVersion: v1\nkind: Secret\n",
            "the sandbox's runner knows StepAction of tekton.dev/v1beta1, Task of tekton.dev/v1, Pipeline of "
            "tekton.dev/v1, PipelineRun of tekton.dev/v1, not Secret of v1",
            id="another kind",
        ),
        pytest.param(
            HEAD + "metadata: {name: a}\nspec: {image: i, script: x}\n",
            ".spec: the sandbox's runner does not know script",
            id="a script",
        ),
        pytest.param(HEAD + "metadata: {name: a}\nspec: {image: i}\n", ".spec: command is missing", id="no command"),
        pytest.param(
            HEAD + "metadata: {name: a}\nspec: {image: i, command: [x], results: [{name: on}]}\n",
            ".spec.results[0].name: the sandbox's runner does not know True here",
            id="a name that YAML 1.1 reads as a truth value",
        ),
        pytest.param(
            f"{HEAD}metadata: {{name: a}}\nspec: {{image: i, command: [x]}}\n---\n" * 2,
            "there are two of StepAction a",
            id="two of one name",
        ),
    ],
)
def test_a_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "objects.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(Invalid) as refusal:
        Runner(file)
    assert str(refusal.value).removeprefix(str(file)).removeprefix(": ") == message


def test_a_key_written_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "objects.yaml"
    file.write_text(HEAD + "kind: StepAction\n", encoding="utf-8")
    with pytest.raises(Exception, match='found duplicate key "kind"'):
        tekton.load(file)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("/workspace", "/here/w", id="alone"),
        pytest.param("/workspace/a/workspace", "/here/w/a/workspace", id="at the start, once"),
        pytest.param("--flag=/workspace/a", "--flag=/here/w/a", id="behind an equals sign"),
        pytest.param(
            "--context=dir:///workspace/a", "--context=dir:///here/w/a", id="behind a scheme and an equals sign"
        ),
        pytest.param("tar:///workspace/a", "tar:///here/w/a", id="behind a scheme"),
        pytest.param("/workspace/own/k", "/there/k", id="the longer path wins"),
        pytest.param("/workspace/owner", "/here/w/owner", id="a path ends at a slash"),
        pytest.param("/workspaces", "/workspaces", id="another directory"),
        pytest.param("a/workspace", "a/workspace", id="not within a path"),
        pytest.param("https://host/workspace", "https://host/workspace", id="not within a URL"),
    ],
)
def test_paths_of_a_container_are_replaced(text: str, expected: str) -> None:
    mounts: Mapping[str, Path] = {"/workspace": Path("/here/w"), "/workspace/own": Path("/there")}
    assert containers.to_host(text, mounts) == expected
    assert containers.to_container(expected, mounts) == text
