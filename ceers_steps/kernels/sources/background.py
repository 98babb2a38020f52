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
from scipy.spatial import cKDTree

from ceers_steps.kernels.blocks import as_blocks
from ceers_steps.kernels.rows import RowImage, Strip, for_each_strip
from ceers_steps.kernels.sources.settings import MESH
from ceers_steps.kernels.stats import clipped_row_biweights, mad_sigma, nan_median

__all__ = ["BackgroundMesh", "continued", "fit_background", "fit_mesh"]

_SPLINE_REACH = 2
"""Boxes beyond the edge whose splines reach into the image."""
_SPLINE_MEMORY = 8
"""Boxes after which a spline has forgotten a value: 0.27 of it is left from one to the next."""


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
    """

    values: NDArray[np.float64]
    box: tuple[int, int]
    shape: tuple[int, int]
    continued: bool = False

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


def continued(values: NDArray, width: int) -> NDArray:
    """Return an array with a frame around it in which what is at its edges goes on.

    A sky that rises to a border rises on beyond it: a median around a pixel there, as one inside,
    is neither too high nor too low.

    Parameters
    ----------
    values : ndarray, shape (ny, nx)
        Any numbers.
    width : int
        Of the frame, elements.

    Returns
    -------
    ndarray, shape (ny + 2 * width, nx + 2 * width)
        Twice the value at the edge less that as far inside of it.
    """
    return np.pad(values, width, mode="reflect", reflect_type="odd") if width else values


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
    fill : {'nearest', 'gaussian'}
        What fills excluded boxes. ``'nearest'``: the mean of the ten nearest boxes, weighted with
        the inverse of their distances. ``'gaussian'``: means over an area about as wide as
        the hole, as good as any interpolation if the sky has no structure wider than that; the
        plane that fits best is taken out first, so that neither this nor the filter flattens it.
    max_degree : int
        Of the polynomial that is taken out in place of the plane: above 1 only as far as there
        are ``MESH.boxes_per_degree`` boxes for each degree along the shorter side.
    borders : {'mirrored', 'continued'}
        What lies beyond the outermost boxes: for ``'continued'``, with ``fill='gaussian'``, what
        rises towards them rises on.
    n_threads : int
        Strips of boxes that are worked on at a time.

    Returns
    -------
    BackgroundMesh

    Raises
    ------
    ValueError
        When every box is excluded, or a parameter makes no sense.
    """
    _check_parameters(image, mask, box_size, filter_size, exclude_fraction, fill)
    ny, nx = image.shape
    box = (min(box_size, ny), min(box_size, nx))
    mesh = _box_locations(image, mask, box, sigma_clip, exclude_fraction, n_threads)
    if fill == "nearest":
        mesh = _median_filter(_fill_nearest(mesh), filter_size)
    else:
        smooth = _polynomial(mesh, max_degree)
        rest, half = _fill_gaussian(mesh - smooth), filter_size // 2
        if borders == "continued" and half:
            rest = _median_filter(continued(rest, half), filter_size)[half:-half, half:-half]
        else:
            rest = _median_filter(rest, filter_size)
        mesh = smooth + rest
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
    if fill not in {"nearest", "gaussian"}:
        raise ValueError(f"fill={fill!r}: use 'nearest' or 'gaussian'")
    if box_size < 1:
        raise ValueError(f"box_size={box_size}: give 1 pixel or more")
    if filter_size < 1 or filter_size % 2 == 0:
        raise ValueError(f"filter_size={filter_size}: give an odd number of boxes, 1 for no filter")
    if not 0.0 <= exclude_fraction <= 1.0:
        raise ValueError(f"exclude_fraction={exclude_fraction}: give a fraction from 0 to 1")


def _box_locations(
    image: RowImage,
    mask: RowImage,
    box: tuple[int, int],
    sigma_clip: float,
    exclude_fraction: float,
    n_threads: int,
) -> NDArray[np.float64]:
    """Return the clipped biweight location of each box, NaN where too few pixels are left."""
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
        raise ValueError(
            f"no box of {height} x {width} pixels has more than "
            f"{1.0 - exclude_fraction:.0%} of its pixels left"
        )
    return mesh


def _fill_nearest(mesh: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fill boxes without a value with the nearest ones, weighted by inverse distance."""
    empty = np.isnan(mesh)
    if not empty.any():
        return mesh
    known = np.argwhere(~empty)
    values = mesh[~empty]
    n = min(MESH.neighbours, len(values))
    distance, index = cKDTree(known).query(np.argwhere(empty), k=np.arange(1, n + 1))
    weight = 1.0 / distance
    filled = mesh.copy()
    filled[empty] = np.sum(weight * values[index], axis=1) / weight.sum(axis=1)
    return filled


def _polynomial(mesh: NDArray[np.float64], max_degree: int) -> NDArray[np.float64]:
    """Return the polynomial that fits the known boxes best, without outliers."""
    degree = max(1, min(max_degree, min(mesh.shape) // MESH.boxes_per_degree))
    if degree > 1:
        # what is narrower than a hole is not known in it
        widest = 2.0 * float(ndimage.distance_transform_edt(np.isnan(mesh)).max())
        degree = max(
            1, min(degree, int(min(mesh.shape) / max(MESH.holes_per_degree * widest, 1.0)))
        )
    y, x = np.indices(mesh.shape)
    if degree > 1:
        # from -1 to 1, so that high powers do not swamp the others
        y, x = (2.0 * k / max(n - 1, 1) - 1.0 for k, n in zip((y, x), mesh.shape, strict=True))
    powers = [(i, total - i) for total in range(degree + 1) for i in range(total + 1)]
    if degree == 1:
        powers = [(0, 0), (0, 1), (1, 0)]
    terms = np.stack([(y**i * x**j).ravel().astype(float) for i, j in powers], axis=1)
    values = mesh.ravel()
    keep = known = ~np.isnan(values)
    for _ in range(MESH.plane_passes):
        solution = np.linalg.lstsq(terms[keep], values[keep], rcond=None)[0]
        rest = values - terms @ solution
        near = known & (np.abs(rest) <= MESH.plane_clip * mad_sigma(rest))
        if 2 * np.count_nonzero(near) < np.count_nonzero(known):
            break
        keep = near
    return (terms @ solution).reshape(mesh.shape)


def _fill_gaussian(mesh: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fill boxes without a value with means under Gaussians of 1, 2, 4, ... boxes.

    Each counts by how much of it lies on known boxes, in full from ``MESH.enough`` on; the next one
    has what it leaves.
    """
    known = ~np.isnan(mesh)
    weight, value = known.astype(float), np.nan_to_num(mesh)
    filled, rest = value.copy(), 1.0 - weight
    sigma = 1.0
    while rest.any() and sigma < max(mesh.shape):
        share, total = (ndimage.gaussian_filter(each, sigma) for each in (weight, value))
        part = rest * np.minimum(share / MESH.enough, 1.0)
        filled += part * total / np.maximum(share, 1e-9)
        rest -= part
        sigma *= 2.0
    return filled + rest * mesh[known].mean()


def _median_filter(mesh: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Return the median of the boxes around each box, of those that exist at the edges."""
    if size == 1:
        return mesh
    half = size // 2
    padded = np.pad(mesh, half, constant_values=np.nan)
    around = np.lib.stride_tricks.sliding_window_view(padded, (size, size))
    # row by row: the windows of a whole mesh take much memory
    return np.stack([nan_median(row.reshape(len(row), -1), axis=1) for row in around])


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
