"""Texts and tables as they come from editors, spreadsheets and other programs."""

import csv
import os
from pathlib import Path

from astropy.io.registry import IORegistryError
from astropy.table import Table

from ceers_steps.errors import CeersError
from ceers_steps.files.limits import check_regular, why_no_file

__all__ = ["read_csv_lines", "read_table", "read_text"]


def read_table(path: str | os.PathLike, name: str, largest: float = float("inf")) -> Table:
    """Read a table that a user gives, of a kind that its name or its beginning tells.

    Parameters
    ----------
    path
        ECSV, CSV, FITS, VOTable or another that astropy knows.
    name
        What the user calls it, with its path, for the message: ``abs_refcat=PATH``.
    largest
        Bytes, as it is unpacked.

    Returns
    -------
    Table

    Raises
    ------
    CeersError
        When it is no file, is too large or cannot be read.
    """
    path = Path(path)
    if problem := why_no_file(path):
        raise CeersError(f"{name} {problem}. Give a table: ECSV, CSV, FITS or VOTable.")
    check_regular(path, name, largest)
    try:
        if path.suffix.lower() == ".csv":
            return Table.read(read_csv_lines(path, name), format="ascii.csv")
        return Table.read(path, format={".ecsv": "ascii.ecsv"}.get(path.suffix.lower()))
    except CeersError:
        raise
    except IORegistryError as err:
        raise CeersError(
            f"{name}: not a table that is known by its name or beginning. Give ECSV, CSV (.csv), "
            "FITS or VOTable (.vot)."
        ) from err
    except Exception as err:  # astropy raises many kinds for a file that is no table
        raise CeersError(
            f"{name}: not a readable table ({' '.join(str(err).split())[:300]})."
        ) from err


def read_text(path: str | os.PathLike) -> str:
    """Read a text file of any origin, its lines ended by line feeds.

    Parameters
    ----------
    path
        In UTF-8 (also with a byte order mark, as spreadsheets write it), UTF-16 with one, or
        else Latin-1; it may be compressed.

    Returns
    -------
    str
        The text.

    Raises
    ------
    OSError
        When it cannot be read.
    """
    from astropy.utils.data import get_readable_fileobj

    with get_readable_fileobj(os.fspath(path), encoding="binary") as stream:
        content = stream.read()
    codec = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = content.decode(codec)
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_csv_lines(path: str | os.PathLike, name: str) -> list[str]:
    """Read the lines of a CSV file, after a look at how they are written.

    Parameters
    ----------
    path
        See `read_text`.
    name
        What the user calls it, with its path, for the message.

    Returns
    -------
    list of str
        Two or more, for a reader of tables.

    Raises
    ------
    CeersError
        When the columns are not separated by commas, or a quote is not closed: all rows up to the
        next one would be part of its cell.
    """
    lines = read_text(path).split("\n")
    first = next((line for line in lines if line.strip()), "")
    other = next((sign for sign in ";\t|" if sign in first), "")
    if other and "," not in first:
        raise CeersError(
            f"{name}: its columns are separated by {other!r}. Save it with commas between them, "
            "and points in numbers."
        )
    reader, begins = csv.reader(f"{line}\n" for line in lines), 1
    try:
        for row in reader:
            if any("\n" in cell for cell in row):
                raise CeersError(
                    f"{name}, line {begins}: a quote is opened and not closed in this line: the "
                    "rows below would be part of its cell. Close it, or take it out."
                )
            begins = reader.line_num + 1
    except csv.Error as err:
        raise CeersError(f"{name}: not a readable table ({err}).") from err
    return [*lines, ""]
