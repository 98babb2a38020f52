"""Stage 1: from a raw exposure to a clean rate image."""

import logging
import os
from functools import partial
from typing import Any

from jwst.pipeline import Detector1Pipeline
from stdatamodels.jwst.datamodels import JwstDataModel

from ceers_steps.errors import CeersError
from ceers_steps.files.membership import is_calibrated_unit
from ceers_steps.pipelines.base import CeersPipeline
from ceers_steps.steps.inputs.earlier import check_is_earlier
from ceers_steps.steps.inputs.rate_errors import restore_lost_noise
from ceers_steps.steps.inputs.reference_planes import gain_of
from ceers_steps.steps.inputs.usable import NIRCAM_IMAGING, why_not_nircam
from ceers_steps.steps.jump_check import JumpCheckStep, correct_rate_errors
from ceers_steps.steps.looks import keep_rate
from ceers_steps.steps.ramps.nothing_fitted import empty_rates, flag_unexposed
from ceers_steps.steps.ramps.two_point import detect_jumps
from ceers_steps.steps.remstriping import RemStripingStep
from ceers_steps.steps.snowball import SnowballStep, add_halo_errors
from ceers_steps.steps.trapped_charge import TrappedChargeStep
from ceers_steps.steps.wispsub import WispSubStep

__all__ = ["CeersDetector1"]

log = logging.getLogger(__name__)

CUSTOM_STEPS = {
    "jump_check": JumpCheckStep,
    "trapped_charge": TrappedChargeStep,
    "snowball": SnowballStep,
    "wispsub": WispSubStep,
    "remstriping": RemStripingStep,
}

BEFORE_RAMP_FIT = (
    "group_scale",
    "dq_init",
    "saturation",
    "ipc",
    "superbias",
    "refpix",
    "linearity",
    "dark_current",
    "charge_migration",
    "jump",
    "jump_check",
    "trapped_charge",
    "snowball",
    "picture_frame",
    "clean_flicker_noise",
    "persistence",
)
"""The near-infrared sequence of `~jwst.pipeline.Detector1Pipeline`, ours in their places."""


