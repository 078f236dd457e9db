"""`aetia`: the root command. Commands are named here and imported only when they run."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError, UnknownCommandError

from aetia import __version__
from aetia.model.errors import AetiaError

EXIT_ANSWERED, EXIT_NO, EXIT_BAD, EXIT_INTERRUPTED = 0, 1, 2, 130

app = App(
    name="aetia",
    help="Says why a system broke, proves it, and makes it well again.",
    version=__version__,
    help_flags=("--help", "-h"),
    version_flags=("--version",),
    help_format="plaintext",  # the Markdown renderer costs 80 ms at start
)
app.command("aetia.cli.demo:demo", help="Diagnose a simulated incident: no network, no set-up.")
app.command("aetia.cli.diagnose:diagnose", help="Name the root cause of an incident, with evidence.")
app.command("aetia.cli.recheck:recheck", help="Run the evidence of a diagnosis again.")
app.command("aetia.cli.bench:app", name="bench", help="Measure localizers on suites of cases.")
app.command("aetia.cli.cases:app", name="cases", help="List cases; convert public datasets to cases.")
app.command("aetia.cli.lab:app", name="lab", help="Make labelled telemetry.")
app.command("aetia.cli.plugins:plugins", help="List the algorithms that are installed.")


def main(tokens: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0: answered; 1: abstained, or a check failed; 2: bad usage or bad input, in one sentence on stderr.
    """
    # Both before numpy is imported: see aetia.allocator, and idle BLAS threads spin for 0.2 s of CPU time.
    os.environ.setdefault("NUMPY_MADVISE_HUGEPAGE", "0")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    _print_anything()
    try:
        return _code(
            app(
                list(sys.argv[1:] if tokens is None else tokens),
                result_action="return_value",
                exit_on_error=False,
                print_error=False,
            )
        )
    except CycloptsError as error:
        return _complain(_usage_sentence(error))
    except AetiaError as error:
        return _complain(str(error), error.exit_code)
    except BrokenPipeError:
        # The reader of our output left; point stdout at nothing so that the exit does not complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ANSWERED
    except OSError as error:
        return _complain(_os_sentence(error))
    except MemoryError:
        return _complain("the telemetry does not fit in memory; narrow it with --incident A..B and --baseline A..B.")
    except KeyboardInterrupt:
        return _complain("interrupted.", EXIT_INTERRUPTED)


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


def _os_sentence(error: OSError) -> str:
    place = f"{error.filename}: " if error.filename else ""
    mends = {
        errno.EACCES: "check its permissions", errno.ENOENT: "check the path",
        errno.ENOSPC: "free some space or write elsewhere", errno.EISDIR: "name a file",
    }  # fmt: skip
    return f"{place}{error.strerror or error}; {mends.get(error.errno or 0, 'check the path and its permissions')}."


if __name__ == "__main__":
    sys.exit(main())
