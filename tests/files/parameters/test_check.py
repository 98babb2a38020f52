"""Broken parameter files end in one short message that names the file and what to do."""

import os
import re
import sys

import pytest
from stpipe import config_parser
from stpipe._cli import strun

import ceers_steps
from ceers_steps import (
    CeersDetector1,
    CeersImage3,
    RemStripingStep,
    SkyVarStep,
    SnowballStep,
    WispSubStep,
    cli,
)
from ceers_steps.errors import CeersError
from ceers_steps.files.parameter_files import list_parameter_files
from ceers_steps.files.parameters.check import check_given, check_parameters, nearest
from ceers_steps.files.parameters.ranges import RANGES
from ceers_steps.files.parameters.texts import text_parameter_problem
from ceers_steps.files.parameters.tree import from_nested, read_parameters
from ceers_steps.kernels.snowballs.settings import PUBLISHED
from ceers_steps.steps.base import StepError

HEAD = """#ASDF 1.0.0
#ASDF_STANDARD 1.6.0
%YAML 1.1
%TAG ! tag:stsci.edu:asdf/
--- !core/asdf-1.1.0
"""


def asdf(body, end="...\n"):
    return f"{HEAD}{body}{end}"


def detector1(steps="", parameters="{}", top=""):
    """A parameter file of CeersDetector1."""
    text = f"class: ceers_steps.CeersDetector1\nname: CeersDetector1\nparameters: {parameters}\n"
    return asdf(f"{top}{text}{f'steps:{steps}' if steps else ''}\n")


def step(name, parameters="{}"):
    return f"\n- class: x.Y\n  name: {name}\n  parameters: {parameters}"


def of_wisps(parameters):
    return detector1(step("wispsub", parameters))


STRUCTURE = {
    "empty": ("", "is not an ASDF file: it is empty"),
    "blank": (" \n\n", "is empty"),
    "text": ("hello", "is not an ASDF file: it begins with"),
    "FITS": ("SIMPLE  =                    T", "is not an ASDF file"),
    "JSON": ('{"class": "x"}', "is not an ASDF file"),
    "YAML without head": ("class: x\nparameters: {}\n", "is not an ASDF file"),
    "bytes": ("\0\1\2\3" * 99, "is not an ASDF file"),
    "head alone": ("#ASDF 1.0.0\n", "its tree has no end"),
    "head and version": (HEAD, "its tree has no end"),
    "cut in a key": (detector1(top="meta: {a: 1}\n")[:150], "its tree has no end"),
    "cut before its end": (detector1()[:-4], "its tree has no end"),
    "no values": (asdf(""), "no parameters"),
    "list": (asdf("- 1\n- 2\n"), "holds a list"),
    "number": (asdf("5\n"), "no parameters"),
    "open bracket": (detector1(parameters="{"), "cannot be read"),
    "tab": (detector1(parameters="\n\tskip: true"), "cannot be read"),
    "quote": (detector1(parameters='{output_dir: "x}'), "cannot be read"),
    "colon": (detector1(parameters="{output_dir: a: b}"), "cannot be read"),
    "anchor that is missing": (detector1(parameters="{output_dir: *nowhere}"), "cannot be read"),
    "indentation": (asdf("class: x\n  name: y\nparameters: {}\n"), "cannot be read"),
    "no class": (asdf("name: x\nparameters: {}\n"), "does not say which step"),
    "class is empty": (asdf("class: ''\nname: x\nparameters: {}\n"), "does not say which step"),
    "class is a list": (asdf("class: [x]\nname: x\nparameters: {}\n"), "does not say which step"),
    "no name": (asdf("class: x.Y\nparameters: {}\n"), "'name' is missing"),
    "name is a number": (asdf("class: x.Y\nname: 5\nparameters: {}\n"), "'name' is missing"),
    "no parameters": (asdf("class: x.Y\nname: Y\n"), "has no 'parameters'"),
    "parameters is a list": (detector1(parameters="[a, b]"), "'parameters' is a list"),
    "parameters is a text": (detector1(parameters="none"), "'parameters' is a text"),
    "steps is a group": (detector1("\n  jump: {skip: true}\n"), "'steps' is a group"),
    "steps is a text": (detector1(" jump\n"), "'steps' is a text"),
    "steps is a number": (detector1(" 5\n"), "'steps' is a number"),
    "step is a text": (detector1("\n- jump\n"), "step number 1 has no 'name'"),
    "step without a name": (
        detector1("\n- class: x.Y\n  parameters: {}\n"),
        "step number 1 has no 'name'",
    ),
    "step without parameters": (
        detector1("\n- {class: x.Y, name: jump}\n"),
        "steps.jump has no 'parameters'",
    ),
    "step without a class": (
        detector1("\n- {name: jump, parameters: {}}\n"),
        "steps.jump has no 'class'",
    ),
    "step twice": (
        detector1(step("jump") + step("jump")),
        "'jump' stands twice",
    ),
    "number for a name": (of_wisps("{5: lsq}"), "unknown parameter steps.wispsub.5"),
    "class without a name": (
        asdf("class: ..\nname: x\nparameters: {}\n"),
        "is for .. .'class' in it., not for CeersDetector1",
    ),
    "class is the word None": (
        asdf("class: None\nname: x\nparameters: {}\n"),
        "is for None .'class' in it., not for CeersDetector1",
    ),
    "another version of ASDF": (
        detector1().replace("#ASDF 1.0.0", "#ASDF 99.0.0"),
        "cannot be read .ValueError: Unsupported ASDF file format version",
    ),
    "a version that is none": (detector1().replace("#ASDF 1.0.0", "#ASDF x.y"), "cannot be read"),
    "another standard": (detector1().replace("STANDARD 1.6.0", "STANDARD 9.9.9"), "cannot be read"),
    "an array that is not there": (
        detector1(
            top="extra: !core/ndarray-1.1.0 "
            "{source: 0, datatype: int8, byteorder: little, shape: [3]}\n"
        ),
        "cannot be read",
    ),
    "a block that is cut off": (detector1() + "\xd3BLK\0\x30ab", "cannot be read"),
    "parameter twice": (
        detector1(parameters="{output_dir: a, output_dir: b}"),
        "'output_dir' stands twice",
    ),
}

