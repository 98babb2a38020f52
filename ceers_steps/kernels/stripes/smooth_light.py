"""Smooth light on a detector, as a Gaussian field with sparse sources.

Light that is smooth over tens of pixels (the wings and discs of large galaxies, gradients
of the sky) is written as cubic B-splines on a coarse grid.  Its prior says that the field
is made by sources on that grid, each spread by the same smooth, exponentially falling
kernel: ``(1/h^2 - laplacian)^2 light = sources``.  Few strong sources therefore explain a
large galaxy including its faint outskirts.  Polynomials of low degree over the whole image
are added for the level and the gradient of the sky.  In terms of the coefficients the prior
precision is banded, so that light can be fitted, or marginalised, with one banded Cholesky
factor.
"""

from __future__ import annotations

import numpy as np
from numpy.polynomial import Legendre
from numpy.typing import NDArray
from scipy.interpolate import BSpline
from scipy.linalg import cho_solve_banded, cholesky_banded

from ceers_steps.kernels.stripes.settings import LIGHT

__all__ = ["SmoothLight"]

_DEGREE = 3  # of the splines
_PRIOR_REACH = 4  # nodes coupled by the prior precision, on each side

Float = NDArray[np.float32]


class SmoothLight:
    """Smooth light made by sparse sources and a polynomial trend, seen in weighted samples.

    Parameters
    ----------
    weight : ndarray
        ``(ny, nc)`` inverse variance of each sample; zero where there is none.
    response : ndarray or None
        ``(ny, nc)`` factor by which a sample responds to light (the flat); None for one.
    binning : int
        Pixels along x per sample.
    spacing : float
        Distance of the nodes, in pixels.
    kernel_length : float
        Length `h` of the kernel, in pixels.

    Attributes
    ----------
    shape : tuple of int
        Shape of the grid of nodes.
    degrees : ndarray
        ``(n,)`` total degree of each polynomial of the trend, ascending from the constant.
    """

    def __init__(
        self,
        weight: Float,
        response: Float | None,
        *,
        binning: int,
        spacing: float,
        kernel_length: float,
    ) -> None:
        ny, nc = weight.shape
        self._weight = weight
        self._response = response
        self._spacing = spacing
        self._n_columns = nc * binning
        self._rows = _bspline_basis(ny, np.arange(ny) + 0.5, spacing)
        self._columns = _bspline_basis(self._n_columns, (np.arange(nc) + 0.5) * binning, spacing)
        self.shape = (len(self._rows), len(self._columns))
        self._operator = _Stencil.screened_poisson_squared(self.shape, spacing / kernel_length)
        self._normal = self._normal_matrix()
        self._trends, self.degrees = _polynomials(self.shape)
        self._normal_trends = _banded_times(self._normal, self._trends)
        self._trends_normal_trends = self._trends.T @ self._normal_trends

    def set_amplitude(self, sources: NDArray, trend: NDArray) -> None:
        """Set the prior standard deviations.

        Parameters
        ----------
        sources : ndarray
            Array of `shape`, > 0: the height of the light that one source makes at its
            own place.
        trend : ndarray
            ``(n,)``, > 0: of the polynomials; infinite for free ones.
        """
        matrix = self._operator.gram(1 / np.asarray(sources, np.float64) ** 2)
        bands = min(len(matrix), len(self._normal))
        matrix[:bands] += self._normal[:bands]
        factor = cholesky_banded(matrix, overwrite_ab=True, lower=True, check_finite=False)
        eliminated = cho_solve_banded((factor, True), self._normal_trends, check_finite=False)
        precision = self._trends_normal_trends - self._normal_trends.T @ eliminated
        precision[np.diag_indices_from(precision)] += np.asarray(trend, np.float64) ** -2
        self._trend_covariance = np.linalg.inv(precision)
        self._trend_moments = (self._trends - eliminated).T
        self._eliminated = eliminated.astype(np.float32)
        self._factor = factor.astype(np.float32)

    def fit(self, weighted: Float) -> tuple[Float, NDArray[np.float64]]:
        """Most probable light, given weighted samples.

        Parameters
        ----------
        weighted : ndarray
            ``(ny, nc)`` samples times their weight.

        Returns
        -------
        field : ndarray
            Array of `shape`, spline coefficients of the light that sources make.
        trend : ndarray
            ``(n,)`` coefficients of the polynomials, of degree `degrees`.
        """
        if self._response is not None:
            weighted = weighted * self._response
        moments = (self._rows @ weighted @ self._columns.T).ravel()
        field = cho_solve_banded((self._factor, True), moments, check_finite=False)
        trend = self._trend_covariance @ (self._trend_moments @ moments)
        field -= self._eliminated @ trend.astype(np.float32)
        return field.reshape(self.shape), trend

    def image(self, field: Float, trend: NDArray[np.float64]) -> Float:
        """Evaluate light as the samples see it.

        Parameters
        ----------
        field, trend : ndarray
            As returned by `fit`.

        Returns
        -------
        ndarray
            ``(ny, nc)`` light times the response.
        """
        image = self.samples(field, trend)
        return image if self._response is None else image * self._response

    def samples(self, field: Float, trend: NDArray[np.float64]) -> Float:
        """Evaluate light at the samples, as it is before the flat.

        Parameters
        ----------
        field, trend : ndarray
            As returned by `fit`.

        Returns
        -------
        ndarray
            ``(ny, nc)`` light.
        """
        return self._rows.T @ (self._coefficients(field, trend) @ self._columns)

    def trend_image(self, index: int) -> Float:
        """Return one polynomial as the samples see it.

        Parameters
        ----------
        index : int
            Which.

        Returns
        -------
        ndarray
            ``(ny, nc)`` polynomial times the response.
        """
        return self.image(np.zeros(self.shape, np.float32), np.eye(len(self.degrees))[index])

    def trend_along_y(self, degree: int) -> Float:
        """Return the polynomial of y alone of a degree: ``(ny,)``, as it is before the flat."""
        nothing = np.zeros(self.shape, np.float32)
        return self.samples(nothing, np.eye(len(self.degrees))[np.argmax(self.degrees == degree)])[
            :, 0
        ]

    def pixels(self, field: Float, trend: NDArray[np.float64]) -> Float:
        """Evaluate light on the pixels, as it is before the flat.

        Parameters
        ----------
        field, trend : ndarray
            As returned by `fit`.

        Returns
        -------
        ndarray
            ``(ny, nc * binning)`` light.
        """
        columns = _bspline_basis(self._n_columns, np.arange(self._n_columns) + 0.5, self._spacing)
        return self._rows.T @ (self._coefficients(field, trend) @ columns)

    def residual(self, weighted: Float) -> Float:
        """Weighted samples after the most probable light was taken out.

        Parameters
        ----------
        weighted : ndarray
            ``(ny, nc)`` samples times their weight.

        Returns
        -------
        ndarray
            ``(ny, nc)`` residuals times their weight: what is left when light is
            marginalised.
        """
        return weighted - self._weight * self.image(*self.fit(weighted))

    def sources(self, field: Float) -> NDArray[np.float64]:
        """Sources that make the light.

        Parameters
        ----------
        field : ndarray
            As returned by `fit`.

        Returns
        -------
        ndarray
            Array of `shape`: the sources, in the units of `set_amplitude`.
        """
        return self._operator.apply(field)

    def _coefficients(self, field: Float, trend: NDArray[np.float64]) -> Float:
        """Spline coefficients of field and trend together."""
        return field + (self._trends @ trend).astype(np.float32).reshape(self.shape)

    def _normal_matrix(self) -> NDArray[np.float64]:
        """Lower bands of the sum over samples of weight x basis x basis."""
        # Double precision, so that rounding cannot make the matrix indefinite.
        weight = self._weight.astype(np.float64)
        if self._response is not None:
            weight *= self._response**2
        my, mx = self.shape
        bands = np.zeros((_DEGREE * (mx + 1) + 1, my, mx))
        for dy in range(_DEGREE + 1):
            rows = (self._rows[: my - dy] * self._rows[dy:]).astype(np.float64) @ weight
            for dx in range(-_DEGREE if dy else 0, _DEGREE + 1):
                left, right = max(0, -dx), mx - max(0, dx)
                columns = self._columns[left:right] * self._columns[left + dx : right + dx]
                bands[dy * mx + dx, : my - dy, left:right] = rows @ columns.T
        return bands.reshape(len(bands), -1)


