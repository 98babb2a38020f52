"""What a survey is: file, options and assignments; what is wrong is told with line and remedy."""

import argparse
import re
import tomllib
from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ceers_steps.cli import main
from ceers_steps.errors import CeersError
from ceers_steps.survey.config.checks import PIPELINES, line_of
from ceers_steps.survey.config.keys import SCHEMA, add_options, default_of, options_of
from ceers_steps.survey.config.settings import SurveyConfig, load_config
from ceers_steps.survey.config.template import keys_docs
from ceers_steps.survey.config.template import template as make_template
from tests.survey.standin import ROOT

TEMPLATE = make_template({"inputs": [], "output": "", "preset": "best"})
BASIC = 'inputs = ["uncal"]\noutput = "out"\n'


@pytest.fixture
def survey(tmp_path):
    """Return a function that writes a survey file, of `BASIC` (two lines) and what is given."""

    def write(text, basic=BASIC):
        path = tmp_path / "survey.toml"
        path.write_text(basic + text)
        return path

    return write


@pytest.fixture
def template(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["init", "raw", "more/*_uncal.fits", "-o", "reduced"]) == 0
    return tmp_path / "survey.toml"


def uncommented(text):
    """Return the template with all that it comments out."""
    return re.sub(r"^# (?=(\[[\w.]+\]|\w+ = ))", "", text, flags=re.M)


# -- the template


def test_template_loads_to_the_defaults(template):
    config = load_config(template)
    folder = template.parent
    expected = SurveyConfig(
        template, (folder / "raw", folder / "more/*_uncal.fits"), folder / "reduced"
    )
    assert config == expected


def test_what_the_template_comments_out_are_the_defaults(template):
    tables = tomllib.loads(uncommented(template.read_text()))
    defaults = {field.name: field.default for field in fields(SurveyConfig)}
    for table, keys in SCHEMA.items():
        for name in keys.keys() - {"inputs", "output"}:
            given = (tables[table] if table else tables)[name]
            default = defaults[name]
            default = "" if default is None else default
            assert given == (list(default) if isinstance(default, tuple) else default), name


def test_every_key_is_in_template_and_configuration():
    tables = tomllib.loads(uncommented(TEMPLATE))
    given = {name: set(values) for name, values in tables.items() if name in SCHEMA}
    given[""] = {name for name, value in tables.items() if not isinstance(value, dict)}
    assert given == {name: set(keys) for name, keys in SCHEMA.items()}
    assert set(tables) - set(SCHEMA) - given[""] == set(PIPELINES)
    attributes = {field.name for field in fields(SurveyConfig)}
    keys = {name for values in SCHEMA.values() for name in values}
    assert keys == attributes - {"path", "steps", "origins"}


def test_defaults_of_the_configuration_are_those_of_the_table():
    found = {each.name: each.default for each in fields(SurveyConfig)}
    names = [name for keys in SCHEMA.values() for name in keys]
    assert list(found) == [
        *("path", "inputs", "output"),
        *(name for name in names if name not in {"inputs", "output"}),
        "steps",
        "origins",
    ]
    assert {name: found[name] for name in names[1:] if name != "output"} == {
        name: default_of(name) for name in names[1:] if name != "output"
    }


def test_options_are_those_of_the_table():
    parser = argparse.ArgumentParser()
    add_options(parser)
    given = {
        action.dest: action.option_strings for action in parser._actions if action.dest != "help"
    }
    assert list(given) == options_of()
    for keys in SCHEMA.values():
        for name, key in keys.items():
            assert key.option in given.get(name, [""])
    assert all(value is None for value in vars(parser.parse_args([])).values())


def test_the_page_is_made_of_the_table():
    page = (ROOT / "docs" / "survey_config.md").read_text(encoding="utf-8")
    for table in SCHEMA:
        assert keys_docs(table) in page, f"docs/survey_config.md, [{table}]:\n{keys_docs(table)}"


def test_every_key_and_its_default_is_documented():
    page = (ROOT / "docs" / "survey_config.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (?:`([^`]*)`)? ?\|", page, flags=re.M))
    tables = tomllib.loads(uncommented(TEMPLATE))
    expected = {name: tables[name] for name in SCHEMA[""]}
    expected |= {name: tables[table][name] for table in SCHEMA if table for name in SCHEMA[table]}
    assert set(rows) == set(expected)
    given = {name: tomllib.loads(f"v = {text}")["v"] for name, text in rows.items() if text}
    assert given == {name: expected[name] for name in set(expected) - {"inputs", "output"}}


