"""What a survey is: ``survey.toml`` and the options of the command line."""
# ruff: noqa: RUF009  the defaults of the configuration come from the table of keys

import json
import os
import re
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from ceers_steps.errors import CeersError
from ceers_steps.files.atomic import first_there, user_path
from ceers_steps.files.limits import check_regular, why_no_file
from ceers_steps.survey.config.checks import (
    PIPELINES,
    check_option,
    check_steps,
    check_tables,
    line_of,
)
from ceers_steps.survey.config.keys import SCHEMA, default_of, key_of

__all__ = ["SurveyConfig", "load_config"]

LARGEST_FILE = 1e7
"""Bytes of a survey file; one has a few thousand."""


@dataclass(frozen=True)
class SurveyConfig:
    """A survey, checked, with all paths absolute; keys and defaults are those of `SCHEMA`.

    Attributes
    ----------
    path : Path or None
        The ``survey.toml``; None without one.
    inputs : tuple of Path
        Raw exposures (files, folders or patterns).
    exclude : tuple of str
        Exposures, files or patterns of them that are left out.
    output : Path
        Everything is written below this folder.
    preset : {'best', 'dr05'}
        Parameter files to start from.
    layout : {'survey', 'dataset'}
        Where products go; see `layout.Layout`.
    image_background : bool
        Subtract the background that other exposures show, and make the mosaics again.
    image_background_of : tuple of str
        Instruments that get it; empty: MIRI, or all where there is no MIRI.
    by : {'pointing', 'visit', 'observation', 'program'}
        What makes a group, hence a mosaic.
    product : str
        Start of the names of the mosaics; empty: chosen by group.
    grid : str
        Name or file of an output grid; empty: chosen to cover each group.
    pixel_scale : float
        Of automatic grids, arcsec.
    tile_size : int
        Mosaics are drizzled in tiles of so many pixels; 0: in one piece.
    overrides, wisp_templates, reference_catalog, alignment_table, wcs_dir : Path or None
        Tables and folders that steps read.
    hst_images : tuple of Path
        For the source mask of the mosaics.
    mask_regions, exclude_regions : Path or None
        What is added to that mask, and what is cleared from it.
    keep : tuple of str
        Suffixes of intermediate products that are kept.
    on : {'local', 'slurm', 'pbs'}
        Where tasks run.
    cores, memory : int, float
        Limits on this machine (0: all there is); memory in GB.
    profile : Path or None
        Snakemake profile of the user's own, in place of the one that comes with `on`.
    partition, account : str
        Of the cluster.
    jobs : int
        Tasks at a time on a cluster.
    retries : int
        How often a failed task is tried again, each time with half as much memory again.
    steps : dict
        ``{pipeline: {step: {parameter: value}}}``, with the step ``""`` for the pipeline's own.
    origins : dict
        Where each of all these was given, in words, by attribute or ``pipeline.step.parameter``.
    """

    path: Path | None
    inputs: tuple[Path, ...]
    output: Path
    exclude: tuple[str, ...] = default_of("exclude")
    preset: str = default_of("preset")
    layout: str = default_of("layout")
    image_background: bool = default_of("image_background")
    image_background_of: tuple[str, ...] = default_of("image_background_of")
    by: str = default_of("by")
    product: str = default_of("product")
    grid: str = default_of("grid")
    pixel_scale: float = default_of("pixel_scale")
    tile_size: int = default_of("tile_size")
    overrides: Path | None = default_of("overrides")
    wisp_templates: Path | None = default_of("wisp_templates")
    reference_catalog: Path | None = default_of("reference_catalog")
    alignment_table: Path | None = default_of("alignment_table")
    wcs_dir: Path | None = default_of("wcs_dir")
    hst_images: tuple[Path, ...] = default_of("hst_images")
    mask_regions: Path | None = default_of("mask_regions")
    exclude_regions: Path | None = default_of("exclude_regions")
    keep: tuple[str, ...] = default_of("keep")
    on: str = default_of("on")
    cores: int = default_of("cores")
    memory: float = default_of("memory")
    profile: Path | None = default_of("profile")
    partition: str = default_of("partition")
    account: str = default_of("account")
    jobs: int = default_of("jobs")
    retries: int = default_of("retries")
    steps: dict = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict, compare=False)


