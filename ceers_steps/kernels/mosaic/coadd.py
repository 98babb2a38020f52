"""Exposures that are drizzled one by one, combined as if they had been drizzled together."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["Coadd", "context_planes"]

_BITS_PER_PLANE = 32


def context_planes(n_exposures: int) -> int:
    """Return the number of planes of the context image of so many exposures.

    Parameters
    ----------
    n_exposures
        At least 1.

    Returns
    -------
    int
        Planes of 32 exposures each.
    """
    return -(-n_exposures // _BITS_PER_PLANE)


class Coadd:
    """The weighted mean of exposures on one grid, with variances, flags and context.

    Parameters
    ----------
    shape
        Shape of the grid ``(ny, nx)``.
    variances
        Names of the variance images.
    n_exposures
        Number of exposures in the context image; None for no such image.
    with_flags
        Combine flags.
    fill
        Value of the image where there is no exposure.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        *,
        variances: tuple[str, ...] = (),
        n_exposures: int | None = None,
        with_flags: bool = False,
        fill: float = np.nan,
    ):
        self.image = np.full(shape, fill, np.float32)
        self.weight = np.zeros(shape, np.float32)
        self._sums = {name: np.zeros(shape, np.float32) for name in variances}
        self._weights = {name: np.zeros(shape, np.float32) for name in variances}
        planes = None if n_exposures is None else (context_planes(n_exposures), *shape)
        self._context = None if planes is None else np.zeros(planes, np.uint32)
        self.flags = np.zeros(shape, np.uint32) if with_flags else None

    def add(
        self,
        where: tuple[slice, slice],
        number: int,
        image: NDArray[np.float32],
        weight: NDArray[np.float32],
        seen: NDArray[np.bool_],
        variances: dict[str, NDArray[np.float32]],
        variance_weight: NDArray[np.float32] | float = 1.0,
        flags: NDArray[np.uint32] | None = None,
    ) -> None:
        """Add an exposure.

        Parameters
        ----------
        where
            Pixels of the grid on which it falls, shape ``(m, n)``.
        number
            Number of the exposure in the context image, from 0.
        image, weight
            Drizzled image and its weights, shape ``(m, n)``.
        seen
            Pixels of the grid to which the exposure contributes (True = does), shape ``(m, n)``.
        variances
            Drizzled variances, by name; those that are negative or not finite do not count.
        variance_weight
            Weights with which the variances are combined, shape ``(m, n)`` or one for all. The
            published formula of jwst: sum of weight**2 * variance over the square of the summed
            weights. Pixels with a weight that is not positive and finite do not count.
        flags
            Drizzled flags, combined by OR.
        """
        mean, total = self.image[where], self.weight[where]
        added = weight[seen]
        before = total[seen]
        after = before + added
        earlier = np.where(before == 0, 0, mean[seen])  # may be the fill value
        with np.errstate(divide="ignore", invalid="ignore"):
            mean[seen] = np.where(
                before == 0, image[seen], (earlier * before + image[seen] * added) / after
            )
        total[seen] = after
        usable = np.broadcast_to(variance_weight, weight.shape)
        usable = np.where(np.isfinite(usable) & (usable > 0), usable, 0)
        for name, variance in variances.items():
            counts = (variance >= 0) & np.isfinite(variance) & (usable > 0)
            each = usable[counts]
            self._sums[name][where][counts] += variance[counts] * each * each
            self._weights[name][where][counts] += each
        if self._context is not None:
            bit = np.uint32(1 << number % _BITS_PER_PLANE)
            self._context[number // _BITS_PER_PLANE][where][seen] |= bit
        if self.flags is not None and flags is not None:
            self.flags[where] |= flags

    @property
    def context(self) -> NDArray[np.int32] | None:
        """Bit ``i % 32`` of plane ``i // 32`` is set where exposure ``i`` contributes."""
        return None if self._context is None else self._context.view(np.int32)

    def variance(self, name: str) -> NDArray[np.float32]:
        """Return a combined variance; NaN where no exposure has one."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self._sums[name] / self._weights[name] / self._weights[name]

    def error(self) -> NDArray[np.float32]:
        """Return the square root of the sum of all variances; NaN where there is none."""
        total = np.zeros(self.image.shape, np.float32)
        known = np.zeros(self.image.shape, bool)
        for name in self._sums:
            variance = self.variance(name)
            known |= ~np.isnan(variance)
            total += np.nan_to_num(variance, nan=0, posinf=np.inf)
        return np.where(known, np.sqrt(total), np.float32(np.nan))
