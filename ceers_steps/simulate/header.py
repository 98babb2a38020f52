"""The metadata of a raw exposure: every keyword that a real one of NIRCam has."""

import numpy as np
from astropy.time import Time

from ceers_steps.simulate.telescope.instrument import load_siaf
from ceers_steps.simulate.telescope.plan import DAY, ExposurePlan

__all__ = ["IMAGING", "group_table", "integration_times", "metadata"]

IMAGING = {"NIRCAM": "NRC_IMAGE", "MIRI": "MIR_IMAGE", "NIRISS": "NIS_IMAGE"}
"""EXP_TYPE of images, by instrument."""

_CALLED = {"NIRCAM": "NIRCam", "MIRI": "MIRI", "NIRISS": "NIRISS"}


def _iso(mjd: float, separator: str = "T", decimals: int = 3) -> str:
    time = Time(mjd, format="mjd", scale="utc", precision=decimals)
    return time.isot.replace("T", separator)


def _tdb(mjd: float) -> float:
    return float(Time(mjd, format="mjd", scale="utc").tdb.mjd)


def metadata(plan: ExposurePlan) -> dict[str, object]:
    """Metadata of an exposure.

    Returns
    -------
    dict
        Values by their path in the data model, e.g. ``meta.instrument.detector``.
    """
    start = plan.start
    end = start + (plan.duration + plan.readout.frame_time) / DAY  # with the first reset
    middle = 0.5 * (start + end)
    values: dict[str, object] = {}
    for section, entries in (
        ("", _general(plan)),
        ("observation.", _observation(plan, start, end)),
        ("visit.", _visit(plan, start)),
        ("target.", _target(plan)),
        ("instrument.", _instrument(plan)),
        ("exposure.", _exposure(plan, start, middle, end)),
        ("subarray.", _subarray(plan)),
        ("dither.", _dither(plan)),
        ("nircam_focus.", _focus(plan)),
        ("guidestar.", _guide_star(plan, start, end)),
    ):
        values |= {f"meta.{section}{name}": value for name, value in entries.items()}
    values |= {f"meta.{name}": value for name, value in _orbit(plan, start, middle, end).items()}
    values |= {f"meta.{name}": value for name, value in _where(plan).items()}
    return values


def _general(plan: ExposurePlan) -> dict[str, object]:
    import pysiaf

    return {
        "origin": "STSCI",
        "time_sys": "UTC",
        "time_unit": "s",
        "filename": f"{plan.root}_uncal.fits",
        "data_processing_software_version": "2022_3b",
        "prd_software_version": pysiaf.JWST_PRD_VERSION,
        "oss_software_version": "8.4.3",
        "telescope": "JWST",
        "hga_move": False,
        "pwfseet": np.floor(plan.start) - 1.3,
        "nwfsest": np.floor(plan.start) + 1.1,
        "compress": False,
        "bunit_data": "DN",
        "coordinates.reference_frame": "ICRS",
        "program.title": "Simulated exposure made by ceers_steps",
        "program.pi_name": "ceers_steps",
        "program.category": "ERS",
        "program.sub_category": plan.detector.instrument,
    }


def _observation(plan: ExposurePlan, start: float, end: float) -> dict[str, object]:
    date, time = _iso(start).split("T")
    visit_id = plan.program + plan.observation + plan.visit
    return {
        "date": date,
        "time": time,
        "date_beg": _iso(start),
        "date_end": _iso(end),
        "obs_id": f"V{visit_id}P00000000021{plan.activity}",
        "visit_id": visit_id,
        "program_number": plan.program,
        "observation_number": plan.observation,
        "visit_number": plan.visit,
        "visit_group": "02",
        "sequence_id": "1",
        "activity_id": plan.activity,
        "exposure_number": str(plan.dither + 1),
        "bkgdtarg": False,
        "template": f"{_CALLED[plan.detector.instrument]} Imaging",
        "observation_label": f"{plan.band.name}, simulated",
        "observation_folder": "Simulated",
    }


