"""Constants of skies that are sums of profiles: value, unit, what chose each.

"By hand": tried on seeds 5, 6, 8 and 9 of ``benchmarks/mosaic_skies.py``, and on skies that are no
such sums (docs/evidence/mosaic_background.md). "Choice": nothing was varied; what speaks for it
stands there.
"""

from dataclasses import dataclass

__all__ = ["ADDITIVE", "AdditiveSettings"]


@dataclass(frozen=True)
class AdditiveSettings:
    """How profiles are found, and when they are used."""

    side: int = 8
    """Blocks in which profiles are found, pixels ..."""
    most_blocks: int = 2_000_000
    """... their sides are doubled until no more are left: little memory."""
    least_pixels: float = 0.25
    """Part of its pixels that a block must have (choice)."""
    cell: int = 64
    """A profile is what all groups of rows (or columns) have in common: their least height, pixels;
    twice as much where the mosaic has room for ..."""
    fewest_groups: int = 4
    """... so many of them, and doubled until there are no more than ..."""
    most_groups: int = 16
    """... so many: groups know less of each other the larger they are (choice)."""
    sectors: int = 8
    """Groups of the profile from the border inwards: directions from the middle."""
    degree: int = 4
    """A polynomial of this degree is taken without asking: it has the noise of a few numbers ..."""
    surely: float = 3.5
    """... details from so many of the errors on that groups tell, in full from one more (by
    hand)."""
    least_group: float = 0.1
    """Part of the pixels of a usual place that a group must have in one to count there."""
    repeats: int = 4
    """How often the profiles along rows and columns are found by turns (by hand) ..."""
    rounds: int = 4
    """... and how often what is left is looked at again."""
    clip: float = 4.0
    """Blocks further off than so many of the scatter count as if they were there."""
    explained: float = 0.95
    """Part of the structure that profiles must explain. Sums of profiles: 0.96 and more; random
    skies, rings, steps between tiles: 0.8 and less (by hand) ..."""
    explained_beside: float = 0.9
    """... the same outside large sources, of which some light is left there (by hand) ..."""
    explained_near: float = 0.99
    """... and where the sky beside large sources is needed, too."""
    faintest: float = 0.03
    """Structure that is left to the boxes, noise of a pixel: light of sources has as much ..."""
    least: float = 0.06
    """... and structure (rms) from which on profiles are subtracted: bowls of 0.3 noises have
    0.056, and boxes are as good there (by hand)."""
    most: float = 4.0
    """Largest deviation of a block that counts as structure, noise of a pixel (choice)."""
    large: int = 5000
    """Pixels above the threshold of a search that make a source so large that light of it is
    expected around its mask ..."""
    hidden: float = 2.0
    """... within this distance in units of its size (by hand: with 1 a fifth of a galaxy is taken
    for sky)."""


ADDITIVE = AdditiveSettings()
