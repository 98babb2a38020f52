"""All pictures of the mosaics of a survey; only those of what has changed are made again."""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from ceers_steps.files.atomic import write_atomic
from ceers_steps.files.json_files import read_note
from ceers_steps.kernels.mosaic.depth import depth_map
from ceers_steps.processes import end_with_parent
from ceers_steps.report.mosaics import colour, maps, sky
from ceers_steps.report.mosaics.reading import Frame, Head, read_head, read_mosaic
from ceers_steps.report.mosaics.tiles import Stretch, write_thumbnail, write_tiles
from ceers_steps.report.survey_data import Exposure, Mosaic, SurveyData

__all__ = ["MosaicPictures", "draw_mosaics"]

FORMAT = 1
"""Of the pictures: with another one, all are made again."""

ALL_PIXELS, PIXELS = 320e6, 50e6
"""Pixels in the finest pictures of all mosaics (80 MB) and of one: larger ones are binned."""

ENOUGH_FILTERS = 3
"""Filters that make a colour picture."""

UNREADABLE = (OSError, KeyError, ValueError, TypeError)
"""What a damaged file raises."""


@dataclass(frozen=True)
class MosaicPictures:
    """What the page shows of all mosaics.

    Attributes
    ----------
    viewer : dict
        Frames and pictures, as the page takes them.
    thumbnails : mapping of str to str
        Links by the name of the mosaic; without those that cannot be read.
    maps : mapping of str to dict
        ``depth`` and ``time`` by the name of the mosaic.
    skies : list of SkyMap
        Footprints of all exposures.
    colours : mapping of str to str
        Of the filters, in the order of wavelength.
    """

    viewer: dict[str, Any]
    thumbnails: Mapping[str, str]
    maps: Mapping[str, dict[str, Any]]
    skies: list[sky.SkyMap]
    colours: Mapping[str, str]


@dataclass(frozen=True)
class _Job:
    """A mosaic to draw: its file, the one with its context, and what is known before."""

    name: str
    folder: Path
    path: Path
    context: Path
    head: Head
    factor: int
    regions: tuple[maps.Region, ...]


@dataclass(frozen=True)
class _Composite:
    """A colour picture to draw: mosaics by wavelength, levels and noise of their sky."""

    name: str
    folder: Path
    jobs: tuple[_Job, ...]
    levels: tuple[float, ...]
    noise: float


def draw_mosaics(data: SurveyData, folder: Path, cores: int) -> MosaicPictures:
    """Draw all mosaics as pictures to zoom in, with maps and colour pictures.

    Parameters
    ----------
    data
        What `~ceers_steps.report.survey_data.read_survey` found.
    folder
        Of the report; pictures are in ``mosaics/``.
    cores
        Processes.

    Returns
    -------
    MosaicPictures

    Raises
    ------
    CeersError
        When the extra ``report`` is missing or a file cannot be written.
    """
    regions = [region for exposure in data.exposures if (region := _region(exposure))]
    jobs = _jobs(data.mosaics, folder / "mosaics", regions)
    notes = _Notes(folder / "mosaics" / "stamps.json")
    drawn = notes.draw(_draw_mosaic, {job.name: (job, _stamp(job)) for job in jobs}, cores)
    jobs = [job for job in jobs if drawn.get(job.name)]
    composites = _composites(jobs, drawn)
    colours = notes.draw(
        _draw_composite,
        {each.name: (each, [_stamp(job) for job in each.jobs]) for each in composites},
        cores,
    )
    notes.write()
    filters = {job.head.filter for job in jobs} | {each.filter for each in data.exposures}
    return _page(jobs, composites, drawn, colours, regions, sky.filter_colours(filters - {""}))


def _region(exposure: Exposure) -> maps.Region | None:
    """Return the footprint of an exposure."""
    corners = sky.corners_of(exposure.sky_region)
    if not corners:
        return None
    try:
        seconds = float(exposure.facts.get("EFFEXPTM", "nan"))
    except ValueError:
        seconds = math.nan
    return maps.Region(exposure.name, exposure.filter, seconds, corners)