def test_choices_in_the_template_are_those_that_are_known(template):
    text = template.read_text()
    for name in ("preset", "by", "keep", "on"):
        (key,) = (keys[name] for keys in SCHEMA.values() if name in keys)
        line = next(line for line in text.splitlines() if re.match(rf"(# )?{name} = ", line))
        comment = line.rpartition("#")[2]
        assert all(choice in comment for choice in key.choices), line


def test_examples_in_the_template_are_valid(template):
    path = template
    path.write_text(uncommented(path.read_text()).replace('tile_size = ""', ""))
    config = load_config(path)
    assert config.steps["detector1"] == {"remstriping": {"method": "wiener"}}
    assert config.steps["image3"] == {"outlier_detection": {"snr": "5.0 4.0"}}


@pytest.mark.parametrize("name", ['a "quoted" folder', "back\\slash", "Übersicht ☄"])
def test_template_takes_any_file_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert main(["init", name, "-o", "{output}", "--file", "sub/s.toml"]) == 0
    config = load_config("sub/s.toml")
    assert config.inputs == (tmp_path / name,)
    assert config.output == tmp_path / "{output}"


def test_template_does_not_replace_a_file(template, capsys):
    before = template.read_text()
    assert main(["init", "other"]) == 1
    assert "--force" in capsys.readouterr().err
    assert template.read_text() == before
    assert main(["init", "other", "--force"]) == 0
    assert template.read_text() != before


# -- paths and precedence


def test_paths_are_relative_to_the_file_and_options_to_the_working_folder(
    survey, tmp_path, monkeypatch
):
    here = tmp_path / "here"
    here.mkdir()
    (tmp_path / "table.ecsv").touch()
    (here / "templates").mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("FIELD", "egs")
    basic = BASIC.replace('"out"', '"$FIELD/o"')
    path = survey('[files]\noverrides = "table.ecsv"\nhst_images = []\n', basic)
    options = {"wisp_templates": "templates", "inputs": ["a", "../b"], "output": None}
    config = load_config(path, options=options)
    assert config.overrides == tmp_path / "table.ecsv"
    assert config.wisp_templates == here / "templates"
    assert config.inputs == (here / "a", tmp_path / "b")
    assert config.output == tmp_path / "egs/o"


@pytest.mark.parametrize("given", ['"wisp.fits"', '["wisp.fits", "/more/wisp2.fits"]'])
def test_wisp_templates_are_relative_to_the_file(survey, tmp_path, monkeypatch, given):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    config = load_config(survey(f"[detector1.wispsub]\ntemplates = {given}\n"))
    found = config.steps["detector1"]["wispsub"]["templates"]
    assert found == [str(tmp_path / "wisp.fits"), "/more/wisp2.fits"][: len(found)]


