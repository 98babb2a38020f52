"""Damage that neither size nor time of a file shows: what a task reads, what is verified."""

import hashlib
import json
import os

import pytest

from ceers_steps.errors import CeersError
from ceers_steps.survey.planning import records
from ceers_steps.survey.planning.checksums import checksum, has_checksum
from ceers_steps.survey.planning.integrity import (
    made_by,
    remember_command,
    verify_products,
)
from ceers_steps.survey.planning.plan import STATE, why_stale, write_plan
from ceers_steps.survey.planning.records import DOUBTED, read_record
from ceers_steps.survey.running.task import main
from tests.survey.planning.test_plan import do
from tests.survey.standin import calls, make_plan


def flip_bit(path):
    """Change one bit; size and time of change stay as they are."""
    times, content = os.stat(path), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.fixture
def plan(tmp_path):
    made = make_plan(tmp_path)
    do(made)
    calls(made)
    return made


def tree_of(plan, name):
    return json.loads(plan.record_path(plan.tasks[name]).read_text())


def rewrite(plan, name, digest):
    """Give the products of a task another checksum in its record."""
    tree = tree_of(plan, name)
    for state in tree["outputs"].values():
        state["digest"] = digest
    plan.record_path(plan.tasks[name]).write_text(json.dumps(tree))