def _visit(plan: ExposurePlan, start: float) -> dict[str, object]:
    return {
        "engineering_quality": "OK",
        "engdb_pointing_quality": "CALCULATED_TRACK_TR_202111",
        "type": "PRIME_TARGETED_FIXED",
        "start_time": _iso(np.floor(start), " ", 7),
        "status": "SUCCESSFUL",
        "total_exposures": plan.n_dithers,
        "internal_target": False,
        "too_visit": False,
        "tsovisit": False,
        "exp_only": False,
        "crowded_field": False,
    }


def _target(plan: ExposurePlan) -> dict[str, object]:
    return {
        "proposer_name": "SIMULATED-FIELD",
        "catalog_name": "SIMULATED-FIELD",
        "type": "FIXED",
        "ra": plan.target_ra,
        "dec": plan.target_dec,
        "ra_uncertainty": 0.1,
        "dec_uncertainty": 0.1,
        "proper_motion_ra": 0.0,
        "proper_motion_dec": 0.0,
        "proper_motion_epoch": "2000-01-01 12:00:00.0000000",
        "proposer_ra": plan.target_ra,
        "proposer_dec": plan.target_dec,
    }


def _instrument(plan: ExposurePlan) -> dict[str, object]:
    if plan.detector.instrument != "NIRCAM":
        values: dict[str, object] = {
            "name": plan.detector.instrument,
            "detector": plan.detector.name,
            "filter": plan.band.filter,
        }
        if plan.band.pupil:
            return values | {"pupil": plan.band.pupil, "pupil_imaging_lens": False}
        return values | {"ccc_state": "OPEN"}
    return {
        "name": "NIRCAM",
        "detector": plan.detector.name,
        "module": plan.detector.module,
        "channel": plan.detector.channel,
        "filter": plan.band.filter,
        "pupil": plan.band.pupil,
        "pupil_imaging_lens": False,
        "coronagraph": "NONE",
    }


def _exposure(plan: ExposurePlan, start: float, middle: float, end: float) -> dict[str, object]:
    pattern = plan.pattern
    frame_time = plan.readout.frame_time
    exposure_time = plan.n_ints * plan.integration_time
    return {
        "count": plan.dither + 1,
        "prime_parallel": "PRIME",
        "type": IMAGING[plan.detector.instrument],
        "start_time": start,
        "mid_time": middle,
        "end_time": end,
        "start_time_mjd": start,
        "mid_time_mjd": middle,
        "end_time_mjd": end,
        "osf_file": "simulated_osf.xml",
        "readpatt": pattern.name,
        "noutputs": plan.window.n_outputs,
        "nints": plan.n_ints,
        "ngroups": plan.n_groups,
        "nframes": pattern.n_frames,
        "frame_divisor": pattern.n_frames,
        "groupgap": pattern.group_gap,
        "drop_frames1": 0,
        "drop_frames3": 0,
        "nsamples": 1,
        "sample_time": 10.0,
        "frame_time": round(frame_time, 5),
        "group_time": round(frame_time * pattern.frames_per_group, 5),
        "integration_time": round(plan.integration_time, 5),
        "exposure_time": round(exposure_time, 3),
        "effective_exposure_time": round(exposure_time, 3),
        "duration": round(plan.duration, 3),
        "elapsed_exposure_time": round(plan.duration, 3),
        "nresets_at_start": 1,
        "nresets_between_ints": 1,
        "zero_frame": False,
        "data_problem": False,
        "sca_num": plan.detector.sca_number,
        "datamode": 33 if pattern.n_frames == 1 else 35,
        "clock_adjust_rate": 0.0,
        "psf_reference": False,
        "self_reference_survey": False,
    }


