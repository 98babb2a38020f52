"""What the pipelines share."""

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

    @classmethod
    def get_config_reftype(cls) -> str:
        """Take the CRDS parameters of the pipeline that this one extends."""
        extended: Any = next(base for base in cls.__mro__ if not issubclass(base, CeersMixin))
        return extended.get_config_reftype()
