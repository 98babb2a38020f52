"""All differences of a ramp judged together: a step between two groups, and the rate.

Two neighbouring differences share one read with opposite signs, and photons where groups are
averages of frames. To judge a difference alone takes a read that is high for a hit, and the rate
that is left keeps the low difference. What a difference has over that which all others and the
surroundings predict knows nothing of them: the rate of a ramp that is cut by mistake stays right.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ceers_steps.kernels.jumps.settings import DIFFERENCES

__all__ = ["Covariance", "GroupNoise", "JointNoise", "find_steps", "step_heights"]

Float = NDArray[np.float32]
Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class GroupNoise:
    """What is known of the noise of a group difference from the references.

    Attributes
    ----------
    read : NDArray
        Shape ``(ny, nx)``: standard deviation of the read noise of a difference of two single
        frames (the READNOISE reference), units of the data.
    gain : NDArray
        Shape ``(ny, nx)``, electrons per unit of the data.
    n_frames : int
        Frames averaged into a group.
    group_frames : int
        Frames from the start of a group to the start of the next.
    """

    read: Float
    gain: Float
    n_frames: int = 1
    group_frames: int = 1

    def photon_factor(self) -> float:
        """Return the variance of photons in a difference of averaged groups over their number."""
        n = self.n_frames
        return 1 - (n * n - 1) / (3 * n * max(self.group_frames, n))

    def variance(self, rows: slice, rate: Float) -> Float:
        """Return the variance of a difference in some rows.

        Parameters
        ----------
        rows
            Which.
        rate
            Shape ``(rows, nx)``: what is expected in a difference; no photons where it is below 0.

        Returns
        -------
        NDArray
            Shape ``(rows, nx)``, units of the data squared.
        """
        read = np.square(self.read[rows]) / self.n_frames
        photons = np.float32(self.photon_factor()) / self.gain[rows]
        return read + photons * np.maximum(rate, 0)

    def over_read(self, rows: slice, rate: Float) -> float:
        """Return the variance of a difference over that of its reads, the median of some rows.

        Parameters
        ----------
        rows, rate
            As in `variance`.

        Returns
        -------
        float
            At least 1.
        """
        read = np.square(self.read[rows]) / self.n_frames
        tiny = np.finfo(np.float32).tiny
        return float(np.median(self.variance(rows, rate) / np.maximum(read, tiny)))


@dataclass(frozen=True)
class JointNoise:
    """How the noise of all differences together differs from that of the references.

    Attributes
    ----------
    typical : NDArray
        Shape ``(n, n)``: heights of steps in a pixel like most, sigma, are this matrix times the
        differences less their rate, in units of the noise of the references.
    read_factor : float
        Variance of the read noise over that of the references.
    rate_variance : float
        Of the rates of pixels about those of their surroundings: stripes of all groups.
    height_scale : float
        Scatter of the heights of steps over that which is expected.
    """

    typical: Float
    read_factor: float = 1.0
    rate_variance: float = 0.0
    height_scale: float = 1.0


@dataclass(frozen=True)
class Covariance:
    """What the differences of some pixels have in common; shapes ``(n_pixels,)``.

    Attributes
    ----------
    read : NDArray
        Variance of the read noise of a difference, twice that of a group.
    photons : NDArray
        Variance of the photons that arrive from one group to the next.
    rate : NDArray
        Variance of the rate that is expected.
    gain : NDArray
        Electrons per unit of the data.
    averaged : float
        Variance of the photons of a difference over their number, below 1 where frames are
        averaged: what it lacks is shared by neighbours.
    """

    read: Float
    photons: Float
    rate: Float
    gain: Float
    averaged: float

    def typical(self) -> "Covariance":
        """Return that of one pixel like most, the median of each."""
        read, photons, rate, gain = (
            np.median(part, keepdims=True)
            for part in (self.read, self.photons, self.rate, self.gain)
        )
        return Covariance(read, photons, rate, gain, self.averaged)

    def precision(self, n: int) -> Float:
        """Return the inverse of the covariance of `n` differences.

        Parameters
        ----------
        n
            Differences of a ramp.

        Returns
        -------
        NDArray
            Shape ``(n, n, n_pixels)``: loops over the few differences would be short.
        """
        # waves diagonalise what is the same for all differences and couples only neighbours
        angles = np.pi * np.arange(1, n + 1) / (n + 1)
        waves = np.sin(np.outer(np.arange(1, n + 1), angles)) * np.sqrt(2 / (n + 1))
        beside = self.photons * np.float32(1 - self.averaged) - self.read
        own = self.read + self.photons * np.float32(self.averaged)
        values = own + beside * np.cos(angles).astype(np.float32)[:, None]
        inverse = 1 / np.maximum(values, np.finfo(np.float32).tiny)
        outer = (waves[:, None] * waves).astype(np.float32)
        precision = (outer.reshape(n * n, n) @ inverse).reshape(n, n, -1)
        # the rate is common to all
        total = precision.sum(axis=0)
        shared = self.rate / (1 + self.rate * total.sum(axis=0))
        for row, of_row in zip(precision, total, strict=True):
            row -= shared * of_row * total
        return precision


def last_before_event(
    data: Float,
    differences: Float,
    usable: Bool,
    hits: Bool,
    smooth: Float,
    inverse_noise: Float,
) -> Bool:
    """Return the only difference of pixels that stand out from others and are then lost.

    A pixel that an event fills has nothing afterwards that tells its rate. If one difference is
    left before, a hit in it passes for the rate; a star would not stop there.

    Parameters
    ----------
    data
        Shape ``(ngroups, ny, nx)``, saturated groups included.
    differences
        Shape ``(ngroups - 1, ny, nx)``, less what stripes are known.
    usable
        Same shape; False = not to be used, as what follows when a pixel is full.
    hits
        Same shape; True = holds a hit.
    smooth
        Shape ``(ny, nx)``: rate of smooth surroundings.
    inverse_noise
        Same shape: 1 over the noise of a difference.

    Returns
    -------
    NDArray
        Shape of `differences`; True = take it for a hit.
    """
    found = np.zeros_like(usable)
    left = usable & ~hits
    y, x = np.nonzero((left.sum(axis=0, dtype=np.uint16) == 1) & ~usable[-1])
    g = left[:, y, x].argmax(axis=0)
    own = differences[g, y, x]
    with np.errstate(invalid="ignore"):
        event = data[g + 2, y, x] - data[g + 1, y, x] > DIFFERENCES.event_ratio * own
    found[g, y, x] = event & ((own - smooth[y, x]) * inverse_noise[y, x] > DIFFERENCES.lone_sigma)
    return found


def step_heights(excess: Float, covariance: Covariance) -> Float:
    """Return what each difference has over that which all others predict.

    Parameters
    ----------
    excess
        Shape ``(n_pixels, n)``: differences less the expected rate.
    covariance
        Of the differences.

    Returns
    -------
    NDArray
        Same shape, sigma.
    """
    precision = covariance.precision(excess.shape[1])
    pull = np.einsum("ijp,pj->ip", precision, excess)
    return (pull / np.sqrt(np.einsum("iip->ip", precision))).T


def find_steps(
    excess: Float, known: NDArray[np.bool_], covariance: Covariance, threshold: float | Float
) -> NDArray[np.bool_]:
    """Find the differences that hold a hit, one after the other, the most significant first.

    Parameters
    ----------
    excess
        Shape ``(n_pixels, n)``: differences less the expected rate.
    known
        Same shape; False = cannot be used.
    covariance
        Of the differences.
    threshold
        Height of a hit, sigma, one or shape ``(n_pixels,)``. Few photons are not normal: where
        they count, it is put so much higher that a noise peak is as rare.

    Returns
    -------
    NDArray
        Same shape; True = a hit.
    """
    n_pixels, n = excess.shape
    precision = covariance.precision(n)
    pull = np.einsum("ijp,jp->ip", precision, np.ascontiguousarray(excess.T))
    for j in range(n):
        unknown = np.flatnonzero(~known[:, j])
        some = precision[..., unknown], pull[:, unknown]
        _leave_out(*some, np.full(len(unknown), j))
        precision[..., unknown], pull[:, unknown] = some
    third = covariance.photons / covariance.gain
    hits = np.zeros(excess.shape, bool)
    pixels, possible = np.arange(n_pixels), known.T.copy()
    lowest = np.broadcast_to(np.asarray(threshold, np.float32), n_pixels)
    for _ in range(n):
        own = np.einsum("iip->ip", precision).astype(np.float64)
        # of those that are left out nothing remains but rounding
        least = np.finfo(np.float32).eps * own.max(axis=0)
        inverse = np.sqrt(np.maximum(own, np.maximum(least, np.finfo(np.float32).tiny)))
        skewness = np.einsum("ijp,ijp,ijp->ip", precision, precision, precision)
        skewness *= third / (inverse * inverse * inverse)
        limit = lowest + (lowest**2 - 1) / 6 * skewness  # Cornish and Fisher, first term
        above = np.where(possible, pull / inverse - limit, -1)
        where = np.argmax(above, axis=0)
        found = np.flatnonzero(above[where, np.arange(len(where))] > 0)
        if not found.size:
            break
        where, pixels, third, lowest = where[found], pixels[found], third[found], lowest[found]
        precision, pull, possible = precision[..., found], pull[:, found], possible[:, found]
        hits[pixels, where] = True
        possible[where, np.arange(len(where))] = False
        _leave_out(precision, pull, where)
    return hits


def _leave_out(precision: Float, pull: Float, which: NDArray[np.intp]) -> None:
    """Forget a difference of each pixel: the others are then judged without it."""
    each = np.arange(len(which))
    row = precision[:, which, each]
    part = row / np.maximum(row[which, each], np.finfo(np.float32).tiny)
    pull -= part * pull[which, each]
    for of_one, share in zip(precision, part, strict=True):
        of_one -= share * row
