"""One file of any origin: its keywords, its planes, and the level of its data."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ceers_steps.errors import CeersError
from ceers_steps.files.limits import why_no_file
from ceers_steps.files.whole_files import NotWholeError, open_whole

__all__ = ["LEVELS", "FileHeaders", "read_headers"]

LEVELS = {
    "uncal": "raw ramps",
    "ramp": "calibrated ramps",
    "rate": "rate image",
    "rateints": "rates of integrations",
    "cal": "calibrated image",
    "calints": "calibrated integrations",
    "match": "calibrated image, sky subtracted by this package",
    "i2d": "mosaic",
    "bkgsub": "mosaic, background subtracted by this package",
}
"""What a file can hold, in the order of processing."""

_META = {
    "instrument.name": "INSTRUME",
    "instrument.detector": "DETECTOR",
    "instrument.filter": "FILTER",
    "instrument.pupil": "PUPIL",
    "exposure.type": "EXP_TYPE",
    "exposure.noutputs": "NOUTPUTS",
    "exposure.group_time": "TGROUP",
    "exposure.extended_emission_events": "EXTNCRS",
    "subarray.name": "SUBARRAY",
    "subarray.fastaxis": "FASTAXIS",
    "subarray.slowaxis": "SLOWAXIS",
    "cal_step.jump": "S_JUMP",
    "cal_step.clean_flicker_noise": "S_CLNFNS",
}
"""Where data models keep the keywords that steps look at."""


@dataclass(frozen=True)
class FileHeaders:
    """What the headers of a file say.

    Attributes
    ----------
    path : Path
        The file.
    primary : mapping
        Keywords of the primary header, and those of SCI that are not in it.
    shapes : mapping
        ``{plane: shape}`` of the images, (ny, nx) or with more axes before.
    level : str
        One of `LEVELS`; empty if the data are of no level that is known.
    """

    path: Path
    primary: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    level: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the image; empty if there is none."""
        return self.shapes.get("SCI", ())

    def status(self, keyword: str) -> str:
        """Return the status of a step of jwst (``S_FLAT``) or of ours; empty if it has not run."""
        return str(self.primary.get(keyword) or "")

    def as_model(self) -> Any:
        """Return what steps look at before they decide, without data.

        Returns
        -------
        SimpleNamespace
            ``meta`` as in a data model, None where a keyword is missing, ``data.shape``, and all
            cards in ``instance["extra_fits"]``, where data models keep those that they do not know.
        """
        meta = SimpleNamespace(filename=self.path.name)
        for place, keyword in _META.items():
            group, name = place.split(".")
            if not hasattr(meta, group):
                setattr(meta, group, SimpleNamespace())
            setattr(getattr(meta, group), name, self.primary.get(keyword))
        meta.cal_step.instance = dict(vars(meta.cal_step))
        cards = [[key, value] for key, value in self.primary.items()]
        return SimpleNamespace(
            meta=meta,
            data=SimpleNamespace(shape=self.shape),
            instance={"extra_fits": {"PRIMARY": {"header": cards}}},
        )


def read_headers(path: str | os.PathLike) -> FileHeaders:
    """Read the headers of a file; no data are read.

    Parameters
    ----------
    path
        FITS file, also compressed.

    Returns
    -------
    FileHeaders

    Raises
    ------
    CeersError
        When it is no regular file, or no FITS file.
    """
    path = Path(path)
    if problem := why_no_file(path):
        raise CeersError(f"{path} {problem}. Give FITS files, or folders of them.")
    try:
        with open_whole(path) as hdus:
            primary = dict(hdus[0].header)
            shapes: dict[str, Any] = {}
            for hdu in hdus:
                if not hdu.is_image or not hdu.header.get("NAXIS"):
                    continue
                name = hdu.name if hdu.name != "PRIMARY" else "SCI"
                sizes = (hdu.header[f"NAXIS{n}"] for n in range(hdu.header["NAXIS"], 0, -1))
                shapes.setdefault(name, tuple(sizes))
                if name == "SCI":
                    primary = {**hdu.header, **primary}
    except NotWholeError as err:
        raise CeersError(
            f"{path} is not a complete FITS file ({err}). Download or copy it again."
        ) from err
    return FileHeaders(path, primary, shapes, _level(primary, shapes))


def _level(primary: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Return the level of the data by its type, its statuses and its unit."""
    kind = str(primary.get("DATAMODL") or "")
    done = {key for key, value in primary.items() if value == "COMPLETE"}
    if kind == "Level1bModel":
        return "uncal"
    if kind == "RampModel":
        return "ramp"
    if kind == "CubeModel":
        return "calints" if done & {"S_FLAT", "S_PHOTOM"} else "rateints"
    if kind != "ImageModel":
        return ""
    if "BKGD" in shapes:
        return "bkgsub"
    if "S_RESAMP" in done or "WHT" in shapes:
        return "i2d"
    if "S_SKYVAR" in done:
        return "match"
    calibrated = done & {"S_FLAT", "S_PHOTOM"} or "MJy" in str(primary.get("BUNIT"))
    return "cal" if calibrated else "rate"