def _jobs(mosaics: Sequence[Mosaic], folder: Path, regions: Sequence[maps.Region]) -> list[_Job]:
    """Return what is to be drawn of the mosaics that can be read."""
    heads = {}
    for mosaic in mosaics:
        try:
            heads[mosaic.name] = read_head(mosaic.path)
        except UNREADABLE:
            continue
    total = sum(head.frame.nx * head.frame.ny for head in heads.values())
    jobs = []
    for mosaic in mosaics:
        if mosaic.name not in heads:
            continue
        head = heads[mosaic.name]
        each = head.frame.nx * head.frame.ny
        factor = max(1, math.ceil(math.sqrt(max(total / ALL_PIXELS, each / PIXELS))))
        context = mosaic.products.get("i2d", mosaic.path)
        covering: tuple[maps.Region, ...] = ()
        if not maps.has_context(context):
            timed = (r for r in regions if r.filter == head.filter and math.isfinite(r.seconds))
            covering = tuple(timed)
        jobs.append(
            _Job(mosaic.name, folder / mosaic.name, mosaic.path, context, head, factor, covering)
        )
    return jobs


def _stamp(job: _Job) -> str:
    """Return a digest of what the pictures of a mosaic are made of."""
    states = [(str(p), os.stat(p).st_size, os.stat(p).st_mtime_ns) for p in (job.path, job.context)]
    known = [FORMAT, states, job.factor, [asdict(region) for region in job.regions]]
    return hashlib.blake2b(json.dumps(known).encode(), digest_size=12).hexdigest()


