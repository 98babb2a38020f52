"""The truth behind a simulated exposure, in a file beside it."""

import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import asdf
import numpy as np
from astropy.table import Table

from ceers_steps import __version__
from ceers_steps.errors import CeersError
from ceers_steps.files.atomic import write_atomic
from ceers_steps.simulate.detector.deposits import RayDeposits, SnowballDeposit
from ceers_steps.simulate.detector.events import CosmicRays, Snowball, SnowballStamp
from ceers_steps.simulate.detector.ramp import SimulatedRamp
from ceers_steps.simulate.exposure import Scene
from ceers_steps.simulate.telescope.plan import ExposurePlan

__all__ = ["Truth", "read_truth", "write_truth"]

# Steps to which images are rounded, so that they compress: far below the noise (0.005 DN/s, 10 e-).
_RATE_STEP = 2.0**-20
_STRIPE_STEP = 2.0**-18
_SIGMA_STEP = 2.0**-5


@dataclass(frozen=True)
class Truth:
    """What is true of a simulated exposure.

    Attributes
    ----------
    exposure
        Name of the exposure and how it was made: detector, filter, read pattern, seed and so on.
        ``pointing_error`` is where the telescope looked less where it was commanded to look:
        ``v2`` and ``v3`` along the axes of the telescope, ``roll`` about the target, arcsec.
    rate
        Noiseless rate as a perfect rate product shows it: light times flat, no dark current, 0
        where no light is seen. DN/s, shape ``(ny, nx)``, rounded to 1e-6.
    sky
        Smooth sky in the flattened frame, DN/s, at the centre of the full detector.
    sky_gradient
        Its change from edge to edge along x and y, as a fraction.
    wisp_scales
        Scale of each component of the wisp template, empty without wisps.
    fixed_light
        Glow and pattern of MIRI in the flattened frame, DN/s, shape ``(ny, nx)``; None without.
    sources
        One row per source that reaches the image (see `ceers_steps.simulate.sky.scene`).
    stripe_rate
        The 1/f noise as an unweighted fit of a line to all groups sees it: DN/s, shape
        ``(n_ints, ny, nx)``, rounded to 4e-6.
    difference_sigma
        Noise of the difference of two neighbouring groups (photons and white read noise), e-, shape
        ``(ny, nx)``, rounded to 0.03.
    cosmic_rays
        Every cosmic ray with its pixels, or None when they were off.
    snowballs
        Every snowball with its pixels.
    """

    exposure: dict
    rate: np.ndarray
    sky: float
    sky_gradient: tuple[float, float]
    wisp_scales: tuple[float, ...]
    sources: Table
    stripe_rate: np.ndarray
    difference_sigma: np.ndarray
    cosmic_rays: RayDeposits | None
    snowballs: tuple[SnowballDeposit, ...]
    fixed_light: np.ndarray | None = None

    def snowball_charge(self, integration: int, group: int) -> np.ndarray:
        """Charge (e-) of snowballs that a group has more than the one before, ``(ny, nx)``."""
        charge = np.zeros(self.rate.shape, np.float32)
        for deposit in self.snowballs:
            if deposit.ball.integration == integration:
                charge[deposit.stamp.slices] += deposit.arriving(group)
        return charge

    def cosmic_ray_charge(self, integration: int, group: int) -> np.ndarray:
        """Charge (e-) of cosmic rays that a group has more than the one before, ``(ny, nx)``."""
        charge = np.zeros(self.rate.shape, np.float32)
        if self.cosmic_rays is not None:
            self.cosmic_rays.add_arriving(charge, integration, group)
        return charge


def _rounded(image: np.ndarray, step: float) -> np.ndarray:
    # a power of two: the result is exact in float32
    return np.rint(image * np.float32(1 / step)) * np.float32(step)


