"""Truth-known NIRCam exposures, with the reference files that calibrate them.

>>> from ceers_steps.simulate import simulate, activate
>>> exposures = simulate("field", ["NRCB4"], ["F150W"], dithers=1)  # doctest: +SKIP
>>> activate("field")  # jwst now uses the simulated reference files  # doctest: +SKIP
"""

from ceers_steps.simulate.api import SimulatedExposure, simulate
from ceers_steps.simulate.config import SimulationConfig
from ceers_steps.simulate.crds_cache import activate, active
from ceers_steps.simulate.truth import Truth, read_truth

__all__ = [
    "SimulatedExposure",
    "SimulationConfig",
    "Truth",
    "activate",
    "active",
    "read_truth",
    "simulate",
]
