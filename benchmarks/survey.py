"""Surveys: what the engine costs, a run with nothing to do, kills at random, two at a time.

    python benchmarks/survey.py [--parts overhead noop kills throughput] [--kills 100]
                                [--work 27] [--exposures DIR] [--output FILE]

Stand-in work takes no time, so what is measured is the engine: plan, schedule, processes, records.
Kills hit the driver, the engine or a worker at random moments, also while a product is half
written. Throughput takes real exposures (``ceers simulate``), one and two at a time.
"""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from results_page import options_of, write_page

from ceers_steps.survey.config.settings import SurveyConfig
from ceers_steps.survey.planning.plan import STATE, why_stale, write_plan
from ceers_steps.survey.planning.records import Record, file_state, write_record
from ceers_steps.survey.running.run import run_plan
from ceers_steps.survey.running.task import main as do_task

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = str(ROOT)  # the stand-in work is a module of the tests

from tests.survey.standin import make_plan  # noqa: E402

SEED = 7
N_REFERENCES = 12
"""Reference files of an exposure."""

DRIVER = """
import json, sys
from ceers_steps.survey.config.settings import SurveyConfig
from ceers_steps.survey.running.run import run_plan
from tests.survey.standin import make_plan
folder, exposures, arguments = sys.argv[1:]
plan = make_plan(folder, exposures=int(exposures), arguments=json.loads(arguments))
outcome = run_plan(plan, SurveyConfig(None, (), plan.output, cores=2))
sys.exit(1 if outcome.failures or outcome.waiting else 0)
"""


def main() -> None:
    """Measure what is asked for and write it down."""
    parser = options_of(__doc__, "survey")
    parts = {"overhead": overhead, "noop": noop, "kills": kills, "throughput": throughput}
    parser.add_argument("--parts", nargs="+", choices=parts, default=["overhead", "noop", "kills"])
    parser.add_argument("--tasks", type=int, default=690, help="exposures of the first part")
    parser.add_argument("--kills", type=int, default=100, help="number of kills")
    parser.add_argument("--work", type=float, default=27.0, help="CPU seconds of a real exposure")
    parser.add_argument("--exposures", type=Path, help="folder of ceers simulate, for throughput")
    arguments = parser.parse_args()
    texts = []
    for part in arguments.parts:
        with tempfile.TemporaryDirectory() as folder:
            texts.append(parts[part](Path(folder), arguments))
        print(texts[-1], flush=True)
    title = "# Surveys\n\nWritten by `python benchmarks/survey.py`."
    write_page(arguments.output, "\n\n".join([title, *texts]))


def overhead(folder, arguments):
    """Measure the cost of a task beside its work."""
    plan = only(make_plan(folder, exposures=arguments.tasks), "exposure")
    start, before = time.monotonic(), used()
    outcome = quiet_run(plan)
    wall, cpu = time.monotonic() - start, used() - before
    count = len(outcome.done)
    each = cpu / count
    imports = cpu_of("import ceers_steps; ceers_steps.CeersDetector1, ceers_steps.CeersImage2")
    share = 100 * each / arguments.work
    with_imports = 100 * (each + imports) / arguments.work
    return (
        f"## Overhead\n\n{count} exposures with work that takes no time, on two cores: "
        f"{cpu:.0f} s of CPU time ({wall:.0f} s by the clock), {each:.3f} s for a task, with its "
        f"process, its records and its share of the engine and the driver. Of the "
        f"{arguments.work:.0f} s of CPU time that a full frame takes these are {share:.2f}%; with "
        f"the import of jwst, {imports:.1f} s in every process, {with_imports:.1f}%."
    )


def noop(folder, arguments):
    """Measure a run with nothing to do, of 1936 exposures."""
    plan = make_plan(folder, exposures=1936)
    make_done(plan)
    start, before = time.monotonic(), used()
    outcome = quiet_run(plan)
    wall, cpu = time.monotonic() - start, used() - before
    assert outcome.valid == len(plan.tasks), outcome
    return (
        f"## Nothing to do\n\n1936 exposures, {len(plan.tasks)} tasks, all valid, with "
        f"{N_REFERENCES} reference files each: {cpu:.1f} s of CPU time, {wall:.1f} s by the clock."
    )


def kills(folder, arguments):
    """Kill at random until it was done often enough; compare products, count what was done."""
    rng = random.Random(SEED)
    exposures = 8
    slow = {f"exposure/e{n}": {"seconds": 0.2} for n in range(exposures)}
    count = {"driver": 0, "engine": 0, "worker": 0}
    rounds = lost = twice = interrupted = 0
    truth = make_plan(folder / "truth", exposures=exposures)
    do_in_order(truth)
    expected = products(truth)
    while sum(count.values()) < arguments.kills:
        rounds += 1
        place = folder / f"round{rounds}"
        plan = make_plan(place, exposures=exposures, arguments=slow)
        command = [sys.executable, "-c", DRIVER, str(place), str(exposures), json.dumps(slow)]
        done: set[str] = set()
        while True:
            with open(folder / "driver.log", "w", encoding="utf-8") as log:
                driver = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
            if sum(count.values()) < arguments.kills:
                kill_one(rng, plan, driver, count)
            code = driver.wait()
            wait_for_tasks(plan)
            tried = calls(plan)
            now = recorded(plan)
            lost += len(done - now)
            twice += len([name for name in tried if name in done])
            interrupted += len(tried) - len(now - done)
            done = now
            if code == 0:
                break
        differ = [name for name, text in products(plan).items() if text != expected[name]]
        assert not differ, differ
        assert why_stale(plan) == {}
        shutil.rmtree(place)
    return (
        f"## Kills\n\n{sum(count.values())} kills (SIGKILL) at random moments, "
        f"{', '.join(f'{name} {number}' for name, number in count.items())}, in {rounds} surveys "
        f"of {len(plan.tasks)} tasks: all products identical to those of undisturbed runs; {lost} "
        f"records lost, {twice} tasks done again that were done, {interrupted} tasks begun again "
        "that a kill had interrupted."
    )


