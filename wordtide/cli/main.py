"""`wordtide`: the command line. Commands are imported when they are called, so that `--help` is instant."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import click

from wordtide.cli.signals import Guard, Interrupts, end_at_once
from wordtide.core.problems import WordtideError
from wordtide.table.panics import DeltaRsPanicked, panics_as_errors

# name: (module, what `--help` says). The order is the one a newcomer needs them in.
_COMMANDS = {
    "demo": ("demo", "Start everything, feed real text in and watch it being counted."),
    "up": ("cluster", "Start the embedded Kafka and HDFS in the background."),
    "down": ("cluster", "Stop them; data is kept."),
    "status": ("cluster", "Say where they are."),
    "dev": ("dev", "Run Dagster with its sensors on."),
    "produce": ("produce", "Send lines to a topic, a line a message."),
    "land": ("land", "Put files into a landing folder, whole or not at all."),
    "receive": ("receive", "Land what a TCP server or Flume agents send, line by line."),
    "top": ("questions", "The most frequent words of a stream."),
    "ledger": ("questions", "What each batch of a stream has taken."),
    "watch": ("watch", "Print each batch's counts as it commits."),
    "lag": ("lag", "What still waits to be counted."),
    "metrics": ("metrics", "Serve lag, batch times and counters to Prometheus."),
    "parked": ("questions", "What waits for a decision of yours."),
    "doctor": ("doctor", "What would stop a drain, and what to do about it."),
    "resolve": ("repair", "Decide about what is parked."),
    "replay": ("repair", "Read again what was published, and compare."),
    "quarantine": ("repair", "Records that were put aside instead of counted."),
    "lineage": ("lineage", "Tell an OpenLineage backend of batches again, or look at what it is told."),
    "import-offsets": ("import_offsets", "Begin a stream where a consumer group stopped."),
}
_ENVIRONMENT_FILE = Path(__file__).resolve().parents[2] / ".env"
INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it (128 + SIGINT)."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(
            import_module(f"wordtide.cli.{_COMMANDS[cmd_name][0]}"), cmd_name.replace("-", "_")
        )
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="streams.yaml is $WORDTIDE_STREAMS, else the current folder's, else the project's."
    " Data lies in $WORDTIDE_HOME, else in .wordtide beside it.",
)
@click.version_option(package_name="wordtide", message="%(prog)s %(version)s")
def cli() -> None:
    """Kafka offsets and landed files become word-count tables, exactly once, under Dagster."""
    # Dagster reads the project's .env by itself; commands must not see other servers than its runs do.
    if _ENVIRONMENT_FILE.is_file():
        from dotenv import load_dotenv

        load_dotenv(_ENVIRONMENT_FILE)


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; a problem with a known cause is one line on stderr."""
    # Clients log every connection attempt; what matters of it comes as the one line below.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="wordtide: %(message)s")
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    try:
        # Without standalone mode the code given to `ctx.exit()` comes back as the result.
        with panics_as_errors():
            code = cli.main(list(arguments), prog_name="wordtide", standalone_mode=False)
        sys.stdout.flush()
    except WordtideError as error:
        return _say(str(error))
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except DeltaRsPanicked as error:
        return _say(f"{error}; run the command again")
    except OSError as error:
        return _os_error(error)
    return code if isinstance(code, int) else 0


def _os_error(error: OSError) -> int:
    if error.errno in {errno.EPIPE, errno.EIO}:
        # The reader of our output (`| head`) or the terminal has gone: Python would complain again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    if error.errno == errno.ENOSPC:
        return _say(f"the disk is full ({error.filename or error.strerror}); free some space and run again")
    if isinstance(error, PermissionError | FileNotFoundError) and error.filename:
        return _say(f"{error.filename}: {(error.strerror or 'cannot be used').lower()}")
    raise error


def _say(problem: str) -> int:
    click.echo(f"wordtide: {' '.join(problem.split())}", err=True)
    return 1


def main() -> None:
    """Entry point of the console script."""
    Guard(end_at_once)
    # A shell's `&` in a script has us ignore Ctrl-C, which is for the others then.
    with Interrupts(ignored=True) as interrupts:
        try:
            code = run(sys.argv[1:])
        except Exception:
            # What an interrupt makes of an import or a call of native code is anybody's guess.
            if interrupts.told is None:
                raise
            code = INTERRUPTED
    if code == INTERRUPTED and interrupts.told is not None:
        code = 128 + interrupts.told
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    # Not sys.exit: threads of Arrow that still close a file of a table need the interpreter, which would be going down
    # under them; that ended one `wordtide ledger` in eight with an abort after everything had been said.
    os._exit(code)


if __name__ == "__main__":
    main()