def write_truth(
    path: Path, plan: ExposurePlan, scene: Scene, ramp: SimulatedRamp, seed: int
) -> Path:
    """Write the truth of an exposure as a compressed ASDF file.

    Parameters
    ----------
    path
        File to write, ``*_truth.asdf``.
    plan, scene, ramp
        The exposure, its light and its ramps.
    seed
        Seed of the simulation.

    Returns
    -------
    Path
        The file.
    """
    table = scene.sources.table
    tree = {
        "exposure": {
            "name": plan.root,
            "detector": plan.detector.name,
            "filter": plan.band.name,
            "subarray": plan.window.name,
            "read_pattern": plan.pattern.name,
            "n_groups": plan.n_groups,
            "n_ints": plan.n_ints,
            "dither": plan.dither + 1,
            "pointing_error": asdict(plan.pointing_error),
            "seed": seed,
            "made_by": f"ceers_steps {__version__}",
        },
        "rate": _rounded(ramp.rate, _RATE_STEP),
        "sky": scene.sky_level,
        "sky_gradient": list(scene.sky_gradient),
        "wisp_scales": list(scene.wisp_scales),
        "sources": {name: np.asarray(table[name]) for name in table.colnames},
        "stripe_rate": _rounded(ramp.stripe_rate, _STRIPE_STEP),
        "difference_sigma": _rounded(ramp.difference_sigma, _SIGMA_STEP),
        "cosmic_rays": None if ramp.cosmic_rays is None else _rays_tree(ramp.cosmic_rays),
        "snowballs": [_snowball_tree(deposit) for deposit in ramp.snowballs],
    }
    if scene.fixed_light is not None:
        tree["fixed_light"] = _rounded(scene.fixed_light, _RATE_STEP)

    def write(temporary: Path) -> None:
        # the lowest level is 4 times faster than the usual one, for 10% more bytes
        asdf.AsdfFile(tree).write_to(
            temporary, all_array_compression="zlib", compression_kwargs={"level": 1}
        )

    return write_atomic(path, write)


def _rays_tree(deposits: RayDeposits) -> dict:
    rays = {f.name: getattr(deposits.rays, f.name) for f in fields(deposits.rays)}
    return {"rays": rays, "fractions": deposits.fractions}


def _snowball_tree(deposit: SnowballDeposit) -> dict:
    return {
        "event": {
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in asdict(deposit.ball).items()
        },
        "y0": int(deposit.stamp.y0),
        "x0": int(deposit.stamp.x0),
        "prompt": deposit.stamp.prompt,
        "ring": deposit.stamp.ring,
        "prompt_fraction": deposit.prompt_fraction,
        "ring_fraction": deposit.ring_fraction,
    }


def read_truth(path: str | os.PathLike) -> Truth:
    """Read the truth of an exposure.

    Parameters
    ----------
    path
        ``*_truth.asdf``, or the raw, rate or other product that belongs to it, when it lies
        beside.

    Returns
    -------
    Truth
        Everything in memory.

    Raises
    ------
    CeersError
        When there is no such file or it is not a truth file.
    """
    path = Path(path)
    if not path.name.endswith("_truth.asdf"):
        path = path.with_name(path.stem.rsplit("_", 1)[0] + "_truth.asdf")
    try:
        with asdf.open(path, lazy_load=False, memmap=False) as file:
            tree = file.tree
            rays = tree["cosmic_rays"]
            if rays is not None:
                rays = RayDeposits(CosmicRays(**rays["rays"]), rays["fractions"])
            return Truth(
                exposure=dict(tree["exposure"]),
                rate=tree["rate"],
                sky=tree["sky"],
                sky_gradient=tuple(tree["sky_gradient"]),
                wisp_scales=tuple(tree["wisp_scales"]),
                sources=Table(dict(tree["sources"])),
                stripe_rate=tree["stripe_rate"],
                difference_sigma=tree["difference_sigma"],
                cosmic_rays=rays,
                snowballs=tuple(_snowball(entry) for entry in tree["snowballs"]),
                fixed_light=tree.get("fixed_light"),
            )
    except (OSError, ValueError, KeyError) as err:
        raise CeersError(f"Cannot read the truth file {path}: {err}") from err


def _snowball(tree: dict) -> SnowballDeposit:
    stamp = SnowballStamp(tree["y0"], tree["x0"], tree["prompt"], tree["ring"])
    return SnowballDeposit(
        Snowball(**tree["event"]), stamp, tree["prompt_fraction"], tree["ring_fraction"]
    )
