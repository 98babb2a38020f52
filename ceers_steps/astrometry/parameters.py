"""Parameters of the alignment, declared once: spec, settings, tables and docs are made of these."""

import math
from dataclasses import dataclass
from typing import Any

from ceers_steps.errors import CeersError
from ceers_steps.kernels.astrometry.centroids import CatalogSettings
from ceers_steps.kernels.astrometry.fit import GEOMETRIES

__all__ = ["OURS", "PARAMETERS", "Parameter", "check_value", "parameter_docs", "spec_lines"]


@dataclass(frozen=True)
class Parameter:
    """One parameter of `AlignStep` that can differ from visit to visit.

    Attributes
    ----------
    default : bool, int, float or str
        Its type is that of the parameter.
    meaning : str
        One line, without the unit.
    unit : str
        Unit; empty for none.
    least, most : float or None
        Smallest and largest value that is taken; None for no limit.
    options : tuple of str
        What a text can be.
    ours : bool
        It replaces the declaration of TweakRegStep; False keeps that one's, with what CRDS says.
    """

    default: bool | int | float | str
    meaning: str
    unit: str = ""
    least: float | None = None
    most: float | None = None
    options: tuple[str, ...] = ()
    ours: bool = True

    @property
    def declaration(self) -> str:
        """How configobj declares it, with default and limits."""
        if self.options:
            listed = ", ".join(f"'{option}'" for option in self.options)
            return f"option({listed}, default='{self.default}')"
        kind = {bool: "boolean", int: "integer", float: "float"}[type(self.default)]
        limits = [
            f"{name}={value}"
            for name, value in (("min", self.least), ("max", self.most))
            if value is not None
        ]
        return f"{kind}({', '.join([*limits, f'default={self.default}'])})"


_SHAPES = tuple(GEOMETRIES)
_SOURCES = CatalogSettings()

PARAMETERS: dict[str, Parameter] = {
    "detect_thresh": Parameter(
        _SOURCES.detect_thresh,
        "windowed: threshold of the search, in standard deviations of the smoothed image",
        least=0.5,
        most=1e6,
    ),
    "detect_minarea": Parameter(
        _SOURCES.detect_minarea,
        "windowed: connected pixels above the threshold that make a source",
        "pixels",
        least=1,
        most=1_000_000,
    ),
    "deblend_levels": Parameter(
        _SOURCES.deblend_levels,
        "windowed: levels at which blended sources are taken apart",
        least=1,
        most=256,
    ),
    "kernel_fwhm": Parameter(
        _SOURCES.kernel_fwhm,
        "Full width at half maximum of the Gaussian of the search",
        "pixels",
        least=0.5,
        most=50,
    ),
    "snr_threshold": Parameter(
        _SOURCES.snr_threshold,
        "Least signal to noise of a source, within the window of its centroid",
        least=0,
        most=1e6,
    ),
    "bkg_boxsize": Parameter(
        _SOURCES.bkg_boxsize,
        "Size of the boxes in which the background is measured",
        "pixels",
        least=8,
        most=4096,
    ),
    "minobj": Parameter(
        4,
        "Least number of matches of an exposure with the others; within a visit also fewer count",
        least=1,
        most=1_000_000,
    ),
    "fitgeometry": Parameter(
        "shift",
        "What is fitted between exposures: shift, with rotation, with scale, any linear map",
        options=_SHAPES,
    ),
    "nclip": Parameter(3, "Turns of the clipping between exposures", least=0, most=100, ours=False),
    "sigma": Parameter(
        3.0,
        "Limit of the clipping, in units of the rms that the median residual gives",
        least=0,
        most=1e6,
        ours=False,
    ),
    "searchrad": Parameter(1.0, "Largest shift between exposures", "arcsec", least=0, most=60),
    "separation": Parameter(
        0.1, "Sources of one list that are closer together are left out", "arcsec", least=0, most=60
    ),
    "tolerance": Parameter(
        0.1,
        "Largest distance of a match after the shift; shrinks to what the scatter asks for",
        "arcsec",
        least=0.001,
        most=10,
    ),
    "use2dhist": Parameter(
        True, "Search for the shift between exposures; false: it is near the offsets", ours=False
    ),
    "xoffset": Parameter(0.0, "Expected shift in x", "arcsec", least=-600, most=600, ours=False),
    "yoffset": Parameter(0.0, "Expected shift in y", "arcsec", least=-600, most=600, ours=False),
    "max_rmse": Parameter(
        50.0,
        "Largest residual (rms length) of an exposure from the others; above, it is FAILED; 0: any",
        "mas",
        least=0,
        most=1e5,
    ),
    "dither_error": Parameter(
        5.0,
        "What the guide star leaves between the exposures of a visit, each coordinate: exposures "
        "move against each other only as far as their matches know better; 0: free",
        "mas",
        least=0,
        most=1e4,
    ),
    "abs_minobj": Parameter(
        5, "Least number of matches with the reference", least=1, most=1_000_000
    ),
    "abs_fitgeometry": Parameter(
        "auto",
        "What is fitted to the reference; auto: rshift (short wavelengths) or rscale (long), held "
        "near what a telescope does where few sources say otherwise",
        options=("auto", *_SHAPES),
    ),
    "abs_nclip": Parameter(
        3, "Turns of the clipping to the reference", least=0, most=100, ours=False
    ),
    "abs_sigma": Parameter(
        3.0, "Limit of the clipping to the reference", least=0, most=1e6, ours=False
    ),
    "abs_searchrad": Parameter(3.0, "Largest shift to the reference", "arcsec", least=0, most=60),
    "abs_separation": Parameter(
        0.2, "Sources of one list that are closer together are left out", "arcsec", least=0, most=60
    ),
    "abs_tolerance": Parameter(
        0.3,
        "Largest distance of a match with the reference after the shift",
        "arcsec",
        least=0.001,
        most=10,
    ),
    "abs_use2dhist": Parameter(
        True, "Search for the shift to the reference; false: it is near 0", ours=False
    ),
    "abs_max_rmse": Parameter(
        100.0,
        "Largest residual (rms length) from the reference; above, the exposures are FAILED; 0: any",
        "mas",
        least=0,
        most=1e5,
    ),
}
"""Every parameter of the alignment by its name, which is that of TweakRegStep where it has one."""