def _subarray(plan: ExposurePlan) -> dict[str, object]:
    window = plan.window
    return {
        "name": window.name,
        "xstart": window.x_start,
        "ystart": window.y_start,
        "xsize": window.nx,
        "ysize": window.ny,
        "fastaxis": plan.detector.fast_axis,
        "slowaxis": plan.detector.slow_axis,
    }


def _dither(plan: ExposurePlan) -> dict[str, object]:
    return {
        "primary_type": "INTRAMODULEX" if plan.n_dithers > 1 else "NONE",
        "primary_dither_type": str(plan.n_dithers),
        "primary_points": plan.n_dithers,
        "position_number": plan.dither + 1,
        "total_points": plan.n_dithers,
        "small_grid_pattern": "NONE",
        "subpixel_total_points": 1,
        "subpixel_pattern": "NONE",
        "x_offset": float(plan.offset[0]),
        "y_offset": float(plan.offset[1]),
    }


def _focus(plan: ExposurePlan) -> dict[str, object]:
    values: dict[str, object] = {}
    if plan.detector.instrument != "NIRCAM":
        return values
    for i in (1, 2, 3):
        values |= {f"fam_la{i}": 0, f"fastep{i}": 0, f"faunit{i}": 0.0}
        values |= {f"faphase{i}": "NULL", f"fa{i}value": 0}
    return values


def _guide_star(plan: ExposurePlan, start: float, end: float) -> dict[str, object]:
    # an invented star 5 arcmin along V3 from the target
    ra, dec = (float(v) for v in plan.pointing.to_sky(0.0, -700.0))
    return {
        "gs_order": 1,
        "gs_start_time": _iso(start - 0.02, " ", 7),
        "gs_stop_time": _iso(start - 0.017, " ", 7),
        "gs_id": "SIM0000001",
        "gs_ra": ra,
        "gs_dec": dec,
        "gs_ura": 1e-4,
        "gs_udec": 1e-4,
        "gs_mag": 15.0,
        "gs_umag": 0.05,
        "gs_v3_pa_science": plan.pointing.roll(0.0, -700.0),
        "gs_pcs_mode": "FINEGUIDE",
        "visit_end_time": _iso(np.floor(end) + 1, " ", 7),
    }


def _orbit(plan: ExposurePlan, start: float, middle: float, end: float) -> dict[str, object]:
    orbit = plan.orbit
    bary, helio = orbit.barycentric_correction / DAY, orbit.heliocentric_correction / DAY
    va_ra, va_dec = orbit.apparent_direction
    values: dict[str, object] = {
        "velocity_aberration.va_ra_ref": va_ra,
        "velocity_aberration.va_dec_ref": va_dec,
        "velocity_aberration.scale_factor": orbit.va_scale,
        "wcsinfo.velosys": round(-orbit.radial_velocity * 1e3, 2),
        "time.barycentric_correction": bary * DAY,
        "time.heliocentric_correction": helio * DAY,
        "ephemeris.reference_frame": "EME2000",
        "ephemeris.type": "Predicted",
        "ephemeris.time": middle,
    }
    for name, mjd in (("start", start), ("mid", middle), ("end", end)):
        values[f"time.barycentric_exp{name}"] = _tdb(mjd) + bary
        values[f"exposure.{name}_time_tdb"] = _tdb(mjd) + bary
        values[f"time.heliocentric_exp{name}"] = mjd + helio
    for i, axis in enumerate("xyz"):
        values[f"ephemeris.spatial_{axis}_bary"] = float(orbit.position[i])
        values[f"ephemeris.velocity_{axis}_bary"] = float(orbit.velocity[i])
        values[f"ephemeris.spatial_{axis}_geo"] = float(orbit.geocentric_position[i] * 1e3)
        values[f"ephemeris.velocity_{axis}_geo"] = float(orbit.geocentric_velocity[i] * 1e3)
    return values


