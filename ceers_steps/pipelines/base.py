"""What the pipelines share."""

from collections.abc import Callable
from functools import partial
from typing import Any

from ceers_steps.steps.base import CeersMixin, save_atomic

__all__ = ["CeersPipeline"]


class CeersPipeline(CeersMixin):
    """For pipelines that extend one of jwst: its parameters in CRDS; its steps save whole files."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in self.step_defs:
            step = getattr(self, name)
            if not isinstance(step, CeersMixin):
                step.save_model = partial(save_atomic, step)
                step.remove_suffix = partial(_without_fits, step.remove_suffix)

    @classmethod
    def get_config_reftype(cls) -> str:
        """Take the CRDS parameters of the pipeline that this one extends."""
        extended: Any = next(base for base in cls.__mro__ if not issubclass(base, CeersMixin))
        return extended.get_config_reftype()


def _without_fits(remove: Callable[[str], Any], name: str) -> Any:
    """Remove the suffix of a name, also of that of a packed input (``x_cal.fits`` of .fits.gz)."""
    return remove(name.removesuffix(".fits"))
