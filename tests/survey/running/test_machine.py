"""Cores and memory: of the machine, or of the container that the process runs in."""

import os

from ceers_steps.survey.running import machine


def test_memory_is_that_of_the_container(tmp_path, monkeypatch):
    whole = machine.installed_memory_mb()
    limits = [tmp_path / "none", tmp_path / "max", tmp_path / "limit"]
    limits[1].write_text("max\n")
    limits[2].write_text("123000000\n")
    monkeypatch.setattr(machine, "_memory_limits", lambda: limits[:2])
    assert machine.installed_memory_mb() >= whole
    monkeypatch.setattr(machine, "_memory_limits", lambda: limits)
    assert machine.installed_memory_mb() == 123


def test_cores_are_those_of_the_container(tmp_path, monkeypatch):
    """A container of two cores and a half on a large machine."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    limits = [tmp_path / "none", tmp_path / "max", tmp_path / "limit", tmp_path / "least"]
    limits[1].write_text("max 100000\n")
    limits[2].write_text("250000 100000\n")
    limits[3].write_text("50000 100000\n")
    for count, cores in ((2, 64), (3, 2), (4, 1)):
        monkeypatch.setattr(machine, "_core_limits", lambda count=count: limits[:count])
        assert machine.available_cores() == cores
