"""What the archive (MAST) has of a program, and where it goes on disk."""

import functools
import os
import re
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from ceers_steps.errors import CeersError, optional_import
from ceers_steps.names import whole_number
from ceers_steps.survey.archive.parts import Transfer
from ceers_steps.survey.select.pointings import Pointings

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = [
    "CEERS_PROGRAM",
    "EXPOSURE_NAME",
    "PRODUCTS",
    "Product",
    "adopt_elsewhere",
    "find_products",
    "listed_filter",
    "plan_transfers",
    "program_number",
    "select_observations",
    "select_products",
]

CEERS_PROGRAM = 1345

PRODUCTS = ("uncal", "rate", "cal")

IMAGING = "NIRCAM/IMAGE"
"""What MAST calls NIRCam imaging."""

AT_ONCE = 20
"""Observations whose products are asked for in one request: more take MAST too long."""

QUERY_ATTEMPTS = 4

QUERY_PAUSE = 2.0
"""Seconds before a query is repeated; doubled each time."""

NARROW = ("F162M", "F164N", "F323N", "F405N", "F466N", "F470N")
"""Filters in the pupil wheel: MAST lists them with their host, as F444W;F470N."""

_OBSERVATION = re.compile(r"jw(\d{5})(?:-o(\d{3})|(\d{3})\d{3}_)")
EXPOSURE_NAME = re.compile(
    r"(?P<exposure>jw(?P<program>\d{5})(?P<observation>\d{3})(?P<visit>\d{3})_\w{5}_\d{5}"
    r"(?:-seg\d{3})?_(?P<detector>nrc[a-z0-9]+))_(?P<product>[a-z0-9]+)\.fits$"
)


@dataclass(frozen=True)
class Product:
    """A file of the archive.

    Attributes
    ----------
    name : str
        File name.
    exposure : str
        Its part that names the exposure.
    uri : str
        ``mast:JWST/product/...``
    size : int or None
        Bytes, as the archive lists them.
    observation : int
        Number of the observation in the program.
    filter : str
        The filter that decides (that in the pupil wheel if there is one); may be empty.
    public : bool
        Whether everybody may read it.
    """

    name: str
    exposure: str
    uri: str
    size: int | None
    observation: int
    filter: str
    public: bool


def program_number(text: str) -> int:
    """Return the number of a program: ``1345``, ``01345``, ``jw01345`` or ``ceers``.

    Raises
    ------
    CeersError
        For anything else.
    """
    if text.lower() == "ceers":
        return CEERS_PROGRAM
    number = whole_number(text.lower().removeprefix("jw"))
    if number is None or not 0 < number < 100000:
        raise CeersError(f"{text!r} is not the number of a JWST program (1345 for instance).")
    return number


def find_products(
    program: int,
    product: str = "uncal",
    *,
    observations: Sequence[int] = (),
    filters: Sequence[str] = (),
    tell: Callable[[str], None] | None = None,
) -> list[Product]:
    """Ask the archive for the exposures of a program.

    Parameters
    ----------
    program
        Its number.
    product
        One of `PRODUCTS`.
    observations, filters
        Only these; empty for all.
    tell
        Called with what is being done, in words.

    Returns
    -------
    list of Product
        Sorted by name, each once.

    Raises
    ------
    CeersError
        When astroquery is not installed, the archive does not answer, or nothing is found.
    """
    with optional_import("The archive needs astroquery", extra="download"):
        from astroquery.mast import Observations
    tell = tell or (lambda text: None)
    tell(f"asking MAST for program {program}")
    query = functools.partial(
        Observations.query_criteria,
        obs_collection="JWST",
        proposal_id=str(program),
        instrument_name=IMAGING,
    )
    found = select_observations(_patiently(query), observations, filters)
    products: list[Product] = []
    for start in range(0, len(found), AT_ONCE):
        lot = found[start : start + AT_ONCE]
        tell(f"asking MAST for products ({start + len(lot)} of {len(found)} groups of exposures)")
        table = _patiently(functools.partial(Observations.get_product_list, lot))
        products += select_products(table, found, program, product, observations, filters)
    unique: dict[str, Product] = {}
    for item in products:
        if item.name not in unique or (item.public and not unique[item.name].public):
            unique[item.name] = item
    if not unique:
        asked = [f"NIRCam images of program {program}", f"product {product}"]
        asked += [f"observation {', '.join(map(str, observations))}"] if observations else []
        asked += [f"filter {', '.join(filters)}"] if filters else []
        raise CeersError(
            f"The archive has nothing for: {'; '.join(asked)}. Look the program up at "
            "https://www.stsci.edu/jwst/science-execution/program-information"
        )
    return [unique[name] for name in sorted(unique)]


def select_observations(
    table: "Table", observations: Sequence[int] = (), filters: Sequence[str] = ()
) -> "Table":
    """Choose the rows of MAST's observations whose products are worth asking for.

    Parameters
    ----------
    table : `~astropy.table.Table`
        As ``Observations.query_criteria`` returns it.
    observations, filters
        Only these; empty for all.

    Returns
    -------
    `~astropy.table.Table`
        Association candidates over several observations (``-c1000``) are left out where the
        observations themselves are there: they hold the same exposures again.
    """
    if not len(table):
        return table
    numbers = np.array([_observation_number(name) or 0 for name in table["obs_id"]])
    keep = numbers > 0 if (numbers > 0).any() else np.ones(len(table), bool)
    if observations:
        keep &= np.isin(numbers, [0, *observations])
    if filters:
        wanted_filters = {filter_name.upper() for filter_name in filters}
        keep &= np.array([listed_filter(text) in wanted_filters for text in table["filters"]], bool)
    return table[keep]


