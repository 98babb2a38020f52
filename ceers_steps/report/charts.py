"""Small charts as SVG text that can stand in a page; colours come from its style sheet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Chart", "outlines"]

WIDTH, HEIGHT = 440, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 10, 12, 44


class Chart:
    """A chart with two axes, to which marks are added.

    Parameters
    ----------
    x, y : tuple of float
        Limits of the axes.
    labels : tuple of str
        Of the axes.
    equal : bool
        A unit is as long along both axes.
    """

    def __init__(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        labels: tuple[str, str],
        *,
        equal: bool = False,
    ) -> None:
        self.labels = labels
        self.height = HEIGHT
        (x0, x1), (y0, y1) = _wide(*x), _wide(*y)
        across = WIDTH - LEFT - RIGHT
        if equal:
            scale = max((x1 - x0) / across, (y1 - y0) / (WIDTH - TOP - BOTTOM))
            self.height = int(min(max((y1 - y0) / scale, 180), WIDTH - TOP - BOTTOM)) + TOP + BOTTOM
            up = self.height - TOP - BOTTOM
            scale = max((x1 - x0) / across, (y1 - y0) / up)
            more_x, more_y = (scale * across - (x1 - x0)) / 2, (scale * up - (y1 - y0)) / 2
            x0, x1, y0, y1 = x0 - more_x, x1 + more_x, y0 - more_y, y1 + more_y
        self.x, self.y = (x0, x1), (y0, y1)
        self.marks: list[str] = []

    def place(self, x: Any, y: Any) -> NDArray[np.float64]:
        """Return where points are in the picture, shape (n, 2)."""
        across, up = WIDTH - LEFT - RIGHT, self.height - TOP - BOTTOM
        right = LEFT + across * (np.asarray(x, float) - self.x[0]) / (self.x[1] - self.x[0])
        down = TOP + up * (self.y[1] - np.asarray(y, float)) / (self.y[1] - self.y[0])
        return np.stack(np.broadcast_arrays(right, down), axis=-1).reshape(-1, 2)

    def line(self, x: Any, y: Any, kind: str) -> None:
        """Add a line through points; `kind` is a class of the style sheet."""
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in self.place(x, y))
        self.marks.append(f'<polyline class="{kind}" points="{points}"/>')

    def upright(self, x: float, kind: str, text: str = "") -> None:
        """Add a line from bottom to top."""
        self.line([x, x], self.y, kind)
        if text:
            ((right, _),) = self.place(x, 0)
            end = right > WIDTH / 2
            anchor = "end" if end else "start"
            self.marks.append(
                f'<text x="{right + (-6 if end else 6):.1f}" y="{TOP + 14}" class="said" '
                f'text-anchor="{anchor}">{escape(text)}</text>'
            )

    def span(self, x0: float, x1: float, kind: str) -> None:
        """Shade what lies between two values of x."""
        (left, _), (right, _) = self.place(np.clip([x0, x1], *self.x), 0)
        self.marks.append(
            f'<rect class="{kind}" x="{left:.1f}" y="{TOP}" width="{max(right - left, 1):.1f}" '
            f'height="{self.height - TOP - BOTTOM}"/>'
        )

    def bars(self, edges: NDArray, counts: NDArray, kind: str) -> None:
        """Add the bars of a histogram."""
        tops, ends = self.place(edges[:-1], counts), self.place(edges[1:], 0 * counts)
        path = "".join(
            f"M{a:.1f} {d:.1f}V{b:.1f}H{c:.1f}V{d:.1f}"
            for (a, b), (c, d) in zip(tops, ends, strict=True)
        )
        self.marks.append(f'<path class="{kind}" d="{path}"/>')

    def points(self, x: NDArray, y: NDArray, kind: str) -> None:
        """Add points; those outside of the axes stand at their end."""
        spots = self.place(np.clip(x, *self.x), np.clip(y, *self.y))
        path = "".join(f"M{a:.1f} {b:.1f}h0" for a, b in spots)
        self.marks.append(f'<path class="dots {kind}" d="{path}"/>')

    def arrows(self, x: NDArray, y: NDArray, dx: NDArray, dy: NDArray, kind: str) -> None:
        """Add arrows; lengths are in the units of the axes."""
        begins, ends = self.place(x, y), self.place(x + dx, y + dy)
        path = []
        for (a, b), (c, d) in zip(begins, ends, strict=True):
            path.append(f"M{a:.1f} {b:.1f}L{c:.1f} {d:.1f}")
            length = math.hypot(c - a, d - b)
            if length > 3:
                u, v = (c - a) / length, (d - b) / length
                for side in (-1, 1):
                    path.append(
                        f"M{c:.1f} {d:.1f}l{-3 * u + side * 1.8 * v:.1f} "
                        f"{-3 * v - side * 1.8 * u:.1f}"
                    )
        self.marks.append(f'<path class="arrow {kind}" d="{"".join(path)}"/>')

    def key(self, length: float, text: str) -> None:
        """Show how long an arrow of some length is, in units of x."""
        (left, _), (right, _) = self.place([self.x[0], self.x[0] + length], 0)
        y, x = self.height - BOTTOM - 10, LEFT + 10
        self.marks.append(
            f'<path class="arrow used" d="M{x} {y}h{right - left:.1f}"/>'
            f'<text class="said" x="{x + right - left + 6:.1f}" y="{y + 4}">{escape(text)}</text>'
        )

    def svg(self, title: str) -> str:
        """Return the picture; `title` says in words what it shows."""
        bottom = self.height - BOTTOM
        frame = (
            f'<rect class="box" x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" '
            f'height="{bottom - TOP}"/>'
        )
        texts = []
        for value in _ticks(*self.x, 5):
            ((x, _),) = self.place(value, 0)
            texts.append(
                f'<path class="tick" d="M{x:.1f} {bottom}v4"/>'
                f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{_number(value)}</text>'
            )
        for value in _ticks(*self.y, 5):
            ((_, y),) = self.place(self.x[0], value)
            texts.append(
                f'<path class="tick" d="M{LEFT} {y:.1f}h-4"/>'
                f'<text x="{LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{_number(value)}</text>'
            )
        middle = (LEFT + WIDTH - RIGHT) / 2
        texts.append(
            f'<text x="{middle}" y="{self.height - 8}" text-anchor="middle">'
            f"{escape(self.labels[0])}</text>"
            f'<text transform="translate(13 {(TOP + bottom) / 2}) rotate(-90)" '
            f'text-anchor="middle">{escape(self.labels[1])}</text>'
        )
        return (
            f'<svg class="chart" viewBox="0 0 {WIDTH} {self.height}" role="img" '
            f'aria-label="{escape(title)}">{frame}{"".join(self.marks)}{"".join(texts)}</svg>'
        )


def outlines(flags: NDArray[np.bool_], least: int = 1) -> str:
    """Return the outlines of True pixels as the path of an SVG with pixels as units, y down.

    Parameters
    ----------
    flags : ndarray of bool, shape (ny, nx)
        First row at the bottom of the picture.
    least : int
        Groups of fewer pixels are left out.
    """
    from skimage import measure

    labels = measure.label(flags, connectivity=2)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    keep = np.pad((sizes >= least)[labels], 1)
    parts = []
    for line in measure.find_contours(keep.astype(float), 0.5):
        line = measure.approximate_polygon(line - 1, 0.3)
        points = " ".join(f"{x + 0.5:.1f} {flags.shape[0] - y - 0.5:.1f}" for y, x in line)
        parts.append(f"M{points}Z")
    return "".join(parts)


def limits(values: Iterable[float], margin: float = 0.05) -> tuple[float, float]:
    """Return the range of values, with a margin at both ends."""
    found = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(found), max(found)
    return low - margin * (high - low), high + margin * (high - low)


def _wide(low: float, high: float) -> tuple[float, float]:
    """Return limits that are not the same."""
    if math.isfinite(low) and math.isfinite(high) and high > low:
        return low, high
    middle = low if math.isfinite(low) else 0.0
    half = abs(middle) * 0.05 or 1.0
    return middle - half, middle + half


def _ticks(low: float, high: float, count: int) -> Sequence[float]:
    """Return round values between two limits."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _number(value: float) -> str:
    """Return a value of an axis."""
    text = f"{value:.4g}"
    return "0" if text == "-0" else text
