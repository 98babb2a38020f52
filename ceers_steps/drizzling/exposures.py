"""The exposures of a mosaic: outlines from headers, and one exposure at a time for its pixels."""

import gc
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
from astropy.io import fits
from jwst.lib.pipe_utils import match_nans_and_flags
from jwst.resample.resample import ResampleImage, input_jwst_model_to_dict
from jwst.resample.resample_utils import multi_sregion_to_list
from stcal.alignment.util import sregion_to_footprint
from stdatamodels.jwst.datamodels import ImageModel
from stdatamodels.jwst.datamodels.dqflags import pixel

from ceers_steps.errors import CeersError
from ceers_steps.files.membership import (
    check_once,
    check_one_filter,
    identity_in,
    keywords_of,
)
from ceers_steps.mosaics.grid import Window
from ceers_steps.names import identify

__all__ = ["Exposures", "HeaderBlender", "digest_of"]

INPUT_ARRAYS = ("data", "dq", "err", "var_rnoise", "var_poisson", "var_flat")
"""Arrays of an exposure that stcal may take."""

_READS_PER_COLLECTION = 8  # models refer to themselves, and hold their arrays until collected
_NO_WCS = (
    "{} has no WCS or no S_REGION. Run stage 2 on its *_rate.fits first: "
    "strun ceers_steps.CeersImage2"
)


class Exposures:
    """A library of which nothing is changed, as far as jwst's resampling looks at one.

    Parameters
    ----------
    library : `~jwst.datamodels.ModelLibrary`
        Calibrated exposures.
    as_on_disk : bool
        The library has only just been made of files: what their headers say holds.

    Raises
    ------
    CeersError
        When an exposure has no outline or cannot be read, or there are several filters. Other
        faults are found when an exposure is opened.
    """

    def __init__(self, library: Any, as_on_disk: bool) -> None:
        self.library = library
        self._n_read = 0
        # the association is copied whenever it is asked for
        names = [member["expname"] for member in library.asn["products"][0]["members"]]
        if library.on_disk:
            names = [os.path.join(library.asn_dir, name) for name in names]
        self._names = names
        with library:
            found = [self._header(index, as_on_disk) for index in range(len(library))]
        self._regions = [region for region, _, _ in found]
        check_one_filter((keywords for _, keywords, _ in found), "The mosaic")
        self._identities = [identity for _, _, identity in found]

    def _header(self, index: int, as_on_disk: bool) -> tuple[Any, dict[str, object], str]:
        """Return S_REGION, keywords and identity; of a file that takes 1 ms, to open it 150 ms."""
        name = self._names[index]
        if as_on_disk and self.library.on_disk:
            with _errors_name_file(name), fits.open(name) as hdus:
                region = hdus["SCI"].header.get("S_REGION") if "SCI" in hdus else None
                primary = hdus[0].header
                keywords = {key: primary.get(key) for key in ("FILTER", "PUPIL")}
                identity = identify(primary.get("FILENAME") or "", primary)
        else:
            with _errors_name_file(name):
                metadata = self.library.read_metadata(index)
            region, keywords = metadata.get("meta.wcsinfo.s_region"), keywords_of(metadata)
            identity = identity_in(metadata)
        if not region:
            raise CeersError(_NO_WCS.format(os.path.basename(name)))
        return region, keywords, identity

    def check_once(self) -> None:
        """Raise `CeersError` when an exposure stands in two files."""
        names = map(os.path.basename, self._names)
        check_once(zip(names, self._identities, strict=True))

    def __len__(self) -> int:
        return len(self._regions)

    def __enter__(self) -> Self:
        self.library.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.library.__exit__(*error)

    def read_metadata(self, index: int) -> Any:
        """Return what jwst asks for of an exposure that is not open."""
        return {"meta.wcsinfo.s_region": self._regions[index]}

    def borrow(self, index: int) -> Any:
        """Open an exposure; it must be an image with a WCS."""
        self._n_read += 1
        if self.library.on_disk and self._n_read % _READS_PER_COLLECTION == 0:
            gc.collect()
        with _errors_name_file(self._names[index]):
            model = self.library.borrow(index)
        if model.data.ndim != 2:
            raise CeersError(
                f"{model.meta.filename} is not a 2-D image: {model.data.ndim} dimensions."
            )
        if model.meta.wcs is None:
            raise CeersError(_NO_WCS.format(model.meta.filename))
        return model

    def shelve(self, model: Any, index: int, modify: bool = False) -> None:
        """Take an exposure back, which is not changed."""
        self.library.shelve(model, index, modify=modify)

    @contextmanager
    def opened(self, index: int) -> Iterator[Any]:
        """Lend an exposure for reading."""
        with self:
            model = self.borrow(index)
            yield model
            self.shelve(model, index)

    def outlines(self, index: int) -> Any:
        """Return the polygons of an exposure on the sky, (n, 2) RA and Dec in deg."""
        return map(sregion_to_footprint, multi_sregion_to_list(self._regions[index]))

    def corners(self) -> dict[str, Any]:
        """Return the first corner of each exposure, RA and Dec in deg, by the name of its file."""
        return {
            os.path.basename(str(name)): next(iter(self.outlines(index)))[0]
            for index, name in enumerate(self._names)
        }

    def entry(self, index: int, cut: Any, options: Any) -> Any:
        """Return some pixels of an exposure as stcal takes them.

        Parameters
        ----------
        index : int
            Number of the exposure.
        cut : `~ceers_steps.kernels.mosaic.tiles.Box`
            Its pixels; None for all.
        options : dict
            Of stcal's resampling.
        """
        with self.opened(index) as model:
            entry = _as_dict(model, options)
            shape = model.data.shape
            where = np.s_[:, :] if cut is None else cut.slices
            if cut is not None:
                entry["wcs"] = Window(model.meta.wcs, cut)
            piece = ImageModel()
            for name in INPUT_ARRAYS:
                array = getattr(model, name, None)
                if array is not None and array.shape == shape:
                    setattr(piece, name, array[where].copy())
            match_nans_and_flags(piece)
            for name in INPUT_ARRAYS:
                if entry.get(name) is not None:
                    entry[name] = getattr(piece, name)
        return entry