NAMES = {
    "step": (
        detector1(step("wispsubb")),
        "did you mean 'wispsub'",
    ),
    "step of another case": (
        detector1(step("Jump")),
        "mean 'jump'",
    ),
    "class for step": (
        detector1(step("WispSubStep")),
        "mean 'wispsub'",
    ),
    "step of stage 3": (
        detector1(step("tweakreg")),
        "unknown step",
    ),
    "nothing near": (detector1(step("xxxx")), "known are "),
    "parameter": (of_wisps("{methd: lsq}"), "did you mean 'method'"),
    "parameter of another case": (of_wisps("{Method: lsq}"), "did you mean 'method'"),
    "with a dash": (of_wisps("{save-plots: true}"), "did you mean 'save_plots'"),
    "of the pipeline": (detector1(parameters="{save_intermediate: true}"), "save_intermediates"),
    "of a step, at the top": (
        detector1(parameters="{template_dir: x}"),
        "belongs to steps.wispsub",
    ),
    "step among parameters": (detector1(parameters="{jump: {skip: true}}"), "jump is a step"),
    "steps of a step": (
        detector1(
            "\n- {class: x.Y, name: jump, parameters: {},"
            " steps: [{class: x.Y, name: a, parameters: {}}]}\n"
        ),
        "has no steps",
    ),
}

VALUES = {
    "option": (of_wisps("{method: lsqq}"), r"method = 'lsqq': .*option"),
    "number for option": (of_wisps("{method: 5}"), "method = 5"),
    "list for option": (of_wisps("{method: [lsq]}"), r"method = \['lsq'\]"),
    "text for float": (of_wisps("{scale: big}"), "scale = 'big'"),
    "list for float": (of_wisps("{scale: [1.0]}"), r"scale = \[1.0\]"),
    "group for float": (of_wisps("{scale: {a: 1}}"), "a group of values"),
    "bool for float": (of_wisps("{scale: true}"), "no numbers"),
    "not a number": (of_wisps("{scale: .nan}"), "not a number"),
    "text for boolean": (of_wisps("{skip: perhaps}"), "skip = 'perhaps'"),
    "number for boolean": (of_wisps("{skip: 7}"), "skip = 7"),
    "list for boolean": (of_wisps("{skip: [true]}"), r"skip = \[True\]"),
    "nothing for boolean": (of_wisps("{save_plots: null}"), "no value is not allowed"),
    "list for text": (of_wisps("{template_dir: [a, b]}"), "template_dir = "),
    "date for text": (of_wisps("{template_dir: 2026-01-01}"), "template_dir = "),
    "group for text": (of_wisps("{template_dir: {a: b}}"), "a group of values"),
    "text for integer": (
        detector1(step("jump", "{max_jump_to_flag_neighbors: x}")),
        "max_jump_to_flag_neighbors = 'x'",
    ),
    "file that is missing": (detector1(parameters="{overrides: gone.ecsv}"), "no such file"),
    "list for a file": (detector1(parameters="{overrides: [a.ecsv]}"), "no path"),
    "number for a file": (detector1(parameters="{overrides: 5}"), "no path"),
    "number for a reference": (of_wisps("{override_flat: 5}"), "override_flat"),
    "nested list": (of_wisps("{templates: [[a], [b]]}"), "a group of values"),
    "hooks": (of_wisps("{pre_hooks: {a: b}}"), "a group of values"),
}