def test_a_grid_is_a_file_beside_the_survey_or_a_name(survey, tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    (tmp_path / "grid.asdf").touch()
    path = survey('[grid]\ngrid = "grid.asdf"\n')
    assert load_config(path).grid == str(tmp_path / "grid.asdf")
    assert load_config(path, options={"grid": "nircam1"}).grid == "nircam1"
    assert load_config(path, options={"grid": "../grid.asdf"}).grid == str(tmp_path / "grid.asdf")


def test_assignments_override_options_override_the_file(survey, tmp_path):
    path = survey(
        "[grid]\npixel_scale = 0.05\ntile_size = 1000\n[run]\ncores = 3\n"
        "[image3.skyvar]\nper_amplifier = false\nfill_holes = false\n"
    )
    config = load_config(
        path,
        options={"pixel_scale": 0.04, "tile_size": 2000, "cores": None},
        settings=[
            "grid.tile_size=3000",
            "image3.skyvar.per_amplifier=true",
            "image3.outlier_detection.snr=4.0 3.0",
            "run.on=slurm",
            f"files.wcs_dir={tmp_path}",
        ],
    )
    assert (config.pixel_scale, config.tile_size, config.cores) == (0.04, 3000, 3)
    assert (config.on, config.wcs_dir) == ("slurm", tmp_path)
    assert config.steps == {
        "image3": {
            "skyvar": {"per_amplifier": True, "fill_holes": False},
            "outlier_detection": {"snr": "4.0 3.0"},
        }
    }


def test_without_a_file_options_are_enough(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load_config(options={"inputs": ["a"], "output": "o"})
    assert config == SurveyConfig(None, (tmp_path / "a",), tmp_path / "o")


@pytest.mark.parametrize("name", ["GAIADR3", "gaiadr2"])
def test_a_catalogue_of_the_network_is_no_file(survey, name):
    config = load_config(survey(f'[files]\nreference_catalog = "{name}"\n'))
    assert str(config.reference_catalog) == name.upper()


def test_parameters_of_the_steps_of_several_pipelines(survey):
    text = "[detector1.jump]\nrejection_threshold = 5\n"
    config = load_config(survey(text + "[image3]\nskyvar.fill_holes = false\n"))
    assert config.steps == {
        "detector1": {"jump": {"rejection_threshold": 5}},
        "image3": {"skyvar": {"fill_holes": False}},
    }


@pytest.mark.parametrize("table", ["detector1", "image2", "image3.skyvar"])
@pytest.mark.parametrize("hooks", ["pre_hooks", "post_hooks"])
def test_a_survey_file_runs_no_program_of_its_own(survey, tmp_path, table, hooks):
    made = tmp_path / "made"
    path = survey(f"[{table}]\n{hooks} = ['touch {made}']\n")
    with pytest.raises(CeersError, match=rf"line 4: \[{table}\] {hooks}: a survey takes no hooks"):
        load_config(path)
    assignment = f"{table}.{hooks}=['touch {made}']"
    with pytest.raises(CeersError, match="takes no hooks"):
        load_config(survey(""), settings=[assignment])
    assert not made.exists()


@pytest.mark.parametrize("table", ["detector1", "detector1.jump", "image3.skyvar"])
def test_a_survey_file_names_no_file_that_is_a_program(survey, table):
    """Hooks in the parameter file of a step ran a command of the shell."""
    refused = rf"\[{table}\] config_file: a survey takes none"
    with pytest.raises(CeersError, match=f"line 4: {refused}"):
        load_config(survey(f"[{table}]\nconfig_file = 'evil.asdf'\n"))
    with pytest.raises(CeersError, match=refused):
        load_config(survey(""), settings=[f"{table}.config_file='evil.asdf'"])


@pytest.mark.parametrize("memory", [0, 0.1, 8])
def test_memory_that_is_taken(survey, memory):
    assert load_config(survey(f"[run]\nmemory = {memory}\n")).memory == memory


def test_files_among_the_parameters_are_relative_to_the_file(survey, tmp_path, monkeypatch):
    """Tasks work in folders of their own."""
    text = '[image2.flat_field]\noverride_flat = "refs/flat.fits"\n[detector1.jump]\n'
    text += 'override_gain = "N/A"\n[image3.mosaic_background]\nmerged_mask = "../mask.fits"\n'
    path = survey(text)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    config = load_config(path, settings=["detector1.dq_init.override_mask=mine.fits"])
    assert config.steps == {
        "detector1": {
            "jump": {"override_gain": "N/A"},
            "dq_init": {"override_mask": str(elsewhere / "mine.fits")},
        },
        "image2": {"flat_field": {"override_flat": str(path.parent / "refs/flat.fits")}},
        "image3": {"mosaic_background": {"merged_mask": str(path.parent.parent / "mask.fits")}},
    }


# -- what is wrong: (text after the two lines of BASIC, line, what the message says)

WRONG = {
    "unknown key": ("cors = 3\n", 3, ["unknown key 'cors'"]),
    "unknown key, close": ('presett = "best"\n', 3, ["did you mean 'preset'?"]),
    "unknown table": ("\n[grids]\n", 4, ["did you mean 'grid'?"]),
    "unknown key in a table": (
        "[grid]\n# a comment\npixelscale = 1\n",
        5,
        ["[grid]", "did you mean 'pixel_scale'?"],
    ),
    "unknown key of a table": ("[run]\nxyzzy = 5\n", 4, ["known are", "memory"]),
    "key in the wrong table": ("[run]\ntile_size = 5\n", 4, ["it stands in table [grid]"]),
    "key below a table": ("[run]\nexclude = []\n", 4, ["it stands above the first [table]"]),
    "table as a key": ("run = 5\n", 3, ["written [run]"]),
    "pipeline as a key": ("image3 = 5\n", 3, ["written [image3]"]),
    "text for a number": ('[grid]\npixel_scale = "fine"\n', 4, ["give a number"]),
    "number for a text": ("preset = 5\n", 3, ["give a text in quotes"]),
    "text for a list": ('[products]\nkeep = "crf"\n', 4, ["give a list of texts"]),
    "numbers in a list": ("[products]\nkeep = [1]\n", 4, ["give a list of texts"]),
    "empty text in a list": ('[files]\nhst_images = ["a", ""]\n', 4, ["none of them empty"]),
    "fraction for a whole number": ("[run]\ncores = 1.5\n", 4, ["give a whole number"]),
    "truth for a number": ("[run]\ncores = true\n", 4, ["give a whole number"]),
    "not a number": ("[grid]\npixel_scale = nan\n", 4, ["give a number"]),
    "infinite": ("[run]\nmemory = inf\n", 4, ["give a number"]),
    "unknown value": ('[groups]\nby = "night"\n', 4, ["'pointing', 'visit'"]),
    "unknown value in a list": ('[products]\nkeep = ["crf", "cal"]\n', 4, ["'cal'", "'rate'"]),
    "too small": ("[run]\njobs = 0\n", 4, ["use 1 or more"]),
    "too large": ("[grid]\npixel_scale = 20\n", 4, ["use 10 or less"]),
    "negative": ("[run]\nmemory = -1\n", 4, ["use 0.1 or more, or 0"]),
    "memory of less than a MB": ("[run]\nmemory = 0.0004\n", 4, ["use 0.1 or more, or 0"]),
    "endless retries": ("[run]\nretries = 1000000\n", 4, ["use 10 or less"]),
    "tiny tiles": ("[grid]\ntile_size = 10\n", 4, ["use 64 or more, or 0"]),
    "unknown step": ("[image3.sky]\n", 3, ["[image3] unknown key 'sky'", "skyvar"]),
    "step as a parameter": ("[image3]\nskyvar = 5\n", 4, ["skyvar is a step: [image3.skyvar]"]),
    "unknown parameter": (
        "[image3.skyvar]\nper_amp = true\n",
        4,
        ["[image3.skyvar]", "did you mean 'per_amplifier'?"],
    ),
    "unknown parameter, dotted": ("[image3]\n\nskyvar.per_amp = true\n", 5, ["per_amplifier"]),
    "unknown parameter, inline": ("[image3]\nskyvar = {per_amp = true}\n", 4, ["per_amplifier"]),
    "unknown parameter, all dotted": ("image3.skyvar.per_amp = true\n", 3, ["per_amplifier"]),
    "value of a parameter": (
        '[image3.skyvar]\nsky_method = "best"\n',
        4,
        ["sky_method = 'best'", "it takes option('mode'"],
    ),
    "type of a parameter": (
        '[detector1.jump]\nrejection_threshold = "high"\n',
        4,
        ["rejection_threshold = 'high'", "float"],
    ),
    "no number": ("[detector1.jump]\nrejection_threshold = nan\n", 4, ["not a number"]),
    "text that means numbers": (
        '[image3.outlier_detection]\nsnr = "5,4"\n',
        4,
        ["snr = '5,4': give two numbers above 0"],
    ),
    "parameter with a key of its own": (
        "[image3.resample]\ntile_size = 100\n",
        4,
        ["use tile_size in table [grid]"],
    ),
    "template folder": (
        '[detector1.wispsub]\ntemplate_dir = "x"\n',
        4,
        ["use wisp_templates in table [files]"],
    ),
    "reserved": ('[image2]\noutput_dir = "x"\n', 4, ["output_dir is set by the survey"]),
    "pipeline that is left out": ("[image2]\nskip = true\n", 4, ["skip is set by the survey"]),
    "reserved alignment": (
        '[image3.tweakreg]\non_failure = "keep"\n',
        4,
        ["on_failure is set by the survey"],
    ),
    "reserved grid": ("[image3.resample]\nrotation = 5\n", 4, ["set by the survey"]),
    "what the survey needs": ("[image3.skyvar]\nskip = true\n", 4, ["sky_method = 'none'"]),
    "what the survey does not run": ("[image3.source_catalog]\nskip = false\n", 3, ["take it out"]),
    "products that would be lost": (
        "[detector1.snowball]\nsave_events = true\n",
        4,
        ["use keep in table [products]"],
    ),
    # impossible combinations
    "WCS and alignment": (
        '[files]\nwcs_dir = "."\nalignment_table = "survey.toml"\n',
        4,
        ["alignment_table would not be used", "Take out"],
    ),
    "WCS and parameters of the alignment": (
        '[files]\nwcs_dir = "."\n[image3.tweakreg]\nminobj = 5\n',
        5,
        ["parameters of tweakreg would not be used"],
    ),
    "dr05 without WCS": ('preset = "dr05"\n', 3, ["Set wcs_dir"]),
    "dr05 by visit": (
        'preset = "dr05"\n[groups]\nby = "visit"\n[files]\nwcs_dir = "."\n',
        5,
        ["Use by='pointing'"],
    ),
    "dr05 with another scale": (
        'preset = "dr05"\n[grid]\npixel_scale = 0.02\n[files]\nwcs_dir = "."\n',
        5,
        ["pixel_scale=0.02 is of a fitted grid"],
    ),
    "grid and scale": (
        '[grid]\ngrid = "nircam1"\npixel_scale = 0.03\n',
        5,
        ["Take out one of them"],
    ),
    "profile and cluster": (
        '[run]\non = "slurm"\nprofile = "mine"\n',
        5,
        ["both say where tasks run"],
    ),
    "partition of no cluster": ('[run]\npartition = "long"\n', 4, ["Set on='slurm'"]),
    "account of no cluster": ('[run]\naccount = "me"\n', 4, ["Set on='slurm'"]),
    "file that is not there": (
        '[files]\noverrides = "none.ecsv"\n',
        4,
        ["none.ecsv does not exist"],
    ),
    "catalogue that is not there": (
        '[files]\nreference_catalog = "gaia.ecsv"\n',
        4,
        ["gaia.ecsv does not exist"],
    ),
    "folder for a file": (
        '[files]\nreference_catalog = "."\n',
        4,
        ["is a folder, not a file"],
    ),
    "folder for an image": ('[files]\nhst_images = ["."]\n', 4, ["is a folder, not a file"]),
    "file for a folder": (
        '[files]\nwisp_templates = "survey.toml"\n',
        4,
        ["survey.toml is not a folder"],
    ),
    "file for a profile": ('[run]\nprofile = "survey.toml"\n', 4, ["survey.toml is not a folder"]),
    "profile that is not there": ('[run]\nprofile = "mine"\n', 4, ["mine does not exist"]),
    "region that is not there": (
        '[files]\nmask_regions = "a.reg"\n',
        4,
        ["a.reg does not exist"],
    ),
}


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        ("/", "is the root of the file system"),
        ("/../.", "is the root of the file system"),
        ("/dev/null", "is not a folder"),
        ("survey.toml", "is not a folder"),
        ("survey.toml/out", "lies below .*survey.toml, which is no folder"),
        ("gone", "is not a folder"),
    ],
)
@pytest.mark.parametrize("as_option", [False, True])
def test_an_output_that_cannot_be_written(survey, monkeypatch, output, problem, as_option):
    """It is said with the plan: reading hundreds of headers comes before the first file."""
    path = survey("", basic=f'inputs = ["uncal"]\noutput = "{"out" if as_option else output}"\n')
    (path.parent / "gone").symlink_to("nowhere")
    monkeypatch.chdir(path.parent)
    with pytest.raises(CeersError, match=f"survey.toml, line 2: output=.* {problem}"):
        load_config(path, options={"output": output} if as_option else {})


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told_with_line_and_remedy(survey, case):
    text, line, parts = WRONG[case]
    path = survey(text)
    with pytest.raises(CeersError) as caught:
        load_config(path)
    message = str(caught.value)
    assert message.startswith(f"{path}, line {line}:"), message
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("basic", "key"), [('output = "o"\n', "inputs"), ('inputs = ["u"]\n', "output")]
)
def test_inputs_and_output_are_needed(survey, basic, key):
    with pytest.raises(CeersError, match=rf"{key} is missing; say where"):
        load_config(survey("", basic))


