"""``ceers sort`` and ``ceers table``: exposures into folders of data sets, and into a table."""

import argparse
from pathlib import Path
from typing import Any

from ceers_steps.errors import CeersError

__all__ = ["add_parser", "run_sort", "run_table"]


def add_parser(commands: Any) -> None:
    """Add the commands to those of ``ceers``; ``args.run`` runs them."""
    parser = commands.add_parser(
        "sort",
        help="link or copy raw exposures into a folder for each data set",
        description="Find raw exposures (*_uncal.fits) below folders, as MAST makes them, and put "
        "each at DIR/DATASET/uncals, DATASET being its name without suffix. Files that are there "
        "stay; nothing is moved or replaced.",
    )
    _add_inputs(parser)
    parser.add_argument(
        "-o", "--output", required=True, metavar="DIR", help="folder of the data sets"
    )
    parser.add_argument("--copy", action="store_true", help="copy the files instead of linking")
    parser.add_argument("--dry-run", action="store_true", help="list what goes where, do nothing")
    parser.set_defaults(run=run_sort)

    parser = commands.add_parser(
        "table",
        help="write a table of exposures: who took what, where, when and for how long",
        description="Read the headers of exposures below folders and write NAME.ecsv and NAME.csv, "
        "a row for each.",
    )
    _add_inputs(parser)
    parser.add_argument(
        "--suffix",
        choices=("uncal", "rate", "cal"),
        default="uncal",
        help="level of the exposures (default: uncal)",
    )
    parser.add_argument(
        "-o",
        "--output",
        default="exposures",
        metavar="NAME",
        help="path of the tables, without extension (default: exposures)",
    )
    parser.set_defaults(run=run_table)


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    """Add what is common: files, and which of them."""
    parser.add_argument(
        "inputs", nargs="+", metavar="FILES|DIR", help="exposures, or folders, searched to the end"
    )
    options = {
        "--instrument": "only these instruments (NIRCAM, MIRI, NIRISS)",
        "--filter": "only these filters; one in the pupil wheel goes by its own name",
        "--exp-type": "only these types (NRC_IMAGE, MIR_IMAGE, NIS_IMAGE)",
    }
    for name, text in options.items():
        parser.add_argument(name, nargs="+", default=[], metavar="NAME", help=text)


def _find(args: argparse.Namespace, suffix: str) -> list:
    """Return the data sets; print what was left out."""
    from ceers_steps.survey.datasets.files import Choice, find_data_sets

    choice = Choice(*(_upper(names) for names in (args.instrument, args.filter, args.exp_type)))
    data_sets, notes = find_data_sets(args.inputs, suffix, choice)
    for note in notes:
        print(note)
    return data_sets


def _upper(names: list[str]) -> tuple[str, ...]:
    return tuple(name.upper() for name in names)


def run_sort(args: argparse.Namespace) -> None:
    """Run ``ceers sort``."""
    from ceers_steps.survey.datasets.sort import place, plan_placements

    placements = plan_placements(_find(args, "uncal"), args.output)
    due = [item for item in placements if item.state != "there"]
    if args.dry_run:
        for item in placements:
            print(f"{item.state:6}  {item.source} -> {item.target}")
    else:
        for item in due:
            place(item, copy=args.copy)
    what = "to do" if args.dry_run else "copied" if args.copy else "linked"
    print(f"{len(placements)} data sets: {len(due)} {what}, {len(placements) - len(due)} there")


def run_table(args: argparse.Namespace) -> None:
    """Run ``ceers table``."""
    from ceers_steps.survey.datasets.table import exposure_table, write_table

    table = exposure_table(_find(args, args.suffix))
    base = Path(args.output)
    if base.suffix in (".csv", ".ecsv"):
        base = base.with_suffix("")
    if base.is_dir():
        raise CeersError(f"-o {base} is a folder. Give the path of the table, without extension.")
    write_table(table, base)
    print(f"{len(table)} exposures in {base}.ecsv and {base}.csv")
