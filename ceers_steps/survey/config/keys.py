"""The keys of a survey, declared once: configuration, options, template, docs are made of these."""

import argparse
from dataclasses import dataclass
from typing import Any

from ceers_steps.names import INSTRUMENTS
from ceers_steps.survey.config.layout import LAYOUTS

__all__ = [
    "INTERMEDIATES",
    "SCHEMA",
    "Key",
    "add_options",
    "default_of",
    "key_of",
    "options_of",
]


@dataclass(frozen=True)
class Key:
    """One key of a survey file.

    Attributes
    ----------
    kind : str
        'text', 'texts' (a list), 'path', 'paths', 'whole' (an integer), 'number', 'flag'.
    meaning : str
        One line: comment of the template, help of the option, and beginning of the docs.
    more : str
        What the docs add to it, Markdown.
    default : str, int, float or tuple
        Empty or 0: not set; None: it has to be given.
    option : str
        Option of the command line; empty: none of its own.
    metavar : str
        What the option takes, for its help; empty for `choices`.
    choices : tuple of str
        The values that are known; empty: any.
    minimum, maximum : float or None
        Smallest and largest value.
    off : bool
        0 is taken too, and turns it off.
    folder : bool
        A path of a folder, not of a file.
    """

    kind: str
    meaning: str
    more: str = ""
    default: Any = ""
    option: str = ""
    metavar: str = ""
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    off: bool = False
    folder: bool = False


MIN_TILE_SIZE = 64
"""Smallest tile of a mosaic that TiledResampleStep takes, pixels."""

MIN_MEMORY_GB = 0.1
"""Least memory of a survey, GB: less runs no task, and below 0.001 it would mean all there is."""

MAX_RETRIES = 10
"""Most attempts after the first; each takes half as much memory again, 58 times after ten."""

INTERMEDIATES = ("rate", "prewisp", "pre1f", "crf", "imgbkgsub")

