"""`aetia`: the root command. Commands are named here and imported only when they run."""

from __future__ import annotations

import atexit
import errno
import gc
import io
import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError, UnknownCommandError

from aetia import __version__
from aetia.model.errors import AetiaError

EXIT_ANSWERED, EXIT_NO, EXIT_BAD, EXIT_INTERNAL, EXIT_INTERRUPTED = 0, 1, 2, 70, 130
_OBJECTS_BETWEEN_COLLECTIONS = 100_000
TRACEBACK = "AETIA_TRACEBACK"
"""Environment variable that has internal errors print their traceback."""
HELP = (
    "Says why a system broke, and proves it.\n\n"
    "Exit codes: 0 answered; 1 abstained, or a check failed; 2 bad usage or bad input; 70 internal error, of which"
    f" {TRACEBACK}=1 shows the traceback; 130 interrupted."
)

app = App(
    name="aetia",
    help=HELP,
    version=__version__,
    help_flags=("--help", "-h"),
    version_flags=("--version",),
    help_format="plaintext",  # the Markdown renderer costs 80 ms at start
    suppress_keyboard_interrupt=False,  # main has a sentence for it
)
app.command("aetia.cli.demo:demo", help="Diagnose a simulated incident: no network, no set-up.")
app.command("aetia.cli.diagnose:diagnose", help="Name the root cause of an incident, with evidence.")
app.command("aetia.cli.recheck:recheck", help="Run the evidence of a diagnosis again.")
app.command("aetia.cli.ask:ask", help="Ask a language model about an incident; it answers from evidence.")
app.command("aetia.cli.replay:replay", help="Repeat an investigation from its journal.")
app.command("aetia.cli.incidents:incidents", help="List the incidents of a running server.")
app.command("aetia.cli.incident:incident", help="Show what is known of one incident; write the postmortem.")
app.command("aetia.cli.memory:app", name="memory", help="Incidents that are remembered, and what fixed them.")
app.command("aetia.cli.mcp:mcp", help="Serve the tools of a server, or of one incident, to an MCP client.")
app.command("aetia.cli.serve:app", name="serve", help="Receive telemetry, open incidents, diagnose and show them.")
app.command("aetia.cli.store:app", name="store", help="Look after stored telemetry.")
app.command("aetia.cli.bench:app", name="bench", help="Measure localizers on suites of cases.")
app.command("aetia.cli.cases:app", name="cases", help="List cases; convert public datasets to cases.")
app.command("aetia.cli.lab:app", name="lab", help="Make labelled telemetry.")
app.command("aetia.cli.plugins:plugins", help="List the algorithms that are installed.")


def main(tokens: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0: answered; 1: abstained, or a check failed; 2: bad usage or bad input, in one sentence on stderr; 70: an
    internal error; 130: interrupted. A reader of stdout that leaves early is no error.
    """
    # Both before numpy is imported: see aetia.allocator, and idle BLAS threads spin for 0.2 s of CPU time.
    os.environ.setdefault("NUMPY_MADVISE_HUGEPAGE", "0")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    _print_anything()
    if tokens is not None:
        return _run(tokens)
    # Imports make a hundred thousand objects that all stay: looking for garbage among them costs 0.05 s.
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    # First to be registered, so last to run: whatever else wants to tidy up at the end has done so by then.
    outcome: list[int] = []
    atexit.register(_end_at_once, outcome)
    outcome.append(_run(sys.argv[1:]))
    return outcome[0]


def _end_at_once(outcome: Sequence[int]) -> None:
    """End the process without taking its memory apart: a gigabyte of arrays and modules costs 0.15 s to free piece by
    piece, and the kernel takes it back at once. Only where the command ran to its end and all that it said is out."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        return  # the interpreter's own ending complains
    if outcome:
        os._exit(outcome[0])


def _run(tokens: Sequence[str]) -> int:
    """Run one command and return its exit code, whatever goes wrong."""
    try:
        code = _code(app(list(tokens), result_action="return_value", exit_on_error=False, print_error=False))
        sys.stdout.flush()  # here, where a full device is still an error with a sentence
        return code
    except CycloptsError as error:
        return _complain(_usage_sentence(error))
    except AetiaError as error:
        return _complain(str(error), error.exit_code)
    except BrokenPipeError:
        return EXIT_ANSWERED
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # what rich makes of it
            return EXIT_ANSWERED
        raise
    except OSError as error:
        return _complain(_os_sentence(error))
    except MemoryError:
        return _complain("the telemetry does not fit in memory; narrow it with --incident A..B and --baseline A..B.")
    except KeyboardInterrupt:
        return _complain("interrupted.", EXIT_INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - the outermost border: what nobody foresaw is told from an abstention
        return _internal(error)
    finally:
        _settle_stdout()


def _print_anything() -> None:
    """Let stdout replace what its encoding lacks: names come from telemetry, and a locale may know ASCII alone."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def _usage_sentence(error: CycloptsError) -> str:
    """The parser's message; that of an unknown command would import every command to look for similar names."""
    if isinstance(error, UnknownCommandError) and error.unused_tokens:
        return f"there is no command '{error.unused_tokens[0]}'; `aetia --help` lists the commands."
    return f"{' '.join(str(error).split()).rstrip('.')}; `aetia COMMAND --help` explains."


def _code(result: object) -> int:
    return result if isinstance(result, int) else EXIT_ANSWERED


def _complain(sentence: str, code: int = EXIT_BAD) -> int:
    print(f"aetia: {' '.join(sentence.split())}", file=sys.stderr)
    return code


def _internal(error: Exception) -> int:
    """One sentence for what nobody foresaw, after the traceback where that is wanted."""
    if os.environ.get(TRACEBACK, "") not in ("", "0"):
        import traceback

        traceback.print_exception(error)
    what = type(error).__name__ + (f": {error}" if str(error) else "")
    return _complain(
        f"internal error ({what}); send the traceback, which {TRACEBACK}=1 shows, to the maintainers of Aetia or of the"
        " plugin that it ends in.",
        EXIT_INTERNAL,
    )


def _settle_stdout() -> None:
    """What could not be written is not tried again: the interpreter would complain about it when it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _os_sentence(error: OSError) -> str:
    place = f"{error.filename}: " if error.filename else ""
    mends = {
        errno.EACCES: "check its permissions", errno.ENOENT: "check the path",
        errno.ENOSPC: "free some space or write elsewhere", errno.EISDIR: "name a file",
    }  # fmt: skip
    return f"{place}{error.strerror or error}; {mends.get(error.errno or 0, 'check the path and its permissions')}."


if __name__ == "__main__":
    sys.exit(main())
