"""The ``ceers`` command: a thin face on the package.

Everything heavy is imported when a subcommand runs, so that help and errors come at once.
"""

import argparse
import os
import sys

from ceers_steps import __version__
from ceers_steps.errors import CeersError

__all__ = ["main"]

INTERRUPTED = 130
"""Exit code of a program stopped by Ctrl-C (128 + SIGINT)."""


def main(argv=None):
    """Run the ``ceers`` command.

    Parameters
    ----------
    argv : list of str, optional
        Arguments; default those of the process.

    Returns
    -------
    int
        Exit code: 0, 1 after an error that the user can mend (told in one message), 130 after
        Ctrl-C. Wrong arguments leave with 2, as argparse does.
    """
    words = sys.argv[1:] if argv is None else argv
    args = build_parser().parse_args(words)
    args.words = ["ceers", *map(str, words)]
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
    return code


def build_parser():
    """Return the parser of the ``ceers`` command."""
    parser = argparse.ArgumentParser(
        prog="ceers",
        description="JWST NIRCam imaging with the CEERS corrections. Exposures are reduced with "
        "strun (strun ceers_steps.CeersDetector1 FILE_uncal.fits); this command does the rest.",
    )
    parser.add_argument("--version", action="version", version=f"ceers_steps {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    from ceers_steps.commands import associate as survey
    from ceers_steps.commands import datasets as datasets_command
    from ceers_steps.commands import download as archive_command
    from ceers_steps.commands import inspect as inspect_command
    from ceers_steps.commands import reduce as reduce_command
    from ceers_steps.commands import references as references_command
    from ceers_steps.commands import report as report_command
    from ceers_steps.commands import show as show_command
    from ceers_steps.commands import simulate as simulate
    from ceers_steps.commands import verify as verify_command

    _add_demo(commands)
    _add_params(commands)
    simulate.add_parser(commands)
    reduce_command.add_parsers(commands)
    survey.add_parser(commands)
    archive_command.add_parser(commands)
    datasets_command.add_parsers(commands)
    references_command.add_parser(commands)
    inspect_command.add_parser(commands)
    report_command.add_parser(commands)
    show_command.add_parser(commands)
    verify_command.add_parser(commands)
    return parser


def _add_params(commands):
    parser = commands.add_parser(
        "params",
        help="list or copy the parameter files that come with the package",
        description="Without a name: list the parameter files. With names: copy them.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="file to copy, as listed")
    parser.add_argument("--all", action="store_true", help="copy all files")
    parser.add_argument(
        "-o", "--output", default=".", metavar="DIR", help="folder to copy to (default: here)"
    )
    parser.add_argument("--force", action="store_true", help="replace existing files")
    parser.set_defaults(run=_run_params)


def _run_params(args):
    from ceers_steps.files.parameter_files import copy_parameter_file, list_parameter_files

    files = list_parameter_files()
    names = [file.name for file in files] if args.all else args.names
    if names:
        for name in names:
            print(copy_parameter_file(name, args.output, force=args.force))
        return

    from rich.console import Console
    from rich.table import Table

    table = Table("name", "what", box=None, pad_edge=False)
    for file in files:
        table.add_row(file.name, file.description)
    Console().print(table)


def _add_demo(commands):
    parser = commands.add_parser(
        "demo",
        help="simulate a field in two filters, reduce it to mosaics, compare with the truth",
        description="Simulate four dithers of NRCB4 F150W and NRCBLONG F277W, run CeersDetector1, "
        "CeersImage2 and CeersImage3, and write a report of what was measured against what is "
        "true. Exposures that an earlier run simulated are used again.",
    )
    parser.add_argument(
        "-o", "--output", default="demo", metavar="DIR", help="folder to write to (default: demo)"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the simulation (default: 1)")
    parser.add_argument(
        "--open",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="open the report in a browser (default: when there is a desktop)",
    )
    parser.set_defaults(run=_run_demo)


def _run_demo(args):
    from ceers_steps.demo import run_demo

    run_demo(args.output, seed=args.seed, open_report=args.open)
