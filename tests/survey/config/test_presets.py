"""The versions that products depend on, and the packaged parameters."""

import crds
import pytest

from ceers_steps.code_version import code_version
from ceers_steps.errors import CeersError
from ceers_steps.survey.config.presets import PRESETS, read_preset, versions


@pytest.fixture
def environment(monkeypatch):
    """Return a function that sets the variables of CRDS, and what CRDS answers."""

    def arrange(answer=None, **variables):
        for name in ("CRDS_PATH", "CRDS_SERVER_URL", "CRDS_CONTEXT"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

        def get_context_name(observatory):
            assert observatory == "jwst"
            if isinstance(answer, BaseException):
                raise answer
            assert answer is not None, "CRDS is not to be asked"
            return answer

        monkeypatch.setattr(crds, "get_context_name", get_context_name)
        return versions()["CRDS context"]

    return arrange


def test_a_context_that_is_given_is_not_looked_up(environment):
    assert environment(CRDS_CONTEXT="jwst_1293.pmap", CRDS_PATH="/x") == "jwst_1293.pmap"


def test_without_one_it_is_what_jwst_will_take(environment):
    """A new context on the server is a change, as it is of the files that it selects."""
    assert environment("jwst_1300.pmap", CRDS_PATH="/x") == "jwst_1300.pmap"
    assert environment("jwst_1301.pmap", CRDS_SERVER_URL="https://x") == "jwst_1301.pmap"
    named = environment("jwst_1302.pmap", CRDS_PATH="/x", CRDS_CONTEXT="jwst-latest")
    assert named == "jwst_1302.pmap"


@pytest.mark.parametrize("problem", [SystemExit(-1), OSError("no network")])
def test_where_CRDS_is_not_set_up_a_plan_can_be_made(environment, problem):
    assert environment() == "default"
    assert environment(problem, CRDS_PATH="/x") == "default"


def test_a_plan_without_a_network_says_nothing_of_CRDS(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("CRDS_PATH", str(tmp_path))
    monkeypatch.setenv("CRDS_SERVER_URL", "https://jwst-serverless.invalid")
    assert versions()["CRDS context"] == "default"
    assert not [record for record in caplog.records if record.name == "CRDS"]


def test_packages_are_named(environment):
    environment()
    found = versions()
    assert found["ceers_steps"] == code_version()
    assert {"jwst", "stcal"} <= set(found)


GROUPS = ("nircam1", "nircam2", "nircam3", "nircam6", "epoch1")
NAMES = {
    name.format(group=group)
    for files in PRESETS.values()
    for name in files.values()
    for group in GROUPS
}


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_file_of_the_presets_is_there(name):
    steps = read_preset(name)
    assert steps
    assert all(isinstance(values, dict) for values in steps.values())


def test_other_groups_have_no_published_parameters():
    with pytest.raises(CeersError, match="Use preset='best' for other data"):
        read_preset("dr05/image3_jw02736001")
