"""Step: snowballs flagged in the groups of a ramp."""

import logging
from collections.abc import Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import QTable
from stdatamodels.jwst.datamodels import CubeModel, ImageModel, RampModel, dqflags

from ceers_steps.errors import CeersError
from ceers_steps.files.atomic import write_atomic
from ceers_steps.files.headers.other_tools import already_done
from ceers_steps.kernels.dq import JUMP_DET
from ceers_steps.kernels.snowballs.adaptive import Snowball
from ceers_steps.kernels.snowballs.faint_halo import subtract_faint_halos_inplace
from ceers_steps.kernels.snowballs.flagging import (
    SnowballFlags,
    close_lost_ramps_inplace,
    flag_snowballs,
)
from ceers_steps.steps.base import CeersStep
from ceers_steps.steps.inputs.readout import n_outputs
from ceers_steps.steps.inputs.usable import bad_pixels, why_not_nircam
from ceers_steps.steps.looks import keep_snowballs

__all__ = ["SnowballStep", "add_halo_errors"]

log = logging.getLogger(__name__)

_PARAMETERS = {
    "ceers": ("detection_radii", "growth_radii"),
    "adaptive": (
        "min_core_radius",
        "halo_threshold",
        "after_core_time",
        "max_flagged_fraction",
        "carry_to_next_integration",
    ),
}
_UNITS = {"y": u.pix, "x": u.pix, "core_radius": u.pix, "halo_radius": u.pix, "angle": u.deg}


class SnowballStep(CeersStep):
    """
    Flag snowballs, large cosmic-ray events with a wide halo, between jump and ramp_fit.

    'adaptive' measures how far each event reaches in the group differences themselves; 'ceers'
    grows the jumps by fixed radii as published (Bagley et al. 2023, ApJL 946 L12, section 3.1).
    The contaminated groups of a pixel get JUMP_DET, so that the ramp fit leaves them out. What is
    too faint to be flagged is subtracted where it can be measured ('adaptive').
    """

    class_alias = "ceers_snowball"
    output_suffix = "snowball"
    input_types = ("RampModel",)

    spec = """
        method = option('adaptive', 'ceers', 'none', default='adaptive')  # adaptive: measured extent; ceers: fixed growth, as published; none: do nothing
        detection_radii = int_list(min=1, default=list(7, 15))  # ceers: radii of the discs that find events, pixels, one per tier
        growth_radii = int_list(min=1, default=list(7, 35))  # ceers: radii by which what is found grows, pixels, one per tier
        min_core_radius = integer(min=2, max=500, default=4)  # adaptive: radius of the smallest core, pixels
        halo_threshold = float(min=0.1, default=0.55)  # adaptive: mean excess down to which a halo is flagged, sigma of a group difference
        after_core_time = float(min=0, max=1e6, default=2000)  # adaptive: time after an event in which charge spilling from its saturated core is searched for, s
        carry_to_next_integration = boolean(default=True)  # adaptive: flag what an event saturated in the next integrations too, while it releases charge
        max_flagged_fraction = float(min=0, max=1, default=0.5)  # adaptive: a group with a larger fraction of its pixels flagged is left as it is; where it would be, only what is brighter is flagged
        subtract_halos = boolean(default=True)  # adaptive: subtract the faint halos beyond what is flagged, where they are seen
        save_events = boolean(default=False)  # adaptive: write a table of the events, *_snowballs.ecsv
        force = boolean(default=False)  # Run also where this step, or another program, has flagged the snowballs already
        overrides = input_file(default=None)  # Table (.ecsv or .csv) of per-exposure values: skip_snowball
    """  # noqa: E501

    def process(self, input_data: str | RampModel) -> RampModel:
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
        if self.has_run(model) and not self.force:
            log.warning("%s has its snowballs flagged already: nothing done", model.meta.filename)
            return model
        reason = self.reason_to_skip(model)
        if reason:
            self.record(model, "SKIPPED", note=reason)
            return model
        try:
            found = flag_snowballs(
                model.data,
                model.groupdq,
                bad_pixels(model),
                self.method,
                {name: getattr(self, name) for name in _PARAMETERS[self.method]},
                group_time=model.meta.exposure.group_time,
                n_outputs=n_outputs(model),
            )
        except ValueError as err:
            raise CeersError(f"{model.meta.filename}: {err}.") from err
        jump = model.groupdq.dtype.type(JUMP_DET)
        np.bitwise_or(model.groupdq, jump, out=model.groupdq, where=found.flags)
        close_lost_ramps_inplace(model.groupdq, found.flags)
        model.meta.exposure.extended_emission_events = event_rate(model, found)
        keep_snowballs(model, found)
        if self.save_events:
            path = self.extra_product_path(model, "snowballs", "ecsv")
            save_events(path, model.meta.filename, found.events)
        note = describe(found)
        if found.capped:
            log.warning("%s: %s", model.meta.filename, note)
        parameters, metrics = {"method": self.method, **found.parameters}, dict(found.metrics)
        if found.events is not None:
            parameters["subtract_halos"] = self.subtract_halos
            if self.subtract_halos and found.events:
                metrics |= subtract_halos(model, found)
        self.record(model, "COMPLETE", parameters=parameters, metrics=metrics, note=note)
        return model

    def reason_to_skip(self, model: RampModel) -> str:
        """
        Return why this exposure is left alone, or nothing.

        Parameters
        ----------
        model : `~stdatamodels.jwst.datamodels.RampModel`
            The exposure; also before the jump step.

        Returns
        -------
        str
            Empty if snowballs can be searched for.
        """
        n_groups = model.data.shape[1]
        if self.method == "none":
            return "method is 'none'"
        if self.overrides_row(model).get("skip_snowball"):
            return "skip_snowball is set in the overrides table"
        if reason := why_not_nircam(model):
            return reason
        if n_groups < 3 or model.meta.cal_step.jump == "SKIPPED":
            return few_groups(n_groups) or "the jump step was skipped, there are no jumps"
        return "" if self.force else already_done(model, "snowballs")