@pytest.mark.parametrize("text", ["[run\n", "a = \n", "\xff"])
def test_a_file_that_is_no_toml(tmp_path, text):
    path = tmp_path / "s.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(CeersError, match="is not valid TOML"):
        load_config(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[groups]\nproduct = "a\\nb"\n', "product = .*line break"),
        ('[run]\npartition = "a\\u0000b"\n', "partition = .*cannot be printed"),
        (f'[files]\noverrides = "{"y" * 300}"\n', "overrides = 'yyy.* 300 characters, more than"),
        (f'[grid]\ngrid = "{"y/" * 3000}"\n', "grid = 'y/y.* characters, more than"),
        (f'[image3]\nskymatch.skymethod = "{"m" * 400}"', "skym"),
        ('[files]\nmask_regions = "~no_such_user/x.reg"\n', "no such user"),
        ('[files]\nalignment_table = "/dev/null"\n', "is a device, not a file"),
        (f"[groups]\nby = {'[' * 5000}{']' * 5000}\n", "not valid TOML: nested too deeply"),
    ],
)
def test_values_that_no_file_can_have(survey, text, message):
    with pytest.raises(CeersError, match=message) as error:
        load_config(survey(text))
    assert len(str(error.value)) < 500


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "s.toml"
    path.write_bytes(b"\xef\xbb\xbf" + BASIC.replace("\n", "\r\n").encode())
    assert load_config(path).output == tmp_path / "out"


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(CeersError, match="ceers init"):
        load_config(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pixel_scale": -1.0}, "--pixel-scale: pixel_scale = -1.0: use 0.001 or more"),
        ({"keep": ["cal"]}, "--keep: keep = 'cal': use one of"),
        ({"tile_size": 5}, "--tile-size: tile_size = 5: use 64 or more, or 0"),
        ({"jobs": 0}, "--jobs: jobs = 0"),
        ({"inputs": [""]}, r"^inputs = \[''\]: give a list of texts"),
    ],
)
def test_options_are_checked_like_the_file(survey, options, message):
    with pytest.raises(CeersError, match=message):
        load_config(survey(""), options=options)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("image3.skyvar", "write table.key=value"),
        ("=5", "write table.key=value"),
        ("a b=5", "write table.key=value"),
        ("image3.skyvar.per_amp=true", "did you mean 'per_amplifier'"),
        ("image3.skyvar.per_amplifier=5", "per_amplifier = 5"),
        ("run.jobs=none", "jobs = 'none': give a whole number"),
        ("tile_size=3", "unknown key 'tile_size'"),
    ],
)
def test_assignments_are_checked_like_the_file(survey, setting, message):
    with pytest.raises(CeersError, match=re.escape(message)) as caught:
        load_config(survey(""), settings=[setting])
    assert str(caught.value).startswith(f"--set {setting}:")


