"""The files that tell the pipeline what to combine: associations, grids, parameters, tables."""

import contextlib
import io
import json
import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from astropy.table import Table

from ceers_steps.errors import CeersError
from ceers_steps.files.associations import ASN_ID, as_json, build_association
from ceers_steps.files.atomic import write_atomic
from ceers_steps.files.membership import LeftOut
from ceers_steps.survey.select.associations import ALL, Group
from ceers_steps.survey.select.exposures import Exposure
from ceers_steps.survey.select.grids import grid_table

__all__ = ["left_out_table", "write_associations"]

PARAMETERS = """\
#ASDF 1.0.0
#ASDF_STANDARD 1.6.0
%YAML 1.1
%TAG ! tag:stsci.edu:asdf/
--- !core/asdf-1.1.0
# Stage 3 of {group} with all filters on the same pixels.
#   strun {group}_image3.asdf {association}
# What is not named here keeps its default and the parameters that CRDS has for it.
meta:
  description: Stage 3 of {group} with all filters on the same pixels.
class: ceers_steps.CeersImage3
name: CeersImage3
parameters: {{}}
steps:
- class: ceers_steps.TiledResampleStep
  name: resample
  parameters:
    crpix: {crpix}  # pixels from 0
    crval: {crval}  # deg
    rotation: {rotation}  # of the y axis, deg east of north
    pixel_scale: {pixel_scale}  # arcsec
    output_shape: {output_shape}  # nx, ny
{tiles}...
"""

LARGE = 60_000_000
"""Pixels above which a mosaic is drizzled in tiles: at once it would take over 5 GB."""

TILES = "    tile_size: 4000  # pixels; the same mosaic in less memory\n"


def write_associations(
    groups: Sequence[Group],
    folder: str | os.PathLike,
    *,
    mosaics: bool = False,
    left_out: Sequence[LeftOut] = (),
    force: bool = False,
) -> list[Path]:
    """Write the associations, grids and parameter files of all groups, and the tables.

    Parameters
    ----------
    groups
        With the names of their products.
    folder
        Where to write. Members are named relative to it, as jwst wants.
    mosaics
        The members are mosaics already, not to be combined but to have their background
        subtracted together: only the association of all filters is written, with one product.
    left_out
        Files that are in no association, for a table of them.
    force
        Replace existing files that differ.

    Returns
    -------
    list of Path
        ``<product>_asn.json`` for each filter and one with all filters as products,
        ``<group>_grid.asdf`` and ``<group>_image3.asdf`` where there is a grid,
        ``associations.ecsv``, ``grids.ecsv``, and ``left_out.ecsv`` where something is left out.

    Raises
    ------
    CeersError
        When a file exists and differs, or cannot be written; in the first case none is written.
    """
    folder = Path(folder)
    contents: dict[str, bytes] = {}
    asn_id = _free_id(groups, folder)
    for group in groups:
        contents |= _group_files(group, folder, mosaics, asn_id)
    contents["associations.ecsv"] = _as_ecsv(_membership(groups, folder, mosaics))
    if left_out or (folder / "left_out.ecsv").exists():
        contents["left_out.ecsv"] = _as_ecsv(left_out_table(left_out, folder))
    grids = {group.name: group.grid for group in groups if group.grid is not None}
    if grids and not mosaics:
        contents["grids.ecsv"] = _as_ecsv(grid_table(grids))
    changed = {
        name: content for name, content in contents.items() if _differs(folder / name, content)
    }
    existing = [name for name in changed if (folder / name).exists()]
    if existing and not force:
        raise CeersError(
            f"{len(existing)} file(s) in {folder} exist and would change: "
            f"{', '.join(existing[:3])}{', ...' if len(existing) > 3 else ''}. Choose another "
            "folder with -o or replace them with --force."
        )
    for name, content in changed.items():
        write_atomic(folder / name, partial(_write, content))
    return [folder / name for name in contents]