OURS = frozenset(name for name, parameter in PARAMETERS.items() if parameter.ours)
"""Parameters that have a default of ours, which CRDS does not replace."""


def spec_lines() -> str:
    """Return the declarations of `OURS` as they stand in the spec of a step."""
    lines = []
    for name, parameter in PARAMETERS.items():
        if parameter.ours:
            unit = f", {parameter.unit}" if parameter.unit else ""
            lines.append(f"        {name} = {parameter.declaration}  # {parameter.meaning}{unit}")
    return "\n".join(lines) + "\n"


def parameter_docs() -> str:
    """Return the table of the documentation, in Markdown."""
    lines = ["| parameter | default | unit | limits | meaning |", "|---|---|---|---|---|"]
    for name, parameter in PARAMETERS.items():
        default = (
            str(parameter.default).lower()
            if isinstance(parameter.default, bool)
            else (parameter.default)
        )
        limits = ", ".join(f"`{option}`" for option in parameter.options)
        if parameter.least is not None:
            limits = f"{parameter.least:g} to {parameter.most:g}"
        lines.append(
            f"| `{name}` | {default} | {parameter.unit} | {limits} | {parameter.meaning} |"
        )
    return "\n".join(lines) + "\n"


def check_value(name: str, value: Any, where: str = "") -> None:
    """Raise `CeersError` for a value with which no alignment can be made.

    Parameters
    ----------
    name : str
        One of `PARAMETERS`.
    value : bool, int, float or str
        What it was given.
    where : str
        File and row, for the message.

    Raises
    ------
    CeersError
        For a text that is no option, a number beyond the limits, and one that is not finite.
    """
    parameter = PARAMETERS[name]
    found = f"{where}: {name}={value!r}" if where else f"{name}={value!r}"
    if parameter.options:
        if value not in parameter.options:
            raise CeersError(f"{found}; use one of {', '.join(parameter.options)}.")
    elif not isinstance(parameter.default, bool):
        if not math.isfinite(value):
            raise CeersError(f"{found} is no number; the default is {parameter.default}.")
        if value < parameter.least or value > parameter.most:
            unit = f" {parameter.unit}" if parameter.unit else ""
            raise CeersError(f"{found}; use {parameter.least:g} to {parameter.most:g}{unit}.")
