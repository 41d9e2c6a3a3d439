"""The errors a person is meant to read: one line that says what is wrong, where, and what to do."""

from __future__ import annotations

from collections.abc import Sequence


class WordtideError(Exception):
    """A problem with a known cause. Its text is one line and is shown instead of a traceback."""


class ConfigError(WordtideError):
    """`streams.yaml` or the environment says something that cannot be."""


class SourceUnavailable(WordtideError):
    """A broker, NameNode or folder does not answer or refuses us."""


class EnvironmentProblem(WordtideError):
    """Something this machine lacks: Java, a jar, a free port, disk space."""


class TableRefused(WordtideError):
    """The table cannot be drained into: other fingerprint, rolled back, written by a newer Wordtide."""


class DecisionRefused(WordtideError):
    """What an operator decided cannot be done; nothing was changed."""


class ReadFailed(Exception):
    """What a reader says of splits that it could not read as planned. `Source.reject` has the next plan settle it."""

    def joined(self, others: Sequence[ReadFailed]) -> ReadFailed:
        """Return one problem for what parallel readers of a batch ran into; here: the first, a retry shows the rest."""
        del others
        return self


class PlanAgain(Exception):
    """The batch cannot be committed as planned, and nothing is lost: look at source and table again.

    Raised for a lost race, a file or topic that changed under the plan, an offset that expired meanwhile.
    """