def select_products(
    table: "Table",
    observed: "Table",
    program: int,
    product: str,
    observations: Sequence[int] = (),
    filters: Sequence[str] = (),
) -> list[Product]:
    """Choose the exposures from a list of products of MAST.

    Parameters
    ----------
    table : `~astropy.table.Table`
        As ``Observations.get_product_list`` returns it.
    observed : `~astropy.table.Table`
        The observations asked for: they say the filter where the products do not.
    program, product, observations, filters
        What is wanted; empty `observations` and `filters` for all.

    Returns
    -------
    list of Product
        Guide star, segment and association products are left out.
    """
    by_id = {str(row["obsid"]): listed_filter(row["filters"]) for row in observed}
    wanted_filters = {filter_name.upper() for filter_name in filters}
    chosen = []
    for row in table:
        match = EXPOSURE_NAME.match(str(row["productFilename"]))
        if match is None or match["product"] != product or int(match["program"]) != program:
            continue
        observation = int(match["observation"])
        if observations and observation not in observations:
            continue
        filter_name = listed_filter(_cell(row, "filters")) or by_id.get(
            str(_cell(row, "obsID")), ""
        )
        filter_name = filter_name or by_id.get(str(_cell(row, "parent_obsid")), "")
        if wanted_filters and filter_name not in wanted_filters:
            continue
        size = whole_number(str(_cell(row, "size") or "").removesuffix(".0"))
        chosen.append(
            Product(
                name=match.string,
                exposure=match["exposure"],
                uri=str(row["dataURI"]),
                size=size or None,
                observation=observation,
                filter=filter_name,
                public=str(_cell(row, "dataRights") or "PUBLIC").upper() == "PUBLIC",
            )
        )
    return chosen


def plan_transfers(
    products: Sequence[Product],
    folder: str | os.PathLike,
    *,
    pointings: Pointings | None = None,
    sort: bool = False,
) -> list[Transfer]:
    """Say where each product comes from and goes to.

    Parameters
    ----------
    products
        What is to be fetched.
    folder
        Where to.
    pointings
        The pointings of the program, if it is CEERS.
    sort
        Into a folder for each pointing (``nircam1``), or, where an observation belongs to none,
        for each observation (``o004``). Otherwise all go into `folder` itself.
    """
    from astroquery.mast import conf

    transfers = []
    for product in products:
        url = f"{conf.server}/api/v0.1/Download/file?uri={quote(product.uri, safe=':/')}"
        place = Path(folder)
        if sort:
            numbers = pointings.of_observation if pointings else {}
            pointing = numbers.get(product.observation)
            place /= f"o{product.observation:03d}" if pointing is None else f"nircam{pointing}"
        transfers.append(Transfer(url, place / product.name, product.size))
    return transfers


def adopt_elsewhere(transfers: Sequence[Transfer], folder: str | os.PathLike) -> int:
    """Move files (and partial files) that are below a folder already to where they belong.

    Found are files in the folder itself and where astroquery puts them,
    ``mastDownload/JWST/<exposure>/``.

    Returns
    -------
    int
        Number of files moved.
    """
    folder = Path(folder)
    moved = 0
    for transfer in transfers:
        name = transfer.path.name
        exposure = name.rpartition("_")[0]
        for place in (folder, folder / "mastDownload" / "JWST" / exposure):
            there = Transfer(transfer.url, place / name, transfer.size)
            if place == transfer.path.parent:
                continue
            pairs = [(there.path, transfer.path)] if there.complete else []
            if there.part.exists() and not transfer.part.exists():
                pairs += [(there.part, transfer.part), (there.note, transfer.note)]
            if pairs and not transfer.complete:
                transfer.path.parent.mkdir(parents=True, exist_ok=True)
                for old, new in pairs:
                    if old.exists():
                        os.replace(old, new)
                moved += there.path in dict(pairs)
                if place != folder:
                    _remove_empty(place, folder)
    return moved


def _remove_empty(place: Path, folder: Path) -> None:
    """Remove a folder that is empty, and those above it that are then, up to another."""
    while place != folder and not any(place.iterdir()):
        place.rmdir()
        place = place.parent


def _patiently(query: Callable) -> Any:
    """Ask the archive, a few times if it is busy."""
    import requests
    from astroquery.exceptions import InvalidQueryError, NoResultsWarning, RemoteServiceError

    for attempt in range(QUERY_ATTEMPTS):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NoResultsWarning)
                return query()
        except InvalidQueryError as err:
            raise CeersError(f"The archive does not take the query: {err}") from err
        except (
            requests.RequestException,
            RemoteServiceError,
            TimeoutError,
            ValueError,  # an error page instead of the answer
            KeyError,
        ) as err:
            problem = err
        if attempt < QUERY_ATTEMPTS - 1:
            time.sleep(QUERY_PAUSE * 2**attempt)
    raise CeersError(
        f"The archive (MAST) does not answer: {type(problem).__name__}. Check the network, or "
        "https://mast.stsci.edu; then give the same command again."
    ) from problem


def _observation_number(obs_id: str) -> int | None:
    match = _OBSERVATION.match(str(obs_id))
    return int(match[2] or match[3]) if match else None


def listed_filter(text: object) -> str:
    """Return the filter that decides of those that the archive lists.

    Parameters
    ----------
    text
        Names with semicolons between them, ``F444W;F470N``; None and CLEAR count for nothing.

    Returns
    -------
    str
        That in the pupil wheel if there is one, ``F470N``; empty if there is none.
    """
    names = [name for name in str(text or "").upper().split(";") if name not in ("", "CLEAR")]
    return next((name for name in names if name in NARROW), names[0] if names else "")


def _cell(row: Any, column: str) -> Any:
    """Return a value of a row; None when it is empty or there is no such column."""
    if column not in row.colnames or np.ma.is_masked(row[column]):
        return None
    return row[column]
