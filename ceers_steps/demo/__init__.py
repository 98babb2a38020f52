"""``ceers demo``: from nothing to mosaics, and how far all of it is from the truth."""

from ceers_steps.demo.run import run_demo
from ceers_steps.demo.sets import SETS, DemoSet

__all__ = ["SETS", "DemoSet", "run_demo"]
