"""applications.yaml -> what is wrong with it, with line and column."""

from pathlib import Path

from steps import command_line, report
from steps.clients import configuration
from steps.clients.configuration import ConfigLocation
from steps.errors import StepError


def validate_config(
    *,
    config: ConfigLocation,
    template: Path | None = None,
    src_dir: Path | None = None,
    format: report.Format | None = None,  # noqa: A002 - the flag's name
    ssh_key: Path | None = None,
    timeout: int = 300,
    allow_private_addresses: bool = False,
) -> None:
    """Report what is wrong with a configuration: FILE:LINE:COLUMN: error or warning: what, and what to change.

    Errors are those for which create_runs would make no run of some pair, and end with exit code 1. What may be meant, such
    as a repository that nobody uses, is a warning.

    Args:
        config: the configuration: a file, a directory with *.yaml files, or an https URL.
        template: the template that create_runs is to use; it and the names of parameters are checked, too.
        src_dir: where copies of repositories are kept; with it branches, paths and kustomizations are looked up at the
            tips, too.
        format: of the report on stdout; by default lines of text on a terminal, else JSON.
        ssh_key: private key for `git@HOST:OWNER/NAME`, which is read over https without it.
        timeout: seconds that one call of git may take, at most a day, and that the copy of a repository is waited for when
            another process uses it.
        allow_private_addresses: whether an https URL may lead to an address that is not public.
    """
    from steps.core import applications, run_report
    from steps.core.needs_update import Failure
    from steps.core.text import counted
    from steps.core.typed_yaml import Problem

    read = configuration.read(config, template, over_ssh=ssh_key is not None, allow_private=allow_private_addresses)
    problems = list(read.problems)
    if src_dir:
        from steps.clients import git, observation

        pairs = [pair for pair in read.told.pairs if isinstance(pair, applications.Pair)]
        with git.inherited(Path("/"), ssh_key=ssh_key, timeout=timeout) as everywhere:
            seen = observation.observe(pairs, pairs, src_dir, lambda _: everywhere, timeout=timeout)
        for pair in pairs:
            found = seen[pair.key]
            if isinstance(found, Failure):
                problems.append(Problem(found.at or pair.at, found.message))
            else:
                at = pair.where.get("watch", pair.at)
                message = "`watch`: nothing is there for {} on " + str(pair.source)
                problems += [Problem(at, message.format(glob), "warning") for glob in found.unmatched]
                if found.current is None:
                    message = f"{found.kustomization} on {pair.manifests} has no entry for {pair.image}: one is made by the first update"
                    problems.append(Problem(pair.where.get("image", pair.at), message, "warning"))
    problems = applications.in_order(problems)
    if report.chosen(format) == "json":
        report.show(run_report.problems_as_json(problems))
    else:
        report.show(run_report.problems_as_lines(problems))
    errors = sum(problem.severity == "error" for problem in problems)
    if errors:
        raise StepError("config-error", f"the configuration has {counted(errors, 'error')}")


if __name__ == "__main__":
    command_line.run(validate_config)
