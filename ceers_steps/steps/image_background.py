"""Step: the background of each exposure from the others of its detector."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jwst.datamodels import ModelLibrary
from numpy.typing import NDArray
from stdatamodels.jwst import datamodels
from stdatamodels.jwst.datamodels import dqflags

from ceers_steps.errors import CeersError
from ceers_steps.files.atomic import user_path
from ceers_steps.files.membership import identity_of
from ceers_steps.kernels.sky.image_background import (
    ImageBackground,
    ImageBackgroundSettings,
    measure_image_background,
)
from ceers_steps.mosaics.emission import Emission, find_emission
from ceers_steps.steps.base import CeersStep
from ceers_steps.steps.inputs.exposures import check_library_once, open_library

__all__ = ["ImageBackgroundStep"]

log = logging.getLogger(__name__)

_IMAGING = {"MIR_IMAGE", "NRC_IMAGE", "NIS_IMAGE"}
_ALIGNED = ("match", "crf", "tweakreg", "cal")
"""Suffixes of products with the WCS of an exposure, the best aligned first."""


class ImageBackgroundStep(CeersStep):
    """
    Subtract from each rate image the background that the other exposures show.

    For MIRI, whose background is bright and has the pattern of its detector, and on request for
    NIRCam and NIRISS. The emission is found in a mosaic of the same exposures and masked in each
    (through its aligned WCS); the background of an exposure is the robust mean of the others of
    the same detector, filter, read pattern and subarray. Then run CeersImage2 and CeersImage3.
    """

    class_alias = "ceers_image_background"
    output_suffix = "imgbkgsub"
    input_types = ("ImageModel",)
    input_planes = ("DQ", "VAR_RNOISE", "VAR_POISSON")

    spec = """
        mosaic = string(default=None)  # Mosaic of the exposures (*_i2d.fits) in which the emission is found; none: only what is clipped is left out
        aligned_dir = string(default=None)  # Folder with *_match, *_crf or *_cal files of the exposures, for their WCS; none: the folder of the exposures
        scaling = option('multiply', 'add', 'none', default='multiply')  # How others are brought to the level of the sky of an exposure
        clip = float(min=1, default=4.0)  # Values further than this from the median of the others are left out, in units of their error
        growth = integer(min=0, max=100, default=2)  # Pixels by which the emission is grown in each exposure
        max_days = float(min=0, default=30.0)  # Others count only when they were taken within this time, days
        min_others = integer(min=1, default=3)  # With fewer others an exposure is left as it is, SKIPPED
        save_background = boolean(default=False)  # Write the background of each exposure, *_imgbkg.fits
        in_memory = boolean(default=True)  # Keep all exposures in memory; false: temporary files
    """  # noqa: E501

    def process(self, input_data: Any) -> ModelLibrary:
        """
        Subtract the backgrounds.

        Parameters
        ----------
        input_data : str, list or `~jwst.datamodels.ModelLibrary`
            Rate images (*_rate.fits) of one or several detectors: an association or a list.

        Returns
        -------
        `~jwst.datamodels.ModelLibrary`
            The exposures. VAR_RNOISE has the variance of the background added to it, since that
            is what the weights of the mosaic are made of.
        """
        library = open_library(self, input_data)
        check_library_once(library)
        self.output_use_model = True
        emission = find_emission(self._existing(self.mosaic)) if self.mosaic else None
        settings = ImageBackgroundSettings(scaling=self.scaling, clip=self.clip)
        parameters = {
            name: getattr(self, name)
            for name in ("mosaic", "scaling", "clip", "growth", "max_days", "min_others")
        }
        with library:
            frames = [self._read(library, index, emission) for index in range(len(library))]
            for index, frame in enumerate(frames):
                others = frame.partners(frames, self.max_days)
                model = library.borrow(index)
                try:
                    if len(others) < self.min_others:
                        note = (
                            f"{len(others)} other exposures of {frame.kind} within max_days="
                            f"{self.max_days:g}, min_others={self.min_others} are needed"
                        )
                        self.record(model, "SKIPPED", parameters=parameters, note=note)
                        continue
                    found = _measure(frame, others, settings)
                    metrics = _subtract_inplace(model, found, len(others))
                    note = f"background from {len(others)} other exposures"
                    self.record(
                        model, "COMPLETE", parameters=parameters, metrics=metrics, note=note
                    )
                    if self.save_background:
                        self._save_background(model, found)
                finally:
                    library.shelve(model, index)
        return library

    def _read(self, library: ModelLibrary, index: int, emission: Emission | None) -> "_Frame":
        """Read what is needed of one exposure: pixels, variance, mask, set-up and time."""
        model = library.borrow(index)
        try:
            return _Frame.of(model, emission, self._folders(library, index), self.growth)
        finally:
            library.shelve(model, index, modify=False)

    def _folders(self, library: ModelLibrary, index: int) -> list[Path]:
        """Return the folders in which the aligned exposures are searched."""
        if self.aligned_dir:
            return [self._existing(self.aligned_dir)]
        member = library.asn["products"][0]["members"][index]["expname"]
        return [Path(member).parent, Path(self.search_attr("_input_dir") or ".")]

    @staticmethod
    def _existing(name: str) -> Path:
        """Return a path of the user's that has to be there."""
        path = user_path(name)
        if not path.exists():
            raise CeersError(f"ImageBackgroundStep: {name} does not exist ({path.absolute()}).")
        return path

    def _save_background(self, model: datamodels.ImageModel, found: ImageBackground) -> None:
        """Write the background of an exposure."""
        background = datamodels.ImageModel(found.image.shape)
        background.update(model)
        background.data, background.err = found.image, np.sqrt(found.variance)
        self.save_model(background, suffix="imgbkg")


