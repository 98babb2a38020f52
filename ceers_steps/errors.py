"""Errors that a user can mend: the message names the file, the parameter, the value, the remedy."""

__all__ = ["CeersError"]


class CeersError(Exception):
    """A problem with the input, the parameters or the surroundings, told in one message.

    The command line prints the message without a traceback and exits with code 1.
    """
