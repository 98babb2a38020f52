"""Carrying out a plan: tasks, engine, locks, progress; what to do was decided in ``planning``."""