# -- lines

names = st.from_regex(r"[a-z]{1,8}", fullmatch=True)


@settings(deadline=None, max_examples=100)
@given(
    st.dictionaries(
        names, st.lists(names, min_size=1, max_size=4, unique=True), min_size=1, max_size=4
    ),
    st.randoms(use_true_random=False),
)
def test_line_of_every_key(tables, random):
    """Tables, with comments and empty lines in between; keys as they come."""
    lines, expected = [], {}
    for table, keys in tables.items():
        lines += random.choice([[], [""], [f"# {keys[0]} = 5"]])
        lines.append(f"[{table}]")
        expected[(), table] = len(lines)
        for key in keys:
            lines += random.choice([[], ["", f"# [{table}]"]])
            forms = [f"{key} = 1", f"  {key}=1 # {keys[0]} = 2", f'"{key}" = 1']
            lines.append(random.choice(forms))
            expected[(table,), key] = len(lines)
    text = "\n".join(lines)
    tomllib.loads(text)
    for (section, name), line in expected.items():
        assert line_of(text, section, name) == line


@settings(deadline=None, max_examples=200)
@given(st.text(), st.lists(st.text(), max_size=3), st.text())
def test_line_of_anything_is_a_line_or_none(text, section, name):
    line = line_of(text, section, name)
    assert line is None or 1 <= line <= len(text.splitlines())


def test_where_WCS_files_may_be_missing_the_others_are_aligned(tmp_path):
    path = tmp_path / "survey.toml"
    path.write_text(
        'inputs = ["."]\noutput = "out"\n[files]\nwcs_dir = "."\nalignment_table = "survey.toml"\n'
        '[image3.update_wcs]\nmissing = "skip"\n[image3.tweakreg]\nminobj = 5\n'
    )
    config = load_config(path)
    assert (config.wcs_dir, config.alignment_table) == (tmp_path, path)


def test_figures_of_steps_may_be_asked_for():
    config = load_config(
        options={"inputs": ["uncal"], "output": "out"},
        settings=["detector1.wispsub.save_plots=true"],
    )
    assert config.steps == {"detector1": {"wispsub": {"save_plots": True}}}
    assert config.origins["detector1.wispsub.save_plots"] == "command line (--set)"