class CeersDetector1(CeersPipeline, Detector1Pipeline):
    """
    Reduce a raw NIRCam imaging exposure to a clean rate image.

    The steps of calwebb_detector1, with jumps checked, and persistence of earlier exposures and
    snowballs flagged after the jump step, and wisps and 1/f stripes subtracted from the rate image
    (and from every integration of rateints). Exposures that are not NIRCam imaging go through the
    stock sequence, with our corrections SKIPPED. Writes *_rate.fits and *_rateints.fits.
    """

    class_alias = "ceers_detector1"
    input_types = ("Level1bModel", "RampModel", "SuperstripeRampModel", "GuiderRawModel")
    input_keywords = (
        *("INSTRUME", "DETECTOR", "EXP_TYPE", "FILTER", "PUPIL", "CHANNEL", "MODULE"),
        *("SUBARRAY", "SUBSTRT1", "SUBSTRT2", "SUBSIZE1", "SUBSIZE2", "DATE-OBS", "TIME-OBS"),
        *("NINTS", "NGROUPS", "NFRAMES", "GROUPGAP", "READPATT", "TFRAME", "TGROUP"),
        *("NOUTPUTS", "FASTAXIS", "SLOWAXIS"),
    )
    later_keywords = (
        *("RA_REF", "DEC_REF", "ROLL_REF", "V2_REF", "V3_REF", "VPARITY", "V3I_YANG"),
        *("VA_SCALE", "PROGRAM", "OBSERVTN", "VISIT"),
    )

    spec = """
        save_intermediates = boolean(default=False)  # Keep the rate before wisp and 1/f subtraction (*_prewisp.fits, *_pre1f.fits)
        overrides = input_file(default=None)  # Table (.ecsv or .csv) of per-exposure values for all corrections
    """  # noqa: E501

    step_defs = {**Detector1Pipeline.step_defs, **CUSTOM_STEPS}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.jump.process = partial(detect_jumps, self.jump)

    @classmethod
    def _get_config_from_parameters(cls, crds_parameters: Any, crds_observatory: str) -> Any:
        """Take the CRDS parameters, less those that do the work of our steps a second time."""
        config = super()._get_config_from_parameters(crds_parameters, crds_observatory)
        if crds_parameters.get("meta.exposure.type") == NIRCAM_IMAGING:
            config["steps"]["jump"]["expand_large_events"] = False
            config["steps"]["clean_flicker_noise"]["skip"] = True
        return config

    def process(self, input_data: str | os.PathLike | JwstDataModel) -> JwstDataModel:
        """
        Run the pipeline.

        Parameters
        ----------
        input_data : str or `~stdatamodels.jwst.datamodels.RampModel`
            The raw exposure.

        Returns
        -------
        `~stdatamodels.jwst.datamodels.ImageModel`
            The rate image, in DN/s.
        """
        ramp = self.prepare_output(input_data, open_as_ramp=True)
        if is_calibrated_unit(ramp.meta.bunit_data):
            raise CeersError(
                f"{ramp.meta.filename} is calibrated already (BUNIT {ramp.meta.bunit_data}). Give "
                "the *_uncal.fits file of this exposure."
            )
        if why_not_nircam(ramp):
            return self._run_stock(ramp)

        self._warn_of_double_treatment()
        self._check_given_files(ramp)
        self.dark_current.output_dir = self.output_dir
        self.ramp_fit.output_dir = self.output_dir
        flag_unexposed(ramp)
        for name in BEFORE_RAMP_FIT:
            ramp = getattr(self, name).run(ramp)
        if self.save_calibrated_ramp:
            self.save_model(ramp, "ramp")
        if self.ramp_fit.skip:
            self.setup_output(ramp)
            return self.ramp_fit.run(ramp)

        rate, rateints = self.ramp_fit.run(ramp)
        if rate is None:
            rate, rateints = empty_rates(ramp)
        else:
            if not self.jump_check.skip:
                correct_rate_errors(self.jump_check, ramp, rate, rateints)
            restore_lost_noise(ramp, rate, rateints, partial(gain_of, self.ramp_fit, ramp))
            add_halo_errors(ramp, rate, rateints)
        for product in (rate,) if rateints is None else (rate, rateints):
            for name in ("jump_check", "trapped_charge", "snowball"):
                self._carry_record(name, ramp, product)
        # the ramp is the largest array by far: let it go before the rate is worked on
        del ramp
        rate = self._clean_rate(rate, "gain_scale")
        if rateints is not None:
            if len(rateints.data) == 1:
                rateints = self._share_cleaning(rate, rateints)
            else:
                rateints = self._clean_rate(rateints, "gain_scaleints", ints="ints")
            self.save_model(rateints, "rateints")
        self.setup_output(rate)
        return rate

    def _check_given_files(self, ramp: JwstDataModel) -> None:
        """Say what our steps cannot do before the long part: a table or template of no use."""
        if not self.trapped_charge.skip:
            for path in self.trapped_charge.earlier_exposures or ():
                check_is_earlier(path, ramp)
        if not self.snowball.skip:
            self.snowball.overrides_row(ramp)
        if not self.wispsub.skip:
            self.wispsub.template_files(ramp, self.wispsub.overrides_row(ramp))

    def _clean_rate(
        self, rate: JwstDataModel, gain_scale_suffix: str, ints: str = ""
    ) -> JwstDataModel:
        """Take the gain scale, the wisp and the stripes out of a rate image or cube."""
        self.gain_scale.suffix = gain_scale_suffix
        rate = self.gain_scale.run(rate)
        for step, before in ((self.wispsub, "prewisp"), (self.remstriping, "pre1f")):
            if self.save_intermediates and not step.skip:
                self.save_model(rate, before + ints, force=True)
            rate = step.run(rate)
        keep_rate(rate)
        return rate

    def _share_cleaning(self, rate: JwstDataModel, rateints: JwstDataModel) -> JwstDataModel:
        """Give the only integration what was done to the rate image: they are the same image."""
        self.gain_scale.suffix = "gain_scaleints"
        rateints = self.gain_scale.run(rateints)
        for plane in ("data", "dq", "err", "var_poisson", "var_rnoise"):
            rateints[plane][0] = rate[plane]
        for name in ("wispsub", "remstriping"):
            self._carry_record(name, rate, rateints)
        return rateints

    def _carry_record(self, name: str, source: JwstDataModel, product: JwstDataModel) -> None:
        """Record in a product what a step did to its source: jwst's own steps drop it."""
        step = getattr(self, name)
        done = source.meta.instance.get("ceers_steps", {}).get(step.class_alias)
        if done:
            entry = {key: done[key] for key in ("parameters", "metrics", "note")}
            step.record(product, done["status"], **entry)
        else:
            step.run(product)  # stpipe skips it and says so in the product

    def _run_stock(self, ramp: JwstDataModel) -> JwstDataModel:
        """Run the parent's own sequence and record that our steps do not apply."""
        log.info("%s is %s: stock sequence", ramp.meta.filename, why_not_nircam(ramp))
        result = super().process(ramp)
        self._record_not_applicable(result)
        return result

    def save_model(self, model: Any, suffix: str | None = None, **kwargs: Any) -> Any:
        """Save a product; rateints of the stock sequence are saved before `process` has them."""
        if suffix == "rateints":
            self._record_not_applicable(model)
        return super().save_model(model, suffix=suffix, **kwargs)

    def _record_not_applicable(self, model: JwstDataModel | None) -> None:
        """Record that our steps were left out, where the stock sequence was run."""
        if model is None or not (reason := why_not_nircam(model)):
            return
        for name in CUSTOM_STEPS:
            step = getattr(self, name)
            if step is self.remstriping and step.other_instruments and not step.skip:
                step.run(model)  # in place; it has its own list of what it takes
            else:
                step.record(model, "SKIPPED", note=reason)

    def _warn_of_double_treatment(self) -> None:
        """Say which treatments the user has turned on twice."""
        snowballs = not self.snowball.skip and self.snowball.method != "none"
        if snowballs and self.jump.expand_large_events:
            log.warning(
                "jump.expand_large_events is on as well as the snowball step, which is left out "
                "where it finds snowballs: flagged twice, too much is lost. Set "
                "steps.jump.expand_large_events=false or steps.snowball.skip=true."
            )
        elif snowballs:
            log.info("Snowballs are left to the snowball step: jump.expand_large_events is off")
        if not self.clean_flicker_noise.skip and not self.remstriping.skip:
            log.warning(
                "clean_flicker_noise is on as well as remstriping, which is left out then: 1/f "
                "noise would be fitted twice. Set steps.clean_flicker_noise.skip=true or "
                "steps.remstriping.skip=true."
            )
