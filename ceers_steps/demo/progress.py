"""How far a pipeline is, from what it logs."""

import contextlib
import logging
import resource
import sys

__all__ = ["peak_memory", "watch_steps"]


@contextlib.contextmanager
def watch_steps(steps, tell):
    """Tell which step runs, while the context is open.

    Parameters
    ----------
    steps : sequence of str
        Names of the steps in their order; those of a loop as often as they run.
    tell : callable
        Called with the number of steps done and the name of the next.
    """
    watch = _StepWatch(steps, tell)
    logging.getLogger("stpipe").addHandler(watch)
    try:
        yield
    finally:
        logging.getLogger("stpipe").removeHandler(watch)


class _StepWatch(logging.Handler):
    """Hears stpipe announce each step, its name the argument of a message."""

    def __init__(self, steps, tell):
        super().__init__()
        self._steps, self._tell, self._next = list(steps), tell, 0

    def emit(self, record):
        if not str(record.msg).startswith("Step %s running"):
            return
        step = record.args[0]
        if step in self._steps[self._next :]:
            place = self._steps.index(step, self._next)
            self._tell(place, step)
            self._next = place + 1


def peak_memory():
    """Return the peak memory of this process, bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
