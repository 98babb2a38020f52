"""What a task is doing is known to those who watch."""

import logging

from ceers_steps.survey.running.now import now_path, read_now, say_now, telling
from tests.survey.standin import make_plan


def test_steps_and_what_is_said_are_known(tmp_path):
    plan = make_plan(tmp_path)
    task = plan.tasks["exposure/e0"]
    path = now_path(plan, task)
    path.parent.mkdir(parents=True)
    log = logging.getLogger("stpipe.step")
    seen = []
    say_now("nobody listens")
    with telling(plan, task):
        assert read_now(plan, task) == ""
        for name in ("flat", "photom"):
            log.error("Step %s running with args %s.", name, ())
            log.error("Step %s done", name)
            seen.append(read_now(plan, task))
        say_now("exposure 2 of 4")
        seen.append(read_now(plan, task))
        log.error("Step %s running with args %s.", "flat", ())
        seen.append(read_now(plan, task))
    assert seen == ["flat", "photom", "exposure 2 of 4", "exposure 2 of 4, flat"]
    assert not path.exists()
    log.error("Step %s running with args %s.", "flat", ())
    assert read_now(plan, task) == ""


def test_what_cannot_be_written_does_not_stop_the_work(tmp_path):
    plan = make_plan(tmp_path)
    with telling(plan, plan.tasks["exposure/e0"]):
        say_now("the folder is not there")