CORPUS = {
    f"{kind}: {name}": case
    for kind, cases in {"structure": STRUCTURE, "name": NAMES, "value": VALUES}.items()
    for name, case in cases.items()
}


@pytest.fixture
def write(tmp_path):
    def write(text, name="broken.asdf"):
        path = tmp_path / name
        path.write_bytes(text.encode("utf-8" if "\xd3" not in text else "latin-1"))
        return path

    return write


def is_short(message, path):
    return len(message) < 500 and "\n" not in message and str(path) in message


@pytest.mark.parametrize("case", CORPUS)
def test_broken_files(case, write):
    text, expected = CORPUS[case]
    path = write(text)
    with pytest.raises(StepError, match=expected) as caught:
        CeersDetector1.call("missing_uncal.fits", config_file=str(path))
    assert is_short(str(caught.value), path)


def test_the_corpus_is_large():
    assert len(CORPUS) >= 70


@pytest.mark.parametrize("file", list_parameter_files(), ids=lambda file: file.name)
def test_the_files_of_the_package_pass(file):
    if file.path.suffix != ".asdf":
        assert file.description
        return
    tree = read_parameters(file.path)
    cls = getattr(ceers_steps, tree.class_name.rpartition(".")[2])
    check_parameters(tree, cls.load_spec_file(), file.name, file.path.parent)


@pytest.mark.parametrize("cls", [CeersDetector1, CeersImage3, WispSubStep])
def test_what_stpipe_writes_passes(cls, tmp_path):
    path = tmp_path / "saved.asdf"
    cls().export_config(path)
    check_parameters(read_parameters(path), cls.load_spec_file(), path.name)


def test_older_forms(tmp_path, write):
    """Lines name = value, and ASDF with the steps among the parameters."""
    spec = CeersDetector1.load_spec_file()
    ini = write('name = "a"\nclass = "b"\n[steps]\n[[wispsub]]\nmethod = lsq\n', "old.cfg")
    check_parameters(read_parameters(ini), spec, "old.cfg")
    inner = "parameters: {class: x.Y, name: Y, steps: {wispsub: {method: lsq}}}\n"
    legacy = write(asdf(inner), "old.asdf")
    assert read_parameters(legacy).steps["wispsub"].parameters == {"method": "lsq"}
    broken = write('name = "a"\n[steps]\n[[wispsub]]\nmethd = lsq\n', "old.cfg")
    with pytest.raises(CeersError, match="did you mean 'method'"):
        check_parameters(read_parameters(broken), spec, "old.cfg")
    with pytest.raises(CeersError, match="neither ASDF nor lines"):
        read_parameters(write("[steps\nx", "bad.cfg"))


def test_all_problems_are_counted(write):
    path = write(of_wisps("{methd: lsq, scal: 1, skip: maybe, save_plot: true, flatt: 1}"))
    with pytest.raises(StepError, match=r"methd.*scal.*and 2 more"):
        CeersDetector1.call("missing_uncal.fits", config_file=str(path))


