"""Processes that end with the one that started them."""

import ctypes
import os
import signal
import sys

__all__ = ["end_with_parent"]

PR_SET_PDEATHSIG = 1
"""Of Linux's prctl: a signal for this process when the one that started it dies."""


def end_with_parent() -> None:
    """Let this process end when the one that started it is killed (Linux).

    Workers of a pool would wait for work for ever, the engine of a survey would go on without its
    driver.
    """
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)  # it died before the signal was asked for
