"""Two-dimensional background: robust values of boxes, filtered and interpolated by splines.

The algorithm is that of Source Extractor and of `photutils.background.Background2D`, whose numbers
it reproduces, in strips of boxes and in single precision: a mosaic of 50 million pixels takes
seconds, and little memory beyond the image and the result.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from ceers_steps.kernels.additive.sky import AdditiveSky
from ceers_steps.kernels.blocks import as_blocks
from ceers_steps.kernels.mesh.settings import MESH
from ceers_steps.kernels.mesh.smoothing import continued, smooth_boxes
from ceers_steps.kernels.rows import RowImage, Strip, for_each_strip
from ceers_steps.kernels.stats import clipped_row_biweights

__all__ = ["BackgroundMesh", "NoSkyError", "box_locations", "fit_background", "fit_mesh"]

_SPLINE_REACH = 2
"""Boxes beyond the edge whose splines reach into the image."""
_SPLINE_MEMORY = 8
"""Boxes after which a spline has forgotten a value: 0.27 of it is left from one to the next."""


class NoSkyError(ValueError):
    """Nothing of the sky is left outside a mask."""


@dataclass(frozen=True)
class BackgroundMesh:
    """A background known in boxes, from which that of any pixel follows.

    Attributes
    ----------
    values : ndarray of float64, shape (ny boxes, nx boxes)
        In the unit of the image.
    box : tuple of int
        Height and width of a box, pixels.
    shape : tuple of int
        Shape (ny, nx) of the image.
    continued : bool
        Between the outermost middles of boxes and the borders the background goes on as it is;
        false: it is mirrored, and so is flat there.
    added : AdditiveSky or None
        Steep sky that was taken out of the image before, and is part of the background.
    """

    values: NDArray[np.float64]
    box: tuple[int, int]
    shape: tuple[int, int]
    continued: bool = False
    added: AdditiveSky | None = None

    @cached_property
    def _coefficients(self) -> NDArray[np.float32]:
        """Coefficients of the splines, with the boxes that lie mirrored beyond the edges."""
        if self.continued:
            padded = continued(self.values, _SPLINE_REACH + _SPLINE_MEMORY)
            coefficients = ndimage.spline_filter(padded, 3, mode="mirror")
            part = slice(_SPLINE_MEMORY, -_SPLINE_MEMORY)
            return coefficients[part, part].astype(np.float32)
        coefficients = ndimage.spline_filter(self.values, 3, mode="reflect")
        return np.pad(coefficients, _SPLINE_REACH, mode="symmetric").astype(np.float32)

    @property
    def middles(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows and columns of the pixels in the middles of the boxes."""
        down, across = (
            np.minimum(np.arange(n_boxes) * box + box // 2, size - 1)
            for n_boxes, box, size in zip(self.values.shape, self.box, self.shape, strict=True)
        )
        return down, across

    def at(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the background where some rows and columns cross, within the range of the boxes.

        Parameters
        ----------
        rows, columns : ndarray of int, shape (n,) and (m,)
            Pixels.

        Returns
        -------
        ndarray of float32, shape (n, m)
        """
        smooth = self._smooth_at(rows, columns)
        return smooth if self.added is None else smooth + self.added.at(rows, columns)

    def _smooth_at(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the same without what is added."""
        if np.ptp(self.values) == 0.0:
            return np.full((len(rows), len(columns)), self.values[0, 0], np.float32)
        down = _spline_matrix(rows, self.box[0], self.values.shape[0])
        across = _spline_matrix(columns, self.box[1], self.values.shape[1])
        result = np.ascontiguousarray((down @ self._coefficients).T)
        result = np.ascontiguousarray((across @ result).T)
        known = continued(self.values, 1) if self.continued else self.values
        return np.clip(result, known.min(), known.max(), out=result)

    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return the background of whole rows, shape (stop - start, nx)."""
        return self.at(np.arange(start, stop), np.arange(self.shape[1]))

    def at_boxes(self, other: "BackgroundMesh") -> NDArray[np.float64]:
        """Return the background in the middles of the boxes of another mesh of the image."""
        return self.at(*other.middles).astype(float)

    def followed(self, fine: "BackgroundMesh", limit: NDArray | float) -> "BackgroundMesh":
        """Return this background, and a finer one where they differ by much.

        Parameters
        ----------
        fine : BackgroundMesh
            Of the same image, in smaller boxes.
        limit : float or ndarray, shape of the finer boxes
            Difference, in the unit of the image, up to which this one stands; from twice of it
            on the finer one does.

        Returns
        -------
        BackgroundMesh
            In the boxes of the finer one.
        """
        level = self.at_boxes(fine)
        more = fine.values - level
        more *= np.clip(np.abs(more) / limit - 1.0, 0.0, 1.0)
        return BackgroundMesh(level + more, fine.box, fine.shape, fine.continued)


def fit_background(
    image: NDArray,
    mask: NDArray[np.bool_],
    *,
    box_size: int,
    filter_size: int,
    sigma_clip: float = 3.0,
    exclude_fraction: float = 0.9,
) -> NDArray[np.float32]:
    """Fit a smooth background to the unmasked pixels: `fit_mesh`, taken to all pixels.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        In any unit.
    mask : ndarray of bool, shape (ny, nx)
        True = do not use.
    box_size, filter_size, sigma_clip, exclude_fraction
        See `fit_mesh`.

    Returns
    -------
    ndarray of float32, shape (ny, nx)
        The background of every pixel, masked or not.
    """
    mesh = fit_mesh(
        image,
        mask,
        box_size=box_size,
        filter_size=filter_size,
        sigma_clip=sigma_clip,
        exclude_fraction=exclude_fraction,
    )
    return mesh.rows(0, image.shape[0])


def fit_mesh(
    image: RowImage,
    mask: RowImage,
    *,
    box_size: int,
    filter_size: int,
    sigma_clip: float = 3.0,
    exclude_fraction: float = 0.9,
    fill: str = "nearest",
    max_degree: int = 1,
    borders: str = "mirrored",
    n_threads: int = 1,
) -> BackgroundMesh:
    """Measure the background in boxes.

    Bagley et al. 2023, section 3.3: the biweight location of the clipped pixels of each box,
    boxes with too few pixels filled from their neighbours, a median filter over the boxes, and
    cubic splines between their centres.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        In any unit. NaN and infinities count as masked. It and the mask may also be a
        `~ceers_steps.kernels.rows.RowImage`, of which strips of rows are asked for.
    mask : ndarray of bool, shape (ny, nx)
        True = do not use.
    box_size : int
        Side of a box, pixels. Cut to the size of the image.
    filter_size : int
        Side of the median filter, boxes; odd, 1 = none.
    sigma_clip : float
        Pixels further than this from the median of their box, in standard deviations, are left out.
    exclude_fraction : float
        A box with more than this fraction of its pixels masked or clipped (0 to 1) is excluded.
    fill : {'nearest', 'gaussian', 'tested'}
        What fills excluded boxes. ``'nearest'``: the mean of the ten nearest boxes, weighted with
        the inverse of their distances. ``'gaussian'``: means over an area about as wide as
        the hole, as good as any interpolation if the sky has no structure wider than that; the
        plane that fits best is taken out first, so that neither this nor the filter flattens it.
        ``'tested'``: these, wider ones or planes, as holes laid on known sky tell (`fill_tested`);
        and a wider filter where the boxes around a box foretell it better so.
    max_degree : int
        Of the polynomial that is taken out in place of the plane: above 1 only as far as there
        are ``MESH.boxes_per_degree`` boxes for each degree along the shorter side.
    borders : {'mirrored', 'continued'}
        What lies beyond the outermost boxes: for ``'continued'``, unless ``fill='nearest'``, what
        rises towards them rises on.
    n_threads : int
        Strips of boxes that are worked on at a time.

    Returns
    -------
    BackgroundMesh

    Raises
    ------
    NoSkyError
        When every box is excluded.
    ValueError
        When a parameter makes no sense.
    """
    _check_parameters(image, mask, box_size, filter_size, exclude_fraction, fill)
    ny, nx = image.shape
    box = (min(box_size, ny), min(box_size, nx))
    boxes = box_locations(image, mask, box, sigma_clip, exclude_fraction, n_threads)
    mesh = smooth_boxes(boxes, filter_size, fill=fill, max_degree=max_degree, borders=borders)
    return BackgroundMesh(mesh, box, (ny, nx), continued=borders == "continued")


def _check_parameters(
    image: RowImage,
    mask: RowImage,
    box_size: int,
    filter_size: int,
    exclude_fraction: float,
    fill: str,
) -> None:
    """Raise ValueError for what cannot be meant."""
    if len(image.shape) != 2 or image.shape != mask.shape or 0 in image.shape:
        raise ValueError(
            f"image {image.shape} and mask {mask.shape}: give two of the same (ny, nx)"
        )
    if fill not in {"nearest", "gaussian", "tested"}:
        raise ValueError(f"fill={fill!r}: use 'nearest', 'gaussian' or 'tested'")
    if box_size < 1:
        raise ValueError(f"box_size={box_size}: give 1 pixel or more")
    if filter_size < 1 or filter_size % 2 == 0:
        raise ValueError(f"filter_size={filter_size}: give an odd number of boxes, 1 for no filter")
    if not 0.0 <= exclude_fraction <= 1.0:
        raise ValueError(f"exclude_fraction={exclude_fraction}: give a fraction from 0 to 1")


def box_locations(
    image: RowImage,
    mask: RowImage,
    box: tuple[int, int],
    sigma_clip: float,
    exclude_fraction: float,
    n_threads: int,
) -> NDArray[np.float64]:
    """Return the clipped biweight location of each box, NaN where too few pixels are left.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        Any unit; arrays, or images that give their rows.
    mask : ndarray of bool, shape (ny, nx)
        True = do not use.
    box : tuple of int
        Rows and columns of a box; those at the upper edges may be smaller.
    sigma_clip : float
        Clipping threshold.
    exclude_fraction : float
        Boxes with a larger fraction of masked or clipped pixels have no value.
    n_threads : int
        Threads.

    Returns
    -------
    ndarray of float64, shape (number of boxes along y, along x)
    """
    (ny, nx), (height, width) = image.shape, box
    n_rows, n_columns = -(-ny // height), -(-nx // width)
    mesh = np.full((n_rows, n_columns), np.nan)

    def measure(strip: Strip) -> None:
        first, last = strip.start // height, -(-strip.stop // height)
        values = np.full(((last - first) * height, n_columns * width), np.nan, np.float32)
        filled = values[: strip.stop - strip.start, :nx]
        np.copyto(filled, image[strip.rows], where=~mask[strip.rows], casting="same_kind")
        flat = as_blocks(values, box).reshape(-1, height * width)
        location, count = clipped_row_biweights(flat, sigma_clip, max_iterations=5)
        location[count <= (1.0 - exclude_fraction) * height * width] = np.nan
        mesh[first:last] = location.reshape(last - first, n_columns)

    for_each_strip(measure, image.shape, 0, n_threads, size=MESH.strip_size, alignment=height)
    if np.isnan(mesh).all():
        raise NoSkyError(
            f"no box of {height} x {width} pixels has more than "
            f"{1.0 - exclude_fraction:.0%} of its pixels left"
        )
    return mesh


def _spline_matrix(pixels: NDArray[np.intp], box: int, n_boxes: int) -> sparse.csr_array:
    """Return the weights that the (padded) spline coefficients have in each pixel."""
    place = (pixels + 0.5) / box - 0.5
    first = np.floor(place).astype(np.intp) - 1
    columns = first[:, np.newaxis] + np.arange(4)
    t = np.abs(place[:, np.newaxis] - columns)
    weights = np.where(t < 1.0, (4.0 - 6.0 * t**2 + 3.0 * t**3) / 6.0, (2.0 - t) ** 3 / 6.0)
    rows = np.broadcast_to(np.arange(len(pixels))[:, np.newaxis], columns.shape)
    entries = weights.astype(np.float32).ravel(), (rows.ravel(), columns.ravel() + _SPLINE_REACH)
    return sparse.csr_array(entries, shape=(len(pixels), n_boxes + 2 * _SPLINE_REACH))