_VARIANCE = "_variance_of_halos"
"""Of the rate of each integration, (units of the ramp per second) squared; no file has it."""


def subtract_halos(model: RampModel, found: SnowballFlags) -> dict[str, float]:
    """Subtract the faint halos of snowballs from a flagged ramp; return the metrics."""
    halos = subtract_faint_halos_inplace(
        model.data,
        model.groupdq,
        bad_pixels(model),
        found.events or (),
        n_outputs=n_outputs(model),
    )
    if halos.variance is not None:
        variance = halos.variance / np.float32(model.meta.exposure.group_time) ** 2
        setattr(model, _VARIANCE, variance)
    return {
        "n_halos_subtracted": halos.n_subtracted,
        "n_halos_refused": halos.n_refused,
        "n_spills_subtracted": halos.n_spills,
        "mean_halo": halos.charge,
    }


def add_halo_errors(ramp: RampModel, rate: ImageModel, rateints: CubeModel | None) -> None:
    """
    Add the errors of the halos that were subtracted to VAR_RNOISE and ERR of the rate, once.

    Parameters
    ----------
    ramp : `~stdatamodels.jwst.datamodels.RampModel`
        From which they were subtracted, in this process.
    rate : `~stdatamodels.jwst.datamodels.ImageModel`
        The rate of all integrations; changed.
    rateints : `~stdatamodels.jwst.datamodels.CubeModel` or None
        The rates of each; changed.
    """
    each = vars(ramp).pop(_VARIANCE, None)
    if each is None:
        return
    products = [(rate, each.sum(axis=0) / np.float32(len(each) ** 2))]
    if rateints is not None:
        products.append((rateints, each))
    for product, variance in products:
        here = (variance > 0) & (product.var_rnoise > 0) & np.isfinite(product.err)
        product.var_rnoise[here] += variance[here]
        product.err[here] = np.sqrt(product.err[here] ** 2 + variance[here])


def few_groups(n_groups: int) -> str:
    """Return why a ramp of so few groups has no jumps; empty if it can have some."""
    if n_groups > 2:
        return ""
    plural = "" if n_groups == 1 else "s"
    return (
        f"the ramp has {n_groups} group{plural} (NGROUPS); the jump step needs 3, so that nothing "
        "that hit this exposure is known, and it stays in the rate: rely on outlier_detection"
    )


def event_rate(model: RampModel, found: SnowballFlags) -> float | None:
    """Return EXTNCRS as the jump step of jwst does: events per second and million pixels.

    None if the method counts no events: the number of the jump step, which was not to look for
    any, would be wrong.
    """
    if found.events is None or not model.meta.exposure.group_time:
        return None
    unusable = (model.groupdq & dqflags.group["DO_NOT_USE"]) != 0
    n_ints, n_groups, ny, nx = model.groupdq.shape
    n_differences = n_ints * (n_groups - 1) - np.count_nonzero(unusable.all(axis=(2, 3)))
    time = model.meta.exposure.group_time * max(n_differences, 1)
    return 1e6 * len(found.events) / (time * ny * nx)


def describe(found: SnowballFlags) -> str:
    """Return in one line what was found; empty if the method measures no events."""
    if found.events is None:
        return ""
    note = f"{len(found.events)} snowball{'' if len(found.events) == 1 else 's'}"
    if found.capped:
        groups = ", ".join(f"{integration + 1}/{group + 1}" for integration, group in found.capped)
        note += (
            f"; more than max_flagged_fraction={found.parameters['max_flagged_fraction']} of the "
            f"pixels flagged in {len(found.capped)} integration/group {groups}: left as they were"
        )
    return note


def save_events(path: Path, exposure: str, events: Sequence[Snowball] | None) -> None:
    """Write the table of events; integrations and groups count from 1, pixels from 0."""
    if events is None:
        log.warning("save_events has no effect: method='ceers' measures no events")
        return
    names = [field.name for field in fields(Snowball)]
    types: list[Any] = [field.type for field in fields(Snowball)]
    table = QTable(rows=[astuple(event) for event in events] or None, names=names, dtype=types)
    table["integration"] += 1
    table["group"] += 1
    for name, unit in _UNITS.items():
        table[name] = np.round(table[name], 3) * unit
    table["ellipticity"] = np.round(table["ellipticity"], 3)
    table.meta = {"exposure": exposure, "pixels": "counted from 0"}
    write_atomic(path, lambda scratch: table.write(scratch, format="ascii.ecsv"))
    log.info("Events written to %s", path)
