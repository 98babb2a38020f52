"""JWST NIRCam imaging from raw exposures to science-ready mosaics, as native stpipe Steps.

The Steps and Pipelines are importable from here (``strun ceers_steps.CeersDetector1 ...``);
they are loaded on first use, so that ``import ceers_steps`` and the ``ceers`` command start fast.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from ceers_steps.integration import get_steps

if TYPE_CHECKING:
    from ceers_steps.pipelines.detector1 import CeersDetector1
    from ceers_steps.pipelines.image2 import CeersImage2
    from ceers_steps.pipelines.image3 import CeersImage3
    from ceers_steps.steps.align import AlignStep
    from ceers_steps.steps.image_background import ImageBackgroundStep
    from ceers_steps.steps.jump_check import JumpCheckStep, RateErrorsStep
    from ceers_steps.steps.mosaic_background import MosaicBackgroundStep
    from ceers_steps.steps.remstriping import RemStripingStep
    from ceers_steps.steps.skyvar import SkyVarStep
    from ceers_steps.steps.snowball import SnowballStep
    from ceers_steps.steps.tiled_resample import TiledResampleStep
    from ceers_steps.steps.trapped_charge import TrappedChargeStep
    from ceers_steps.steps.update_wcs import UpdateWcsStep
    from ceers_steps.steps.wispsub import WispSubStep

try:
    __version__ = version("ceers_steps")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

_HOME = {
    "AlignStep": "ceers_steps.steps.align",
    "CeersDetector1": "ceers_steps.pipelines.detector1",
    "CeersImage2": "ceers_steps.pipelines.image2",
    "CeersImage3": "ceers_steps.pipelines.image3",
    "ImageBackgroundStep": "ceers_steps.steps.image_background",
    "JumpCheckStep": "ceers_steps.steps.jump_check",
    "MosaicBackgroundStep": "ceers_steps.steps.mosaic_background",
    "RateErrorsStep": "ceers_steps.steps.jump_check",
    "RemStripingStep": "ceers_steps.steps.remstriping",
    "SkyVarStep": "ceers_steps.steps.skyvar",
    "SnowballStep": "ceers_steps.steps.snowball",
    "TiledResampleStep": "ceers_steps.steps.tiled_resample",
    "TrappedChargeStep": "ceers_steps.steps.trapped_charge",
    "UpdateWcsStep": "ceers_steps.steps.update_wcs",
    "WispSubStep": "ceers_steps.steps.wispsub",
}

__all__ = [
    "AlignStep",
    "CeersDetector1",
    "CeersImage2",
    "CeersImage3",
    "ImageBackgroundStep",
    "JumpCheckStep",
    "MosaicBackgroundStep",
    "RateErrorsStep",
    "RemStripingStep",
    "SkyVarStep",
    "SnowballStep",
    "TiledResampleStep",
    "TrappedChargeStep",
    "UpdateWcsStep",
    "WispSubStep",
    "__version__",
]


@contextmanager
def _installed_first() -> Iterator[None]:
    """Find installed packages before files of the same name in the folder that one works in.

    stpipe puts the folder of a parameter file first while it loads the class that the file names;
    a regions.py or sep.py beside the data would then be run in the place of the package.
    """
    before = list(sys.path)
    near = [*before[:1], *(entry for entry in before[1:] if not os.path.isabs(entry))]
    sys.path[:] = [entry for entry in before[1:] if os.path.isabs(entry)] + near
    inside = list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = before + [entry for entry in sys.path if entry not in inside]


def __getattr__(name: str) -> Any:
    if name.startswith("ceers_"):
        # aliases too: hooks of stpipe take import paths only
        classes = {alias: path for path, alias, _ in get_steps()}
        name = classes.get(name, name).rpartition(".")[2]
    if name in _HOME:
        with _installed_first():
            return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
