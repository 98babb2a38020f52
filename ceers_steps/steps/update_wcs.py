"""Step: the WCS of exposures from files, for alignment that was done before."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.coordinates import angular_separation
from jwst.assign_wcs.util import update_fits_wcsinfo, update_s_region_imaging
from jwst.datamodels import ModelLibrary
from numpy.typing import NDArray
from stdatamodels.jwst.datamodels import JwstDataModel

from ceers_steps.errors import CeersError
from ceers_steps.files.atomic import user_path
from ceers_steps.files.membership import identity_in, identity_of
from ceers_steps.files.wcs_files import (
    WcsFile,
    find_wcs_file,
    read_wcs_file,
    wcs_file_name,
    write_wcs_file,
)
from ceers_steps.kernels.astrometry.shape import compare_shapes
from ceers_steps.names import exposure_name
from ceers_steps.steps.base import CeersStep
from ceers_steps.steps.inputs.exposures import is_image_file, open_library

__all__ = ["UpdateWcsStep"]

_SAME_PLACE = 5.0
"""Reference points in the telescope that differ by more are of two apertures, arcsec; between
versions of the same one are some tenths."""


_SCALE, _ROLL, _RESIDUAL = 0.02, 1.0, 0.1
"""Largest change of the scale (a fraction), rotation (deg) and what is left of the shape (arcsec):
alignments have 1e-3, 0.3 and 0.03."""

_SIDE = 5
"""Pixels along each side of the image of which the positions are compared."""


class UpdateWcsStep(CeersStep):
    """
    Replace the WCS of calibrated exposures by one from a file, <exposure>_tweakreg.asdf.

    The files are those that CEERS published for DR0.5 (Bagley et al. 2023, ApJL 946 L12,
    section 3.2), or that save_wcs of this step or of AlignStep wrote. Takes an exposure, an
    association or a list; writes *_tweakreg.fits for each.
    """

    class_alias = "ceers_update_wcs"
    output_suffix = "tweakreg"
    input_types = ("ImageModel",)

    spec = """
        wcs_dir = string(default=None)  # Folder with the WCS files; none: the WCS stays (to be written with save_wcs)
        suffix = string(default='tweakreg')  # Last part of the names <exposure>_<suffix>.asdf of WCS files, and of the product
        missing = option('error', 'skip', default='error')  # An exposure without a WCS file: stop before anything is changed, or leave this exposure as it is (SKIPPED)
        max_shift = float(min=0, max=3600, default=5.0)  # Largest distance that a corner of an exposure may move, arcsec; more is the WCS of something else: an error; 0: any
        save_wcs = boolean(default=False)  # Write the WCS of each exposure, <exposure>_<suffix>.asdf, to the output folder
        in_memory = boolean(default=True)  # Keep all exposures of an association in memory; false: temporary files
    """  # noqa: E501

    def process(self, input_data: Any) -> JwstDataModel | ModelLibrary:
        """
        Replace the WCS.

        Parameters
        ----------
        input_data : str, list, `~jwst.datamodels.ModelLibrary` or data model
            Exposure or exposures with a WCS (*_cal.fits or later).

        Returns
        -------
        `~stdatamodels.jwst.datamodels.ImageModel` or `~jwst.datamodels.ModelLibrary`
            One exposure gives one, several (and a library) a library.
        """
        self._check_parameters()
        if isinstance(input_data, JwstDataModel) or is_image_file(input_data):
            model = self.prepare_output(input_data)
            _check_files(self, [identity_of(model)])
            self._update(model)
            return model

        library = open_library(self, input_data)
        if self.output_file is not None:
            raise CeersError(
                f"output_file={self.output_file!r} names one product, but there are "
                f"{len(library)} exposures. Leave it out: each product is named after its exposure."
            )
        self.output_use_model = True
        with library:
            metadata = [library.read_metadata(index) for index in range(len(library))]
            _check_files(self, [identity_in(each) for each in metadata])
            for index in range(len(library)):
                model = library.borrow(index)
                try:
                    self._update(model)
                finally:
                    library.shelve(model, index)
        return library

    def _check_parameters(self) -> None:
        """Raise `CeersError` if there is nothing to do, or no such folder."""
        if self.wcs_dir is None:
            if self.parent is None and not self.save_wcs:
                raise CeersError(
                    "UpdateWcsStep: no wcs_dir is given and save_wcs is off, so there is nothing "
                    "to do. Give wcs_dir (--wcs_dir=FOLDER), the folder that holds "
                    f"<exposure>_{self.suffix}.asdf, or save_wcs=true to write the WCS they have."
                )
        elif not os.path.isdir(self._folder):
            raise CeersError(
                f"wcs_dir={self.wcs_dir}: no such folder ({self._folder.absolute()}). "
                f"Give the folder that holds <exposure>_{self.suffix}.asdf."
            )

    @property
    def _folder(self) -> Path:
        return user_path(self.wcs_dir)

    def _update(self, model: JwstDataModel) -> None:
        """Update one exposure in place, write its WCS, and record it."""
        if model.meta.cal_step.resample == "COMPLETE":
            raise CeersError(
                f"{model.meta.filename} is a mosaic. Give the *_cal.fits files of its exposures."
            )
        if model.meta.wcs is None:
            raise CeersError(
                f"{model.meta.filename} has no WCS: assign_wcs has not been run. "
                "Give the *_cal.fits file of this exposure."
            )
        path = None
        if self.wcs_dir is None:
            status, note, metrics = "SKIPPED", "no wcs_dir: the WCS stays", None
        else:
            path = find_wcs_file(self._folder, model, self.suffix)
            if path is not None:
                status, note, metrics = (
                    "COMPLETE",
                    f"WCS from {path}",
                    _apply(model, path, self.max_shift),
                )
            else:
                wanted = self._folder / wcs_file_name(model, self.suffix)
                status, note, metrics = "SKIPPED", f"no WCS file {wanted}: the WCS stays", None
        if self.save_wcs:
            target = self.extra_product_path(model, self.suffix, "asdf")
            target = target.with_name(wcs_file_name(model, self.suffix))
            # that file holds this very WCS already
            if path is None or target.resolve() != path.resolve():
                write_wcs_file(target, model)
                note += f"; written to {target}"
        parameters = {
            "wcs_dir": self.wcs_dir or "",
            "suffix": self.suffix,
            "max_shift": self.max_shift,
        }
        self.record(model, status, parameters=parameters, metrics=metrics, note=note)


def _check_files(step: UpdateWcsStep, names: Sequence[str]) -> None:
    """Raise `CeersError` if a file is missing that must be there, before the first change."""
    if step.wcs_dir is None or step.missing == "skip":
        return
    missing = [
        wcs_file_name(name, step.suffix)
        for name in names
        if find_wcs_file(step._folder, name, step.suffix) is None
    ]
    if missing:
        listed = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise CeersError(
            f"{len(missing)} of {len(names)} WCS files are missing in wcs_dir={step.wcs_dir} "
            f"({step._folder.absolute()}): {listed}. Put them there, correct wcs_dir or suffix "
            f"({step.suffix!r}), or leave these exposures as they are with missing='skip'."
        )


def _apply(model: JwstDataModel, path: Path, max_shift: float) -> dict[str, Any]:
    """Give a model the WCS of a file; return how far positions moved."""
    saved = read_wcs_file(path)
    _check_same_exposure(model, saved)
    moved = _distances(model, saved)
    if max_shift > 0 and moved.max() > max_shift:
        raise CeersError(
            f"WCS file {path} moves {model.meta.filename} by {moved.max():.4g} arcsec, above "
            f"max_shift={max_shift}. Put the file of this exposure there, or raise max_shift if "
            "its pointing was off by that much."
        )
    _check_shape(model, saved, any_roll=max_shift == 0)
    model.meta.wcs = saved.wcs
    model.meta.wcsinfo.instance.update(saved.wcsinfo)
    # the published files have the keywords from before the alignment
    update_s_region_imaging(model)
    try:
        update_fits_wcsinfo(model)
    except (ValueError, RuntimeError) as err:
        raise CeersError(
            f"WCS file {path}: its WCS cannot be approximated by FITS keywords ({err}). "
            "Write the file again, from an image of a NIRCam imaging exposure."
        ) from err
    model.meta.cal_step.tweakreg = "COMPLETE"
    return {"mean_shift_arcsec": np.mean(moved), "largest_shift_arcsec": np.max(moved)}


def _check_same_exposure(model: JwstDataModel, saved: WcsFile) -> None:
    """Raise `CeersError` for the WCS of another exposure, or of another part of the detector."""
    exposures = identity_of(model), exposure_name(saved.filename)
    if exposures[0] != exposures[1]:
        raise CeersError(
            f"WCS file {saved.path} is that of {exposures[1]} (its filename: {saved.filename}), "
            f"not of {exposures[0]}. Put the right file there, or leave it out with missing='skip'."
        )
    for key in ("v2_ref", "v3_ref"):
        values = getattr(model.meta.wcsinfo, key), saved.wcsinfo.get(key)
        if None not in values and abs(values[0] - values[1]) > _SAME_PLACE:
            raise CeersError(
                f"WCS file {saved.path} is that of another detector or aperture: its {key} is "
                f"{values[1]:.3f}, that of {model.meta.filename} {values[0]:.3f} arcsec. Put the "
                "right file there, or leave it out with missing='skip'."
            )
    if saved.wcs.bounding_box is None:
        saved.wcs.bounding_box = tuple((-0.5, size - 0.5) for size in model.data.shape[::-1])
    box = np.asarray(saved.wcs.bounding_box.bounding_box(order="C"), float)  # rows, columns
    shape = tuple(np.round(box[:, 1] - box[:, 0]))
    if shape != model.data.shape:
        raise CeersError(
            f"WCS file {saved.path} is for an image of {shape[1]:.0f} x {shape[0]:.0f} pixels; "
            f"{model.meta.filename} has {model.data.shape[1]} x {model.data.shape[0]}. "
            "Give the file of this subarray."
        )


def _distances(model: JwstDataModel, saved: WcsFile) -> NDArray[np.float64]:
    """Return how far the corner pixels move, arcsec."""
    before, after = (np.deg2rad(places) for places in _places(model, saved, 2))
    return np.rad2deg(angular_separation(*before.T, *after.T)) * 3600


def _check_shape(model: JwstDataModel, saved: WcsFile, *, any_roll: bool) -> None:
    """Raise `CeersError` for a WCS that does more than an alignment can do."""
    change = compare_shapes(*_places(model, saved, _SIDE))
    roll = 0.0 if any_roll else change.rotation
    if change.mirrored or roll > _ROLL or not change.scale_error < _SCALE:
        what = f"turns it by {change.rotation:.3g} degrees"
        if change.mirrored:
            what = "mirrors it"
        elif roll <= _ROLL:
            what = f"changes its scale by {100 * change.scale_error:.3g}%"
    elif change.residual > _RESIDUAL:
        what = f"bends it by {change.residual:.3g} arcsec"
    else:
        return
    raise CeersError(
        f"WCS file {saved.path} has another shape of {model.meta.filename}: it {what}. It is "
        "damaged, or that of something else. Write it again."
    )


def _places(model: JwstDataModel, saved: WcsFile, side: int) -> list[NDArray[np.float64]]:
    """Return the positions of pixels by the WCS of a model and that of a file, ``(n, 2)``, deg."""
    ny, nx = model.data.shape
    y, x = (axis.ravel() for axis in np.mgrid[: ny - 1 : side * 1j, : nx - 1 : side * 1j])
    try:
        places = [np.column_stack(wcs(x, y)).astype(float) for wcs in (model.meta.wcs, saved.wcs)]
    except (TypeError, ValueError, ArithmeticError, NotImplementedError) as err:
        raise CeersError(
            f"WCS file {saved.path}: its WCS cannot be evaluated ({err}). Write the file again."
        ) from err
    if places[1].shape != (side**2, 2) or not np.isfinite(places[1]).all():
        raise CeersError(
            f"WCS file {saved.path}: its WCS gives no sky position for the corners of the image. "
            "Write the file again."
        )
    return places
