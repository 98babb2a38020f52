"""Cores and memory: of the machine, or of the container that the process runs in."""

import os

from ceers_steps.survey.running import machine, workers


def test_memory_is_that_of_the_container(tmp_path, monkeypatch):
    whole = machine.installed_memory_mb()
    limits = [tmp_path / "none", tmp_path / "max", tmp_path / "limit"]
    limits[1].write_text("max\n")
    limits[2].write_text("123000000\n")
    monkeypatch.setattr(machine, "_memory_limits", lambda: limits[:2])
    assert machine.installed_memory_mb() >= whole
    monkeypatch.setattr(machine, "_memory_limits", lambda: limits)
    assert machine.installed_memory_mb() == 123


def test_jobs_of_the_demo_fit_the_container(tmp_path, monkeypatch):
    """A container with 2 GB on a large machine: its jobs were counted for the whole machine."""
    limit = tmp_path / "memory.max"
    limit.write_text("2000000000\n")
    monkeypatch.setattr(machine, "_memory_limits", lambda: [limit])
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert workers.jobs_at_a_time(0.5e9) == 4
    assert workers.jobs_at_a_time(3e9) == 1