@pytest.mark.parametrize("name", ["WispSubStep", "CeersDetector1", "x.Y"])
def test_file_of_another_step(name, write):
    path = write(asdf(f"class: ceers_steps.{name}\nname: x\nparameters: {{}}\n"))
    with pytest.raises(StepError, match=rf"is for ceers_steps\.{name} .* not for CeersImage3"):
        CeersImage3.call("missing_cal.fits", config_file=str(path))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"suffix": "a/b"}, "suffix = 'a/b': 'a/b' has other characters"),
        ({"suffix": "x" * 300}, "has 300 characters"),
        ({"output_file": "out/\u00e9"}, "output_file = .*: it has '\u00e9', which FITS headers"),
        ({"output_file": "x" * 300}, "has 300 characters"),
        ({"output_ext": ".txt"}, "products are fits or asdf files"),
        ({"pre_hooks": [5]}, "5 is no text"),
        ({"override_flat": "/nowhere"}, "override_flat = '/nowhere': no such file"),
    ],
)
def test_values_that_no_product_can_have(given, message):
    spec = WispSubStep.load_spec_file()
    with pytest.raises(CeersError, match=message):
        check_parameters(from_nested(given, "Parameters"), spec, "Parameters")


def test_hooks_that_are_no_functions():
    with pytest.raises(StepError, match=r"sqrt .* is not a function.*hooks are \['math.sqrt'\]"):
        WispSubStep(post_hooks=["math.sqrt"])


def test_file_of_a_step(write):
    path = write(asdf("class: x.Y\nname: wispsub\nparameters: {methd: lsq}\n"))
    with pytest.raises(StepError, match="did you mean 'method'"):
        CeersDetector1.call("missing_uncal.fits", steps={"wispsub": {"config_file": str(path)}})


class TestStrun:
    """The same from the command line, which stpipe answers with the help of all parameters."""

    def run(self, monkeypatch, capfd, *arguments):
        monkeypatch.setattr(sys, "argv", ["strun", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            strun.main()
        assert caught.value.code == 1
        captured = capfd.readouterr()
        return captured.out + captured.err

    @pytest.mark.parametrize("case", [*NAMES, *VALUES])
    def test_file(self, case, monkeypatch, capfd, write):
        text, expected = {**NAMES, **VALUES}[case]
        path = write(text)
        told = self.run(monkeypatch, capfd, path, "missing_uncal.fits")
        assert "Traceback" not in told
        assert len(told.strip().splitlines()) <= 3, told
        assert re.search(expected, told), told

    @pytest.mark.parametrize("name", ["detector1.asdf", "image3.asdf"])
    def test_file_that_can_be_used(self, name, monkeypatch, capfd):
        file = next(file for file in list_parameter_files() if file.name == name)
        told = self.run(monkeypatch, capfd, file.path, "missing_uncal.fits")
        assert "missing_uncal.fits does not exist" in told

    def test_value_on_the_command_line(self, monkeypatch, capfd):
        arguments = ("ceers_steps.CeersDetector1", "x_uncal.fits", "--steps.wispsub.scale=big")
        told = self.run(monkeypatch, capfd, *arguments)
        assert "steps.wispsub.scale = 'big'" in told
        assert len(told.strip().splitlines()) <= 3, told


class TestCeersParams:
    def test_good_files(self, capsys):
        names = [str(f.path) for f in list_parameter_files() if f.path.suffix == ".asdf"]
        assert cli.main(["params", "--check", *names]) == 0
        assert capsys.readouterr().out.count("can be used") == len(names)

    @pytest.mark.parametrize(
        "case", ["structure: cut in a key", "name: parameter", "value: option"]
    )
    def test_broken_file(self, case, capsys, write):
        text, _ = CORPUS[case]
        path = write(text)
        assert cli.main(["params", "--check", str(path)]) == 1
        told = capsys.readouterr().err
        assert str(path) in told
        assert len(told.strip().splitlines()) <= 3

    def test_class_that_is_not_there(self, capsys, write):
        path = write(asdf("class: nowhere.Step\nname: Step\nparameters: {}\n"))
        assert cli.main(["params", "--check", str(path)]) == 1
        assert "class nowhere.Step cannot be loaded" in capsys.readouterr().err


def test_nearest():
    assert nearest("flag", ["flags", "other"]) == "did you mean 'flags'?"
    assert nearest("zzz", ["flags", "other"]) == "known are flags, other"


def test_values_that_stpipe_takes_pass(write):
    """As stpipe does: numbers in quotes, several forms of true and false, no value."""
    values = "{scale: '1.0', skip: 'True', save_plots: 'no', template_dir: null, pre_hooks: []}"
    path = write(of_wisps(values))
    check_parameters(read_parameters(path), CeersDetector1.load_spec_file(), "x")
    assert config_parser.load_config_file(str(path))["steps"]["wispsub"]["scale"] == "1.0"


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("snr", "5.0,4.0", "two numbers above 0"),
        ("snr", "5", "two numbers above 0"),
        ("snr", "nan nan", "two numbers above 0"),
        ("snr", "-1 -1", "two numbers above 0"),
        ("snr", "5.0 4.0", ""),
        ("scale", "1.2  0.7 ", ""),
        ("good_bits", "foo", "'foo' is no flag of JWST"),
        ("good_bits", "~DO_NOT_USE+NON_SCIENCE", ""),
        ("dqbits", "0", ""),
        ("dqbits", "~", "no flags of JWST"),
        ("dqbits", "-1", "a negative number"),
        ("fillval", "inf", "give a number"),
        ("fillval", "blue", "give a number"),
        ("fillval", "-1e39", "more than float32"),
        ("fillval", "indef", ""),
        ("fillval", "0", ""),
        ("maximum_cores", "\u00b2", "a whole number from 1"),
        ("maximum_cores", "0", "a whole number from 1"),
        ("maximum_cores", "half", ""),
        ("anything", "abc", ""),
    ],
)
def test_texts_that_mean_numbers_or_flags(name, value, problem):
    found = text_parameter_problem(name, value)
    assert problem in found
    assert bool(found) == bool(problem)


