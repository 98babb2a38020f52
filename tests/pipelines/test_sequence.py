"""The order of the steps, against the jwst that is installed."""

import ast
import inspect
import textwrap

import jwst.pipeline.calwebb_detector1 as upstream
import jwst.pipeline.calwebb_image3 as upstream_image3
import pytest
from stpipe.entry_points import get_steps as installed_steps

import ceers_steps
from ceers_steps.integration import get_steps
from ceers_steps.pipelines import detector1
from ceers_steps.pipelines.detector1 import BEFORE_RAMP_FIT, CUSTOM_STEPS, CeersDetector1
from ceers_steps.pipelines.image3 import BEFORE_RESAMPLE, CeersImage3


def upstream_near_infrared_sequence():
    """Read the order of ``self.<step>.run`` for near-infrared data from the source of jwst."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(upstream.Detector1Pipeline.process)))
    branch = next(
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "MIRI" in ast.unparse(node.test)
    )

    def steps_run(nodes):
        calls = [
            call
            for node in nodes
            for call in ast.walk(node)
            if isinstance(call, ast.Call) and ast.unparse(call.func).endswith(".run")
        ]
        calls.sort(key=lambda call: call.lineno)
        return [ast.unparse(call.func).split(".")[1] for call in calls]

    body = tree.body[0].body
    after = body[body.index(branch) + 1 :]
    names = steps_run(branch.orelse) + steps_run(after)
    return list(dict.fromkeys(names))


def test_sequence_is_that_of_jwst_with_ours_in_their_places():
    ours = [*BEFORE_RAMP_FIT, "ramp_fit", "gain_scale"]
    assert [name for name in ours if name not in CUSTOM_STEPS] == upstream_near_infrared_sequence()
    at = BEFORE_RAMP_FIT.index("jump")
    assert BEFORE_RAMP_FIT[at + 1 : at + 4] == ("jump_check", "trapped_charge", "snowball")


def test_stage_3_is_that_of_jwst_with_ours_in_their_places():
    source = textwrap.dedent(inspect.getsource(upstream_image3.Image3Pipeline.process))
    calls = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".run")
    ]
    calls.sort(key=lambda call: call.lineno)
    upstream_order = list(dict.fromkeys(ast.unparse(call.func).split(".")[1] for call in calls))
    ours = ["assign_mtwcs", *BEFORE_RESAMPLE, "resample", "source_catalog", "mosaic_background"]
    added = {"update_wcs", "skyvar", "mosaic_background"}
    assert [name for name in ours if name not in added] == upstream_order
    assert BEFORE_RESAMPLE[0] == "update_wcs"
    assert BEFORE_RESAMPLE[-2:] == ("outlier_detection", "skyvar")


def test_steps_of_stage_3_extend_those_of_jwst():
    for name, step in upstream_image3.Image3Pipeline.step_defs.items():
        ours = CeersImage3.step_defs[name]
        assert issubclass(ours, step)
        assert ours.get_config_reftype() == step.get_config_reftype()


def test_all_steps_of_the_parent_are_kept():
    parent = upstream.Detector1Pipeline.step_defs
    assert {name: CeersDetector1.step_defs[name] for name in parent} == parent


def test_crds_parameters_of_the_parent_apply():
    assert CeersDetector1.get_config_reftype() == "pars-detector1pipeline"


def test_registered_names_resolve():
    ours = [step for step in installed_steps() if step.package_name == "ceers_steps"]
    assert [(s.class_name, s.class_alias, s.is_pipeline) for s in ours] == get_steps()
    for path, alias, is_pipeline in get_steps():
        cls = getattr(ceers_steps, path.rpartition(".")[2])
        assert cls.class_alias == alias
        assert hasattr(cls, "step_defs") == is_pipeline


@pytest.mark.parametrize("cls", [CeersDetector1, *CUSTOM_STEPS.values()])
def test_every_parameter_has_help(cls):
    for line in cls.spec.strip().splitlines():
        assert "#" in line, f"{cls.__name__}: no help for {line.strip()}"


def test_module_is_order_only():
    """A pipeline computes nothing: no numerics are imported."""
    assert not {"np", "numpy", "scipy"} & set(vars(detector1))
