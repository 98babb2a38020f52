"""What steps leave for the page of an exposure: a small file a step, beside a survey's records.

A file holds arrays of a few thousand numbers (a curve, a histogram, a small picture) and facts.
It is no product: nothing depends on it, and work goes on where it cannot be written.
"""

import json
import logging
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ceers_steps.errors import CeersError
from ceers_steps.files.atomic import write_atomic
from ceers_steps.files.json_files import plain_values
from ceers_steps.files.membership import identity_of

__all__ = [
    "Look",
    "are_kept",
    "keep_look",
    "keep_looks",
    "keep_record",
    "look_files",
    "read_looks",
]

log = logging.getLogger(__name__)

FACTS = "facts"
"""Name of the array that holds the facts, as JSON."""

NO_VALUE = -32768
"""Of pixels without a value, in a picture that is packed."""

LEVELS = 16
"""Of a packed picture, in one standard deviation of its noise."""

_FOLDER: ContextVar[Path | None] = ContextVar("looks", default=None)


@dataclass(frozen=True)
class Look:
    """What one step has left of one exposure.

    Attributes
    ----------
    arrays : dict of ndarray
        By name.
    facts : dict
        Numbers and texts.
    """

    arrays: dict[str, NDArray] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def picture(self, name: str) -> NDArray[np.float32] | None:
        """Return a packed picture, NaN where it has no value; None if there is none."""
        packed = self.arrays.get(name)
        scale = self.facts.get(f"{name}_scale")
        if packed is None or packed.ndim != 2 or not isinstance(scale, list) or len(scale) != 2:
            return None
        level, step = scale
        values = (packed.astype(np.float32) * step + level).astype(np.float32)
        return np.where(packed == NO_VALUE, np.float32(np.nan), values)


@contextmanager
def keep_looks(folder: Path) -> Iterator[None]:
    """Keep what steps leave while the block runs, below a folder.

    Parameters
    ----------
    folder
        Gets a folder for each exposure.
    """
    token = _FOLDER.set(folder)
    try:
        yield
    finally:
        _FOLDER.reset(token)


def are_kept() -> bool:
    """Say whether anything is kept: if not, it need not be made."""
    return _FOLDER.get() is not None


def keep_look(
    exposure: str,
    kind: str,
    arrays: Mapping[str, NDArray] | None = None,
    facts: Mapping[str, Any] | None = None,
    *,
    pictures: Mapping[str, tuple[NDArray, float]] | None = None,
) -> None:
    """Keep what a step has to show of an exposure; nothing outside of `keep_looks`.

    Parameters
    ----------
    exposure
        Its name.
    kind
        What it is; the same kind again replaces it.
    arrays, facts
        What is kept.
    pictures
        Images and their noise, to which they are rounded (`LEVELS`).
    """
    folder = _FOLDER.get()
    if folder is None or not exposure:
        return
    kept, said = dict(arrays or {}), dict(facts or {})
    for name, (image, noise) in (pictures or {}).items():
        kept[name], said[f"{name}_scale"] = _packed(image, noise)
    kept[FACTS] = np.array(json.dumps(plain_values(said)))
    try:
        write_atomic(folder / exposure / f"{kind}.npz", lambda path: _write(path, kept))
    except (CeersError, OSError) as err:
        log.warning("%s: its page will show less: %s", exposure, err)


def keep_record(model: Any, alias: str, entry: Mapping[str, Any]) -> None:
    """Keep what a step records of an exposure: status, parameters, note.

    Parameters
    ----------
    model
        Data model of the exposure; that of its integrations adds nothing.
    alias
        Of the step.
    entry
        What is recorded.
    """
    if are_kept() and model.data is not None and model.data.ndim != 3:
        facts = {name: value for name, value in entry.items() if name != "metrics"}
        keep_look(identity_of(model), f"record_{alias}", facts=facts)


def look_files(folder: Path, exposure: str) -> list[Path]:
    """Return the files that steps have left of an exposure.

    Parameters
    ----------
    folder
        Of `keep_looks`.
    exposure
        Its name.

    Returns
    -------
    list of Path
        In the order of their names.
    """
    return sorted((folder / exposure).glob("*.npz"))


def read_looks(folder: Path, exposure: str) -> dict[str, Look]:
    """Read what steps have left of an exposure.

    Parameters
    ----------
    folder
        Of `keep_looks`.
    exposure
        Its name.

    Returns
    -------
    dict of Look
        By kind; a file that cannot be read is left out.
    """
    found = {}
    for path in look_files(folder, exposure):
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            facts = json.loads(str(arrays.pop(FACTS)))
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as err:
            log.warning("%s cannot be read: %s", path, err)
            continue
        found[path.stem] = Look(arrays, facts if isinstance(facts, dict) else {})
    return found


def _packed(image: NDArray, noise: float) -> tuple[NDArray[np.int16], list[float]]:
    """Return an image as small integers, with the value of 0 and that of 1."""
    good = np.isfinite(image)
    level = float(np.median(image[good])) if good.any() else 0.0
    step = noise / LEVELS if noise > 0 else 1.0
    steps = np.clip(np.round((np.where(good, image, level) - level) / step), -32000, 32000)
    return np.where(good, steps, NO_VALUE).astype(np.int16), [level, step]


def _write(path: Path, arrays: Mapping[str, NDArray]) -> None:
    """Write arrays to exactly this path."""
    with open(path, "wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
