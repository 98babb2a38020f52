"""``ceers mosaic``: mosaics straight from calibrated exposures of any origin."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from ceers_steps.errors import CeersError

__all__ = ["add_parser", "run"]

STEPS = ("tweakreg", "skymatch", "outlier_detection", "skyvar", "mosaic_background")
"""Steps that can be left out."""

TABLE, LIST = "mosaic_table", "list_obs.txt"


def add_parser(commands: Any) -> None:
    """Add the command to those of ``ceers``; ``args.run`` runs it."""
    parser = commands.add_parser(
        "mosaic",
        help="combine calibrated exposures (*_cal.fits), of the archive too, into mosaics",
        description="Group calibrated exposures, write an association and a grid for each group, "
        "run CeersImage3 on it, and write tables of the mosaics and of the observations in them. "
        "All filters of a group are on the same pixels and share a source mask.",
    )
    parser.add_argument(
        "inputs", nargs="+", metavar="CALS|DIR", help="calibrated exposures, or folders of them"
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="DIR", help="folder to write to; made if missing"
    )
    parser.add_argument(
        "--combine",
        choices=("program", "observation", "visit", "filter"),
        default="observation",
        help="what is combined: exposures of one program, observation (default) or visit, or all "
        "of a filter",
    )
    parser.add_argument(
        "--pixel-scale", type=float, default=0.03, metavar="ARCSEC", help="default: 0.03"
    )
    parser.add_argument(
        "--kernel",
        choices=("square", "gaussian", "point", "turbo", "lanczos2", "lanczos3"),
        default="square",
        help="of drizzle (default: square)",
    )
    parser.add_argument(
        "--pixfrac", type=float, default=1.0, metavar="F", help="of drizzle (default: 1)"
    )
    parser.add_argument(
        "--north-up", action="store_true", help="north along y (default: the smallest grid)"
    )
    parser.add_argument(
        "--tile-size", type=int, metavar="PIXELS", help="drizzle in tiles (default: by size)"
    )
    parser.add_argument(
        "--skip",
        nargs="+",
        choices=STEPS,
        default=[],
        metavar="STEP",
        help=f"leave these steps out: {', '.join(STEPS)}",
    )
    parser.add_argument(
        "--gaps",
        action="store_true",
        help="also exposures that do not overlap, with gaps between them",
    )
    parser.add_argument("--force", action="store_true", help="replace existing mosaics")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from ceers_steps.files.atomic import write_atomic
    from ceers_steps.files.membership import list_left_out
    from ceers_steps.survey.datasets.combine import (
        check_groups,
        combine_exposures,
        mosaic_table,
        observation_list,
    )
    from ceers_steps.survey.datasets.table import write_table
    from ceers_steps.survey.select.exposures import read_exposures
    from ceers_steps.survey.select.levels import find_files

    if not 0.001 <= args.pixel_scale <= 10:
        raise CeersError(f"--pixel-scale {args.pixel_scale}: give arcsec, 0.03 for instance.")
    if not 0 < args.pixfrac <= 1:
        raise CeersError(f"--pixfrac {args.pixfrac}: give a number above 0, at most 1.")
    files, note = find_files(args.inputs, "cal")
    exposures, left_out = read_exposures(files)
    for line in (note, *list_left_out(left_out)):
        if line:
            print(line)
    folder = Path(args.output)
    groups = combine_exposures(exposures, args.combine)
    paths = {
        (group.name, name): folder / f"{group.products[name]}_i2d.fits"
        for group in groups
        for name in group.filters
    }
    existing = [path for path in paths.values() if path.exists()]
    if existing and not args.force:
        raise CeersError(
            f"{len(existing)} of the {len(paths)} mosaics exist: {existing[0]}. Replace them with "
            "--force, or choose another folder with -o."
        )
    check_groups(groups, single="outlier_detection" in args.skip, gaps=args.gaps)
    # what is wrong with any of them is reported before the first is made
    for group in [_with_grid(group, args) for group in groups]:
        _combine(group, folder, args)
    made = {
        paths[group.name, name]: members
        for group in groups
        for name, members in group.filters.items()
    }
    table = mosaic_table(made)
    write_table(table, folder / TABLE)
    write_atomic(folder / LIST, lambda scratch: scratch.write_text(observation_list(exposures)))
    for path, members in made.items():
        print(f"{path}: {len(members)} exposures, {members[0].filter}")


def _with_grid(group: Any, args: argparse.Namespace) -> Any:
    """Return a group with its grid."""
    from ceers_steps.survey.select.grids import check_size, fit_grid

    polygons = [polygon for exposure in group.exposures for polygon in exposure.footprint]
    if not polygons:
        raise CeersError(
            f"{group.name}: its exposures have no S_REGION, so no grid can be fitted. Leave them "
            "out, or use ceers associate with --grid."
        )
    grid = fit_grid(polygons, pixel_scale=args.pixel_scale, rotation=0.0 if args.north_up else None)
    return replace(group, grid=check_size(grid, group.name, len(group.exposures)))


def _combine(group: Any, folder: Path, args: argparse.Namespace) -> None:
    """Make the mosaics of a group."""
    from ceers_steps import CeersImage3
    from ceers_steps.survey.select.association_files import LARGE, write_associations
    from ceers_steps.survey.select.associations import ALL

    grid = group.grid
    associations = folder / "associations" / group.name
    write_associations([group], associations, force=True)
    nx, ny = grid.pixel_shape
    resample = {**grid.parameters(), "kernel": args.kernel, "pixfrac": args.pixfrac}
    tile_size = args.tile_size or (4000 if nx * ny > LARGE else None)
    if tile_size:
        resample["tile_size"] = tile_size
    CeersImage3.call(
        str(associations / f"{group.products[ALL]}_asn.json"),
        output_dir=str(folder),
        save_results=True,
        steps={"resample": resample, **{name: {"skip": True} for name in args.skip}},
    )
