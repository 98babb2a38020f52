"""JWST NIRCam imaging from raw exposures to science-ready mosaics, as native stpipe Steps.

The Steps and Pipelines are importable from here (``strun ceers_steps.CeersDetector1 ...``);
they are loaded on first use, so that ``import ceers_steps`` and the ``ceers`` command start fast.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from ceers_steps.integration import get_steps

if TYPE_CHECKING:
    from ceers_steps.pipelines.detector1 import CeersDetector1
    from ceers_steps.pipelines.image2 import CeersImage2
    from ceers_steps.pipelines.image3 import CeersImage3
    from ceers_steps.steps.align import AlignStep
    from ceers_steps.steps.image_background import ImageBackgroundStep
    from ceers_steps.steps.jump_check import JumpCheckStep
    from ceers_steps.steps.mosaic_background import MosaicBackgroundStep
    from ceers_steps.steps.remstriping import RemStripingStep
    from ceers_steps.steps.skyvar import SkyVarStep
    from ceers_steps.steps.snowball import SnowballStep
    from ceers_steps.steps.tiled_resample import TiledResampleStep
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
    "RemStripingStep": "ceers_steps.steps.remstriping",
    "SkyVarStep": "ceers_steps.steps.skyvar",
    "SnowballStep": "ceers_steps.steps.snowball",
    "TiledResampleStep": "ceers_steps.steps.tiled_resample",
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
    "RemStripingStep",
    "SkyVarStep",
    "SnowballStep",
    "TiledResampleStep",
    "UpdateWcsStep",
    "WispSubStep",
    "__version__",
]


def __getattr__(name):
    if name.startswith("ceers_"):
        # aliases too: hooks of stpipe take import paths only
        classes = {alias: path for path, alias, _ in get_steps()}
        name = classes.get(name, name).rpartition(".")[2]
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *_HOME])
