"""Errors that a user can fix: the message names the file, the parameter, the value, the remedy."""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["CeersError", "optional_import"]


class CeersError(Exception):
    """A problem with the input, the parameters or the surroundings, reported in one message.

    The command line prints the message without a traceback and exits with code 1.
    """


@contextmanager
def optional_import(need: str, *, extra: str) -> Iterator[None]:
    """Import an optional package within this, and a missing one is reported with how to install it.

    Parameters
    ----------
    need : str
        What needs which package, ``"Figures need matplotlib"``.
    extra : str
        Extra of this package that installs it.

    Raises
    ------
    CeersError
        When something cannot be imported, or does not start with the settings that it finds.
    """
    try:
        yield
    except ImportError as err:
        raise CeersError(
            f"{need} ({err}). Install it with: pip install 'ceers_steps[{extra}]'"
        ) from err
    except ValueError as err:  # matplotlib looks at its settings while it is imported
        reason = " ".join(str(err).split())[:120]
        raise CeersError(
            f"{need}, which does not start: {reason}. Correct its settings (MPLBACKEND)."
        ) from err
