"""applications.yaml and a template -> one PipelineRun for each application at each version, at the tip of its branch."""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from steps import command_line, report
from steps.clients import configuration, files
from steps.clients.configuration import ConfigLocation
from steps.core import pipeline_run
from steps.core.applications import LARGEST, PairName
from steps.core.typed_yaml import did_you_mean
from steps.errors import StepError

if TYPE_CHECKING:
    from steps.core.applications import Broken, Pair
    from steps.core.typed_yaml import Problem

_FILE = re.compile(r".+-[0-9a-f]{8}\.yaml")

_log = logging.getLogger("steps.create_runs")


def create_runs(
    *,
    config: ConfigLocation,
    template: Path,
    src_dir: Path,
    output_dir: Path | None = None,
    only: PairName | None = None,
    needs_update_only: bool = False,
    explain: bool = False,
    format: report.Format | None = None,  # noqa: A002 - the flag's name
    ssh_key: Path | None = None,
    timeout: int = 300,
    allow_private_addresses: bool = False,
) -> None:
    """Make the PipelineRuns that build each application at each version, and report why.

    The source commit of a pair is the last one on its branch that touched its context, its Dockerfile or a file that it
    watches. A pair needs an update unless the commit that the manifests' tag names is that commit or a descendant of it.
    git runs in your own configuration: credential helpers, proxies and insteadOf hold.

    A pair that something is wrong with is reported, all others are made, and the exit code is 1.

    Args:
        config: the configuration: a file, a directory with *.yaml files, or an https URL.
        template: a PipelineRun whose parameters and workspaces are replaced by name, such as tekton/runs/apps-cd.yaml.
        src_dir: where copies of repositories are kept for the next time; it may be deleted at any time.
        output_dir: where the files go, APPLICATION-VERSION-COMMIT.yaml, one for each run; those of older commits of the
            same pairs are removed. By default nothing is written.
        only: the one application, or pair, to look at: APPLICATION or APPLICATION,VERSION.
        needs_update_only: make no runs of pairs that need no update.
        explain: tell the argument for each pair in place of a table.
        format: of the report on stdout; by default a table on a terminal, else JSON.
        ssh_key: private key for `git@HOST:OWNER/NAME`, which is read over https without it.
        timeout: seconds that one call of git may take.
        allow_private_addresses: whether an https URL may lead to an address that is not public.
    """
    from steps.clients import observation
    from steps.core import applications, needs_update, run_report

    frame, problems = pipeline_run.read_template(str(template), configuration.text(template))
    if frame is None:
        raise _unusable(problems)
    texts = configuration.read(config, allow_private=allow_private_addresses)
    told = applications.parse(texts, over_ssh=ssh_key is not None, pipeline_params=frame.known_params)
    if told.is_lost:
        raise _unusable(told.problems)
    pairs = _selected(told.pairs, only)
    of_pairs = {pair.problem for pair in told.pairs if isinstance(pair, applications.Broken)}
    problems += [problem for problem in told.problems if problem not in of_pairs]
    for problem in problems:
        (_log.warning if problem.severity == "warning" else _log.error)("%s", problem)

    whole = [pair for pair in told.pairs if isinstance(pair, applications.Pair)]
    asked = [pair for pair in pairs if isinstance(pair, applications.Pair) and not pair.suspended]
    seen = observation.observe(asked, applications.branches(whole), src_dir, ssh_key=ssh_key, timeout=float(timeout))

    names = pipeline_run.file_names(pair.key for pair in told.pairs)
    rows = []
    for pair in pairs:
        decision = needs_update.decide(pair, seen.get(pair.key))
        row = run_report.Row(decision)
        if decision.commit and isinstance(pair, applications.Pair):
            file = f"{names[pair.key]}-{decision.commit[: applications.SHORT]}.yaml"
            if decision.status == "needed" or not needs_update_only:
                run = pipeline_run.render(frame, pair, decision.commit)
                row = run_report.Row(decision, run.name, file if output_dir else None)
                if output_dir:
                    files.write(output_dir / file, run.text.encode())
        rows.append(row)
    if output_dir:
        _clear(output_dir, {row.decision.key: row.file for row in rows if row.decision.status != "failed"})

    if report.chosen(format) == "json":
        report.show(run_report.as_json(rows, problems))
    else:
        report.show(run_report.as_arguments(rows) if explain else run_report.as_table(rows))
    failed = sum(row.decision.status == "failed" for row in rows)
    errors = sum(problem.severity == "error" for problem in problems)
    if failed or errors:
        raise StepError(
            "failed", f"{failed} of {len(rows)} pairs failed, and the configuration has {errors} other problems"
        )


def _unusable(problems: Iterable["Problem"]) -> StepError:
    errors = [problem for problem in problems if problem.severity == "error"]
    return StepError("config-error", "\n".join(["nothing was made:", *map(str, errors)]))


def _selected(pairs: Sequence["Pair | Broken"], only: PairName | None) -> list["Pair | Broken"]:
    if only is None:
        return list(pairs)
    selected = [pair for pair in pairs if only.application == pair.application and only.version in (None, pair.version)]
    if not selected:
        applications = {str(pair.application) for pair in pairs}
        versions = {str(pair.version) for pair in pairs}
        hint = did_you_mean(only.application, applications - {only.application})
        if only.application in applications and only.version:
            hint = did_you_mean(only.version, versions)
        raise StepError("usage", f"--only={only}: the configuration has no such pair{hint}")
    return selected


def _clear(output_dir: Path, kept: Mapping[tuple[str, str], str | None]) -> None:
    """Remove the files of other commits of pairs, so that `kubectl create -f` of the directory makes no old runs."""
    current = set(kept.values())
    others = [name for name in files.names(output_dir) if _FILE.fullmatch(name) and name not in current]
    old = [
        name
        for name in others
        if pipeline_run.pair_of(files.read(output_dir / name, LARGEST).decode(errors="replace")) in kept
    ]
    for name in old:
        files.remove(output_dir / name)
    if old:
        _log.info("removed %d files of other commits from %s", len(old), output_dir)


if __name__ == "__main__":
    command_line.run(create_runs)
