"""Step: sky pedestal and variances of calibrated exposures, before they are combined."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from jwst.datamodels import ModelLibrary
from numpy.typing import NDArray
from stdatamodels.jwst.datamodels import JwstDataModel, dqflags

from ceers_steps.errors import CeersError
from ceers_steps.files.atomic import write_atomic
from ceers_steps.files.membership import identity_of
from ceers_steps.files.metrics import step_metrics
from ceers_steps.files.source_masks import find_mask, read_bits
from ceers_steps.kernels.sky.evidence import (
    SkyEvidence,
    exposures_without_sky,
    off_from_overlaps,
    usual_level,
)
from ceers_steps.kernels.sky.exposure import SkyCorrection, SkySettings, correct_sky
from ceers_steps.kernels.sky.pedestal import Pedestal
from ceers_steps.kernels.sky.settings import NOISE
from ceers_steps.kernels.sky.variance import smooth_sky
from ceers_steps.names import effective_filter
from ceers_steps.steps.base import CeersStep
from ceers_steps.steps.inputs.exposures import is_image_file, open_library
from ceers_steps.steps.inputs.readout import n_outputs
from ceers_steps.steps.inputs.usable import skip_unusable
from ceers_steps.steps.looks import keep_sky

__all__ = ["SkyVarStep"]

log = logging.getLogger(__name__)

DO_NOT_USE = dqflags.pixel["DO_NOT_USE"]
NOT_SKY = DO_NOT_USE | dqflags.pixel["REFERENCE_PIXEL"]


class SkyVarStep(CeersStep):
    """
    Subtract the sky pedestal of calibrated exposures and make their variances right.

    The level of the empty sky is subtracted; VAR_RNOISE becomes the variance of the empty sky, as
    its pixels scatter, and VAR_POISSON keeps the photon noise of sources; pixels without a
    variance get one or are not used (Bagley et al. 2023, ApJL 946 L12, section 3.2). Takes an
    exposure, an association or a list; writes *_match.fits for each.
    """

    class_alias = "ceers_skyvar"
    output_suffix = "match"
    input_types = ("ImageModel",)
    input_planes = ("VAR_RNOISE", "VAR_POISSON")

    spec = """
        sky_method = option('mode', 'gaussian', 'none', default='mode')  # mode: of block means; gaussian: peak of a Gaussian fitted to the histogram of pixels, as published; none: the sky stays
        per_amplifier = boolean(default=False)  # A level of its own for each output of the detector
        scale_variance = boolean(default=True)  # Scale VAR_RNOISE to the scatter of the sky
        variance_method = option('sky', 'published', default='sky')  # sky: VAR_RNOISE is the variance of the sky, VAR_POISSON that of sources, both together the scatter; published: VAR_RNOISE alone is the scatter, VAR_POISSON stays
        variance_blocks = int_list(min=1, default=None)  # sky: sides of the blocks on which the noise is measured, pixels; the smallest sets the variances; default 1,2,4,8,16
        fill_holes = boolean(default=True)  # Pixels without a valid variance get that of the sky, or are flagged DO_NOT_USE
        level_saturated = boolean(default=True)  # Pixels that lost groups to saturation by their own light weigh as their neighbours do: else the peaks of bright stars are lost
        source_mask = input_file(default=None)  # Mask of sources, FITS, not 0 = source, or a folder with <exposure>_1fmask.fits; default: looked for beside the input, or made
        force = boolean(default=False)  # Measure again what has been done already: only what is left is corrected
        save_background = boolean(default=False)  # Write the smooth background that is left after the pedestal, *_skybkg.fits, in the unit of the image
        output_use_model = boolean(default=True)  # Name each product after its exposure
        in_memory = boolean(default=True)  # Keep all exposures of an association in memory; false: temporary files
    """  # noqa: E501

    def process(self, input_data: Any) -> JwstDataModel | ModelLibrary:
        """
        Subtract the sky and scale the variances.

        Parameters
        ----------
        input_data : str, list, `~jwst.datamodels.ModelLibrary` or data model
            Exposure or exposures (*_cal.fits or *_crf.fits).

        Returns
        -------
        `~stdatamodels.jwst.datamodels.ImageModel` or `~jwst.datamodels.ModelLibrary`
            One exposure gives one, several (and a library) a library.
        """
        if isinstance(input_data, JwstDataModel) or is_image_file(input_data):
            model = self.prepare_output(input_data)
            self.output_use_model &= self.output_file is None
            self._correct(model, [self.input_dir or "."])
            return model
        library = open_library(self, input_data)
        if self.source_mask and os.path.isfile(self.source_mask) and len(library) > 1:
            raise CeersError(
                f"source_mask={self.source_mask} is one file for {len(library)} exposures. Give "
                "the folder that holds <exposure>_1fmask.fits of each."
            )
        folder = Path(self.input_dir or ".")
        members = [each["expname"] for each in library.asn["products"][0]["members"]]
        measured: dict[int, _Measured] = {}
        with library:
            for index, name in enumerate(members):
                model = library.borrow(index)
                try:
                    places = list(dict.fromkeys([(folder / name).parent, folder]))
                    matched = _matched_level(model)
                    found = self._correct(model, places)
                    if found and found.evidence and not self.per_amplifier:
                        measured[index] = _measured(model, found.pedestal, found.evidence, matched)
                finally:
                    library.shelve(model, index)
        _check_levels(self, library, measured)
        return library

    def _correct(
        self, model: JwstDataModel, folders: list[str | os.PathLike]
    ) -> SkyCorrection | None:
        """Correct one exposure in place; None for one that was corrected before."""
        name = model.meta.filename
        if model.meta.cal_step.resample == "COMPLETE":
            raise CeersError(f"{name} is a mosaic. Give the *_cal.fits files of its exposures.")
        if _is_done(model, self.class_alias) and not self.force:
            log.warning("%s has been through this step already: nothing done", name)
            return None
        if skip_unusable(self, model):
            return None
        bits, origin = _read_mask(self.source_mask, model, folders)
        parameters = {
            "sky_method": self.sky_method,
            "per_amplifier": self.per_amplifier,
            "scale_variance": self.scale_variance,
            "variance_method": self.variance_method,
            "variance_blocks": tuple(self.variance_blocks or NOISE.blocks),
            "fill_holes": self.fill_holes,
            "level_saturated": self.level_saturated,
            "source_mask": origin,
            "force": self.force,
        }
        found = _correct_arrays(self, model, bits)
        metrics, notes = _write_back(self, model, found)
        if self.save_background:
            _save_background(self, model, found)
        self.record(
            model, "COMPLETE", parameters=parameters, metrics=metrics, note=", ".join(notes)
        )
        return found


def _correct_arrays(
    step: SkyVarStep, model: JwstDataModel, bits: NDArray[np.uint8] | None
) -> SkyCorrection:
    """Call the kernel; what it cannot do becomes an error that names the exposure."""
    err, variances = _errors(model)
    if model.dq is None:
        model.dq = np.zeros(model.data.shape, np.uint32)  # as jwst has it: nothing is flagged
    try:
        return correct_sky(
            model.data,
            err,
            model.dq,
            *variances,
            source_bits=bits,
            settings=SkySettings(
                sky_method=step.sky_method,
                n_strips=n_outputs(model) if step.per_amplifier else 1,
                scale_variance=step.scale_variance,
                fill_holes=step.fill_holes,
                level_saturated=step.level_saturated,
                variance_method=step.variance_method,
                blocks=tuple(step.variance_blocks or NOISE.blocks),
                sky_in_rnoise=_sky_is_in_rnoise(model, step.class_alias),
            ),
        )
    except ValueError as err:
        raise CeersError(
            f"{model.meta.filename}: the sky cannot be measured: {err}. Look at the image, its DQ "
            "and its source mask; give another source_mask, or leave this exposure out."
        ) from err


def _write_back(
    step: SkyVarStep, model: JwstDataModel, found: SkyCorrection
) -> tuple[dict[str, Any], list[str]]:
    """Put the corrected planes into the model; return metrics and what to say."""
    model.data, model.err = found.data, found.err
    model.var_rnoise, model.var_poisson = found.var_rnoise, found.var_poisson
    model.var_flat = found.var_flat
    model.dq[found.unusable] |= DO_NOT_USE
    metrics: dict[str, Any] = {}
    notes = ["sky not subtracted"]
    background = model.meta.background
    if found.evidence is not None and found.evidence.reason:
        _refuse(step, model, found.evidence.reason)
        metrics = {"sky_refused": found.evidence.reason}
        notes = [f"SKY NOT SUBTRACTED ({found.evidence.reason})"]
    elif found.pedestal is not None and found.evidence is not None:
        # what an earlier run or skymatch has subtracted is part of the sky
        before = (background.level or 0.0) if background.subtracted else 0.0
        background.level = before + found.pedestal.level
        background.subtracted = True
        background.method = f"{step.class_alias} {step.sky_method}"
        error = max(found.pedestal.uncertainty, found.evidence.uncertainty)
        metrics = {"sky": background.level, "sky_err": error, "sky_spread": found.evidence.spread}
        metrics["sky_fitted"] = found.pedestal.fitted
        keep_sky(model, _not_sky(model, found), step.sky_method, background.level, error)
        if not found.pedestal.fitted:
            log.warning(
                "%s: no peak could be fitted to the sky's histogram: its median is taken. Look at "
                "the source mask; the level may be too high.",
                model.meta.filename,
            )
        if len(found.pedestal.levels) > 1:
            metrics["sky_levels"] = [before + level for level in found.pedestal.levels]
        notes = [f"sky {background.level:.6g} +- {error:.2g} {_unit(model)} subtracted"]
    if found.not_scaled:
        log.warning("%s: variances not scaled: %s", model.meta.filename, found.not_scaled)
        notes.append(f"VARIANCES NOT SCALED ({found.not_scaled})")
    if found.scale is not None:
        notes.append(f"variance x {found.scale.factor:.4g} +- {found.scale.uncertainty:.2g}")
    if found.uneven:
        log.warning(
            "%s: noise is correlated, the errors of sums over blocks are too small; scatter over "
            "predicted: %s",
            model.meta.filename,
            ", ".join(found.uneven),
        )
    return {**metrics, **found.metrics}, notes


def _refuse(step: SkyVarStep, model: JwstDataModel, reason: str) -> None:
    """Say that no sky was seen, and see to it that no later step subtracts one."""
    log.warning("%s: no sky is seen, none is subtracted: %s", model.meta.filename, reason)
    background = model.meta.background
    if background.level is not None and not background.subtracted:
        # what skymatch has measured is not the sky either; resample would subtract it
        background.level, background.method = 0.0, f"{step.class_alias} none"


@dataclass(frozen=True)
class _Measured:
    """What was measured of one exposure: filter, level, noise, spread, and what skymatch found.

    Where no sky is seen, the level is that of the darkest part.
    """

    filter: str
    level: float
    noise: float
    spread: float
    matched: float | None
    refused: bool


def _measured(
    model: JwstDataModel, pedestal: Pedestal | None, evidence: SkyEvidence, matched: float | None
) -> _Measured:
    """Return what was measured of one exposure."""
    wheels = model.meta.instrument
    key = f"{wheels.name} {effective_filter(wheels.filter, wheels.pupil)}"
    level = evidence.darkest if pedestal is None else pedestal.level
    return _Measured(key, level, evidence.noise, evidence.spread, matched, pedestal is None)


def _matched_level(model: JwstDataModel) -> float | None:
    """Return the level that skymatch has found from the overlaps, and not subtracted."""
    background = model.meta.background
    if background.subtracted or "match" not in (background.method or ""):
        return None
    return background.level


def _check_levels(step: SkyVarStep, library: ModelLibrary, measured: dict[int, _Measured]) -> None:
    """Compare levels with the overlaps and with each other; give back those that are no sky."""
    for name in {each.filter for each in measured.values()}:
        same = {index: each for index, each in measured.items() if each.filter == name}
        elsewhere = [each.level for each in same.values() if each.refused and each.level < np.inf]
        indices = [index for index, each in same.items() if not each.refused]
        group = [measured[index] for index in indices]
        levels, noises = [each.level for each in group], [each.noise for each in group]
        reasons: dict[int, str] = {}
        for number in exposures_without_sky(levels, noises, elsewhere):
            others = usual_level(levels, elsewhere)
            reasons[number] = f"level {levels[number]:.3g}, that of other exposures {others:.3g}"
        matched = [each.matched for each in group if each.matched is not None]
        off = np.zeros(len(group))
        if len(matched) == len(group) > 1:
            spreads = [each.spread for each in group]
            check = off_from_overlaps(levels, matched, noises, spreads)
            off = check.off
            for number in check.refused:
                reasons.setdefault(number, f"level {levels[number]:.3g}, {check.reason(number)}")
        for number, index in enumerate(indices):
            if number in reasons or off[number] != 0.0:
                with library:
                    model = library.borrow(index)
                    try:
                        if number in reasons:
                            _give_back(step, model, levels[number], reasons[number])
                        else:
                            _add_difference(step, model, float(off[number]))
                    finally:
                        library.shelve(model, index)


def _give_back(step: SkyVarStep, model: JwstDataModel, level: float, reason: str) -> None:
    """Undo the subtraction of a level that is not the sky."""
    model.data += np.float32(level)
    model.meta.background.subtracted = False
    _refuse(step, model, reason)
    note = f"SKY NOT SUBTRACTED ({reason})"
    step.record(model, "COMPLETE", metrics={"sky_refused": reason}, note=note)


def _add_difference(step: SkyVarStep, model: JwstDataModel, off: float) -> None:
    """Put what the overlaps say into the error of a level."""
    metrics = model.meta.ceers_steps.instance[step.class_alias]["metrics"]
    metrics["sky_from_overlaps"] = off
    metrics["sky_err"] = float(np.hypot(metrics["sky_err"], off))


def _read_mask(
    source_mask: str | None, model: JwstDataModel, folders: list[str | os.PathLike]
) -> tuple[NDArray[np.uint8] | None, str]:
    """Return the mask of sources as bits, None if there is none, and where it is from."""
    name = identity_of(model)
    path = Path(source_mask) if source_mask else None
    if path is None or path.is_dir():
        found = find_mask(f"{name}_cal", folders if path is None else [path])
        if found is None and path is not None:
            raise CeersError(
                f"source_mask={path}: no {name}_1fmask.fits in this folder. "
                "RemStripingStep writes it; without source_mask one is made here."
            )
        path = found
    if path is not None:
        return read_bits(path, model.data.shape), str(path)
    log.info("%s: no *_1fmask.fits beside the input, so sources are searched for here", name)
    return None, "made here"


def _not_sky(model: JwstDataModel, found: SkyCorrection) -> NDArray[np.bool_]:
    """Return a mask: True = bad pixel or source."""
    return ~np.isfinite(model.data) | (model.dq & NOT_SKY > 0) | (found.bits > 0)


def _save_background(step: SkyVarStep, model: JwstDataModel, found: SkyCorrection) -> None:
    """Write what is left of the background."""
    mask = _not_sky(model, found)
    hdu = fits.PrimaryHDU(smooth_sky(model.data, mask), fits.Header([("BUNIT", _unit(model))]))
    write_atomic(step.extra_product_path(model, "skybkg"), hdu.writeto)


def _is_done(model: JwstDataModel, alias: str) -> bool:
    """Say whether status or HISTORY (which survives more programs) tell of an earlier run."""
    if model.meta.cal_step.instance.get(alias) == "COMPLETE":
        return True
    history = model.instance.get("history", [])
    entries = history if isinstance(history, list) else history.get("entries", [])
    return any(f"{alias} COMPLETE" in str(entry) for entry in entries)


def _sky_is_in_rnoise(model: JwstDataModel, alias: str) -> bool:
    """Say whether an earlier run has put the photon noise of the sky into VAR_RNOISE."""
    metrics = step_metrics(model.meta.instance).get(alias, {})
    return metrics.get("sky_photons") == "VAR_RNOISE"


def _errors(model: JwstDataModel) -> tuple[NDArray, tuple[NDArray, NDArray, NDArray]]:
    """Return ERR (worked out if there is none) and the variances; without a flat 0 for its own."""
    missing = [name for name in ("var_rnoise", "var_poisson") if getattr(model, name) is None]
    if missing:
        raise CeersError(
            f"{model.meta.filename} has no {' and no '.join(missing).upper()}: without it the "
            "noise is not known. Run stages 1 and 2 on this exposure again, or leave it out."
        )
    flat = np.zeros(model.data.shape, np.float32) if model.var_flat is None else model.var_flat
    variances = model.var_rnoise, model.var_poisson, flat
    return np.sqrt(sum(variances)) if model.err is None else model.err, variances


def _unit(model: JwstDataModel) -> str:
    return model.meta.bunit_data or ""
