"""``ceers associate``: the command line of the associations."""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from ceers_steps.errors import CeersError

__all__ = ["add_parser", "run"]

MOSAIC = "i2d"
"""Suffix of files that are combined already."""

CALIBRATED = ("cal", "crf", "match")
"""Suffixes of exposures that have been through stage 2."""


def add_parser(subparsers: Any) -> None:
    """Add the command to those of ``ceers``; ``args.run`` runs it."""
    parser = subparsers.add_parser(
        "associate",
        help="write associations for stage 3, and the grid that all filters share",
        description="Find out which exposures belong together; write an association for each "
        "filter and one for all filters, a grid that covers them, and a parameter file with it. "
        "Afterwards: strun OUT/GROUP_image3.asdf OUT/GROUP_allfilters_asn.json",
    )
    parser.add_argument(
        "inputs", nargs="+", metavar="FILES|DIR", help="exposures, or folders of them"
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="DIR", help="folder to write to; made if missing"
    )
    parser.add_argument(
        "--by",
        choices=("pointing", "visit", "observation", "program"),
        default="pointing",
        help="what is combined; pointing: footprints that overlap (default)",
    )
    parser.add_argument(
        "--suffix",
        default="cal",
        metavar="NAME",
        help="which files to take: cal, crf, match, or i2d for mosaics whose background is to be "
        "subtracted together (default: cal)",
    )
    parser.add_argument(
        "--product",
        metavar="NAME",
        help="names of the products, with {group} and {filter} (default: {group}_{filter})",
    )
    parser.add_argument(
        "--grid",
        metavar="NAME|FILE",
        help="grid to use: nircam1, nircam2, nircam3, nircam6, epoch1 as published; a table of "
        "grids (ECSV, row named as the group; dr05/mosaic_grids is packaged), an ASDF file with "
        "a wcs, or a FITS mosaic (default: one that covers the exposures)",
    )
    parser.add_argument(
        "--pixel-scale", type=float, metavar="ARCSEC", help="of the grid (default: 0.03)"
    )
    parser.add_argument(
        "--rotation",
        type=float,
        metavar="DEG",
        help="position angle of the grid's y axis (default: that of the smallest grid)",
    )
    parser.add_argument(
        "--exposures",
        metavar="TABLE",
        help="plan without reading files: the exposures of an ECSV table (columns exposure, "
        "filter, pointing; dr05/pointings is packaged) as files in DIR",
    )
    parser.add_argument("--force", action="store_true", help="replace existing files")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from ceers_steps.files.membership import list_left_out
    from ceers_steps.survey.select.association_files import write_associations
    from ceers_steps.survey.select.associations import group_exposures, incomplete, name_products
    from ceers_steps.survey.select.visits import far_from_visit, list_contradictions, list_far

    exposures, left_out, notes = _exposures(args)
    groups = name_products(group_exposures(exposures, args.by), args.product)
    mosaics = args.suffix == MOSAIC
    if mosaics and (args.grid, args.pixel_scale, args.rotation) != (None, None, None):
        raise CeersError(f"--suffix {MOSAIC}: mosaics have their grids; leave those options out.")
    if not mosaics:
        groups = [replace(group, grid=_grid(group, args, notes)) for group in groups]
    paths = write_associations(
        groups, args.output, mosaics=mosaics, left_out=left_out, force=args.force
    )
    _show(groups)
    notes += list_far(far_from_visit(exposures)) + list_contradictions(exposures)
    notes += list_left_out(left_out)
    notes += [f"incomplete: {line}" for line in incomplete(groups)]
    for note in notes:
        print(note)
    print(f"{len(paths)} files in {args.output}")


def _exposures(args: argparse.Namespace) -> tuple[Sequence[Any], list[Any], list[str]]:
    """Return the exposures, those that are left out, and notes."""
    from ceers_steps.files.parameter_files import list_parameter_files
    from ceers_steps.survey.select.exposures import plan_exposures, read_exposures
    from ceers_steps.survey.select.levels import find_files

    if args.exposures is not None:
        if len(args.inputs) != 1:
            raise CeersError("--exposures: give the one folder in which the files are or will be.")
        packaged = {
            name: file.path
            for file in list_parameter_files()
            for name in (file.name, file.name.rpartition(".")[0])
        }
        table = packaged.get(args.exposures, args.exposures)
        return plan_exposures(table, args.inputs[0], args.suffix), [], []
    files, other_level = find_files(args.inputs, args.suffix)
    exposures, left_out = read_exposures(files, calibrated=args.suffix in CALIBRATED)
    return exposures, left_out, [other_level] if other_level else []


def _grid(group: Any, args: argparse.Namespace, notes: list[str]) -> Any:
    """Return the grid of a group; add notes on exposures that it does not cover."""
    from ceers_steps.survey.select.grids import check_size, find_grid, fit_grid

    polygons = [polygon for exposure in group.exposures for polygon in exposure.footprint]
    if args.grid is None:
        if not polygons:
            notes.append(f"{group.name}: no footprints, so no grid; give one with --grid")
            return None
        scale = 0.03 if args.pixel_scale is None else args.pixel_scale
        grid = fit_grid(polygons, pixel_scale=scale, rotation=args.rotation)
        return check_size(grid, group.name, len(group.exposures))
    if args.pixel_scale is not None or args.rotation is not None:
        raise CeersError("--grid has a pixel scale and a rotation: leave the other options out.")
    grid = find_grid(args.grid, group.name)
    outside = [
        exposure
        for exposure in group.exposures
        if not all(grid.covers(polygon) for polygon in exposure.footprint)
    ]
    if outside:
        notes.append(
            f"{group.name}: {len(outside)} of {len(group.exposures)} exposures are not, or not "
            f"whole, on the grid {args.grid}: {outside[0].name}"
            f"{', ...' if len(outside) > 1 else ''}"
        )
    return grid


def _show(groups: Iterable[Any]) -> None:
    """Print what went where, and the grids."""
    from rich.console import Console
    from rich.table import Table

    table = Table("group", "filter", "exposures", "product", box=None, pad_edge=False)
    grids = Table("group", "pixels", "arcsec", "rotation", "RA, Dec", box=None, pad_edge=False)
    for group in groups:
        for name, members in group.filters.items():
            table.add_row(group.name, name, str(len(members)), group.products[name])
        if group.grid is not None:
            nx, ny = group.grid.pixel_shape
            grids.add_row(
                group.name,
                f"{nx} x {ny}",
                f"{group.grid.pixel_scale:g}",
                f"{group.grid.rotation:g}",
                "{:.4f}, {:.4f}".format(*group.grid.crval),
            )
    console = Console()
    console.print(table)
    if grids.rows:
        console.print("\nGrids")
        console.print(grids)
