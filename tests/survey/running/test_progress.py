"""Plain lines of a run: what is done, what runs, and not too many of them."""

import pytest

from ceers_steps.survey.running import progress
from ceers_steps.survey.running.now import now_path
from ceers_steps.survey.running.progress import Progress, duration
from tests.survey.standin import make_plan


@pytest.fixture
def clock(monkeypatch):
    """Seconds that tests set."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_lines_tell_what_is_done_and_what_runs(tmp_path, clock):
    plan = make_plan(tmp_path, exposures=30)
    tasks = list(plan.tasks.values())
    names = [task.id for task in tasks]
    lines = []
    note = now_path(plan, tasks[1])
    note.parent.mkdir(parents=True)
    with Progress(plan, tasks, tell=lines.append) as show:
        assert lines == [f"0 of {len(names)} tasks done"]
        clock[0] = 1
        show.update((), (), names[:3])
        assert len(lines) == 1  # too soon
        clock[0] = 40
        note.write_text("jump")
        show.update((), (), names[:3])
        first, second = sorted(names[:3])[:2]
        said = {names[1]: f"{names[1]} (jump)"}
        expected = ", ".join(said.get(name, name) for name in (first, second))
        assert lines[-1] == f"0 of {len(names)} tasks done; now: {expected} and 1 more"
        clock[0] = 100
        show.update(names[:10], names[10:11], ())
        # every task is estimated to take the same
        left = duration(100 * (len(names) - 11) / 11)
        assert lines[-1] == f"10 of {len(names)} tasks done, 1 failed, about {left} left"
        clock[0] = 180
        show.update(names[:10], names[10:11], names[11:12])
        # counts down until the next one ends
        left = duration(100 * (len(names) - 11) / 11 - 80)
        assert lines[-1].endswith(f", about {left} left; now: {names[11]}")
        clock[0] = 181
        show.update(names[:11], names[10:11], ())
        show.update(names, (), ())
        assert lines[-1] == f"{len(names)} of {len(names)} tasks done"
    assert len(lines) == 5


def test_nothing_new_is_not_told(tmp_path, clock):
    plan = make_plan(tmp_path)
    lines = []
    with Progress(plan, list(plan.tasks.values()), tell=lines.append) as show:
        for second in range(0, 1000, 10):
            clock[0] = second
            show.update({"exposure/e0"}, (), {"exposure/e1"})
    assert len(lines) == 2
