"""Stage 3: from calibrated exposures to background-subtracted mosaics."""

import logging
import os
from collections import Counter
from typing import Any

from jwst.datamodels import ModelLibrary
from jwst.lib.exposure_types import is_moving_target
from jwst.pipeline import Image3Pipeline
from stdatamodels.jwst.datamodels import JwstDataModel

from ceers_steps.astrometry.parameters import OURS
from ceers_steps.errors import CeersError
from ceers_steps.files.associations import is_association_path, read_association
from ceers_steps.pipelines.base import CeersPipeline
from ceers_steps.steps.align import AlignStep
from ceers_steps.steps.inputs.errors import scale_errors
from ceers_steps.steps.inputs.exposures import (
    is_image_file,
    open_library,
    product_name,
    without_strangers,
    without_unusable,
)
from ceers_steps.steps.inputs.replaced import check_replaced
from ceers_steps.steps.mosaic_background import MosaicBackgroundStep
from ceers_steps.steps.skyvar import SkyVarStep
from ceers_steps.steps.tiled_resample import TiledResampleStep
from ceers_steps.steps.update_wcs import UpdateWcsStep

__all__ = ["CeersImage3"]

log = logging.getLogger(__name__)

BEFORE_RESAMPLE = ("update_wcs", "tweakreg", "skymatch", "outlier_detection", "skyvar")
"""The sequence of `~jwst.pipeline.Image3Pipeline` for exposures, ours in their places."""


OUTLIERS = {"snr": "4.0 3.0", "scale": "2.5 1.5"}
"""Limits of ``outlier_detection``: those of jwst take cores of undersampled stars for rays."""