def test_checksums_tell_contents(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(bytes(range(256)) * 40000)  # more than a block
    before = checksum(path)
    assert before.startswith("xxh3:")
    old = hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    assert has_checksum(path, before)
    assert has_checksum(path, old)
    flip_bit(path)
    assert checksum(path) != before
    assert not has_checksum(path, before)
    assert not has_checksum(path, old)
    assert not has_checksum(path, "other:00")


def test_a_changed_bit_stops_the_task_that_would_read_it_and_is_made_again(plan, tmp_path):
    truth = (plan.output / "exposure" / "e1.txt").read_bytes()
    flip_bit(plan.output / "exposure" / "e1.txt")
    assert why_stale(plan) == {}, "size and time are the same"
    changed = make_plan(tmp_path, settings={"outlier/g0": {"value": 2}})
    with pytest.raises(AssertionError):
        do(changed)
    assert calls(changed) == [], "no work with what is damaged"
    told = json.loads(changed.failure_path(changed.tasks["outlier/g0"]).read_text())["message"]
    assert f"{plan.output / 'exposure' / 'e1.txt'} has other contents" in told
    assert "The same command makes it again." in told
    reasons = why_stale(changed)
    assert reasons["exposure/e1"] == "exposure/e1.txt is changed"
    assert "exposure/e0" not in reasons
    do(changed)
    assert (plan.output / "exposure" / "e1.txt").read_bytes() == truth
    assert calls(changed) == ["exposure/e1", "outlier/g0", "mosaic/g0", "background/all"]
    assert why_stale(changed) == {}


def test_what_reads_well_again_is_taken(plan, tmp_path):
    """A network drive may give wrong bytes once."""
    product = plan.output / "exposure" / "e1.txt"
    flip_bit(product)
    assert [damage.name for damage in verify_products(plan.output).products] == ["exposure/e1.txt"]
    assert (
        read_record(plan.record_path(plan.tasks["exposure/e1"])).outputs["exposure/e1.txt"].mtime
        == DOUBTED
    )
    assert "exposure/e1" in why_stale(plan)
    flip_bit(product)
    assert why_stale(plan) == {}
    assert verify_products(plan.output).products == []
    state = read_record(plan.record_path(plan.tasks["exposure/e1"])).outputs["exposure/e1.txt"]
    assert state.mtime == os.stat(product).st_mtime_ns


def test_products_are_compared_once_a_run(plan, tmp_path, monkeypatch):
    """Tiles of a mosaic read the same exposures: each is looked at by the first."""
    compared = []
    real = records.has_checksum
    monkeypatch.setattr(
        records, "has_checksum", lambda path, sum_: compared.append(path) or real(path, sum_)
    )
    changed = make_plan(tmp_path, settings={name: {"value": 2} for name in ("outlier/g0",)})
    path = str(changed.output / "plan.json")
    write_plan(changed, path)
    for run, expected in (("one", 2), ("one", 0), ("two", 2)):
        changed.record_path(changed.tasks["outlier/g0"]).unlink(missing_ok=True)
        compared.clear()
        mark = tmp_path / "marks" / run / "outlier" / "g0"
        assert main([path, "outlier/g0", str(mark)]) == 0
        assert len(compared) == expected


def test_verify_names_what_is_missing_cut_off_and_changed(plan):
    folder = plan.output
    assert verify_products(folder, cores=3).products == []
    flip_bit(folder / "exposure" / "e0.txt")
    cut = folder / "mosaic" / "g0.txt"
    size = cut.stat().st_size
    os.truncate(cut, size // 2)
    (folder / "mosaic" / "g2.txt").unlink()
    plan.record_path(plan.tasks["background/all"]).write_text("[]")
    seen = []
    found = verify_products(folder, cores=2, progress=lambda *sizes: seen.append(sizes))
    assert {damage.name: damage.problem for damage in found.products} == {
        ".ceers/done/background/all.json": "cannot be read as a record",
        "exposure/e0.txt": "has other contents",
        "mosaic/g0.txt": f"is cut off: {size // 2} bytes, not {size}",
        "mosaic/g2.txt": "is missing",
    }
    assert seen[-1] == (found.size, found.size)
    assert found.files == len(seen) == 8
    do(plan)
    assert verify_products(folder).products == []


def test_verify_reads_inputs_when_asked(plan):
    raw = next(iter(plan.tasks["exposure/e3"].inputs))
    flip_bit(type(plan.output)(raw))
    assert verify_products(plan.output).inputs == []
    found = verify_products(plan.output, inputs=True)
    assert [(damage.name, damage.task) for damage in found.inputs] == [(raw, "exposure/e3")]
    assert found.products == []


def test_records_without_checksum_are_valid_and_get_one(plan):
    rewrite(plan, "exposure/e0", "")
    assert why_stale(plan) == {}
    found = verify_products(plan.output, write=False)
    assert (found.adopted, found.products) == (0, [])
    assert tree_of(plan, "exposure/e0")["outputs"]["exposure/e0.txt"]["digest"] == ""
    found = verify_products(plan.output)
    assert (found.adopted, found.products) == (1, [])
    assert verify_products(plan.output).adopted == 0
    flip_bit(plan.output / "exposure" / "e0.txt")
    assert len(verify_products(plan.output).products) == 1


def test_records_with_the_checksum_of_before_are_valid(plan):
    product = plan.output / "exposure" / "e0.txt"
    rewrite(plan, "exposure/e0", hashlib.blake2b(product.read_bytes(), digest_size=16).hexdigest())
    os.utime(product, (1, 1))
    assert why_stale(plan) == {}
    assert verify_products(plan.output).products == []
    flip_bit(product)
    assert len(verify_products(plan.output).products) == 1


def test_a_product_that_is_no_longer_wanted_may_be_gone(plan, tmp_path):
    task = plan.tasks["exposure/e0"]
    record = tree_of(plan, task.id)
    record["outputs"]["rate/e0.txt"] = record["outputs"]["exposure/e0.txt"]
    plan.record_path(task).write_text(json.dumps(record))
    assert [damage.name for damage in verify_products(plan.output).products] == ["rate/e0.txt"]
    write_plan(plan, plan.output / STATE / "engine" / "plan.json")
    assert verify_products(plan.output).products == []


def test_a_folder_without_records(tmp_path):
    with pytest.raises(CeersError, match="has no records of finished tasks"):
        verify_products(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_the_command_is_remembered(tmp_path, monkeypatch):
    folder = tmp_path / "my field"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert made_by(tmp_path) == ""
    remember_command(tmp_path, "ceers reduce survey.toml")
    assert made_by(tmp_path) == f"cd '{folder}' && ceers reduce survey.toml"
    (tmp_path / ".ceers" / "command.json").write_text("[1]")
    assert made_by(tmp_path) == ""
