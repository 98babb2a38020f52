"""What MosaicBackgroundStep is given: the mosaics of an association, models in memory."""

import os
from typing import Any

from ceers_steps.files.associations import read_association

__all__ = ["ModelList", "mosaics_of"]


class ModelList:
    """Data models in memory, with what is used of a library."""

    def __init__(self, models: list) -> None:
        self._models = models

    def __len__(self) -> int:
        return len(self._models)

    def borrow(self, index: int) -> Any:
        """Return a model."""
        return self._models[index]

    def shelve(self, *_args: Any, **_kwargs: Any) -> None:
        """Leave a model as it is: it is in memory."""


def mosaics_of(path: str | os.PathLike) -> list[str]:
    """Return the mosaics of an association: its members, or what its products became.

    Parameters
    ----------
    path : path
        Association.

    Returns
    -------
    list of str
        Files.
    """
    association = read_association(path)
    folder = os.path.dirname(os.path.abspath(path))
    files: list[str] = []
    for product in association["products"]:
        mosaic = os.path.join(folder, f"{product.get('name')}_i2d.fits")
        members = [
            member["expname"]
            for member in product["members"]
            if member.get("exptype", "science") == "science"
        ]
        made = os.path.isfile(mosaic) and not all("_i2d" in name for name in members)
        files += [mosaic] if made else members
    return list(dict.fromkeys(files))
