"""Read patterns, the order of the read-out, and the timing that follows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ceers_steps.errors import CeersError

__all__ = [
    "PIXEL_TIME",
    "READ_PATTERNS",
    "ROW_OVERHEAD",
    "ReadPattern",
    "Readout",
    "get_pattern",
]

PIXEL_TIME = 1e-5
"""Time to read one pixel of an output (s)."""

ROW_OVERHEAD = 12
"""Pixel times spent after each row of an output."""


@dataclass(frozen=True)
class ReadPattern:
    """How the frames of an integration become groups.

    Parameters
    ----------
    name : str
        Name of the pattern, as in the READPATT keyword.
    n_frames : int
        Frames averaged on board into one group (NFRAMES).
    group_gap : int
        Frames dropped between two groups (GROUPGAP).
    """

    name: str
    n_frames: int
    group_gap: int

    @property
    def frames_per_group(self) -> int:
        """Frames from the start of one group to the start of the next."""
        return self.n_frames + self.group_gap

    def first_frames(self, n_groups: int) -> np.ndarray:
        """Return the 0-based index of the first frame of each group, shape ``(n_groups,)``."""
        return np.arange(n_groups) * self.frames_per_group

    def total_frames(self, n_groups: int) -> int:
        """Return the frames of an integration, which ends with the last averaged frame."""
        return n_groups * self.frames_per_group - self.group_gap

    def group_times(self, n_groups: int, frame_time: float) -> np.ndarray:
        """Return the mean time of the averaged frames of each group.

        Parameters
        ----------
        n_groups : int
            Number of groups.
        frame_time : float
            Frame time (s).

        Returns
        -------
        numpy.ndarray
            Seconds since the reset of the pixel, shape ``(n_groups,)``. Frame ``j``
            is read ``(j + 1)`` frame times after the reset.
        """
        return (self.first_frames(n_groups) + 1 + 0.5 * (self.n_frames - 1)) * frame_time


READ_PATTERNS = {
    pattern.name: pattern
    for pattern in (
        ReadPattern("RAPID", 1, 0),
        ReadPattern("BRIGHT1", 1, 1),
        ReadPattern("BRIGHT2", 2, 0),
        ReadPattern("SHALLOW2", 2, 3),
        ReadPattern("SHALLOW4", 4, 1),
        ReadPattern("MEDIUM2", 2, 8),
        ReadPattern("MEDIUM8", 8, 2),
        ReadPattern("DEEP2", 2, 18),
        ReadPattern("DEEP8", 8, 12),
    )
}
"""Every NIRCam read pattern, by name."""

_OTHER_PATTERNS = {
    "MIRI": {"FASTR1": ReadPattern("FASTR1", 1, 0)},
    "NIRISS": {"NISRAPID": ReadPattern("NISRAPID", 1, 0), "NIS": ReadPattern("NIS", 4, 0)},
}


def get_pattern(name: str, instrument: str | None = None) -> ReadPattern:
    """Return the read pattern of that name.

    Parameters
    ----------
    name : str
        As in the READPATT keyword.
    instrument : str, optional
        Whose patterns are meant, as in INSTRUME; any without.

    Raises
    ------
    CeersError
        If there is no such pattern.
    """
    every = {"NIRCAM": READ_PATTERNS, **_OTHER_PATTERNS}
    for known in every.values() if instrument is None else (every[instrument],):
        if name.upper() in known:
            return known[name.upper()]
    owner = "NIRCAM" if instrument is None else instrument
    raise CeersError(
        f"'{name}' is not a {owner.replace('NIRCAM', 'NIRCam')} read pattern: use one of "
        f"{', '.join(every[owner])}"
    )


@dataclass(frozen=True)
class Readout:
    """In which order, and how fast, the pixels of a frame are read.

    Each output reads a band of ``nx / n_outputs`` columns, one pixel per tick of 10
    microseconds and all outputs at the same tick, followed by 12 ticks of overhead per
    row. The fast direction alternates between neighbouring outputs: the output with the
    lowest x goes along the sign of `fast_axis`. A frame ends with one more row time
    (two with a single output). NIRISS reads along y: what is said of columns then holds of
    rows. MIRI reads neighbouring columns at the same tick, each with an output of its own, and
    has a row time of its own.

    Parameters
    ----------
    shape : tuple of int
        ``(ny, nx)`` of the frame in the science orientation.
    n_outputs : int
        Number of outputs that read the frame, 1 or 4.
    fast_axis, slow_axis : int
        FASTAXIS (+1 or -1) and SLOWAXIS (+2 or -2) of the detector; the other way round where
        rows are the slow direction's columns (NIRISS).
    miri_row_ticks : int, optional
        Ticks from row to row of a MIRI frame, which ends without further rows.

    Raises
    ------
    ValueError
        If the columns cannot be shared between the outputs, or a direction is unknown.
    """

    shape: tuple[int, int]
    n_outputs: int
    fast_axis: int
    slow_axis: int
    miri_row_ticks: int | None = None

    def __post_init__(self) -> None:
        ny, nx = self.shape if abs(self.fast_axis) == 1 else self.shape[::-1]
        if self.n_outputs not in (1, 4):
            raise ValueError(f"n_outputs is {self.n_outputs}: NIRCam reads with 1 or 4 outputs")
        if ny < 1 or nx < self.n_outputs or nx % self.n_outputs:
            raise ValueError(
                f"shape {self.shape} cannot be shared between {self.n_outputs} outputs: "
                "nx must be a positive multiple of n_outputs"
            )
        if (abs(self.fast_axis), abs(self.slow_axis)) not in ((1, 2), (2, 1)):
            raise ValueError(
                f"fast_axis {self.fast_axis}, slow_axis {self.slow_axis}: NIRCam detectors "
                "have a fast axis of +1 or -1 and a slow axis of +2 or -2, NIRISS the other way"
            )

    @property
    def _turned(self) -> Readout | None:
        """The same read-out with x and y exchanged, where it reads along y."""
        if abs(self.fast_axis) == 1:
            return None
        fast, slow = np.sign(self.fast_axis), np.sign(self.slow_axis)
        return Readout(self.shape[::-1], self.n_outputs, int(fast), 2 * int(slow))

    @property
    def columns(self) -> int:
        """Columns read by one output."""
        return self.shape[1 if abs(self.fast_axis) == 1 else 0] // self.n_outputs

    @property
    def rows(self) -> int:
        """Rows of a frame, along the slow direction."""
        return self.shape[0 if abs(self.fast_axis) == 1 else 1]

    @property
    def row_ticks(self) -> int:
        """Ticks from the start of one row to the start of the next."""
        return self.miri_row_ticks or self.columns + ROW_OVERHEAD

    @property
    def frame_rows(self) -> int:
        """Row times of a frame, overhead included."""
        if self.miri_row_ticks:
            return self.rows
        return self.rows + (2 if self.n_outputs == 1 else 1)

    @property
    def frame_ticks(self) -> int:
        """Ticks from the start of one frame to the start of the next."""
        return self.frame_rows * self.row_ticks

    @property
    def frame_time(self) -> float:
        """Seconds from the start of one frame to the start of the next."""
        return self.frame_ticks * PIXEL_TIME

    def series_to_image(self, series: np.ndarray) -> np.ndarray:
        """Put one sample per tick and output where the pixel read at that tick lies.

        Parameters
        ----------
        series : numpy.ndarray
            Shape ``(n_outputs, n)`` in read-out order, with at least ``ny * row_ticks``
            samples; those of the overhead are left out.

        Returns
        -------
        numpy.ndarray
            Image of shape ``(ny, nx)`` and the dtype of `series`.
        """
        if self._turned is not None:
            return np.ascontiguousarray(self._turned.series_to_image(series).T)
        ny, nx = self.shape
        rows = series[:, : ny * self.row_ticks].reshape(self.n_outputs, ny, self.row_ticks)
        image = np.empty((ny, nx), dtype=series.dtype)
        vertical = slice(None, None, 1 if self.slow_axis > 0 else -1)
        for output in range(self.n_outputs):
            forward = (self.fast_axis > 0) == (output % 2 == 0)
            horizontal = slice(None, None, 1 if forward else -1)
            start = output * self.columns
            image[:, start : start + self.columns] = rows[output, vertical, : self.columns][
                :, horizontal
            ]
        return image

    def read_delay(self, y: ArrayLike, x: ArrayLike) -> np.ndarray:
        """Return when, after the start of a frame, positions of the image are read.

        Parameters
        ----------
        y, x : array_like
            Positions in pixels of the image, inside it or just outside.

        Returns
        -------
        numpy.ndarray
            Seconds after the start of the frame, between 0 and the frame time.
        """
        if self._turned is not None:
            return self._turned.read_delay(x, y)
        ny, nx = self.shape
        row = np.clip(np.rint(y).astype(int), 0, ny - 1)
        column = np.clip(np.rint(x).astype(int), 0, nx - 1)
        if self.slow_axis < 0:
            row = ny - 1 - row
        if self.miri_row_ticks:
            return (row * self.row_ticks + column // self.n_outputs) * PIXEL_TIME
        output, fast = np.divmod(column, self.columns)
        forward = (self.fast_axis > 0) == (output % 2 == 0)
        fast = np.where(forward, fast, self.columns - 1 - fast)
        return (row * self.row_ticks + fast) * PIXEL_TIME
