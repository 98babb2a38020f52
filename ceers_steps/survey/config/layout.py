"""Where the products of a survey are: all paths below its output folder are made here."""

from dataclasses import dataclass

__all__ = ["LAYOUTS", "RAW", "Layout"]

LAYOUTS = ("survey", "dataset")
"""A folder for each kind of product, or one for each data set (exposure and detector)."""

RAW = "uncals"
"""Folder of the raw file in that of a data set."""

SECOND = "_pass2"
"""Added to the folders of what is made a second time, after the image background."""

_KINDS = {
    "uncal": ("uncal", RAW),
    "rate": ("rate", "calibrated1_rates"),
    "prewisp": ("rate", "calibrated1_rates"),
    "pre1f": ("rate", "calibrated1_rates"),
    "imgbkgsub": ("rate", "calibrated1_rates"),
    "cal": ("cal", "calibrated2_cals"),
    "1fmask": ("cal", "calibrated2_cals"),
    "tweakreg": ("wcs", "calibrated2_cals"),
    "crf": ("crf", "calibrated2_cals"),
    "match": ("match", "calibrated2_cals"),
}
"""Folder of each kind of product of an exposure: of the survey, and of its data set."""


@dataclass(frozen=True)
class Layout:
    """Paths of products, relative to the output folder of a survey.

    Attributes
    ----------
    name : str
        One of `LAYOUTS`.
    """

    name: str = "survey"

    @property
    def by_data_set(self) -> bool:
        """Whether every data set has a folder."""
        return self.name == "dataset"

    def exposure(self, kind: str, name: str, *, second: bool = False) -> str:
        """Return the path of a product of an exposure.

        Parameters
        ----------
        kind
            Its suffix: ``cal``; ``tweakreg`` for the file of the WCS.
        name
            Of the exposure.
        second
            Made after its image background was subtracted.
        """
        of_survey, of_data_set = _KINDS[kind]
        folder = f"{name}/{of_data_set}" if self.by_data_set else of_survey
        folder += SECOND if second else ""
        return f"{folder}/{name}_{kind}.{'asdf' if kind == 'tweakreg' else 'fits'}"

    def alignment(self, key: str) -> str:
        """Return the path of the table of an alignment."""
        return f"{'alignment' if self.by_data_set else 'wcs'}/{key}_alignment.ecsv"

    def mosaic(self, group: str, product: str, suffix: str) -> str:
        """Return the path of a mosaic of a group, or of what belongs to it."""
        folder = f"calibrated3_mosaics/{product}" if self.by_data_set else f"mosaics/{group}"
        return f"{folder}/{product}_{suffix}.fits"

    def tile(self, product: str, row: int, column: int) -> str:
        """Return the path of a tile of a mosaic."""
        folder = f"calibrated3_mosaics/{product}/tiles" if self.by_data_set else f"tiles/{product}"
        return f"{folder}/{product}_r{row:02d}c{column:02d}_i2d.fits"

    @property
    def observations(self) -> str:
        """Path of the list of the observations in the mosaics; empty where there is none."""
        return "calibrated3_mosaics/list_obs.txt" if self.by_data_set else ""
