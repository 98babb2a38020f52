"""Read-out geometry of an HxRG detector: from image to time series and back.

An HxRG detector is read through one or more outputs at the same time, one pixel per
output and clock tick.  Each output covers a contiguous strip of columns.  Within a strip
pixels are read along x (the fast direction), rows follow one another along y (the slow
direction), and after every row the clock runs on for a few ticks in which no pixel is
read.  The fast direction alternates from one output to its neighbour.  Noise that is
correlated in time therefore has a fixed pattern in the image, and is most simply
described after the image has been put back into the order in which it was read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["NIRCAM_ROW_OVERHEAD", "ReadoutLayout"]

NIRCAM_ROW_OVERHEAD = 12
"""Clock ticks after each row in which no pixel is read (JWST HAWAII-2RG detectors)."""


@dataclass(frozen=True)
class ReadoutLayout:
    """The order in which the pixels of one image are read.

    Parameters
    ----------
    shape : tuple of int
        ``(ny, nx)`` of the image, in pixels.
    n_outputs : int
        Number of outputs that are read at the same time.  Output 0 holds the columns with
        the lowest x.
    fast_direction : int
        +1 if output 0 is read towards higher x, -1 if towards lower x (the sign of the
        FASTAXIS keyword).
    slow_direction : int
        +1 if rows are read towards higher y, -1 if towards lower y (the sign of the
        SLOWAXIS keyword).
    row_overhead : int
        Clock ticks after each row in which no pixel is read.

    Raises
    ------
    ValueError
        If the columns do not divide evenly among the outputs, or a direction is not +1 or -1.
    """

    shape: tuple[int, int]
    n_outputs: int = 4
    fast_direction: int = 1
    slow_direction: int = 1
    row_overhead: int = NIRCAM_ROW_OVERHEAD

    def __post_init__(self) -> None:
        if self.n_outputs < 1 or self.shape[1] % self.n_outputs or min(self.shape) < 1:
            raise ValueError(
                f"an image of shape {self.shape} cannot be divided into n_outputs="
                f"{self.n_outputs} strips of equal width: check SUBARRAY and NOUTPUTS"
            )
        for name in ("fast_direction", "slow_direction"):
            if getattr(self, name) not in (-1, 1):
                raise ValueError(f"{name}={getattr(self, name)}: must be +1 or -1")
        if self.row_overhead < 0:
            raise ValueError(f"row_overhead={self.row_overhead}: must not be negative")

    @classmethod
    def from_keywords(
        cls,
        shape: tuple[int, int],
        *,
        fast_axis: int,
        slow_axis: int,
        n_outputs: int,
        row_overhead: int = NIRCAM_ROW_OVERHEAD,
    ) -> ReadoutLayout:
        """Layout from the FASTAXIS, SLOWAXIS and NOUTPUTS keywords.

        Parameters
        ----------
        shape : tuple of int
            ``(ny, nx)`` of the image.
        fast_axis, slow_axis : int
            Values of FASTAXIS (+1 or -1) and SLOWAXIS (+2 or -2).
        n_outputs : int
            Value of NOUTPUTS.
        row_overhead : int
            Clock ticks after each row in which no pixel is read.

        Returns
        -------
        ReadoutLayout
            The layout.

        Raises
        ------
        ValueError
            If rows are not read along x.
        """
        if abs(fast_axis) != 1 or abs(slow_axis) != 2:
            raise ValueError(
                f"FASTAXIS={fast_axis}, SLOWAXIS={slow_axis}: only detectors read along x are "
                "supported (FASTAXIS +1 or -1 and SLOWAXIS +2 or -2)"
            )
        return cls(shape, n_outputs, int(np.sign(fast_axis)), int(np.sign(slow_axis)), row_overhead)

    @property
    def output_width(self) -> int:
        """Columns of one output."""
        return self.shape[1] // self.n_outputs

    @property
    def row_ticks(self) -> int:
        """Clock ticks from one row to the next."""
        return self.output_width + self.row_overhead

    def direction(self, output: int) -> int:
        """Fast direction (+1 or -1 along x) of an output.

        Parameters
        ----------
        output : int
            Number of the output, from 0 at the lowest x.

        Returns
        -------
        int
            +1 or -1.
        """
        return self.fast_direction if output % 2 == 0 else -self.fast_direction

    def to_series(self, image: NDArray, *, binning: int = 1, out: NDArray | None = None) -> NDArray:
        """Bring an image into the order in which it was read.

        Parameters
        ----------
        image : ndarray
            ``(ny, nx / binning)``, an image or one already summed over `binning` columns.
        binning : int
            Columns per column of `image`; must divide the width of an output and the overhead.
        out : ndarray, optional
            ``(n_outputs, n)`` array to write to, with ``n >= ny * row_ticks / binning``.

        Returns
        -------
        ndarray
            ``(n_outputs, n)`` time series, zero in the ticks in which no pixel is read.
        """
        ny, _ = self.shape
        width, ticks = self._binned(binning)
        if out is None:
            out = np.zeros((self.n_outputs, ny * ticks), image.dtype)
        rows = out[:, : ny * ticks].reshape(self.n_outputs, ny, ticks)
        rows[:, :, width:] = 0
        out[:, ny * ticks :] = 0
        for output in range(self.n_outputs):
            strip = image[:, output * width : (output + 1) * width]
            rows[output, :, :width] = strip[:: self.slow_direction, :: self.direction(output)]
        return out

    def to_image(self, series: NDArray, *, binning: int = 1) -> NDArray:
        """Put time series back into their places in the image.

        Parameters
        ----------
        series : ndarray
            ``(n_outputs, n)`` as returned by `to_series`.
        binning : int
            Columns per sample.

        Returns
        -------
        ndarray
            ``(ny, nx / binning)`` image.
        """
        ny, _ = self.shape
        width, ticks = self._binned(binning)
        rows = series[:, : ny * ticks].reshape(self.n_outputs, ny, ticks)
        image = np.empty((ny, self.n_outputs * width), series.dtype)
        for output in range(self.n_outputs):
            strip = image[:, output * width : (output + 1) * width]
            strip[:] = rows[output, :: self.slow_direction, :width][:, :: self.direction(output)]
        return image

    def rows_to_series(self, rows: NDArray, length: int, *, binning: int = 1) -> NDArray:
        """Give all pixels of a row the same value, in the order in which they are read.

        Parameters
        ----------
        rows : ndarray
            ``(ny,)`` values of the rows.
        length : int
            Samples of the series; beyond the last row it goes back to the first one smoothly.
        binning : int
            Columns per sample.

        Returns
        -------
        ndarray of float32
            ``(length,)`` series of any output.
        """
        rows = rows[:: self.slow_direction]
        read = np.repeat(rows, self._binned(binning)[1])
        n = length - len(read)
        back = np.sin(np.pi / 2 * (np.arange(n) + 0.5) / n) ** 2
        return np.concatenate([read, rows[-1] + (rows[0] - rows[-1]) * back]).astype(np.float32)

    def _binned(self, binning: int) -> tuple[int, int]:
        """Width of an output and ticks per row, in samples of `binning` ticks."""
        if self.output_width % binning or self.row_overhead % binning:
            raise ValueError(
                f"binning={binning} does not divide the width of an output "
                f"({self.output_width}) and the row overhead ({self.row_overhead})"
            )
        return self.output_width // binning, self.row_ticks // binning