class CeersImage3(CeersPipeline, Image3Pipeline):
    """
    Combine calibrated NIRCam exposures into background-subtracted mosaics.

    The steps of calwebb_image3, with the WCS taken from files or aligned per detector, the sky
    only measured by skymatch, the pedestal subtracted and the variances scaled in each exposure,
    mosaics drizzled in tiles where they are large, and the background of the mosaics subtracted
    with one source mask for all filters. Takes an association; with several products (one per
    filter) each becomes a mosaic and all share the mask. Writes *_crf.fits, *_match.fits,
    *_i2d.fits and *_bkgsub.fits or (several filters, or merged_mask) *_mbkgsub.fits.
    """

    class_alias = "ceers_image3"
    input_types = ("ImageModel",)
    input_keywords = (
        *("INSTRUME", "DETECTOR", "EXP_TYPE", "FILTER", "PUPIL", "EXPSTART", "EFFEXPTM"),
        *("RA_REF", "DEC_REF", "ROLL_REF", "V2_REF", "V3_REF", "VPARITY", "V3I_YANG"),
    )
    needs_wcs = True

    step_defs = {
        **Image3Pipeline.step_defs,
        "update_wcs": UpdateWcsStep,
        "tweakreg": AlignStep,
        "skyvar": SkyVarStep,
        "resample": TiledResampleStep,
        "mosaic_background": MosaicBackgroundStep,
    }

    @classmethod
    def load_spec_file(cls, *args: Any, **kwargs: Any) -> Any:
        """Return the parameters of all steps, some of them with a default of this pipeline.

        The source catalogue is off unless asked for, and no mosaic is made where aligned
        exposures would lie beside others that could not be aligned. A mosaic whose background
        cannot be measured keeps it. Outliers are those of which cores of stars are none.
        """
        spec = super().load_spec_file(*args, **kwargs)
        spec["steps"]["source_catalog"]["skip"] = "boolean(default=True)"
        for name, value in OUTLIERS.items():
            spec["steps"]["outlier_detection"][name] = f"string(default={value!r})"
        spec["steps"]["tweakreg"]["on_failure"] = "option('keep', 'stop', default='stop')"
        spec["steps"]["mosaic_background"]["on_failure"] = "option('stop', 'keep', default='keep')"
        return spec

    @classmethod
    def _get_config_from_parameters(cls, crds_parameters: Any, crds_observatory: str) -> Any:
        """Take the CRDS parameters, but for what has a default of this pipeline.

        The sky is subtracted by skyvar.
        """
        config = super()._get_config_from_parameters(crds_parameters, crds_observatory)
        config["steps"]["skymatch"]["subtract"] = False
        config["steps"]["source_catalog"]["skip"] = True
        if crds_parameters.get("meta.instrument.name") == "NIRCAM":
            config["steps"]["outlier_detection"].update(OUTLIERS)
        tweakreg = config["steps"]["tweakreg"]
        # those of pars-image3pipeline as well as those of pars-tweakregstep
        for name in OURS & set(tweakreg.scalars):
            del tweakreg[name]
        tweakreg["on_failure"] = "stop"
        config["steps"]["mosaic_background"]["on_failure"] = "keep"
        return config

    def process(self, input_data: Any) -> list[Any] | None:
        """
        Run the pipeline.

        Parameters
        ----------
        input_data : str, dict, list, `~jwst.datamodels.ModelLibrary` or data model
            Association of one or several products, or exposures.

        Returns
        -------
        list or None
            The mosaics; None when they are saved, since no one needs them in memory then.
        """
        products = self._products(input_data)
        self._check_replaced(input_data, products)
        if len(products) > 1 and self.output_file is not None:
            raise CeersError(
                f"output_file={self.output_file!r} names one mosaic, but the association has "
                f"{len(products)} products. Leave output_file out: the products have names."
            )
        mosaics = []
        for number, product in enumerate(products, start=1):
            library = open_library(self, product)
            library = without_strangers(self, library, library.asn["products"][0].get("name"))
            library = without_unusable(self, library, weighed=not self.skyvar.skip)
            # what is made of a file is named after it
            name = None if is_image_file(product) else product_name(library)
            log.info("Product %d of %d: %s", number, len(products), name or "without a name")
            named = self.output_file is None and name is not None
            if named:
                self.output_file = name
            try:
                mosaics.append(self._make_mosaic(library))
            finally:
                if named:
                    self.output_file = None
            # the exposures of a product are not needed by the next one
            del library
        if not self.resample.skip and not self.mosaic_background.skip:
            mosaics = self._subtract_background(mosaics)
        return None if self.save_results else mosaics

    @staticmethod
    def _products(input_data: Any) -> list[Any]:
        """Split an association file into products; anything else is one product."""
        if not isinstance(input_data, (str, os.PathLike)):
            return [input_data]
        path = str(input_data)
        if not is_association_path(path):
            return [path]
        association = read_association(path)
        names = Counter(product.get("name") for product in association["products"])
        name, count = names.most_common(1)[0]
        if count > 1:
            raise CeersError(
                f"Association {path}: {count} products are called {name}, and their mosaics would "
                "replace each other. Give every product a name of its own."
            )
        association["table_name"] = os.path.basename(path)
        return [{**association, "products": [product]} for product in association["products"]]

    def _check_replaced(self, input_data: Any, products: list[Any]) -> None:
        """Refuse to replace products of exposures that another association has made."""
        if not self.save_results or not is_association_path(input_data):
            return
        asn_id = products[0].get("asn_id")
        make = self.outlier_detection.make_output_path

        def paths_of(exposure: str) -> list[str]:
            kinds = ("crf", "match")
            return [make(basepath=exposure, suffix=kind, asn_id=asn_id) for kind in kinds]

        parts = [product["products"][0] for product in products]
        check_replaced(input_data, parts, asn_id, paths_of)

    def _make_mosaic(self, library: ModelLibrary) -> Any:
        """Run the steps for the exposures of one product; return the mosaic or its path."""
        self.outlier_detection.suffix = "crf"
        self.outlier_detection.mode = "imaging"
        self.resample.suffix = "i2d"
        for step in (self.outlier_detection, self.skyvar, self.resample, self.source_catalog):
            step.save_results = self.save_results

        steps = dict.fromkeys(BEFORE_RESAMPLE)
        if self.update_wcs.skip or not (self.update_wcs.wcs_dir or self.update_wcs.save_wcs):
            del steps["update_wcs"]  # nothing to take the WCS from
        for name in steps:
            if name == "tweakreg" and self._is_moving(library):
                library = self.assign_mtwcs.run(library)
                continue
            if name == "skymatch" and not self.skymatch.skip and self._sky_is_gone(library):
                log.info("The sky of every exposure is subtracted already: skymatch is left out")
                continue
            if name == "outlier_detection" and not self.outlier_detection.skip:
                scaled = not self.skyvar.skip and self.skyvar.scale_variance
                scale_errors(library, change=scaled)
            library = getattr(self, name).run(library)

        mosaic = self.resample.run(library)
        path = self.resample.make_output_path(suffix="i2d")
        if not self.source_catalog.skip:
            if isinstance(mosaic, JwstDataModel):
                self.source_catalog.run(mosaic)
            else:
                with self.open_model(mosaic) as model:
                    self.source_catalog.run(model)
        # what is saved need not stay in memory while the other filters are combined
        return path if self.save_results and not self.resample.skip else mosaic

    @staticmethod
    def _is_moving(library: ModelLibrary) -> bool:
        """Say whether the exposures follow a moving target."""
        with library:
            return is_moving_target(library.read_metadata(0))

    @staticmethod
    def _metadata(library: ModelLibrary) -> list[dict[str, Any]]:
        """Return the metadata of every exposure."""
        with library:
            return [library.read_metadata(index) for index in range(len(library))]

    def _sky_is_gone(self, library: ModelLibrary) -> bool:
        """Say whether the sky of every exposure is subtracted; that of a part is an error."""
        metadata = self._metadata(library)
        gone = [bool(each.get("meta.background.subtracted")) for each in metadata]
        if any(gone) and not all(gone):
            one, other = (metadata[gone.index(value)]["meta.filename"] for value in (True, False))
            raise CeersError(
                f"The sky is subtracted in {one} and {gone.count(True) - 1} other exposure(s), but "
                f"not in {other}. Give *_crf.fits or *_match.fits of all, or skip skymatch with "
                "steps.skymatch.skip=true."
            )
        return all(gone)

    def _subtract_background(self, mosaics: list[Any]) -> Any:
        """Subtract the background of all mosaics, with one source mask."""
        self.mosaic_background.save_results = self.save_results
        self.mosaic_background.in_memory = self.in_memory
        return self.mosaic_background.run(mosaics)