@pytest.mark.parametrize("name", ["source_mask", "overrides"])
def test_none_in_quotes_is_no_file(name):
    """Stpipe looks for a file of that name, and prints the help of all parameters."""
    spec = RemStripingStep.load_spec_file()
    with pytest.raises(CeersError, match=f"{name} = 'None': no such file"):
        check_parameters(from_nested({name: "None"}, "x"), spec, "x")
    check_parameters(from_nested({"override_flat": "None"}, "x"), spec, "x")


@pytest.mark.parametrize("value", [5, [0], ["a.fits", 1.5]])
def test_numbers_in_lists_of_files(value):
    given = from_nested({"templates": value}, "x")
    with pytest.raises(CeersError, match="is no text"):
        check_parameters(given, WispSubStep.load_spec_file(), "x")


@pytest.mark.parametrize(
    ("taker", "given", "problem"),
    [
        (SkyVarStep, {"variance_blocks": [1, 0]}, "0 is not from 1 to 4096"),
        (SkyVarStep, {"variance_blocks": ["0", "4"]}, "0 is not from 1 to 4096"),
        (SkyVarStep, {"variance_blocks": [1, 4]}, ""),
        (RemStripingStep, {"tilted_angles": [30.0, 1e30]}, "1e\\+30 is not from -360 to 360"),
        (SnowballStep, {"detection_radii": [-1]}, "-1 is not from 0 to 1000"),
        (CeersDetector1, {"steps": {"saturation": {"n_pix_grow_sat": 10**9}}}, "to 1000"),
        (CeersDetector1, {"steps": {"jump": {"after_jump_flag_time1": "inf"}}}, "inf is not"),
        (CeersDetector1, {"steps": {"jump": {"after_jump_flag_time1": 1e9}}}, ""),
        (CeersImage3, {"steps": {"skymatch": {"stepsize": 0}}}, "0 is not from 1"),
        (CeersImage3, {"steps": {"skymatch": {"stepsize": None}}}, ""),
        (CeersImage3, {"steps": {"outlier_detection": {"pixmap_stepsize": 0}}}, "0 is not from 1"),
        (CeersImage3, {"steps": {"source_catalog": {"kernel_fwhm": 1e30}}}, "from 0.1 to 100"),
        (CeersImage3, {"steps": {"source_catalog": {"npixels": 0}}}, "0 is not from 1"),
        (CeersImage3, {"steps": {"source_catalog": {"nlevels": -1}}}, "-1 is not from 1"),
        (CeersImage3, {"steps": {"source_catalog": {"localbkg_width": 10**9}}}, "from 0 to 1000"),
        (CeersImage3, {"steps": {"tweakreg": {"contrast": float("inf")}}}, "from 0 to 1"),
        (CeersImage3, {"steps": {"source_catalog": {"minsep_fwhm": "inf"}}}, "inf is not"),
        (CeersImage3, {"steps": {"source_catalog": {"aperture_ee3": 100}}}, "from 1 to 99"),
    ],
)
def test_numbers_that_declare_no_limits(taker, given, problem):
    if problem:
        with pytest.raises(CeersError, match=problem):
            check_given(taker, given, None)
    else:
        check_given(taker, given, None)


