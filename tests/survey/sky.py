"""Files of exposures on a made-up sky: headers only, as `ceers associate` reads them."""

from pathlib import Path

import numpy as np
from astropy.io import fits

DEC_0 = 52.9


def square(east, north, side, angle=0.0, center=(214.9, DEC_0)):
    """Corners (4, 2), RA and Dec in deg, of a square; offsets, side in arcsec, angle in deg."""
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * side / 2
    turn = np.radians(angle)
    corners = corners @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    offsets = (corners + np.array([east, north])) / 3600
    dec = center[1] + offsets[:, 1]
    return np.stack([(center[0] + offsets[:, 0] / np.cos(np.radians(dec))) % 360, dec], axis=1)


def s_region(*polygons):
    """S_REGION of polygons."""
    texts = (" ".join(f"{number:.9f}" for number in polygon.ravel()) for polygon in polygons)
    return "  ".join(f"POLYGON ICRS  {text}" for text in texts)


def write_file(folder, name, *footprint, band="F150W", pupil="CLEAR", **changes):
    """Write a FITS file with the headers of an exposure; return its path.

    A keyword set to None is left out. BUNIT is that of the image.
    """
    detector = name.split("_")[3] if name.count("_") > 3 else "nrcb4"
    keywords = {
        "TELESCOP": "JWST",
        "INSTRUME": "NIRCAM",
        "EXP_TYPE": "NRC_IMAGE",
        "FILTER": band,
        "PUPIL": pupil,
        "DETECTOR": detector.upper(),
        "PROGRAM": name[2:7],
        "OBSERVTN": name[7:10],
        "VISIT": name[10:13],
        "TARGPROP": "FIELD",
    }
    unit = "DN"
    if name.partition(".")[0].endswith(("_cal", "_crf", "_match")):
        keywords |= dict.fromkeys(("S_WCS", "S_FLAT", "S_PHOTOM"), "COMPLETE")
        unit = "MJy/sr"
    keywords |= changes
    unit = keywords.pop("BUNIT", unit)
    primary = fits.PrimaryHDU()
    # long before the keywords of interest, so that the header takes several blocks
    for number in range(50):
        primary.header[f"FILLER{number}"] = number
    primary.header.update({key: value for key, value in keywords.items() if value is not None})
    image = fits.ImageHDU(np.zeros((2, 2), np.float32), name="SCI")
    if unit is not None:
        image.header["BUNIT"] = unit
    if footprint:
        image.header["S_REGION"] = (s_region(*footprint), "Spatial footprint")
    path = Path(folder) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.HDUList([primary, image]).writeto(path)
    return path