def _free_id(groups: Iterable[Group], folder: Path) -> str:
    """Return an id that no other association of the folder has which shares an exposure."""
    groups = list(groups)
    own = {f"{name}_asn.json" for group in groups for name in group.products.values()}
    members = {_relative(each.path, folder) for group in groups for each in group.exposures}
    taken = set()
    for path in folder.glob("*_asn.json"):
        if path.name in own:
            continue  # it is made again
        # what is no association is not what this is about, nor is whether its files are there yet
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            other = json.loads(path.read_text(encoding="utf-8"))
            names = (each["expname"] for part in other["products"] for each in part["members"])
            if members & {_relative(folder / name, folder) for name in names}:
                taken.add(other.get("asn_id"))
    numbers = range(int(ASN_ID[1:]), 10_000)
    return next(text for number in numbers if (text := f"a{number}") not in taken)


def left_out_table(left_out: Iterable[LeftOut], folder: Path) -> Table:
    """Return the table of what was left out, and why.

    Parameters
    ----------
    left_out
        The files.
    folder
        Paths in the table are relative to it.

    Returns
    -------
    `~astropy.table.Table`
        Columns ``exposure``, ``reason`` and ``file``; it may have no rows.
    """
    rows = [(each.name, each.reason, _relative(each.path, folder)) for each in left_out]
    names = ["exposure", "reason", "file"]
    table = Table(rows=rows or None, names=names, dtype=[str] * 3)
    table.meta["comments"] = ["Files that are in no mosaic; paths relative to this folder"]
    return table


def _group_files(group: Group, folder: Path, mosaics: bool, asn_id: str) -> dict[str, bytes]:
    """Return the contents of the files of one group by their names."""
    everything = f"{group.products[ALL]}_asn.json"
    if mosaics:
        return {everything: _as_json(group, {group.products[ALL]: group.exposures}, folder, asn_id)}
    products = {group.products[name]: tuple(exposures) for name, exposures in group.filters.items()}
    contents = {
        f"{name}_asn.json": _as_json(group, {name: exposures}, folder, asn_id)
        for name, exposures in products.items()
    }
    contents[everything] = _as_json(group, products, folder, asn_id)
    if group.grid is not None:
        contents[f"{group.name}_grid.asdf"] = group.grid.to_asdf()
        nx, ny = group.grid.pixel_shape
        text = PARAMETERS.format(
            group=group.name,
            association=everything,
            tiles=TILES if nx * ny > LARGE else "",
            **group.grid.parameters(),
        )
        contents[f"{group.name}_image3.asdf"] = text.encode()
    return contents


def _as_json(
    group: Group, products: dict[str, tuple[Exposure, ...]], folder: Path, asn_id: str
) -> bytes:
    """Return the association of some products of a group."""
    targets = {exposure.target for exposure in group.exposures} - {""}
    paths = {
        name: [_relative(exposure.path, folder) for exposure in exposures]
        for name, exposures in products.items()
    }
    return as_json(
        build_association(
            paths,
            program=group.exposures[0].program,
            target=targets.pop() if len(targets) == 1 else "none",
            asn_id=asn_id,
        )
    )


def _membership(groups: Iterable[Group], folder: Path, mosaics: bool) -> Table:
    """Return the table of what went where."""
    rows = [
        (
            f"{group.products[ALL if mosaics else exposure.filter]}_asn.json",
            group.name,
            exposure.filter,
            exposure.name,
            exposure.detector,
            exposure.program,
            exposure.observation,
            exposure.visit,
            _relative(exposure.path, folder),
        )
        for group in groups
        for exposures in group.filters.values()
        for exposure in exposures
    ]
    names = ["association", "group", "filter", "exposure", "detector"]
    names += ["program", "observation", "visit", "file"]
    table = Table(rows=rows, names=names)
    table.meta["comments"] = ["Members of the associations; files relative to this folder"]
    return table


def _as_ecsv(table: Table) -> bytes:
    """Return the text of a table."""
    stream = io.StringIO()
    table.write(stream, format="ascii.ecsv")
    return stream.getvalue().encode()


def _relative(path: Path, folder: Path) -> str:
    """Return the path as seen from the folder of the association."""
    # `..` leaves a folder for its real parent, whatever link led into it
    return os.path.relpath(os.path.abspath(path), os.path.realpath(folder))


def _write(content: bytes, path: Path) -> None:
    """Write a file."""
    path.write_bytes(content)


def _differs(path: Path, content: bytes) -> bool:
    """Say whether a file is not there, or holds something else."""
    return not path.is_file() or path.read_bytes() != content
