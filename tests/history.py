"""HISTORY of products, wherever its lines are broken."""

from astropy.io import fits


def says(header: fits.Header, text: str) -> bool:
    """Say whether HISTORY holds a text. Blanks do not count: at the end of a card they are lost."""
    history = "".join(map(str, header["HISTORY"]))
    return text.replace(" ", "") in history.replace(" ", "")