def load_config(
    path: str | os.PathLike | None = None,
    *,
    options: Mapping | None = None,
    settings: Iterable[str] = (),
) -> SurveyConfig:
    """Read and check a survey.

    Parameters
    ----------
    path : path, optional
        ``survey.toml``; without one everything comes from `options` and the defaults. Paths in
        it are relative to its folder.
    options : dict, optional
        Values of the command line, by attribute of `SurveyConfig`; they override the file.
        Paths among them are relative to the working folder; None means not given.
    settings : iterable of str
        Assignments ``table.key=value`` that override both, for whatever the file may have.

    Returns
    -------
    SurveyConfig

    Raises
    ------
    CeersError
        Names the file, the line, the key, the value and the remedy.
    """
    text, tables, folder = "", {}, Path.cwd()
    if path is not None:
        path = Path(path).absolute()
        folder = path.parent
        check_regular(path, f"Survey file {path}", LARGEST_FILE)
        try:
            text = path.read_text(encoding="utf-8-sig")  # some editors begin it with a mark
            tables = tomllib.loads(text)
        except OSError as err:
            raise CeersError(
                f"Survey file {path} cannot be read: {err.strerror}. Write one with: ceers init"
            ) from err
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
            raise CeersError(f"{path} is not valid TOML: {err}.") from err
        except RecursionError as err:
            raise CeersError(f"{path} is not valid TOML: nested too deeply.") from err
    values, steps = _read(tables, text, path, folder)
    origins = _named(values, steps, path.name if isinstance(path, Path) else "")
    for key, value in (options or {}).items():
        if value is not None:
            check_option(key, value)
            values[key] = _absolute(key, value, Path.cwd())
            origins[key] = "command line"
    for setting in settings:
        more, changed = _read(_parse(setting), "", f"--set {setting}", Path.cwd())
        values |= more
        origins |= _named(more, changed, "command line (--set)")
        for pipeline, tables in changed.items():
            for step, parameters in tables.items():
                steps.setdefault(pipeline, {}).setdefault(step, {}).update(parameters)
    where = path or "the command line"
    for key, remedy in (
        ("inputs", "say where the raw exposures are: inputs = ['uncal'], or ceers reduce uncal"),
        ("output", "say where to write: output = 'reduced', or ceers reduce ... -o reduced"),
    ):
        if not values.get(key):
            raise CeersError(f"{where}: {key} is missing; {remedy}.")
    config = SurveyConfig(path=path, steps=steps, origins=origins, **values)
    _check_combinations(config, text, set(values))
    return config


