"""The rules of CRDS: which reference file an exposure gets. No reference file is fetched here."""

import bisect
import contextlib
import functools
import logging
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from ceers_steps.errors import CeersError
from ceers_steps.names import INSTRUMENTS

__all__ = [
    "INSTRUMENT_KEYWORD",
    "Rules",
    "catalogue",
    "connected",
    "context_name",
    "open_rules",
    "quiet",
    "read_keywords",
    "server",
]

OBSERVATORY = "jwst"

INSTRUMENT_KEYWORD = "META.INSTRUMENT.NAME"
"""By which CRDS finds the rules of an instrument."""

DATE, TIME = "META.OBSERVATION.DATE", "META.OBSERVATION.TIME"

_USE_AFTER = re.compile(r"'(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)'\s*:")


def server() -> str:
    """Return the address of the CRDS server."""
    from crds.client import api

    return api.get_crds_server(OBSERVATORY)


def connected() -> bool:
    """Whether the CRDS server answers."""
    return bool(_info().connected)


def catalogue() -> Mapping[str, Mapping[str, str]]:
    """Return what CRDS knows of its files, ``{name: {"size": ..., "sha1sum": ...}}``.

    It comes from the server, or, without one, from what the last contact left in the cache
    (``config/jwst/server_config``). Empty where there never was one.
    """
    from crds.client import proxy

    encoded = _info().get("download_metadata")
    return proxy.crds_decode(encoded) if encoded else {}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep CRDS from saying that it cannot go on: we report what is missing."""
    from crds.core import log  # noqa: F401  it sets the level

    logger = logging.getLogger("CRDS")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


def _info() -> Any:
    from crds.core import heavy_client
    from crds.core.exceptions import CrdsError

    try:
        with quiet():
            return heavy_client.get_config_info(OBSERVATORY)
    except (CrdsError, OSError, SystemExit) as err:
        raise CeersError(
            f"CRDS has neither a server nor a cache to work with. {_settings()}"
        ) from err


def _settings() -> str:
    import os

    def value(name: str) -> str:
        return f"{name}={os.environ.get(name) or 'not set'}"

    return (
        f"{value('CRDS_PATH')}, {value('CRDS_SERVER_URL')}: set the first to the folder of the "
        "reference files and the second to https://jwst-crds.stsci.edu (or source the env.sh of a "
        "simulation)."
    )


@dataclass
class Rules:
    """The rules of one context for one instrument.

    Attributes
    ----------
    context : str
        Its name, ``jwst_1293.pmap``.
    instrument : str
        As in the INSTRUME keyword.
    keywords : tuple of str
        What the rules look at.
    """

    context: str
    instrument: str
    keywords: tuple[str, ...]
    _imap: Any = field(repr=False)
    _keys: dict = field(default_factory=dict, repr=False)

    def configuration(self, keywords: Mapping[str, object], types: Iterable[str]) -> tuple:
        """Return what the choice of references depends on; equal for exposures that get the same.

        Parameters
        ----------
        keywords
            As `read_keywords` returns them.
        types
            Types of reference.
        """
        keys, dates = self._depends_on(tuple(sorted(types)))
        at = f"{keywords.get(DATE)} {str(keywords.get(TIME))[:8]}"
        return (
            *(str(keywords.get(key)) for key in keys if key not in (DATE, TIME)),
            bisect.bisect_right(dates, at),
        )

    def _depends_on(self, types: tuple[str, ...]) -> tuple[list[str], list[str]]:
        """Return the keywords that the rules of some types look at, and their dates."""
        if types not in self._keys:
            keys: set[str] = set()
            dates: set[str] = set()
            for rmap in filter(None, map(self._rmap, types)):
                keys |= set(rmap.get_required_parkeys())
                dates |= set(_USE_AFTER.findall(str(rmap)))
            self._keys[types] = sorted(keys), sorted(dates)
        return self._keys[types]

    def _rmap(self, kind: str) -> Any:
        """Return the rules of a type; None where it does not apply to the instrument."""
        from crds.core.exceptions import (
            CrdsUnknownReftypeError,
            IrrelevantReferenceTypeError,
            OmitReferenceTypeError,
        )

        try:
            return self._imap.get_rmap(kind)
        except (
            IrrelevantReferenceTypeError,
            OmitReferenceTypeError,
            CrdsUnknownReftypeError,
        ):
            return None

    def recommend(self, keywords: Mapping[str, object], types: Iterable[str]) -> dict[str, str]:
        """Return the reference file that an exposure gets, by type.

        Parameters
        ----------
        keywords
            As `read_keywords` returns them.
        types
            Types of reference; those that do not apply are left out of the result.

        Returns
        -------
        dict
            ``{type: file name}``; ``NOT FOUND <reason>`` where the rules have none.

        Raises
        ------
        CeersError
            When CRDS calls a file or the context invalid.
        """
        import crds
        from crds.core.exceptions import CrdsError

        wanted = [kind for kind in types if self._rmap(kind) is not None]
        if not wanted:
            return {}
        try:
            found = crds.getrecommendations(
                {key: value for key, value in keywords.items() if value is not None},
                reftypes=wanted,
                context=self.context,
                observatory=OBSERVATORY,
            )
        except CrdsError as err:
            raise CeersError(f"CRDS refuses under {self.context}: {err}.") from err
        return {kind: name for kind, name in found.items() if "N/A" not in name.upper()}

    @staticmethod
    def path(name: str) -> Path:
        """Return where a reference file is, or would be."""
        from crds.core import config

        return Path(config.locate_file(name, OBSERVATORY))


def context_name(context: str | None = None) -> str:
    """Return the name of a context.

    Parameters
    ----------
    context
        ``jwst_1293.pmap``, or a name that CRDS understands; None takes what jwst would take:
        ``$CRDS_CONTEXT``, or the context that belongs to the installed jwst.

    Raises
    ------
    CeersError
        When CRDS does not know it, or there is neither a server nor a cache.
    """
    import crds
    from crds.core.exceptions import CrdsError

    connected()
    try:
        return str(crds.get_context_name(OBSERVATORY, context))
    except (CrdsError, AssertionError) as err:
        raise CeersError(
            f"CRDS knows no context {context or 'to begin with'}: {err} {_settings()}"
        ) from err


def open_rules(context: str | None = None, instrument: str = INSTRUMENTS[0]) -> Rules:
    """Read the rules of a context. Those that are not in the cache are fetched.

    Parameters
    ----------
    context
        As for `context_name`.
    instrument
        As in the INSTRUME keyword.

    Raises
    ------
    CeersError
        When the context is not known, it has no rules for the instrument, or rules are missing
        or damaged and there is no server.
    """
    from crds.client import api
    from crds.core import heavy_client
    from crds.core.exceptions import CrdsError, CrdsUnknownInstrumentError

    online = connected()
    name = context_name(context)
    problem: Exception | None = None
    for fetched in (False, True):
        try:
            if fetched:
                api.dump_mappings(name)
            imap = heavy_client.get_pickled_mapping(name).get_imap(instrument.lower())
            # reads all of them
            return Rules(name, instrument, tuple(imap.get_required_parkeys()), imap)
        except FileNotFoundError as err:
            problem = err
            if not online:
                break
        except CrdsUnknownInstrumentError as err:
            raise CeersError(
                f"{name} has no rules for {instrument}, so exposures of it cannot be calibrated. "
                "Choose another context with --context or $CRDS_CONTEXT, or leave them out. "
                f"{_settings()}"
            ) from err
        except (CrdsError, OSError, LookupError) as err:
            problem = err
            break
    missing = getattr(problem, "filename", None)
    reason = f"{missing} is missing" if missing else str(problem)
    remedy = (
        "Choose another context with --context or $CRDS_CONTEXT, or delete what is damaged."
        if online
        else f"The server {server()} cannot be reached to fetch it. {_settings()}"
    )
    raise CeersError(
        f"The rules of {name} for {instrument} cannot be read: {reason}. {remedy}"
    ) from problem


@functools.cache
def _keyword_names() -> dict[str, str]:
    """Return ``{"META.INSTRUMENT.DETECTOR": "DETECTOR", ...}``, as the data models have it."""
    from stdatamodels.jwst.datamodels import JwstDataModel

    names = {}

    def walk(schema: dict, path: tuple[str, ...]) -> None:
        for part in schema.get("allOf", []):
            walk(part, path)
        for name, entry in schema.get("properties", {}).items():
            if isinstance(entry, dict):
                if "fits_keyword" in entry and entry.get("fits_hdu", "PRIMARY") == "PRIMARY":
                    names[".".join((*path, name)).upper()] = entry["fits_keyword"]
                walk(entry, (*path, name))

    with JwstDataModel() as model:
        walk(model.schema, ())
    return names


def read_keywords(path: Path, names: Iterable[str]) -> dict[str, object]:
    """Read the primary header of an exposure; nothing else of the file is touched.

    Parameters
    ----------
    path
        The file.
    names
        What is wanted, in the names that CRDS uses: ``META.INSTRUMENT.DETECTOR``.

    Returns
    -------
    dict
        ``{"META.INSTRUMENT.DETECTOR": "NRCB4", ...}``, those that are there.

    Raises
    ------
    OSError
        When it cannot be read, or is no FITS file of one of `INSTRUMENTS`.
    """
    with open(path, "rb") as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyUserWarning)
        if stream.read(6) != b"SIMPLE":
            raise OSError("not a FITS file")
        stream.seek(0)
        try:
            header = fits.Header.fromfile(stream)
            found = str(header.get("INSTRUME"))
            keys = ((name, _keyword_names().get(name)) for name in names)
            values = {name: header.get(key) for name, key in keys if key}
        except (ValueError, fits.VerifyError) as err:
            raise OSError(f"no readable header ({err})") from err
    if found.upper() not in INSTRUMENTS:
        raise OSError(f"not of {', '.join(INSTRUMENTS)} (INSTRUME {found})")
    return {name: value for name, value in values.items() if isinstance(value, str | int | float)}
