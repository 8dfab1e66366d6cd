"""applications.yaml and a template -> one PipelineRun for each application at each version, at the tip of its branch."""

import dataclasses
import logging
from pathlib import Path

from steps import command_line, report
from steps.clients import configuration, files
from steps.clients.configuration import ConfigLocation
from steps.core import applications, needs_update, pipeline_run, run_report
from steps.core.applications import Pair, PairName
from steps.errors import StepError

LARGEST = 1 << 16
"""Bytes of a file in the output directory that is looked at: a run has fewer."""

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
        output_dir: where the files go, APPLICATION-VERSION-COMMIT.yaml, one for each run; runs that an earlier pass has
            put there are removed when this pass does not make them, so give each configuration its own directory. By
            default nothing is written.
        only: the one application, or pair, to look at: APPLICATION or APPLICATION,VERSION.
        needs_update_only: make no runs of pairs that need no update.
        explain: tell the argument for each pair in place of a table.
        format: of the report on stdout; by default a table on a terminal, else JSON.
        ssh_key: private key for `git@HOST:OWNER/NAME`, which is read over https without it.
        timeout: seconds that one call of git may take, at most a day, and that the copy of a repository is waited for when
            another process uses it.
        allow_private_addresses: whether an https URL may lead to an address that is not public.
    """
    from steps.clients import git, observation

    found = configuration.read(config, template, over_ssh=ssh_key is not None, allow_private=allow_private_addresses)
    frame, told = found.usable(), found.told
    pairs = applications.selected(told.pairs, only, "--only")
    if output_dir:
        files.make_directory(output_dir)
    for problem in found.problems:
        if problem.severity == "warning":
            _log.warning("%s", problem)
        elif problem in told.general:
            _log.error("%s", problem)

    asked = [pair for pair in pairs if isinstance(pair, Pair) and not pair.suspended]
    with git.inherited(Path("/"), ssh_key=ssh_key, timeout=timeout) as everywhere:
        seen = observation.observe(asked, told.pairs, src_dir, lambda _: everywhere, timeout=timeout)

    names = pipeline_run.file_names(pair.key for pair in told.pairs)
    rows = []
    for pair in pairs:
        row = run_report.Row(needs_update.decide(pair, seen.get(pair.key)))
        commit = row.decision.commit
        if isinstance(pair, Pair) and commit and (row.decision.status == "needed" or not needs_update_only):
            run = pipeline_run.render(frame, pair, commit)
            file = pipeline_run.file_name(names[pair.key], commit) if output_dir else None
            row = run_report.Row(row.decision, run.name, file)
            if output_dir and file:
                row = _written(row, output_dir / file, run.text)
        rows.append(row)
    if output_dir:
        _clear(output_dir, {row.file for row in rows}, None if only is None else {pair.key for pair in pairs})

    if report.chosen(format, explain=explain) == "json":
        report.show(run_report.as_json(rows, found.problems))
    else:
        report.show(run_report.as_arguments(rows) if explain else run_report.as_table(rows))
    failed = sum(row.decision.status == "failed" for row in rows)
    if failed:
        raise StepError("failed", f"{failed} of {len(rows)} pairs failed; the report says why")
    if told.general:
        raise StepError("config-error", "all pairs are well, but the configuration has errors; see above")


def _written(row: run_report.Row, path: Path, text: str) -> run_report.Row:
    """Write a run; when that fails the pair has failed, and others go on."""
    try:
        files.write(path, text.encode())
    except StepError as error:
        decision = row.decision
        sentences = (*decision.sentences, str(error))
        return run_report.Row(dataclasses.replace(decision, reason=error.reason, status="failed", sentences=sentences))
    return row


def _clear(output_dir: Path, made: set[str | None], pairs: set[tuple[str, str]] | None) -> None:
    """Remove the runs that an earlier pass made and this one did not, so that `kubectl create -f` makes no old ones.

    Args:
        made: the files of this pass.
        pairs: the pairs that this pass is of; None for all, also those that are no more.
    """
    old = []
    for name in files.regular(output_dir):
        if name not in made and name.endswith(".yaml"):
            pair = pipeline_run.pair_of(name, files.read(output_dir / name, LARGEST).decode(errors="replace"))
            if pair and (pairs is None or pair in pairs):
                old.append(name)
    for name in old:
        files.remove(output_dir / name)
    if old:
        _log.info("removed %d of %s: runs that an earlier pass made, and this one did not", len(old), output_dir)


if __name__ == "__main__":
    command_line.run(create_runs)
