"""The one exception for what the reader of the log has to mend; everything else keeps its traceback."""

from steps import log


class StepError(Exception):
    """Ends a step with a message that says what was attempted, on what, and what to change.

    Args:
        reason: one lowercase word with dashes (`not-found`, `auth`, `conflict`) for whoever filters logs; `usage` is for
            arguments that do not fit together, found before anything was touched (exit code 2).
        message: for a person; what a server repeats of a credential of ours is taken out, as reports and pages show it, too.
        later: the same call may succeed later without any change (exit code 75 instead of 1).
        after: how many seconds later, when the server said so.
    """

    def __init__(self, reason: str, message: str, *, later: bool = False, after: int | None = None) -> None:
        super().__init__(log.redact(message))
        self.reason = reason
        self.later = later
        self.after = after

    @property
    def exit_code(self) -> int:
        if self.reason == "usage":
            return 2
        return 75 if self.later else 1