@pytest.mark.parametrize(
    ("step", "name", "value", "problem"),
    [
        ("source_catalog", "kron_params", [0, 1.4], "its number 1 is 0, and must be above"),
        ("source_catalog", "kron_params", [2.5, 0], "its number 2 is 0, and must be above"),
        ("source_catalog", "kernel_fwhm", 0, "0 is not from 0.1 to 100"),
        ("source_catalog", "bkg_boxsize", 0, "0 is not from 1 to 100000"),
        ("source_catalog", "snr_threshold", -1, "-1 is not from 0 to 1e.06"),
        ("outlier_detection", "maskpt", 2, "2 is not from 0 to 1"),
    ],
)
def test_numbers_with_which_nothing_can_be_found(step, name, value, problem):
    """0 ended in a traceback of photutils once there were sources; a box of 0 was passed over."""
    with pytest.raises(CeersError, match=f"steps.{step}.{name} = .*: {problem}"):
        check_given(CeersImage3, {"steps": {step: {name: value}}}, None)


def test_the_least_radius_of_kron_may_be_0():
    given = {"steps": {"source_catalog": {"kron_params": [2.5, 1.4, 0.0]}}}
    check_given(CeersImage3, given, None)


def test_largest_radius_is_that_of_the_kernel():
    assert RANGES["detection_radii"][1] == PUBLISHED.largest_radius


@pytest.mark.parametrize(
    ("name", "problem"),
    [("pipe.fits", "a pipe"), ("none.fits", "does not exist"), ("m.txt", "does not end in .fits")],
)
def test_files_of_jwst_are_looked_at_before_the_work(tmp_path, name, problem):
    os.mkfifo(tmp_path / "pipe.fits")
    (tmp_path / "m.txt").write_text("x")
    given = {"steps": {"dq_init": {"user_supplied_dq": str(tmp_path / name)}}}
    with pytest.raises(CeersError, match=f"user_supplied_dq = .*{problem}"):
        check_given(CeersDetector1, given, None)


def test_a_pipe_for_a_parameter_that_names_a_file(tmp_path):
    os.mkfifo(tmp_path / "t.ecsv")
    with pytest.raises(CeersError, match=r"overrides = .*is a pipe \(FIFO\)"):
        check_given(RemStripingStep, {"overrides": str(tmp_path / "t.ecsv")}, None)


def test_steps_made_by_hand_are_checked_too():
    with pytest.raises(StepError, match=r"variance_blocks = .*0 is not from 1"):
        SkyVarStep(variance_blocks=[0])
    assert SkyVarStep(pre_hooks=None).pre_hooks == []


@pytest.mark.parametrize(
    ("step", "given", "fine"),
    [
        ("dq_init", {"user_supplied_dq": "none.fits", "skip": True}, True),
        ("dq_init", {"user_supplied_dq": "none.fits", "skip": "true"}, True),
        ("dq_init", {"user_supplied_dq": "none.fits", "skip": "false"}, False),
        ("dq_init", {"override_mask": "none.fits", "skip": True}, True),
        ("dq_init", {"override_mask": "none.fits"}, False),
    ],
)
def test_files_of_a_step_that_is_skipped_are_not_looked_at(step, given, fine):
    given = {"steps": {step: given}}
    if fine:
        check_given(CeersDetector1, given, None)
    else:
        with pytest.raises(CeersError, match=r"none\.fits"):
            check_given(CeersDetector1, given, None)


@pytest.mark.parametrize("used", [True, False])
def test_catalogs_are_looked_at_where_they_are_used(tmp_path, used):
    (tmp_path / "p.asdf").write_text(
        asdf(
            "class: ceers_steps.CeersImage3\nname: CeersImage3\nparameters: {}\nsteps:"
            + step("tweakreg", f"{{use_custom_catalogs: {str(used).lower()}}}\n")
        )
    )
    both = {"steps": {"tweakreg": {"catfile": "none.txt", "use_custom_catalogs": used}}}
    if used:
        with pytest.raises(CeersError, match=r"catfile = 'none\.txt'.*does not exist"):
            check_given(CeersImage3, both, str(tmp_path / "p.asdf"))
    else:
        check_given(CeersImage3, both, str(tmp_path / "p.asdf"))