class HeaderBlender(ResampleImage):
    """Gathers what jwst writes into the header of a mosaic; drizzles next to nothing."""

    def input_model_to_dict(self, model: Any, **kwargs: Any) -> Any:
        """Return an exposure as stcal takes it, of two by two pixels that are not used."""
        entry = super().input_model_to_dict(model, **kwargs)
        for name in INPUT_ARRAYS:
            if entry.get(name) is not None:
                entry[name] = np.zeros((2, 2), entry[name].dtype)
        entry["dq"] |= pixel["DO_NOT_USE"]
        return entry


def digest_of(model: Any, options: Any) -> bytes:
    """Return a digest of all that stcal takes of an open exposure, but for its WCS.

    Parameters
    ----------
    model : `~stdatamodels.jwst.datamodels.ImageModel`
        The exposure.
    options : dict
        Parameters of the drizzling.

    Returns
    -------
    bytes
        Of 16 bytes.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name, value in sorted(_as_dict(model, options).items()):
        if isinstance(value, np.ndarray):
            digest.update(np.ascontiguousarray(value, value.dtype.newbyteorder("=")).data)
        elif name not in ("wcs", "wcsinfo", "group_id"):
            digest.update(repr((name, value)).encode())
    return digest.digest()


def _as_dict(model: Any, options: Any) -> dict[str, Any]:
    """Return an exposure as stcal takes it."""
    return input_jwst_model_to_dict(
        model, options["weight_type"], options["enable_var"], options["compute_err"]
    )


@contextmanager
def _errors_name_file(name: str) -> Iterator[None]:
    """Name the file that cannot be read."""
    try:
        yield
    except OSError as err:
        raise CeersError(f"{name} cannot be read: {err}. Copy it again.") from err