class _Stencil:
    """Linear operator on a grid whose rows are stencils of up to two steps."""

    def __init__(self, terms: dict[tuple[int, int], NDArray[np.float64]]) -> None:
        self._terms = terms  # offset -> factor of the neighbour at that offset

    @classmethod
    def screened_poisson_squared(cls, shape: tuple[int, int], screening: float) -> _Stencil:
        """Return ``((screening^2 - laplacian)^2) / c`` with closed borders.

        `c` makes the answer to a source of one have a peak of one.
        """
        my, mx = shape
        single: dict[tuple[int, int], NDArray[np.float64]] = {(0, 0): np.full(shape, screening**2)}
        for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            inside = _shifted(np.ones(shape), -dy, -dx)
            single[dy, dx] = -inside
            single[0, 0] += inside
        double: dict[tuple[int, int], NDArray[np.float64]] = {}
        for (ay, ax), first in single.items():
            for (by, bx), second in single.items():
                term = first * _shifted(second, -ay, -ax)
                offset = (ay + by, ax + bx)
                double[offset] = double.get(offset, 0) + term
        ky = 2 - 2 * np.cos(np.pi * np.arange(my) / my)
        kx = 2 - 2 * np.cos(np.pi * np.arange(mx) / mx)
        peak = np.mean((screening**2 + ky[:, None] + kx) ** -2)
        return cls({offset: peak * term for offset, term in double.items()})

    def apply(self, field: NDArray) -> NDArray[np.float64]:
        """Operator times a field on the grid."""
        return sum(
            (term * _shifted(field, -dy, -dx) for (dy, dx), term in self._terms.items()),
            np.zeros(field.shape),
        )

    def gram(self, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """Lower bands of ``transpose(operator) diag(weight) operator``."""
        my, mx = weight.shape
        bands = np.zeros((_PRIOR_REACH * mx + 1, my, mx))
        for (ay, ax), first in self._terms.items():
            for (by, bx), second in self._terms.items():
                band = (by - ay) * mx + bx - ax
                if band >= 0:  # node m couples nodes i = m + a and j = m + b >= i
                    bands[band] += _shifted(weight * first * second, ay, ax)
        return bands.reshape(len(bands), -1)


def _bspline_basis(length: int, x: NDArray, spacing: float) -> Float:
    """Cubic B-splines with about the given spacing on (0, length): ``(n, len(x))``."""
    pieces = max(1, round(length / spacing))
    knots = np.arange(-_DEGREE, pieces + _DEGREE + 1) * (length / pieces)
    design = BSpline.design_matrix(x, knots, _DEGREE)
    return np.ascontiguousarray(design.toarray().T, np.float32)


def _shifted(field: NDArray, dy: int, dx: int) -> NDArray[np.float64]:
    """Field moved by (dy, dx), zero where nothing moves in."""
    ny, nx = field.shape
    moved = np.zeros((ny, nx))
    moved[max(0, dy) : ny + min(0, dy), max(0, dx) : nx + min(0, dx)] = field[
        max(0, -dy) : ny - max(0, dy), max(0, -dx) : nx - max(0, dx)
    ]
    return moved


def _banded_times(lower: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Symmetric banded matrix, given by its lower bands, times columns ``(n, k)``."""
    result = lower[0][:, None] * columns
    n = len(columns)
    for k in range(1, min(len(lower), n)):
        band = lower[k, : n - k, None]
        if band.any():
            result[k:] += band * columns[: n - k]
            result[: n - k] += band * columns[k:]
    return result


def _polynomials(shape: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.int_]]:
    """Legendre products up to the total degree ``LIGHT.trend_degree``: ``(ny * nx, n)``, degrees.

    Taken as spline coefficients, which makes polynomials of the same degree.
    """
    degrees_of_one = range(LIGHT.trend_degree + 1)
    y, x = ([Legendre.basis(d)(np.linspace(-1, 1, n)) for d in degrees_of_one] for n in shape)
    columns, degrees = [], []
    for degree in range(LIGHT.trend_degree + 1):
        for along_x in range(degree + 1):
            columns.append(np.outer(y[degree - along_x], x[along_x]).ravel())
            degrees.append(degree)
    return np.stack(columns, axis=1), np.array(degrees)
