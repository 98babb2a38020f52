"""Checks of configuration values: what is wrong, and what to use."""

from typing import Any

from ceers_steps.errors import CeersError

__all__ = [
    "require",
    "require_fraction",
    "require_not_negative",
    "require_positive",
    "require_range",
]


def require(section: Any, name: str, holds: bool, remedy: str) -> None:
    """Raise if a parameter of a section is not usable."""
    if not holds:
        raise CeersError(
            f"{type(section).__name__}.{name} is {getattr(section, name)!r}: use {remedy}"
        )


def require_not_negative(section: Any, *names: str) -> None:
    """Raise unless the parameters are 0 or more."""
    for name in names:
        require(section, name, getattr(section, name) >= 0, "0 or more")


def require_positive(section: Any, *names: str) -> None:
    """Raise unless the parameters are above 0."""
    for name in names:
        require(section, name, getattr(section, name) > 0, "a value above 0")


def require_fraction(section: Any, *names: str) -> None:
    """Raise unless the parameters are from 0 to 1."""
    for name in names:
        require(section, name, 0 <= getattr(section, name) <= 1, "a value from 0 to 1")


def require_range(section: Any, name: str, lowest: float) -> None:
    """Raise unless a parameter is an ordered pair, its first value at least ``lowest``."""
    low, high = getattr(section, name)
    require(
        section,
        name,
        lowest <= low <= high,
        f"(low, high) with {lowest:g} <= low <= high",
    )
