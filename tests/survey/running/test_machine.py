"""Cores and memory: of the machine, or of the container that the process runs in."""

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
