"""What goes wrong when reference files are asked for, in one message."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

from stdatamodels.jwst.datamodels import JwstDataModel
from stpipe import crds_client

__all__ = ["CRDS_ERRORS", "asking_crds", "crds_message"]

CRDS_ERRORS = (SystemExit, crds_client.CrdsError, OSError, AssertionError)
"""What CRDS raises: it leaves the interpreter, and asserts that CRDS_CONTEXT is a context."""


@contextmanager
def asking_crds() -> Iterator[None]:
    """Leave out the tracebacks that CRDS prints where it has no context: its error says as much."""
    with redirect_stderr(io.StringIO()):
        yield


def crds_message(what: str, dataset: object, *causes: object) -> str:
    """Say which references could not be had, for what, and what to do.

    Parameters
    ----------
    what
        Types of reference files.
    dataset
        Model or path of the exposure.
    *causes
        What CRDS has raised.

    Returns
    -------
    str
        Of one paragraph.
    """
    context = os.environ.get("CRDS_CONTEXT", "the default context")
    reasons = "; ".join(dict.fromkeys(str(err) for err in causes if str(err) not in {"", "-1"}))
    given = dataset.meta.filename if isinstance(dataset, JwstDataModel) else dataset
    name = given if isinstance(given, (str, os.PathLike)) else None
    return (
        f"CRDS has no usable {what} for {name or 'this exposure'} under {context} "
        f"(CRDS_PATH={os.environ.get('CRDS_PATH', 'not set')}, "
        f"CRDS_SERVER_URL={os.environ.get('CRDS_SERVER_URL', 'not set')})"
        f"{': ' + reasons if reasons else ''}. Check these variables and the network, "
        "or give the file with override_<type>."
    )