def _where(plan: ExposurePlan) -> dict[str, object]:
    """Attitude, aperture and WCS."""
    aperture = load_siaf(plan.detector.instrument)[plan.window.aperture]
    pointing = plan.pointing
    v2, v3 = float(aperture.V2Ref), float(aperture.V3Ref)
    ra, dec = (float(v) for v in pointing.to_sky(v2, v3))
    roll = pointing.roll(v2, v3)
    ra_v1, dec_v1 = (float(v) for v in pointing.to_sky(0.0, 0.0))
    parity, yang = int(aperture.VIdlParity), float(aperture.V3IdlYAngle)
    position_angle = (roll + yang) % 360
    cos, sin = np.cos(np.deg2rad(position_angle)), np.sin(np.deg2rad(position_angle))
    window = plan.window
    edge_x = window.x_start - 1.5 + np.array([0, 0, window.nx, window.nx])
    edge_y = window.y_start - 1.5 + np.array([0, window.ny, window.ny, 0])
    corners = np.transpose(plan.wcs.to_sky(edge_x, edge_y)).ravel()
    values = {
        "wcsaxes": 2,
        "crpix1": float(aperture.XSciRef),
        "crpix2": float(aperture.YSciRef),
        "crval1": ra,
        "crval2": dec,
        "ctype1": "RA---TAN",
        "ctype2": "DEC--TAN",
        "cunit1": "deg",
        "cunit2": "deg",
        "cdelt1": float(aperture.XSciScale) / 3600,
        "cdelt2": float(aperture.YSciScale) / 3600,
        "pc1_1": float(parity * cos),
        "pc1_2": float(sin),
        "pc2_1": float(-parity * sin),
        "pc2_2": float(cos),
        "s_region": "POLYGON ICRS  " + " ".join(f"{v:.9f}" for v in corners),
        "v2_ref": v2,
        "v3_ref": v3,
        "vparity": parity,
        "v3yangle": yang,
        "ra_ref": ra,
        "dec_ref": dec,
        "roll_ref": roll,
    }
    return {
        **{f"wcsinfo.{name}": value for name, value in values.items()},
        "aperture.name": plan.window.aperture,
        "aperture.pps_name": plan.aperture,
        "aperture.position_angle": position_angle,
        "pointing.ra_v1": ra_v1,
        "pointing.dec_v1": dec_v1,
        "pointing.pa_v3": pointing.roll(0.0, 0.0),
    }


def group_table(plan: ExposurePlan) -> list[tuple]:
    """Rows of the GROUP table: when each group of each integration ended."""
    orbit = plan.orbit
    frame_time = plan.readout.frame_time
    last_frames = plan.pattern.first_frames(plan.n_groups) + plan.pattern.n_frames
    rows = []
    for integration in range(plan.n_ints):
        begin = (integration + 1) * frame_time + integration * plan.integration_time
        for group, frames in enumerate(last_frames):
            end = plan.start + (begin + frames * frame_time) / DAY
            milliseconds = (end - np.floor(end)) * DAY * 1e3
            rows.append(
                (
                    integration + 1,
                    group + 1,
                    int(np.floor(end) - 51544),  # days since 2000-01-01
                    int(milliseconds),
                    int((milliseconds % 1) * 1e3),
                    _iso(end),
                    plan.window.nx,
                    plan.window.ny,
                    0,
                    0,
                    "COMPLETE",
                    _tdb(end) + orbit.barycentric_correction / DAY,
                    end + orbit.heliocentric_correction / DAY,
                )
            )
    return rows


def integration_times(plan: ExposurePlan) -> list[tuple]:
    """Rows of the INT_TIMES table: start, middle and end of each integration."""
    barycentric = plan.orbit.barycentric_correction / DAY
    frame_time = plan.readout.frame_time
    rows = []
    for integration in range(plan.n_ints):
        begin = (integration + 1) * frame_time + integration * plan.integration_time
        times = [plan.start + (begin + f * plan.integration_time) / DAY for f in (0, 0.5, 1)]
        rows.append((integration + 1, *times, *(_tdb(t) + barycentric for t in times)))
    return rows
