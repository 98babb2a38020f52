"""Wisp templates as they come, made fit for use: no pedestal, nothing where there is no wisp."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ceers_steps.kernels.blocks import as_blocks
from ceers_steps.kernels.parts import find_parts, without_small_parts
from ceers_steps.kernels.stats import MAD_TO_SIGMA
from ceers_steps.kernels.wisps.settings import TEMPLATE

__all__ = ["WispTemplate", "prepare_template"]


@dataclass(frozen=True)
class WispTemplate:
    """One or several components of a wisp, and where the wisp is.

    Attributes
    ----------
    images : ndarray
        ``(k, ny, nx)`` components in DN/s, without pedestal, uncut: the light beyond the extent
        is too faint to subtract but would bias a fit that left it out.  Nan where unknown.
    box : tuple of slice
        Rows and columns that hold the extent of the wisp.
    taper : ndarray
        ``(height, width)`` of the box, 1 on the wisp, falling to 0 around it.
    smoothed_components : ndarray
        ``(k, height, width)`` tapered and smoothed components.
    brightness : ndarray
        ``(k,)`` mean of every component over the wisp, in DN/s.
    variances : tuple of ndarray or float
        ``(height, width)`` of the box, or one for all pixels: variance of each component, (DN/s)^2.
    """

    images: NDArray[np.float32]
    box: tuple[slice, slice]
    taper: NDArray[np.float32]
    smoothed_components: NDArray[np.float32]
    brightness: NDArray[np.float64]
    variances: tuple[NDArray[np.float32] | float, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """``(ny, nx)`` of the array that the wisp falls on."""
        return self.images.shape[1:]

    def model(self, scales: NDArray) -> NDArray[np.float32]:
        """Return the wisp with the given scales, ``(height, width)`` of the box, in DN/s."""
        inside = np.nan_to_num(self.images[:, *self.box], nan=0.0)
        return np.tensordot(np.asarray(scales, np.float32), inside, axes=1) * self.taper

    def variance(self, scales: NDArray, covariance: NDArray) -> NDArray[np.float32]:
        """Return the variance of a model, from the scales and from the noise of the templates.

        Parameters
        ----------
        scales : ndarray
            ``(k,)`` factors of the components.
        covariance : ndarray
            ``(k, k)`` of the factors; zeros for factors that are given.

        Returns
        -------
        ndarray
            ``(height, width)`` of the box, (DN/s)^2.
        """
        total = np.zeros(self.taper.shape, np.float32)
        for scale, variance in zip(scales, self.variances, strict=True):
            if scale:
                total += np.float32(scale**2) * variance
        values, vectors = np.linalg.eigh(covariance)
        for value, vector in zip(values, vectors.T, strict=True):
            if value > 0:
                inside = np.tensordot(vector.astype(np.float32), self.images[:, *self.box], axes=1)
                total += np.float32(value) * np.nan_to_num(inside, nan=0.0) ** 2
        return total * self.taper**2

    def cut(self, y_start: int, x_start: int, shape: tuple[int, int]) -> WispTemplate | None:
        """Return the template of a subarray.

        Parameters
        ----------
        y_start, x_start : int
            First row and column of the subarray, from 0.
        shape : tuple of int
            ``(ny, nx)`` of the subarray.

        Returns
        -------
        WispTemplate or None
            None if the wisp does not reach into the subarray.

        Raises
        ------
        ValueError
            If the subarray leaves the array of the template.
        """
        starts = (y_start, x_start)
        if any(
            start < 0 or start + size > whole
            for start, size, whole in zip(starts, shape, self.shape, strict=True)
        ):
            raise ValueError(
                f"a subarray of shape {shape} at x={x_start}, y={y_start} does not fit into the "
                f"template's {self.shape}"
            )
        box, inner, outer = [], [], []
        for start, size, side in zip(starts, shape, self.box, strict=True):
            low, high = max(side.start - start, 0), min(side.stop - start, size)
            if low >= high:
                return None
            box.append(slice(low, high))
            inner.append(slice(low + start - side.start, high + start - side.start))
            outer.append(slice(start, start + size))
        if not self.taper[*inner].any():
            return None
        return WispTemplate(
            self.images[:, *outer],
            (box[0], box[1]),
            self.taper[*inner],
            self.smoothed_components[:, *inner],
            self.brightness,
            tuple(v[*inner] if isinstance(v, np.ndarray) else v for v in self.variances),
        )


def prepare_template(
    images: NDArray, errors: Sequence[NDArray | None] | None = None
) -> WispTemplate:
    """Find the extent of a wisp in its template and take the pedestal out.

    Templates are averages of many exposures, with a pedestal and with noise everywhere.
    Subtracted as they are, both go into the image, the noise the same in every exposure.  The
    extent is where the block-averaged template exceeds its noise and 1% of its peak; around it
    the wisp fades to zero over a few blocks, so that no edge is printed on the image.

    Parameters
    ----------
    images : ndarray
        ``(ny, nx)`` template or ``(k, ny, nx)`` components, in DN/s.  Nan counts as no data.
    errors : sequence of ndarray or None, optional
        ``(ny, nx)`` standard error of each component.  Where there is none, it is the scatter of
        the component outside the wisp.

    Returns
    -------
    WispTemplate
        The components, with one extent common to them.

    Raises
    ------
    ValueError
        If a component has no significant signal, or the array is not two- or three-dimensional.
    """
    images = np.asarray(images, np.float32)
    if images.ndim == 2:
        images = images[np.newaxis]
    if images.ndim != 3 or min(images.shape) < 1:
        raise ValueError(f"an array of shape {images.shape} is neither one template nor a stack")
    blocks = [_blocks(image) for image in images]
    extents = [_extent(block) for block in blocks]
    for number, extent in enumerate(extents):
        if not extent.any():
            raise ValueError(f"component {number} holds no wisp above its noise")
    extent = np.logical_or.reduce(extents)
    wide = ndimage.binary_dilation(extent, iterations=TEMPLATE.growth)
    pedestals = [np.median(block[~wide]) if not wide.all() else 0.0 for block in blocks]
    images = images - np.array(pedestals, np.float32)[:, np.newaxis, np.newaxis]

    padded = np.pad(wide, 1, mode="edge")  # a wisp that the edge of the detector cuts stays full
    depth = ndimage.distance_transform_cdt(padded, "chessboard")[1:-1, 1:-1]
    fade = np.minimum(depth / (TEMPLATE.growth + 1), 1.0)
    rows, cols = ndimage.find_objects(wide.astype(np.uint8))[0]
    rows = slice(rows.start * TEMPLATE.block, min(rows.stop * TEMPLATE.block, images.shape[1]))
    cols = slice(cols.start * TEMPLATE.block, min(cols.stop * TEMPLATE.block, images.shape[2]))
    taper = _interpolate(fade, rows, cols)
    inside = np.nan_to_num(images[:, rows, cols], nan=0.0)
    smoothed = np.stack([_smooth_from_other_rows(part * taper) for part in inside])
    brightness = (inside * taper).sum(axis=(1, 2), dtype=np.float64) / taper.sum()
    variances = []
    for image, error in zip(images, errors or [None] * len(images), strict=True):
        if error is None:
            variances.append(_noise(image, wide) ** 2)
        else:
            part = np.nan_to_num(error[rows, cols], nan=0.0, posinf=0.0).astype(np.float32)
            variances.append(part**2)
    return WispTemplate(images, (rows, cols), taper, smoothed, brightness, tuple(variances))


def _noise(image: NDArray, wide: NDArray[np.bool_]) -> float:
    """Robust scatter of the pixels outside the wisp, from differences of neighbours in y."""
    # every fourth pair of rows is enough
    pairs = image[: len(image) // 4 * 4].reshape(-1, 4, image.shape[1])
    differences = pairs[:, 1] - pairs[:, 0]
    rows = np.arange(len(differences)) * 4 // TEMPLATE.block
    outside = ~np.repeat(wide, TEMPLATE.block, axis=1)[rows, : image.shape[1]]
    outside &= np.isfinite(differences)
    if not outside.any():
        return 0.0
    return float(MAD_TO_SIGMA * np.median(np.abs(differences[outside])) / np.sqrt(2))


def _blocks(image: NDArray) -> NDArray:
    """Average square blocks over the pixels with data; 0 where there are none."""
    blocks = as_blocks(image, TEMPLATE.block, beyond=np.nan)
    valid = np.isfinite(blocks)
    total = np.where(valid, blocks, 0).sum(axis=(2, 3), dtype=np.float64)
    return total / np.maximum(valid.sum(axis=(2, 3)), 1)


def _extent(blocks: NDArray) -> NDArray[np.bool_]:
    """Blocks that belong to the wisp."""
    # the differences of neighbours show the noise where the wisp is everywhere, too
    steps = np.abs(np.diff(blocks, axis=1))
    smooth = ndimage.gaussian_filter(blocks, TEMPLATE.smoothing, mode="nearest")
    of_blocks = MAD_TO_SIGMA * np.median(steps) / np.sqrt(2) if steps.size else 0.0
    noise = TEMPLATE.smoothed_noise * of_blocks
    # the lower half of the blocks is free of wisp even under an extended one
    pedestal = np.quantile(smooth, TEMPLATE.pedestal_quantile)
    smooth = smooth - pedestal
    found = smooth > max(TEMPLATE.faintest * smooth.max(), TEMPLATE.n_sigma * noise)
    parts = find_parts(found, corners=False)
    if not parts:
        return found
    largest = max(int(np.count_nonzero(part.pixels)) for part in parts)
    return without_small_parts(found, min(TEMPLATE.smallest_part, largest), corners=False)


def _smooth_from_other_rows(image: NDArray) -> NDArray:
    """Smooth an image with a Gaussian that leaves out the row of the pixel itself.

    The result knows nothing of the noise in its own row, so that a product of the two holds the
    wisp only.  (Smoothed with its own row, noise in the template dilutes the scale by percents.)
    """
    impulse = np.zeros(2 * round(4 * TEMPLATE.component_sigma) + 1)
    impulse[len(impulse) // 2] = 1
    kernel = ndimage.gaussian_filter1d(impulse, TEMPLATE.component_sigma)
    kernel[len(kernel) // 2] = 0
    image = ndimage.correlate1d(image, kernel / kernel.sum(), axis=0, mode="nearest")
    return ndimage.gaussian_filter1d(image, TEMPLATE.component_sigma, axis=1, mode="nearest")


def _interpolate(blocks: NDArray, rows: slice, cols: slice) -> NDArray:
    """Interpolate block values bilinearly to the pixels of a box."""

    def positions(part: slice, n_blocks: int) -> tuple[NDArray, NDArray, NDArray]:
        centres = (np.arange(part.start, part.stop) + 0.5) / TEMPLATE.block - 0.5
        centres = np.clip(centres, 0, n_blocks - 1)
        low = np.minimum(centres.astype(int), max(n_blocks - 2, 0))
        return low, np.minimum(low + 1, n_blocks - 1), (centres - low).astype(np.float32)

    low, high, part = positions(rows, blocks.shape[0])
    blocks = blocks.astype(np.float32)
    strips = blocks[low] + (blocks[high] - blocks[low]) * part[:, np.newaxis]
    low, high, part = positions(cols, blocks.shape[1])
    return strips[:, low] + (strips[:, high] - strips[:, low]) * part