SCHEMA: dict[str, dict[str, Key]] = {
    "": {
        "inputs": Key(
            "paths",
            "raw exposures: files, folders or patterns",
            " (`uncal/*_nrcb*_uncal.fits`), or a folder of data sets (`ceers sort`)",
            default=None,
        ),
        "exclude": Key(
            "texts",
            "exposures to leave out: names, files or patterns (jw01345001001_02201_*)",
            ". One that fits nothing is refused",
            default=(),
            option="--exclude",
            metavar="NAME",
        ),
        "output": Key(
            "path",
            "folder for everything that is written",
            default=None,
            option="-o",
            metavar="OUT",
            folder=True,
        ),
        "preset": Key(
            "text",
            'parameters to start from: "best": values that measure best; "dr05": CEERS DR0.5',
            " as published: parameters, per-exposure values, grids and the mosaics of the epoch. "
            "The latter needs `wcs_dir` and the published pointings",
            default="best",
            option="--preset",
            choices=("best", "dr05"),
        ),
        "layout": Key(
            "text",
            'where products go: "survey": a folder for each kind; "dataset": one for each exposure',
            " and detector, with `uncals`, `calibrated1_rates`, `calibrated2_cals` in it, and the "
            "mosaics in `calibrated3_mosaics` ([data sets](datasets.md))",
            default="survey",
            option="--layout",
            choices=LAYOUTS,
        ),
        "image_background": Key(
            "flag",
            "subtract from each exposure the background that the others show, then a second mosaic",
            " ([image background](survey.md)). Of MIRI, if the survey has exposures of it, else of "
            "all",
            default=False,
            option="--image-background",
        ),
        "image_background_of": Key(
            "texts",
            "instruments whose exposures get it: MIRI, NIRCAM, NIRISS; not set: see above",
            default=(),
            choices=INSTRUMENTS,
        ),
    },
    "groups": {
        "by": Key(
            "text",
            "what is one mosaic in a filter: pointing (what overlaps), visit, observation, program",
            ". CEERS pointings have their names",
            default="pointing",
            option="--by",
            choices=("pointing", "visit", "observation", "program"),
        ),
        "product": Key(
            "text",
            "start of the names of the mosaics; not set: the name of the group",
            ". `{group}` and `{filter}` are replaced; default `{group}_{filter}`",
        ),
    },
    "grid": {
        "grid": Key(
            "text",
            'a published grid ("nircam1") or a file with one; not set: fitted to each group',
            ". A file: a mosaic, ASDF, or a table with a row for each group, `dr05/mosaic_grids` "
            "for instance ([grids](associations.md))",
            option="--grid",
            metavar="NAME|FILE",
        ),
        "pixel_scale": Key(
            "number",
            "arcsec, of a fitted grid, 0.001 to 10",
            default=0.03,
            option="--pixel-scale",
            metavar="ARCSEC",
            minimum=0.001,
            maximum=10,
        ),
        "tile_size": Key(
            "whole",
            "drizzle in tiles of so many pixels (64 or more): less memory; 0: in one piece",
            ", which takes about 90 bytes a pixel. Tiles are tasks of their own",
            default=0,
            option="--tile-size",
            metavar="N",
            minimum=MIN_TILE_SIZE,
            off=True,
        ),
    },
    "files": {
        "overrides": Key(
            "path",
            "table of per-exposure values (exposure, wisp_scale, ...)",
            " ([per-exposure values](parameters.md))",
            option="--overrides",
            metavar="TABLE",
        ),
        "wisp_templates": Key(
            "path",
            "folder of wisps_<detector>_<filter>.fits",
            ", before `$NIRCAM_WISP_TEMPLATES` and the package nmfwisp",
            option="--wisp-templates",
            metavar="DIR",
            folder=True,
        ),
        "reference_catalog": Key(
            "path",
            'what is aligned to: table with RA, DEC, or "GAIADR3" (needs the network)',
            option="--reference-catalog",
            metavar="FILE",
        ),
        "alignment_table": Key(
            "path",
            "alignment parameters by visit and filter",
            " ([alignment](steps/align.md))",
        ),
        "wcs_dir": Key(
            "path",
            "take the WCS from *_tweakreg.asdf in this folder, and align nothing",
            '; with `missing = "skip"` in `[image3.update_wcs]` exposures without a file are '
            "aligned with the others of their group and filter (and to the `reference_catalog`, if "
            "there is one)",
            option="--wcs-dir",
            metavar="DIR",
            folder=True,
        ),
        "hst_images": Key("paths", "drizzled HST images whose sources are masked too", default=()),
        "mask_regions": Key("path", "DS9 regions to add to the source mask of the mosaics"),
        "exclude_regions": Key("path", "DS9 regions to clear from it"),
    },
    "products": {
        "keep": Key(
            "texts",
            "intermediate products to keep: rate, prewisp, pre1f, crf, imgbkgsub",
            "; `prewisp` is before the wisp is subtracted, `pre1f` before the stripes are, "
            "`imgbkgsub` the rate without its image background",
            default=(),
            option="--keep",
            metavar="SUFFIX",
            choices=INTERMEDIATES,
        ),
    },
    "run": {
        "on": Key(
            "text",
            "where to run: local, slurm, pbs",
            default="local",
            option="--on",
            choices=("local", "slurm", "pbs"),
        ),
        "cores": Key(
            "whole",
            "tasks at a time on this machine; 0: one for each core",
            default=0,
            option="--cores",
            metavar="N",
            minimum=0,
        ),
        "memory": Key(
            "number",
            "GB of this machine to use, 0.1 or more; 0: nine tenths of all",
            default=0,
            option="--memory",
            metavar="GB",
            minimum=MIN_MEMORY_GB,
            maximum=1e6,
            off=True,
        ),
        "profile": Key(
            "path",
            "folder of a Snakemake profile of your own, in place of on",
            option="--profile",
            metavar="DIR",
            folder=True,
        ),
        "partition": Key(
            "text",
            "partition (Slurm) or queue (PBS) of the cluster",
            option="--partition",
            metavar="NAME",
        ),
        "account": Key("text", "account of the cluster", option="--account", metavar="NAME"),
        "jobs": Key(
            "whole",
            "tasks at a time on a cluster",
            default=100,
            option="--jobs",
            metavar="N",
            minimum=1,
        ),
        "retries": Key(
            "whole",
            "attempts of a failed task after the first, each with half as much memory again",
            "; at most 10",
            default=1,
            minimum=0,
            maximum=MAX_RETRIES,
        ),
    },
}
"""Every table and key but the parameters of the pipelines."""


def key_of(name: str) -> Key:
    """Return the key of a name; no two tables have one of the same name."""
    (key,) = (keys[name] for keys in SCHEMA.values() if name in keys)
    return key


def default_of(name: str) -> Any:
    """Return the default of a key, as the configuration has it: no path is None."""
    key = key_of(name)
    return None if key.kind == "path" and key.default == "" else key.default


def options_of() -> list[str]:
    """Return the names of the keys that have an option."""
    return [name for keys in SCHEMA.values() for name, key in keys.items() if key.option]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the keys to a command; what is not given is None.

    Parameters
    ----------
    parser
        Of the command.
    """
    types = {"whole": int, "number": float}
    for name in options_of():
        key = key_of(name)
        long = f"--{name.replace('_', '-')}"
        names = [key.option] if key.option == long else [key.option, long]
        more: dict[str, Any] = {"help": key.meaning.replace("%", "%%"), "dest": name}
        if key.kind in {"texts", "paths"}:
            more |= {"nargs": "+", "action": "extend"}
        if key.choices and key.kind == "text":
            more["choices"] = key.choices
        elif key.metavar:
            more["metavar"] = key.metavar
        if key.kind in types:
            more["type"] = types[key.kind]
        if key.kind == "flag":
            more["action"] = argparse.BooleanOptionalAction
        parser.add_argument(*names, **more)