def throughput(folder, arguments):
    """Measure real exposures one at a time and two at a time."""
    if arguments.exposures is None:
        raise SystemExit("throughput takes --exposures, a folder of ceers simulate")
    load = os.getloadavg()[0]
    from ceers_steps.simulate import activate
    from ceers_steps.survey.planning.build import build_plan
    from ceers_steps.survey.select.inputs import find_exposures

    activate(arguments.exposures)
    rates, results = {}, []
    for cores in (1, 2):
        config = SurveyConfig(None, (arguments.exposures,), folder / str(cores), cores=cores)
        config.output.mkdir()
        plan = only(build_plan(config, *find_exposures(config)), "exposure")
        start = time.monotonic()
        outcome = run_plan(plan, config, tell=lambda line: None)
        wall = time.monotonic() - start
        assert not outcome.failures, outcome.failures
        rates[cores] = len(outcome.done) / wall
        results.append(f"{cores} at a time: {len(outcome.done)} exposures in {wall:.0f} s")
    return (
        f"## Two at a time\n\n{'; '.join(results)}: {rates[2] / rates[1]:.2f} times the throughput "
        f"({os.cpu_count()} cores; load before: {load:.1f})."
    )


def kill_one(rng, plan, driver, count):
    """Kill one of the processes of a run after a random time, unless it ends before."""
    deadline = time.monotonic() + 60
    # half of the time from the first work on, where products are half written
    if rng.random() < 0.7:
        while not (plan.output / "calls.txt").exists() and time.monotonic() < deadline:
            if driver.poll() is not None:
                return
            time.sleep(0.01)
    time.sleep(rng.uniform(0, 2.5))
    kind = rng.choice(list(count))
    words = {
        "engine": ["snakemake\0--snakefile", "Snakefile"],
        "worker": ["ceers_steps.survey.running.task\0"],
    }
    found = [driver.pid] if kind == "driver" else processes(*words[kind], str(plan.output))
    if found and driver.poll() is None:
        try:
            os.kill(rng.choice(found), signal.SIGKILL)
        except ProcessLookupError:
            return
        count[kind] += 1


def processes(*words):
    """Return the processes whose command lines have all words."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            line = Path(f"/proc/{int(entry)}/cmdline").read_text(errors="replace")
        except (OSError, ValueError):
            continue
        if all(word in line for word in words) and int(entry) != os.getpid():
            found.append(int(entry))
    return found


def wait_for_tasks(plan):
    """Wait until no process of a run is left."""
    while processes("ceers_steps.survey.running.task\0", str(plan.output)):
        time.sleep(0.02)


def only(plan, stage):
    """Return the plan of one stage."""
    tasks = {name: task for name, task in plan.tasks.items() if task.stage == stage}
    return replace(plan, tasks=tasks)


def quiet_run(plan):
    """Run a plan on two cores."""
    return run_plan(plan, SurveyConfig(None, (), plan.output, cores=2), tell=lambda line: None)


def make_done(plan):
    """Write products and records of all tasks, as their processes would."""
    made = {}
    names = [plan.output / f"reference{number}.fits" for number in range(N_REFERENCES)]
    for name in names:
        name.write_text("reference")
    references = {str(name): file_state(name) for name in names}
    for task in plan.tasks.values():
        outputs = {}
        for name in task.outputs:
            path = plan.output / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("product")
            outputs[name] = file_state(path)
        made[task.id] = f"made {task.id}"
        record = Record(
            task=task.id,
            settings=task.settings,
            versions=plan.versions,
            inputs={name: file_state(name) for name in task.inputs},
            references=references,
            outputs=outputs,
            after={name: made[name] for name in task.after},
            made=made[task.id],
        )
        write_record(plan.record_path(task), record)


def do_in_order(plan):
    """Do all tasks in this process."""
    here = os.getcwd()
    path = plan.output / "plan.json"
    write_plan(plan, path)
    for name in plan.tasks:
        assert do_task([str(path), name]) == 0
    os.chdir(here)


def products(plan):
    """Return the contents of all products, free of the names of folders."""
    return {
        name: (plan.output / name).read_text().replace(str(plan.output.parent), "")
        for task in plan.tasks.values()
        for name in task.outputs
    }


def recorded(plan):
    """Return the tasks that have a record."""
    folder = plan.output / STATE / "done"
    return {f"{path.parent.name}/{path.stem}" for path in folder.glob("*/*.json")}


def calls(plan):
    """Return the tasks whose work was begun since the last call."""
    path = plan.output / "calls.txt"
    names = path.read_text().split() if path.exists() else []
    path.unlink(missing_ok=True)
    return names


def used():
    """Return the CPU time of this process and of all that it has waited for, s."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def cpu_of(code):
    """Return the CPU time of a process that runs some code, beside starting Python; min of 3."""

    def once(text):
        before = used()
        subprocess.run([sys.executable, "-c", text], check=True, capture_output=True)
        return used() - before

    return min(once(code) for _ in range(3)) - min(once("pass") for _ in range(3))


if __name__ == "__main__":
    main()
