"""Scale of a wisp template in an image, by robust linear least squares.

A wisp is stray light that falls on the same place of a detector with a brightness that differs
from exposure to exposure (Bagley et al. 2023, ApJL 946 L12, section 3.1.2).  The image is modelled
as ``sum_k scale_k * template_k`` plus a smooth background plus one free level for every row of
every output, so that neither the sky nor 1/f noise can pass for a wisp.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ceers_steps.kernels.wisps.settings import WISP_FIT
from ceers_steps.kernels.wisps.system import (
    Bins,
    Pixels,
    Solution,
    find_sources,
    influence,
    solve,
)
from ceers_steps.kernels.wisps.template import WispTemplate

__all__ = ["WispFit", "fit_wisp"]


@dataclass(frozen=True)
class WispFit:
    """Brightness of a wisp.

    Attributes
    ----------
    scales : ndarray
        ``(n_components,)`` factors of the templates, never negative; 0 for components that are
        not significant beside the others, which are left out.
    scale_errs : ndarray
        Their standard errors, from the scatter of the residuals over blocks of the image, so
        that 1/f noise, faint sources and an imperfect template are counted.  Those of components
        that are left out are from the fit that had them in.  Nan where the method gives none.
    significance : float
        Mean brightness of the wisp over its standard error.  Nan where there is no error.
    chi2 : float
        Reduced chi squared of the fit with the errors given.  Nan where there are no errors.
    n_pixels : int
        Pixels that took part.
    trial_scales, objective : ndarray
        ``(n_trials,)`` common factors of the templates and what was minimised, for a plot.
    at_bound : bool or None
        Whether the scale is the first or the last that was tried: not a minimum.  None where the
        method has no bounds.
    covariance : ndarray
        ``(n_components, n_components)`` of the factors; zero for those that are left out, and
        where the method gives none.
    """

    scales: NDArray[np.float64]
    scale_errs: NDArray[np.float64]
    significance: float
    chi2: float
    n_pixels: int
    trial_scales: NDArray[np.float64]
    objective: NDArray[np.float64]
    at_bound: bool | None = None
    covariance: NDArray[np.float64] = field(default_factory=lambda: np.zeros((1, 1)))

    @classmethod
    def by_hand(cls, scale: float) -> WispFit:
        """Return a scale that was given, not measured."""
        nothing = np.zeros(0)
        return cls(np.array([scale]), np.array([np.nan]), np.nan, np.nan, 0, nothing, nothing)


def fit_wisp(
    image: NDArray,
    err: NDArray,
    mask: NDArray[np.bool_],
    template: WispTemplate,
    *,
    n_outputs: int = 4,
    flat: NDArray | None = None,
    flatten_template: bool = False,
) -> WispFit:
    """Measure the brightness of a wisp.

    Parameters
    ----------
    image : ndarray
        ``(ny, nx)`` count rate, not flattened, in DN/s.
    err : ndarray
        ``(ny, nx)`` standard errors in DN/s.
    mask : ndarray
        ``(ny, nx)``, True for pixels that must not be used.  Sources need not be masked: they
        are found in the residual of the fit, where the wisp itself is gone.
    template : WispTemplate
        The wisp in this array (`WispTemplate.cut` for a subarray), in DN/s.
    n_outputs : int
        Outputs through which the array was read, side by side in x.
    flat : ndarray, optional
        ``(ny, nx)`` flat field by which the image is divided for the fit.  Pixels in which it is
        not positive are left out.
    flatten_template : bool
        Whether the template is to be divided by the flat as well.

    Returns
    -------
    WispFit
        Zero scales with zero significance if no pixel can be used.

    Raises
    ------
    ValueError
        If shapes differ or the columns do not divide evenly among the outputs.
    """
    for name, array in {"err": err, "mask": mask, "flat": flat}.items():
        if array is not None and array.shape != image.shape:
            raise ValueError(f"{name} has shape {array.shape}, the image {image.shape}")
    if template.shape != image.shape:
        raise ValueError(f"the template has shape {template.shape}, the image {image.shape}")
    if n_outputs < 1 or image.shape[1] % n_outputs:
        raise ValueError(f"{image.shape[1]} columns do not divide into n_outputs={n_outputs}")

    k = len(template.images)
    zeros, nothing = np.zeros(k), np.zeros(0)
    none = WispFit(
        zeros, zeros * np.nan, 0.0, np.nan, 0, nothing, nothing, covariance=np.zeros((k, k))
    )
    region, width = _fit_region(template, n_outputs)
    pixels = Pixels.take(image, err, mask, template, region, flat, flatten_template)
    reaching = np.flatnonzero([(c * pixels.weight).any() for c in pixels.smoothed_components])
    if reaching.size == 0:
        return none
    if reaching.size < k:  # in a subarray some components may be absent
        pixels = pixels.of(reaching)

    sources = np.zeros(pixels.data.shape, bool)
    solution = None
    for last in [False] * WISP_FIT.mask_passes + [True]:
        bins = Bins.average(pixels, pixels.weight * ~sources, width)
        solution = solve(bins, solution)
        if last or solution is None:
            break
        sources = find_sources(pixels, bins, solution)
    if solution is None:
        return none
    n_pixels = int((pixels.good & ~sources).sum())
    return _significant(bins, solution, template.brightness, reaching, n_pixels)


def _significant(
    bins: Bins, solution: Solution, brightness: NDArray, used: NDArray, n_pixels: int
) -> WispFit:
    """Leave components out, the least significant first, until all are; summarise the fit.

    Parameters
    ----------
    bins : Bins
        The averages, with the components ``used`` only.
    solution : Solution
        The fit to them.
    brightness : ndarray
        Of all components of the template.
    used : ndarray of int
        Numbers of the components.
    n_pixels : int
        Pixels that took part.

    Returns
    -------
    WispFit
        For all components of the template.
    """
    k = len(brightness)
    errors = np.full(k, np.nan)
    while True:
        fit = _summary(bins, solution, brightness[used], n_pixels)
        errors[used] = fit.scale_errs
        known = np.where(fit.scale_errs > 0, fit.scale_errs, np.inf)
        significance = np.where(fit.scales > 0, fit.scales / known, 0.0)
        weakest = int(significance.argmin())
        if len(used) == 1 or significance[weakest] >= WISP_FIT.component_significance:
            break
        # those with a factor of 0 go at once: the others are what they are without them
        rest = np.flatnonzero(significance) if significance.any() else np.array([0])
        if len(rest) < len(used):
            bins, solution = bins.of(rest), solution.of(rest)
        else:
            rest = np.delete(np.arange(len(used)), weakest)
            fewer = bins.of(rest)
            again = solve(fewer, solution)
            if again is None:
                break
            bins, solution = fewer, again
        used = used[rest]
    trials, objective = _objective(bins, solution)
    scales, covariance = np.zeros(k), np.zeros((k, k))
    scales[used] = fit.scales
    covariance[np.ix_(used, used)] = fit.covariance
    return replace(
        fit,
        scales=scales,
        scale_errs=errors,
        covariance=covariance,
        trial_scales=trials,
        objective=objective,
    )


def _fit_region(template: WispTemplate, n_outputs: int) -> tuple[tuple[slice, slice], int]:
    """Return the slices of the wisp with a margin, whole outputs wide, and an output's width."""
    ny, nx = template.shape
    width = nx // n_outputs
    rows, cols = template.box
    y = slice(max(rows.start - WISP_FIT.margin, 0), min(rows.stop + WISP_FIT.margin, ny))
    x = slice(cols.start // width * width, -(-cols.stop // width) * width)
    return (y, x), width


def _summary(bins: Bins, solution: Solution, brightness: NDArray, n_pixels: int) -> WispFit:
    """Turn a solution into scales with errors; without the objective, which is for a plot."""
    used = bins.weight > 0
    normed = solution.residual[used] * np.sqrt(bins.weight[used])
    responses, scores = influence(bins, solution)
    covariance = _covariance(bins, solution, responses, scores, brightness)
    variance = brightness @ covariance @ brightness
    mean = brightness @ solution.scales
    # every row of every output with data has spent one degree of freedom on its level
    n_free = used.any(axis=-1).sum() + len(solution.scales) + len(solution.background)
    nothing = np.zeros(0)
    return WispFit(
        scales=solution.scales,
        scale_errs=np.sqrt(np.diag(covariance)),
        significance=float(mean / np.sqrt(variance)) if variance > 0 else 0.0,
        chi2=float((normed**2).sum() / max(used.sum() - n_free, 1)),
        n_pixels=n_pixels,
        trial_scales=nothing,
        objective=nothing,
        covariance=covariance,
    )


def _covariance(
    bins: Bins, solution: Solution, responses: NDArray, scores: NDArray, brightness: NDArray
) -> NDArray:
    """Covariance of the scales from the scatter of their scores over blocks (a block jackknife).

    The block size with the largest error of the brightness counts: it is at least the
    correlation length of the noise.  Each block's score is divided by what the block itself
    has pulled the fit towards it, which makes this the delete-one-block jackknife.
    """
    inverse = np.linalg.pinv(solution.normal)
    weighted = scores * solution.weight
    white = weighted.reshape(len(inverse), -1) @ scores.reshape(len(inverse), -1).T
    candidates = [inverse @ (solution.sigma**2 * white) @ inverse.T]
    gradient = weighted * solution.residual
    curvature = weighted[:, np.newaxis] * responses
    n_columns = bins.data.shape[1] * bins.data.shape[2]
    for rows, columns in WISP_FIT.error_blocks:
        per_block = n_columns if columns is None else max(columns // bins.columns, 1)
        blocks = _block_sums(gradient, rows, per_block)
        shares = _block_sums(curvature, rows, per_block) @ inverse
        left = np.eye(len(inverse)) - shares
        if np.linalg.eigvals(left).real.min() < 0.5:
            continue  # blocks this large hold too much of the wisp to tell its scatter
        jackknife = np.linalg.solve(left, blocks[..., np.newaxis])[..., 0]
        candidates.append(inverse @ (jackknife.T @ jackknife) @ inverse.T)
    return max(candidates, key=lambda matrix: brightness @ matrix @ brightness)


def _block_sums(values: NDArray, rows: int, columns: int) -> NDArray:
    """Sum ``(..., ny, n_outputs, n_bins)`` over blocks; returns ``(n_blocks, ...)``."""
    values = values.reshape(*values.shape[:-2], -1)
    values = np.add.reduceat(values, np.arange(0, values.shape[-2], rows), axis=-2)
    values = np.add.reduceat(values, np.arange(0, values.shape[-1], columns), axis=-1)
    return np.moveaxis(values.reshape(*values.shape[:-2], -1), -1, 0)


def _objective(bins: Bins, solution: Solution, n_trials: int = 31) -> tuple[NDArray, NDArray]:
    """Robust loss against a common factor of the templates, everything else fitted anew."""
    responses, _ = influence(bins, solution)
    strongest = solution.scales.max()
    direction = solution.scales / strongest if strongest > 0 else np.ones_like(solution.scales)
    trials = np.linspace(0.0, max(2 * strongest, 1.0), n_trials)
    used = bins.weight > 0
    norm = np.sqrt(bins.weight[used]) / solution.sigma if solution.sigma > 0 else 1.0
    residual = solution.residual[used] * norm
    response = np.tensordot(direction, responses, axes=1)[used] * norm
    loss = np.empty(n_trials)
    limit = WISP_FIT.huber
    for i, trial in enumerate(trials):
        size = np.abs(residual + (strongest - trial) * response)
        linear = limit * (size - limit / 2)
        loss[i] = np.where(size < limit, size**2 / 2, linear).sum()
    return trials, loss