class _Notes:
    """What pictures were made of, and what was found out while they were made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known = read_note(path)
        self.now: dict[str, dict] = {}

    def draw(
        self,
        draw: Callable[[Any], dict | None],
        work: Mapping[str, tuple[_Job | _Composite, Any]],
        cores: int,
    ) -> dict[str, dict]:
        """Do what is not done as it would be now; return what is known of each picture."""
        todo = []
        for name, (job, stamp) in work.items():
            note = self.known.get(name)
            if (
                isinstance(note, dict)
                and note.get("stamp") == stamp
                and isinstance(note.get("found"), dict)
                and job.folder.is_dir()
            ):
                self.now[name] = note
            else:
                todo.append(name)
        jobs = [work[name][0] for name in todo]
        if cores > 1 and len(jobs) > 1:
            with ProcessPoolExecutor(min(cores, len(jobs)), initializer=end_with_parent) as pool:
                results = list(pool.map(draw, jobs))
        else:
            results = [draw(job) for job in jobs]
        for name, found in zip(todo, results, strict=True):
            if found:
                self.now[name] = {"stamp": work[name][1], "found": found}
        return {name: self.now[name]["found"] for name in work if name in self.now}

    def write(self) -> None:
        """Keep what is known; remove pictures that belong to nothing."""
        for name in set(self.known) - set(self.now):
            if Path(name).name == name:
                shutil.rmtree(self.path.parent / name, ignore_errors=True)
        text = json.dumps(self.now)
        write_atomic(self.path, lambda path: path.write_text(text, encoding="utf-8"))


def _draw_mosaic(job: _Job) -> dict[str, Any] | None:
    """Draw one mosaic; return what the page needs, None where it cannot be read."""
    try:
        image, sums = read_mosaic(job.path, job.factor, job.head.pixel_area)
    except UNREADABLE:
        return None
    stretch = Stretch.of(image)
    found: dict[str, Any] = {"level": stretch.level, "noise": stretch.noise}
    side = maps.cell_side(job.head.pixel_area)
    new = _new_folder(job.folder)
    found["levels"] = write_tiles(new, [image], lambda parts: stretch.grey(parts[0]))
    write_thumbnail(new / "thumb.webp", [image], lambda parts: stretch.grey(parts[0]))
    if sums is not None:
        found["depth"] = maps.write_map(
            new / "depth.png", depth_map(sums, job.head.pixel_area), side
        )
    exposed = maps.exposure_map(job.context, job.head.frame, side, job.regions)
    if exposed is not None:
        cells, origin = exposed
        ny, nx = cells.shape
        seen = np.isfinite(image)  # footprints are larger than what was used
        y = np.minimum(((np.arange(ny) + 0.5) * side / job.factor).astype(int), seen.shape[0] - 1)
        x = np.minimum(((np.arange(nx) + 0.5) * side / job.factor).astype(int), seen.shape[1] - 1)
        cells = np.where(seen[np.ix_(y, x)], cells, np.nan)
        found["time"] = maps.write_map(new / "time.png", cells, side)
        if found["time"]:
            found["time"]["origin"] = origin
    _replace(new, job.folder)
    return found


def _draw_composite(composite: _Composite) -> dict[str, Any] | None:
    """Draw a colour picture on the pixels of its first mosaic."""
    first = composite.jobs[0]

    def read(job: _Job, level: float) -> np.ndarray:
        image, _ = read_mosaic(job.path, job.factor, math.nan)
        moved = colour.onto(image, job.head.frame, job.factor, first.head.frame, first.factor)
        return moved - np.float32(level)

    images = (read(job, level) for job, level in zip(composite.jobs, composite.levels, strict=True))
    try:
        planes = colour.channels(images, len(composite.jobs))
    except UNREADABLE:
        return None
    new = _new_folder(composite.folder)

    def paint(parts: list[np.ndarray]) -> np.ndarray:
        return colour.lupton(parts, composite.noise)

    found = {"levels": write_tiles(new, planes, paint)}
    write_thumbnail(new / "thumb.webp", planes, paint)
    _replace(new, composite.folder)
    return found


def _new_folder(folder: Path) -> Path:
    """Return an empty folder beside one that is to be replaced."""
    new = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    return new


def _replace(new: Path, folder: Path) -> None:
    """Put a folder in the place of an older one."""
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)


def _stem(job: _Job) -> str:
    """Return the name of a mosaic without its filter."""
    parts = [part for part in job.name.split("_") if part.upper() != job.head.filter]
    return "_".join(parts) or job.name


def _composites(jobs: Sequence[_Job], drawn: Mapping[str, dict]) -> list[_Composite]:
    """Return the colour pictures: of mosaics whose names differ by the filter only."""
    groups: dict[str, list[_Job]] = {}
    for job in sorted(jobs, key=lambda job: (job.head.filter[1:4], job.head.filter)):
        groups.setdefault(_stem(job), []).append(job)
    found = []
    for stem, members in groups.items():
        frame = members[0].head.frame
        used = [job for job in members if job.head.frame == frame or _both_known(job, members[0])]
        if len({job.head.filter for job in used}) < ENOUGH_FILTERS:
            continue
        noises = [drawn[job.name]["noise"] for job in used]
        found.append(
            _Composite(
                f"{stem}.colour",
                used[0].folder.with_name(f"{stem}.colour"),
                tuple(used),
                tuple(drawn[job.name]["level"] for job in used),
                float(np.exp(np.mean(np.log(noises)))),
            )
        )
    return found


def _both_known(job: _Job, other: _Job) -> bool:
    """Say whether the places of two mosaics on the sky are known."""
    return job.head.frame.crval is not None and other.head.frame.crval is not None


def _page(
    jobs: Sequence[_Job],
    composites: Sequence[_Composite],
    drawn: Mapping[str, dict],
    colours: Mapping[str, dict],
    regions: Sequence[maps.Region],
    of_filters: Mapping[str, str],
) -> MosaicPictures:
    """Return what the page takes."""
    frames: list[dict[str, Any]] = []
    numbers: dict[str, int] = {}

    def number(frame: Frame) -> int:
        if frame.key not in numbers:
            numbers[frame.key] = len(frames)
            frames.append({**asdict(frame), "feet": sky.footprints_on(frame, regions)})
        return numbers[frame.key]

    pictures = []
    for each in [e for e in composites if e.name in colours]:
        first = each.jobs[0]
        names = [job.head.filter for job in each.jobs]
        title = f"{_stem(first)} in colour: {', '.join(names)}"
        pictures.append(
            _picture(each.name, title, "", number(first.head.frame), first.factor, colours)
        )
    for job in jobs:
        pictures.append(
            _picture(job.name, job.name, job.head.filter, number(job.head.frame), job.factor, drawn)
        )
    links = {job.name: _link(job.name) + "/thumb.webp" for job in jobs}
    return MosaicPictures(
        {"frames": frames, "pictures": pictures},
        links,
        {
            job.name: {
                kind: drawn[job.name][kind]
                for kind in ("depth", "time")
                if drawn[job.name].get(kind)
            }
            for job in jobs
        },
        sky.draw_sky(
            regions,
            [(job.head.filter, job.name, links[job.name], job.head.frame) for job in jobs],
        ),
        of_filters,
    )


def _link(name: str) -> str:
    """Return the link of a folder of pictures."""
    return quote(f"mosaics/{name}")


def _picture(
    name: str, title: str, filter_name: str, frame: int, factor: int, found: Mapping[str, dict]
) -> dict[str, Any]:
    """Return one picture as the page takes it."""
    known = found[name]
    return {
        "name": name,
        "title": title,
        "filter": filter_name,
        "frame": frame,
        "factor": factor,
        "base": _link(name),
        "levels": known["levels"],
        **{kind: known[kind] for kind in ("depth", "time") if known.get(kind)},
    }