def _read(
    tables: Mapping, text: str, path: Path | str | None, folder: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Check tables; return the values by attribute, and the parameters of steps by pipeline."""
    values = check_tables(tables, text, path)
    steps = {name: _by_step(tables[name]) for name in PIPELINES if name in tables}
    for pipeline, step, name in check_steps(steps, text, path) if steps else ():
        value = steps[pipeline][step][name]
        # tasks run in folders of their own; N/A turns a reference off
        if isinstance(value, str) and value not in {"", "N/A"} and "://" not in value:
            steps[pipeline][step][name] = str(_join(folder, value))
    wispsub = steps.get("detector1", {}).get("wispsub", {})
    if given := wispsub.get("templates"):  # for the step a list of texts
        files = [given] if isinstance(given, str) else given
        wispsub["templates"] = [str(_join(folder, file)) for file in files]
    return {key: _absolute(key, value, folder) for key, value in values.items()}, steps


def _named(values: Mapping, steps: Mapping, origin: str) -> dict[str, str]:
    """Return where values and parameters of steps are from, by their names."""
    names = [
        f"{pipeline}.{step}.{name}"
        for pipeline, tables in steps.items()
        for step, parameters in tables.items()
        for name in parameters
    ]
    return dict.fromkeys([*values, *names], origin)


def _parse(setting: str) -> dict[str, Any]:
    """Return the tables of an assignment; what is no TOML value is a text."""
    key, sign, value = setting.partition("=")
    for text in (value, json.dumps(value)) if sign else ():
        try:
            return tomllib.loads(f"{key} = {text}")
        except (tomllib.TOMLDecodeError, RecursionError):
            continue
    example = "image3.skyvar.per_amplifier=true or run.retries=2"
    raise CeersError(f"--set {setting}: write table.key=value, {example} for instance.")


def _absolute(key: str, value: Any, folder: Path) -> Any:
    """Make a value, or the paths in it, absolute; '' means none."""
    if key == "grid":
        path = _join(folder, value)  # a file, or a name
        return str(path) if value and path.is_file() else value
    kind = key_of(key).kind
    if kind not in {"path", "paths"}:
        return tuple(value) if isinstance(value, list) else value
    if kind == "paths":
        return tuple(_join(folder, item) for item in value)
    if key == "reference_catalog" and re.fullmatch(r"GAIA[A-Z0-9_]*", value.upper()):
        return Path(str(value).upper())  # a catalogue's name, not a file
    return _join(folder, value) if value else None


def _join(folder: Path, value: str | os.PathLike) -> Path:
    return Path(os.path.normpath(folder / user_path(value)))


def _by_step(table: Mapping) -> dict[str, dict]:
    """Split a pipeline's table into its own parameters (step "") and those of its steps."""
    own = {key: value for key, value in table.items() if not isinstance(value, dict)}
    steps = {key: dict(value) for key, value in table.items() if isinstance(value, dict)}
    return {**({"": own} if own else {}), **steps}


def _check_combinations(config: SurveyConfig, text: str, given: Collection[str]) -> None:
    """Raise `CeersError` for values that do not go together, of which some were given."""
    for key, problem, remedy in chain(_contradictions(config, given), _useless_paths(config)):
        table, _, name = key.rpartition(".")
        line = line_of(text, table.split(".") if table else [], name)
        place = f"{config.path or 'the command line'}{f', line {line}' if line else ''}"
        raise CeersError(f"{place}: {problem}. {remedy}.")


def _contradictions(config: SurveyConfig, given: Collection[str]) -> Iterator[tuple[str, str, str]]:
    """Yield parameter, problem and remedy of values that do not go together."""
    image3 = config.steps.get("image3", {})
    may_miss = image3.get("update_wcs", {}).get("missing") == "skip"  # those are aligned
    if config.wcs_dir and not may_miss and (config.reference_catalog or config.alignment_table):
        other = "reference_catalog" if config.reference_catalog else "alignment_table"
        yield (
            "files.wcs_dir",
            f"wcs_dir={config.wcs_dir} gives every exposure its WCS, so nothing is aligned and "
            f"{other} would not be used",
            f"Take out wcs_dir or {other}, or set missing='skip' ([image3.update_wcs]) if some "
            "exposures have no file",
        )
    if config.wcs_dir and not may_miss and set(image3.get("tweakreg", {})) - {"skip"}:
        yield (
            "image3.tweakreg",
            f"wcs_dir={config.wcs_dir} gives every exposure its WCS, so nothing is aligned and "
            "the parameters of tweakreg would not be used",
            "Take out wcs_dir or [image3.tweakreg]",
        )
    if config.preset == "dr05" and config.by != "pointing":
        yield (
            "groups.by",
            f"preset='dr05' makes the mosaics of the published pointings, not by={config.by!r}",
            "Use by='pointing', or preset='best'",
        )
    if "pixel_scale" in given and (config.grid or config.preset == "dr05"):
        other = f"grid={config.grid!r}" if config.grid else "preset='dr05'"
        yield (
            "grid.pixel_scale",
            f"pixel_scale={config.pixel_scale} is of a fitted grid, but {other} names one",
            "Take out one of them",
        )
    if config.preset == "dr05" and not config.wcs_dir:
        yield (
            "preset",
            "preset='dr05' reproduces the published mosaics, which takes the published WCS",
            "Set wcs_dir (table [files]) to the folder of the *_tweakreg.asdf files, or use "
            "preset='best'",
        )
    if config.preset == "dr05" and config.image_background:
        yield (
            "image_background",
            "preset='dr05' is the published procedure, which has no image background",
            "Take out image_background, or use preset='best'",
        )
    if config.profile and config.on != "local":
        yield (
            "run.profile",
            f"profile={config.profile} and on={config.on!r} both say where tasks run",
            "Take out one of them",
        )
    for key in ("partition", "account"):
        if getattr(config, key) and config.on == "local" and not config.profile:
            yield (
                f"run.{key}",
                f"{key}={getattr(config, key)!r} is of a cluster, but on='local'",
                f"Set on='slurm' or on='pbs', or take out {key}",
            )


def _useless_paths(config: SurveyConfig) -> Iterator[tuple[str, str, str]]:
    """Yield parameter, problem and remedy of paths where there is not what is wanted."""
    for key, declared in SCHEMA["files"].items():
        value = getattr(config, key)
        if declared.kind != "path" or value is None or not value.is_absolute():
            continue
        if problem := _path_problem(value, folder=declared.folder):
            yield f"files.{key}", f"{key}={value} {problem}", "Correct the path"
    if problem := _output_problem(config.output):
        yield "output", f"output={config.output} {problem}", "Give a folder of its own"
    if config.profile and (problem := _path_problem(config.profile, folder=True)):
        yield "run.profile", f"profile={config.profile} {problem}", "Correct the path"
    for value in config.hst_images:
        if problem := _path_problem(value, folder=False):
            yield "files.hst_images", f"hst_images: {value} {problem}", "Correct the path"


def _output_problem(path: Path) -> str:
    """Say why a path cannot be the folder that a survey writes to; '' when it can."""
    if path == Path(path.anchor):
        return "is the root of the file system, which a survey would fill"
    there = first_there(path)
    if not there.is_dir():
        return "is not a folder" if there == path else f"lies below {there}, which is no folder"
    return ""


def _path_problem(path: Path, *, folder: bool) -> str:
    """Say what is wrong with a path; '' when nothing is."""
    if not folder or not path.exists():
        return why_no_file(path)
    return "" if path.is_dir() else "is not a folder"