@dataclass(frozen=True)
class _Frame:
    """One exposure as the others see it."""

    name: str
    kind: str
    day: float
    image: NDArray
    variance: NDArray
    mask: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        model: datamodels.ImageModel,
        emission: Emission | None,
        folders: Sequence[Path],
        growth: int,
    ) -> "_Frame":
        """Look at an exposure; raises `CeersError` for one that is no uncalibrated image."""
        name, meta = model.meta.filename, model.meta
        if meta.exposure.type not in _IMAGING:
            raise CeersError(
                f"ImageBackgroundStep: {name} is no image of MIRI, NIRCam or NIRISS (EXP_TYPE "
                f"{meta.exposure.type}). Leave it out."
            )
        if meta.cal_step.flat_field == "COMPLETE":
            raise CeersError(
                f"ImageBackgroundStep: {name} has its flat field applied. Give the *_rate.fits "
                "file: the flat field must be applied once, after the background is subtracted."
            )
        mask = (model.dq & dqflags.pixel["DO_NOT_USE"]) > 0
        if emission is not None:
            wcs = _aligned_wcs(identity_of(model), folders)
            mask |= emission.on_exposure(wcs, model.data.shape, growth)
        wheels = [meta.instrument.filter, meta.instrument.pupil]
        setup = [meta.instrument.detector, *wheels, meta.exposure.readpatt, meta.subarray.name]
        return cls(
            name=name,
            kind=" ".join(str(part) for part in setup if part),
            day=float(meta.exposure.start_time or 0.0),
            image=model.data.copy(),
            variance=model.var_rnoise + model.var_poisson,
            mask=mask,
        )

    def partners(self, frames: Sequence["_Frame"], max_days: float) -> list["_Frame"]:
        """Return the other exposures that show the same background."""
        return [
            other
            for other in frames
            if other is not self
            and other.kind == self.kind
            and other.image.shape == self.image.shape
            and abs(other.day - self.day) <= max_days
        ]


def _aligned_wcs(exposure: str, folders: Sequence[Path]) -> Any:
    """Return the WCS of an exposure from the best aligned product of it."""
    for suffix in _ALIGNED:
        for folder in folders:
            for path in sorted(folder.glob(f"{exposure}*_{suffix}.fits")):
                with datamodels.open(path) as model:
                    if model.meta.wcs is not None:
                        return model.meta.wcs
    searched = ", ".join(str(folder.absolute()) for folder in folders)
    raise CeersError(
        f"ImageBackgroundStep: no {exposure}_cal.fits (or *_match, *_crf) with a WCS in "
        f"{searched}: it tells where the emission is. Run CeersImage2 on the exposure, or give "
        "aligned_dir."
    )


def _measure(
    frame: _Frame, others: Sequence[_Frame], settings: ImageBackgroundSettings
) -> ImageBackground:
    """Measure the background of an exposure, with errors that name it."""
    try:
        return measure_image_background(
            frame.image,
            frame.mask,
            [other.image for other in others],
            [other.variance for other in others],
            [other.mask for other in others],
            settings,
        )
    except ValueError as err:
        raise CeersError(f"ImageBackgroundStep: {frame.name}: {err}.") from err


def _subtract_inplace(
    model: datamodels.ImageModel, found: ImageBackground, n_others: int
) -> dict[str, float]:
    """Subtract a background from an exposure; return what was measured."""
    model.data -= found.image
    model.var_rnoise += found.variance
    total = model.var_rnoise + model.var_poisson
    if model.var_flat is not None and model.var_flat.shape == total.shape:
        total += model.var_flat
    model.err = np.sqrt(total)
    # the value is one of the neighbours': it can be used, and seen
    model.dq[found.interpolated] |= dqflags.pixel["OTHER_BAD_PIXEL"]
    return {
        "n_others": n_others,
        "sky_level": found.level,
        "background_rms": float(np.sqrt(np.nanmedian(found.variance))),
        "interpolated_fraction": float(found.interpolated.mean()),
    }
