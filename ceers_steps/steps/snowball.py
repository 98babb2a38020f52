"""Step: snowballs flagged in the groups of a ramp."""

import logging
from dataclasses import astuple, fields

import numpy as np
from astropy import units as u
from astropy.table import QTable
from stdatamodels.jwst.datamodels import dqflags

from ceers_steps.errors import CeersError
from ceers_steps.files.atomic import write_atomic
from ceers_steps.kernels.snowballs.events import (
    JUMP_DET,
    Snowball,
    measure_snowballs,
    published_flags,
)
from ceers_steps.steps.base import CeersStep

__all__ = ["SnowballStep"]

log = logging.getLogger(__name__)

BAD_PIXEL = dqflags.pixel["DO_NOT_USE"] | dqflags.pixel["REFERENCE_PIXEL"]

_UNITS = {"y": u.pix, "x": u.pix, "core_radius": u.pix, "halo_radius": u.pix, "angle": u.deg}


class SnowballStep(CeersStep):
    """
    Flag snowballs, large cosmic-ray events with a wide halo, between jump and ramp_fit.

    'adaptive' measures how far each event reaches in the group differences themselves; 'ceers'
    grows the jumps by fixed radii as published (Bagley et al. 2023, ApJL 946 L12, section 3.1).
    The contaminated groups of a pixel get JUMP_DET, so that the ramp fit leaves them out.
    """

    class_alias = "ceers_snowball"
    output_suffix = "snowball"
    input_types = ("RampModel",)

    spec = """
        method = option('adaptive', 'ceers', 'none', default='adaptive')  # adaptive: measured extent; ceers: fixed growth, as published; none: do nothing
        detection_radii = int_list(min=1, default=list(7, 15))  # ceers: radii of the discs that find events, pixels, one per tier
        growth_radii = int_list(min=1, default=list(7, 35))  # ceers: radii by which what is found grows, pixels, one per tier
        min_core_radius = integer(min=2, default=4)  # adaptive: radius of the smallest core, pixels
        halo_threshold = float(min=0.1, default=0.6)  # adaptive: mean excess down to which a halo is flagged, sigma of a group difference
        after_core_time = float(min=0, default=2000)  # adaptive: time after an event in which charge spilling from its saturated core is searched for, s
        carry_to_next_integration = boolean(default=True)  # adaptive: flag a saturated core in the next integrations as well, within after_core_time
        max_flagged_fraction = float(min=0, max=1, default=0.5)  # adaptive: a group with a larger fraction of its pixels flagged, before or after, is left as it is
        save_events = boolean(default=False)  # adaptive: write a table of the events, *_snowballs.ecsv
        overrides = input_file(default=None)  # Table (.ecsv or .csv) of per-exposure values: skip_snowball
    """  # noqa: E501

    def process(self, input_data):
        """
        Flag the snowballs.

        Parameters
        ----------
        input_data : str or `~stdatamodels.jwst.datamodels.RampModel`
            Ramps after jump detection.

        Returns
        -------
        `~stdatamodels.jwst.datamodels.RampModel`
            The same with more of GROUPDQ flagged as JUMP_DET.
        """
        model = self.prepare_output(input_data)
        if model.meta.cal_step.instance.get(self.class_alias) == "COMPLETE":
            log.warning("%s has its snowballs flagged already: nothing done", model.meta.filename)
            return model
        reason = self.reason_to_skip(model)
        if reason:
            self.record(model, "SKIPPED", note=reason)
            return model
        before = np.count_nonzero(model.groupdq & JUMP_DET)
        measure = self._published if self.method == "ceers" else self._adaptive
        flags, parameters, merit, note = measure(model)
        jump = model.groupdq.dtype.type(JUMP_DET)
        np.bitwise_or(model.groupdq, jump, out=model.groupdq, where=flags)
        added = np.count_nonzero(model.groupdq & JUMP_DET) - before
        merit["added_fraction"] = added / flags.size
        parameters = {"method": self.method, **parameters}
        self.record(model, "COMPLETE", parameters=parameters, merit=merit, note=note)
        return model

    def reason_to_skip(self, model):
        """Return why this exposure is left alone, or nothing; a single group is an error."""
        exposure, n_groups = model.meta.exposure, model.data.shape[1]
        if self.method == "none":
            return "method is 'none'"
        if self.overrides_row(model).get("skip_snowball"):
            return "skip_snowball is set in the overrides table"
        if model.meta.instrument.name != "NIRCAM" or exposure.type != "NRC_IMAGE":
            return f"not NIRCam imaging (EXP_TYPE {exposure.type})"
        if n_groups < 2:
            raise CeersError(
                f"{model.meta.filename}: the ramp has {n_groups} group (NGROUPS), but a jump shows "
                "only between groups: at least 2 are needed, 3 for the jump step. Leave the "
                "exposure out, or set steps.snowball.skip=true."
            )
        if model.meta.cal_step.jump == "SKIPPED":
            return "the jump step was skipped, there are no jumps to start from"
        return ""

    def _published(self, model):
        """Return flags, parameters, merit and note of the published method."""
        if self.save_events:
            log.warning("save_events has no effect: method='ceers' measures no events")
        radii = {"detection_radii": self.detection_radii, "growth_radii": self.growth_radii}
        try:
            flags = published_flags(model.groupdq, **radii)
        except ValueError as err:
            raise CeersError(f"{model.meta.filename}: {err}.") from err
        return flags, radii, {}, ""

    def _adaptive(self, model):
        """Return flags, parameters, merit and note of the measured extents."""
        exposure = model.meta.exposure
        if not exposure.group_time:
            raise CeersError(
                f"{model.meta.filename}: no group time (TGROUP) in the header. Start from the "
                "*_uncal.fits file, or use method='ceers', which needs none."
            )
        parameters = {
            "min_core_radius": self.min_core_radius,
            "halo_threshold": self.halo_threshold,
            "after_core_time": self.after_core_time,
            "max_flagged_fraction": self.max_flagged_fraction,
        }
        found = measure_snowballs(
            model.data,
            model.groupdq,
            (model.pixeldq & BAD_PIXEL) != 0,
            group_time=exposure.group_time,
            n_outputs=exposure.noutputs or 1,
            carry=self.carry_to_next_integration,
            **parameters,
        )
        if self.save_events:
            self._save_events(model, found.events)
        note = f"{len(found.events)} snowball{'' if len(found.events) == 1 else 's'}"
        if found.capped:
            groups = ", ".join(
                f"{integration + 1}/{group + 1}" for integration, group in found.capped
            )
            note += (
                f"; more than max_flagged_fraction={self.max_flagged_fraction} of the pixels "
                f"flagged in {len(found.capped)} integration/group {groups}: left as they were"
            )
            log.warning("%s: %s", model.meta.filename, note)
        parameters["carry_to_next_integration"] = self.carry_to_next_integration
        merit = {
            "n_events": len(found.events),
            "n_saturated": sum(event.saturated for event in found.events),
            "n_capped_groups": len(found.capped),
            "n_spared_pixels": found.n_spared,
        }
        return found.flags, parameters, merit, note

    def _save_events(self, model, events):
        """Write the table of events; integrations and groups count from 1, pixels from 0."""
        names = [field.name for field in fields(Snowball)]
        types = [field.type for field in fields(Snowball)]
        table = QTable(rows=[astuple(event) for event in events] or None, names=names, dtype=types)
        table["integration"] += 1
        table["group"] += 1
        for name, unit in _UNITS.items():
            table[name] = np.round(table[name], 3) * unit
        table["ellipticity"] = np.round(table["ellipticity"], 3)
        table.meta = {"exposure": model.meta.filename, "pixels": "counted from 0"}
        path = self.extra_product_path(model, "snowballs", "ecsv")
        write_atomic(path, lambda scratch: table.write(scratch, format="ascii.ecsv"))
        log.info("Events written to %s", path)
