"""Truth-known NIRCam exposures, with the reference files that calibrate them.

>>> from ceers_steps.simulate import simulate, activate
>>> exposures = simulate("field", ["NRCB4"], ["F150W"], dithers=1)  # doctest: +SKIP
>>> activate("field")  # jwst now uses the simulated reference files  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ceers_steps.simulate.api import SimulatedExposure, simulate
    from ceers_steps.simulate.config.simulation import SimulationConfig
    from ceers_steps.simulate.references.crds_cache import activate, active
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

_HOME = {
    "SimulatedExposure": "api",
    "SimulationConfig": "config.simulation",
    "Truth": "truth",
    "activate": "references.crds_cache",
    "active": "references.crds_cache",
    "read_truth": "truth",
    "simulate": "api",
}


def __getattr__(name: str) -> Any:
    # the command line imports this package for its help: the rest comes when it is used
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
