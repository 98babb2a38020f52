"""The ``ceers`` command: a thin face on the package.

Everything heavy is imported when a subcommand runs, so that help and errors come at once.
"""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from ceers_steps import __version__
from ceers_steps.errors import CeersError

__all__ = ["main"]

COMMANDS = (
    *("survey.init", "survey.plan", "survey.reduce", "survey.commands", "report", "verify", "show"),
    *(
        "demo",
        "simulate",
        "associate",
        "mosaic",
        "datasets",
        "download",
        "inspect",
        "references",
        "params",
    ),
)
"""Modules of `ceers_steps.commands` with the subcommands, in the order of the help."""

INTERRUPTED = 130
"""Exit code of a program stopped by Ctrl-C (128 + SIGINT)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the ``ceers`` command.

    Parameters
    ----------
    argv : list of str, optional
        Arguments; default those of the process.

    Returns
    -------
    int
        Exit code: 0, 1 after an error that the user can fix (reported in one message), 130 after
        Ctrl-C. Wrong arguments leave with 2, as argparse does.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who has started this process
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    words = sys.argv[1:] if argv is None else argv
    args = build_parser().parse_args(words)
    args.words = ["ceers", *map(str, words)]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # of any encoding, which may lack a letter
            stream.reconfigure(errors="backslashreplace")
    try:
        code = args.run(args) or 0
        sys.stdout.flush()
    except CeersError as err:
        print(f"ceers {args.command}: {err}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"ceers {args.command}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # the reader of a pipe (head, less) has left: nothing more to say, not even on exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except UnicodeEncodeError as err:
        # a name whose bytes are no text, which goes into no table
        start = max(0, err.start - 40)
        place = err.object[start : err.end + 20]
        print(
            f"ceers {args.command}: {place!r} has bytes that are no text (UTF-8). Rename that file "
            "or folder.",
            file=sys.stderr,
        )
        return 1
    except OSError as err:
        # a name that no file system takes, a folder without permission, a full disk
        print(f"ceers {args.command}: {err}", file=sys.stderr)
        return 1
    return code


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the ``ceers`` command."""
    parser = argparse.ArgumentParser(
        prog="ceers",
        description="JWST NIRCam imaging with the CEERS corrections. Exposures are reduced with "
        "strun (strun ceers_steps.CeersDetector1 FILE_uncal.fits); this command does the rest.",
    )
    parser.add_argument("--version", action="version", version=f"ceers_steps {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    for name in COMMANDS:
        import_module(f"ceers_steps.commands.{name}").add_parser(commands)
    return parser
