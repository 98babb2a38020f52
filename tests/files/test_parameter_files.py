"""The parameter files that come with the package: each is accepted by its pipeline."""

import asdf
import pytest
from asdf.util import load_yaml
from jwst.stpipe import Step
from stpipe import config_parser
from stpipe.exceptions import ValidationError
from stpipe.utilities import import_class

from ceers_steps import cli
from ceers_steps.files.parameter_files import list_parameter_files

ALL_FILES = [file for file in list_parameter_files() if file.name.endswith(".asdf")]
FILES = [file for file in ALL_FILES if "steps" in load_yaml(file.path)]
"""Of pipelines."""
STEP_FILES = [file for file in ALL_FILES if file not in FILES]


def load(path, **more):
    """The pipeline with the parameters of a file, as strun makes it, and more for one step."""
    config = config_parser.load_config_file(str(path))
    cls, name = Step._parse_class_and_name(config, config_file=str(path))
    next(iter(config["steps"].values())).update(more)
    return cls.from_config_section(config, name=name, config_file=str(path))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_parameter_is_known_and_of_its_type(file):
    pipeline = load(file.path)
    with asdf.open(file.path) as content:
        steps = content["steps"]
    assert len({step["name"] for step in steps}) == len(steps)
    for step in steps:
        # the class in the file is for people; the one that runs is that of the pipeline
        assert issubclass(pipeline.step_defs[step["name"]], import_class(step["class"]))
        own = getattr(pipeline, step["name"])
        for key, value in step["parameters"].items():
            used = getattr(own, key)
            assert used == value or str(used).endswith(str(value)), (step["name"], key)


@pytest.mark.parametrize("file", STEP_FILES, ids=lambda file: file.name)
def test_every_parameter_of_a_step_is_known_and_of_its_type(file):
    content = load_yaml(file.path)
    config = config_parser.load_config_file(str(file.path))
    cls, name = Step._parse_class_and_name(config, config_file=str(file.path))
    assert cls is import_class(content["class"])
    step = cls.from_config_section(config, name=name, config_file=str(file.path))
    assert content["parameters"]
    for key, value in content["parameters"].items():
        assert getattr(step, key) == value, key
    config["nonsense"] = 1
    with pytest.raises(ValidationError, match="nonsense"):
        cls.from_config_section(config, name=name, config_file=str(file.path))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_parameter_that_is_not_known_is_refused(file):
    """Otherwise the test above would prove nothing."""
    with pytest.raises(ValidationError, match="nonsense"):
        load(file.path, nonsense=1)


@pytest.mark.parametrize(
    "file", [file for file in FILES if file.name.startswith("dr05/")], ids=lambda file: file.name
)
def test_published_files_leave_no_step_to_its_defaults(file):
    """What CRDS says today must not decide on a step that the publication ran or left out."""
    pipeline = load(file.path)
    with asdf.open(file.path) as content:
        named = {step["name"] for step in content["steps"]}
        skips = {step["name"] for step in content["steps"] if "skip" in step["parameters"]}
    if "detector1" not in file.name:  # which lists the near-infrared ones, as its own test says
        assert named == set(pipeline.step_defs)
    assert skips == named


def test_the_parameter_file_of_a_group_is_accepted_too(tmp_path):
    command = ["associate", str(tmp_path), "--exposures", "dr05/pointings", "--grid", "epoch1"]
    assert cli.main([*command, "--by", "program", "-o", str(tmp_path)]) == 0
    pipeline = load(tmp_path / "jw01345_image3.asdf")
    assert pipeline.resample.output_shape == [46200, 15400]
    assert pipeline.resample.crpix == [31584.5, 9043.5]
    assert pipeline.resample.rotation == -49.7
