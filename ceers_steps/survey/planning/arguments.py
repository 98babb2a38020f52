"""From the arguments of a command to a survey and its plan."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ceers_steps.errors import CeersError
from ceers_steps.survey.config.keys import add_options, options_of

if TYPE_CHECKING:
    from ceers_steps.survey.config.settings import SurveyConfig
    from ceers_steps.survey.planning.plan import Plan

__all__ = ["add_survey", "survey_of"]


def add_survey(parser: argparse.ArgumentParser) -> None:
    """Add what names a survey and overrides its file.

    Parameters
    ----------
    parser
        Of a command.
    """
    parser.add_argument(
        "inputs", nargs="+", metavar="UNCALS|SURVEY", help="raw files or folders, or a survey.toml"
    )
    add_options(parser)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="TABLE.KEY=VALUE",
        help="any value of a survey.toml, parameters of steps too "
        "(image3.skyvar.per_amplifier=true); may be given several times",
    )


def survey_of(args: argparse.Namespace) -> "tuple[Plan, SurveyConfig]":
    """Return the plan and the configuration that arguments name.

    Parameters
    ----------
    args
        As `add_survey` declares them; with ``exposures`` the plan is made of that table.

    Returns
    -------
    tuple of Plan and SurveyConfig

    Raises
    ------
    CeersError
        For a survey that is not right, or exposures that cannot be read.
    """
    # each of them reads tables and images: not before a command runs
    from ceers_steps.survey.config.settings import load_config
    from ceers_steps.survey.planning.build import build_plan
    from ceers_steps.survey.select.inputs import find_exposures, table_exposures

    path, inputs = None, args.inputs
    if inputs[0].endswith(".toml"):
        if len(inputs) > 1:
            raise CeersError("Give one survey.toml, or raw files; inputs stand in the file.")
        path, inputs = inputs[0], None
    options = {name: getattr(args, name) for name in options_of()} | {"inputs": inputs}
    config = load_config(path, options=options, settings=args.set)
    table = getattr(args, "exposures", None)
    found = find_exposures(config) if table is None else table_exposures(config, _packaged(table))
    return build_plan(config, found.exposures, found.notes, found.left_out), config


def _packaged(table: str) -> str | Path:
    """Return the path of a table, which may be one of the package."""
    from ceers_steps.files.parameter_files import parameter_files_dir

    packaged = parameter_files_dir() / f"{table.removesuffix('.ecsv')}.ecsv"
    return packaged if packaged.is_file() and not os.path.exists(table) else table
