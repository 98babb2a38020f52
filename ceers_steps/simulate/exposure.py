"""One simulated exposure: the light that falls on the detector, and the raw file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.table import Table
from stdatamodels.jwst import datamodels

from ceers_steps.simulate.config.simulation import SimulationConfig
from ceers_steps.simulate.detector.calibration import Calibration
from ceers_steps.simulate.detector.ramp import SimulatedRamp, simulate_ramp
from ceers_steps.simulate.header import group_table, integration_times, metadata
from ceers_steps.simulate.models import with_date
from ceers_steps.simulate.seeds import rng_for
from ceers_steps.simulate.sky.glow import fixed_light
from ceers_steps.simulate.sky.scene import RenderedSources, render_sources
from ceers_steps.simulate.telescope.instrument import zero_point
from ceers_steps.simulate.telescope.plan import ExposurePlan

__all__ = ["Scene", "expose", "make_scene", "write_raw"]


@dataclass(frozen=True)
class Scene:
    """The light that falls on a detector, DN/s in the flattened frame, shape ``(ny, nx)``.

    Attributes
    ----------
    sources
        Image and table of galaxies and stars.
    sky
        Smooth sky.
    sky_level, sky_gradient
        Sky at the centre of the full detector, DN/s, and its change from edge to edge of it
        along x and y, as a fraction.
    wisp
        Wisps, all components added up, or None when the detector and band have none.
    wisp_scales
        Scale of each component of the template, empty without wisps.
    fixed_light
        Glow and pattern, which stand still on the detector (MIRI), or None.
    """

    sources: RenderedSources
    sky: np.ndarray
    sky_level: float
    sky_gradient: tuple[float, float]
    wisp: np.ndarray | None
    wisp_scales: tuple[float, ...]
    fixed_light: np.ndarray | None = None

    @property
    def total(self) -> np.ndarray:
        """All light, DN/s, shape ``(ny, nx)``."""
        total = self.sources.image + self.sky
        if self.wisp is not None:
            total += self.wisp
        if self.fixed_light is not None:
            total += self.fixed_light
        return np.maximum(total, 0)  # the interpolated sources undershoot by 1e-5 of a peak


def make_scene(
    plan: ExposurePlan,
    catalog: Table,
    config: SimulationConfig,
    seed: int,
    templates: tuple[np.ndarray, ...] = (),
) -> Scene:
    """Draw what an exposure sees.

    Parameters
    ----------
    plan
        The exposure.
    catalog
        Sources on the sky, as of `ceers_steps.simulate.sky.scene.make_catalog`.
    config
        Sky and wisps.
    seed
        Seed of the scales of the wisps.
    templates
        Components of the wisp of this detector and band, DN/s, full frame.

    Returns
    -------
    Scene
        Light on the pixels that are read out.
    """
    window = plan.window
    shown = catalog if config.sources.enabled else catalog[:0]
    sources = render_sources(shown, plan.true_wcs, plan.detector, plan.band, window)
    level = 0.0
    if config.sky.enabled:
        brightness = config.sky.surface_brightness
        brightness = plan.band.sky if brightness is None else brightness
        level = brightness / zero_point(plan.detector, plan.band)[0]
    if config.glow.enabled:
        drift = rng_for(seed, "background_drift", *plan.stream).standard_normal()
        level *= 1 + config.glow.drift * float(drift)
    gradient = config.sky.gradient
    rows, columns = window.slices
    along_y, along_x = (
        (np.arange(size, dtype=np.float32) - (size - 1) / 2) / size for size in plan.detector.shape
    )
    sky = level * (1 + gradient[0] * along_x[columns] + gradient[1] * along_y[rows][:, None])
    wisp: np.ndarray | None = None
    scales: tuple[float, ...] = ()
    if templates and config.wisps.enabled:
        rng = rng_for(seed, "wisp_scale", *plan.stream)
        scales = tuple(float(s) for s in rng.uniform(*config.wisps.scale, len(templates)))
        wisp = np.zeros((window.ny, window.nx), np.float32)
        for scale, template in zip(scales, templates, strict=True):
            wisp += np.float32(scale) * template[window.slices]
    fixed = None
    if config.glow.enabled or config.pattern.enabled:
        shape = fixed_light(plan.detector, plan.band, config)[window.slices]
        fixed = np.float32(level) * shape
    return Scene(sources, sky.astype(np.float32), level, gradient, wisp, scales, fixed)


def expose(
    plan: ExposurePlan,
    scene: Scene,
    calibration: Calibration,
    config: SimulationConfig,
    seed: int,
    persistence: np.ndarray | None = None,
) -> SimulatedRamp:
    """Let the detector look at a scene.

    Parameters
    ----------
    plan, scene
        The exposure and the light it gets.
    calibration
        Truth of the full detector.
    config, seed
        Effects and seed of the simulation.
    persistence
        Charge in traps that the exposure before has left, e-, shape ``(ny, nx)``.

    Returns
    -------
    SimulatedRamp
        Raw data and truth.
    """
    window = plan.window
    corner = (window.y_start - 1, window.x_start - 1)
    part = calibration.cut(corner, (window.ny, window.nx))
    return simulate_ramp(
        scene.total * part.flat,
        part,
        config,
        read_pattern=plan.pattern.name,
        n_groups=plan.n_groups,
        n_ints=plan.n_ints,
        readout=plan.readout,
        seed=seed,
        stream=plan.stream,
        persistence=persistence,
    )


def write_raw(path: Path, plan: ExposurePlan, ramp: SimulatedRamp) -> None:
    """Write the raw file (Level 1b) of an exposure.

    Parameters
    ----------
    path
        File to write.
    plan, ramp
        The exposure and its ramps.
    """
    # everything is validated when it is saved: not each of the 200 keywords as well
    with datamodels.Level1bModel(validate_on_assignment=False) as model:
        model.data = ramp.data
        for name, value in metadata(plan).items():
            model[name] = value
        model.group = np.array(group_table(plan), dtype=model.get_dtype("group"))
        model.int_times = np.array(integration_times(plan), dtype=model.get_dtype("int_times"))
        with_date(model, model.meta.observation.date_end).save(path)
