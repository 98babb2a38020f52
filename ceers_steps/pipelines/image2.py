"""Stage 2: from a rate image to one in MJy/sr with a world coordinate system."""

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jwst.datamodels import ModelLibrary
from jwst.pipeline import Image2Pipeline
from jwst.skymatch import SkyMatchStep
from stdatamodels.jwst.datamodels import JwstDataModel, read_metadata

from ceers_steps.errors import CeersError
from ceers_steps.files.associations import is_association_path
from ceers_steps.files.headers.check import Wanted
from ceers_steps.files.headers.provenance import add_history
from ceers_steps.files.membership import is_calibrated_unit, is_rate_unit
from ceers_steps.kernels.sky.exposure import judge_level
from ceers_steps.pipelines.base import CeersPipeline
from ceers_steps.steps.inputs.usable import unusable_reason

__all__ = ["CeersImage2"]

log = logging.getLogger(__name__)


class CeersImage2(CeersPipeline, Image2Pipeline):
    """
    Calibrate rate images: world coordinate system, flat field, MJy/sr.

    The steps of calwebb_image2, without a mosaic of each exposure unless steps.resample.skip=false.
    With steps.skymatch.skip=false a constant sky is subtracted from each calibrated image.
    Takes *_rate.fits, *_rateints.fits or a level-2 association; writes *_cal.fits (*_calints.fits).
    """

    class_alias = "ceers_image2"
    input_types = ("ImageModel", "CubeModel")
    input_keywords = (
        *("INSTRUME", "DETECTOR", "EXP_TYPE", "FILTER", "PUPIL", "CHANNEL", "MODULE"),
        *("SUBARRAY", "SUBSTRT1", "SUBSTRT2", "SUBSIZE1", "SUBSIZE2", "DATE-OBS", "TIME-OBS"),
        *("RA_REF", "DEC_REF", "ROLL_REF", "V2_REF", "V3_REF", "VPARITY", "V3I_YANG"),
    )
    later_keywords = ("VA_SCALE", "PROGRAM", "OBSERVTN", "VISIT")

    step_defs = {**Image2Pipeline.step_defs, "skymatch": SkyMatchStep}

    @classmethod
    def wanted(cls) -> Wanted:
        """Return what is needed; over variances without pixels the flat field of jwst stumbles."""
        return replace(super().wanted(), filled=("VAR_RNOISE", "VAR_POISSON"))

    @classmethod
    def load_spec_file(cls, *args: Any, **kwargs: Any) -> Any:
        """Return the parameters of all steps; resample and skymatch are off unless asked for."""
        spec = super().load_spec_file(*args, **kwargs)
        for name in ("resample", "skymatch"):
            spec["steps"][name]["skip"] = "boolean(default=True)"
        # there is but one image: nothing to match it with
        spec["steps"]["skymatch"]["skymethod"] = "option('local', default='local')"
        spec["steps"]["skymatch"]["subtract"] = "boolean(default=True)"
        return spec

    @classmethod
    def _get_config_from_parameters(cls, crds_parameters: Any, crds_observatory: str) -> Any:
        """Take the CRDS parameters, but for what turns resample on; skymatch's are of stage 3."""
        config = super()._get_config_from_parameters(crds_parameters, crds_observatory)
        config["steps"]["resample"]["skip"] = True
        config["steps"]["skymatch"].update({"skip": True, "skymethod": "local", "subtract": True})
        return config

    def process(self, input_data: Any) -> list[JwstDataModel]:
        """
        Run the pipeline.

        Parameters
        ----------
        input_data : str, list, `~jwst.datamodels.ModelContainer` or data model
            Rate image or integrations (DN/s), a list of them, or the file of a level-2 association.

        Returns
        -------
        list of `~stdatamodels.jwst.datamodels.JwstDataModel`
            The calibrated images, in MJy/sr.
        """
        if isinstance(input_data, Sequence) and not isinstance(input_data, str):
            return [self._process_one(exposure) for exposure in input_data]
        if not isinstance(input_data, (str, os.PathLike, JwstDataModel)):
            raise CeersError(
                f"CeersImage2 cannot read a {type(input_data).__name__}: give a file, a data "
                "model, a list of these, or the file of a level-2 association."
            )
        if isinstance(input_data, os.PathLike):
            input_data = str(input_data)
        if is_association_path(input_data):
            # as stpipe does for the first of its inputs only
            self.input_dir = str(Path(input_data).absolute().parent)
        results = super().process(input_data)
        for result in results:
            result.meta.filename = Path(result.meta.filename).name  # jwst leaves output_dir in it
        return results

    def _process_one(self, exposure: Any) -> JwstDataModel:
        """Calibrate one of a list: jwst would give all of them the same name."""
        if self.output_file is not None:
            raise CeersError(
                f"output_file={self.output_file!r} names one product, but there is a list of "
                "exposures. Leave it out: each product is named after its exposure."
            )
        (result,) = self.process(exposure)
        return result

    def process_exposure_product(
        self, exp_product: dict[str, Any], pool_name: str = " ", asn_file: str = " "
    ) -> JwstDataModel:
        """Calibrate one product of the association, after a look at its members.

        Parameters
        ----------
        exp_product : dict
            ``name`` and ``members``, which stand relative to the folder of the association.
        pool_name, asn_file : str
            Pool and file name of the association, for the header.

        Returns
        -------
        `~stdatamodels.jwst.datamodels.JwstDataModel`
            The calibrated image.
        """
        # jwst looks for the members in the working folder
        is_file = is_association_path(asn_file)
        members = [
            {**member, "expname": os.path.join(self.input_dir, member["expname"])}
            if is_file and isinstance(member["expname"], str)
            else member
            for member in exp_product["members"]
        ]
        science = [member for member in members if member["exptype"].lower() == "science"]
        if len(science) != 1:
            raise CeersError(
                f"Product {exp_product['name']} has {len(science)} science members; stage 2 makes "
                "one product of each exposure. Give a level-2 association, or the files one by one."
            )
        for member in members:
            _check_not_calibrated(member["expname"])
        # jwst names products after themselves only where it saves them
        self.output_file = self.output_file or exp_product["name"]
        result = super().process_exposure_product(
            {**exp_product, "members": members}, pool_name, asn_file
        )
        if reason := unusable_reason(result):
            note = f"nothing is usable: {reason}; mosaics are made without it"
            log.warning("%s: %s", exp_product["name"], note)
            add_history(result, f"ceers_steps CeersImage2: {note}")
        elif not self.skymatch.skip:
            self._subtract_sky(result)
        return result

    def _subtract_sky(self, image: JwstDataModel) -> None:
        """Subtract a constant sky, and record it where stage 3, jwst's too, looks for it."""
        if image.data.ndim != 2:
            log.info("%s: integrations keep their sky", image.meta.filename)
            image.meta.cal_step.skymatch = "SKIPPED"
            return
        before, data = image.meta.background.level or 0.0, image.data.copy()
        self.skymatch.run(ModelLibrary([image]))
        background = image.meta.background
        if image.meta.cal_step.skymatch != "COMPLETE":
            reason = "skymatch has found no level"
        else:
            reason = self._against_level(image, data, background.level - before)
        metrics: dict[str, Any]
        if reason:
            log.warning("%s: no sky is seen, none is subtracted: %s", image.meta.filename, reason)
            image.data = data
            # a level of 0, so that the other exposures, without their sky, go with this one
            background.level, background.method = before, "ceers_image2 none"
            background.subtracted = self.skymatch.subtract
            note, metrics = f"SKY NOT SUBTRACTED ({reason})", {"sky_refused": reason}
        else:
            what = "subtracted" if background.subtracted else "measured"
            note = f"sky {background.level:.6g} {image.meta.bunit_data or ''} {what}"
            metrics = {"sky": float(background.level)}
        used = {"skymethod": self.skymatch.skymethod, "subtract": self.skymatch.subtract}
        self.record(image, "COMPLETE", parameters=used, metrics=metrics, note=note)

    @staticmethod
    def _against_level(image: JwstDataModel, data: Any, level: float) -> str:
        """Return why a level is not the sky; empty if nothing speaks against it."""
        try:
            return judge_level(data, image.err, image.dq, float(level)).reason
        except ValueError as err:
            return str(err)


def _check_not_calibrated(exposure: Any) -> None:
    """Raise `CeersError` for a later product: a cal image has the data model of a rate image."""
    in_memory = isinstance(exposure, JwstDataModel)
    meta = exposure.meta.instance if in_memory else read_metadata(exposure, flatten=False)["meta"]
    status = meta.get("cal_step", {})
    done = [name for name in ("flat_field", "photom", "resample") if status.get(name) == "COMPLETE"]
    found = f"{', '.join(done)} COMPLETE"
    if not done and is_calibrated_unit(meta.get("bunit_data")):
        # statuses can get lost, in a file that another program has written
        done, found = ["photom"], f"BUNIT {meta['bunit_data']}"
    if done:
        raise CeersError(
            f"{meta.get('filename')} is calibrated already ({found}). "
            "Give the *_rate.fits file of this exposure."
        )
    if not is_rate_unit(unit := meta.get("bunit_data")):
        raise CeersError(
            f"{meta.get('filename')}: BUNIT is {unit}; the photometry is that of DN/s. Give the "
            "*_rate.fits file of this exposure as the ramp fit wrote it, or mend its BUNIT."
        )
