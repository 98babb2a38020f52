"""Keywords: each is removed in turn; it is filled in with the value that was there, or named."""

import re

import numpy as np
import pytest
from stcal.velocity_aberration import compute_va_effects
from stdatamodels.jwst import datamodels

from ceers_steps import CeersDetector1, CeersImage2, CeersImage3
from ceers_steps.errors import CeersError
from ceers_steps.files.headers.keywords import complete_keywords
from ceers_steps.files.headers.nircam import DETECTORS, KINDS, NAMES, READ_PATTERNS, SUBARRAYS
from ceers_steps.files.headers.values import PATHS
from ceers_steps.simulate.telescope import instrument, patterns

FULL = {
    # of jw01075001001_03105_00009_nrca2, as the archive has it, with EXP_TYPE NRC_IMAGE
    "INSTRUME": "NIRCAM",
    "DETECTOR": "NRCA2",
    "MODULE": "A",
    "CHANNEL": "SHORT",
    "FILTER": "F210M",
    "PUPIL": "CLEAR",
    "EXP_TYPE": "NRC_IMAGE",
    "READPATT": "RAPID",
    "NINTS": 1,
    "NGROUPS": 10,
    "NFRAMES": 1,
    "GROUPGAP": 0,
    "TFRAME": 10.73677,
    "TGROUP": 10.73677,
    "EFFINTTM": 107.3677,
    "EFFEXPTM": 107.368,
    "NOUTPUTS": 4,
    "SCA_NUM": 482,
    "EXPSTART": 59700.25,
    "DATE-BEG": "2022-05-01T06:00:00.000",
    "DATE-OBS": "2022-05-01",
    "TIME-OBS": "06:00:00.000",
    "SUBARRAY": "FULL",
    "SUBSTRT1": 1,
    "SUBSTRT2": 1,
    "SUBSIZE1": 2048,
    "SUBSIZE2": 2048,
    "FASTAXIS": 1,
    "SLOWAXIS": -2,
    "VISIT_ID": "01075001002",
    "PROGRAM": "01075",
    "OBSERVTN": "001",
    "VISIT": "002",
    "FILENAME": "jw01075001002_03105_00009_nrca2_uncal.fits",
    "CTYPE1": "RA---TAN",
    "CRVAL1": 245.981865309727,
    "CRVAL2": -24.5,
    "RA_REF": 245.981865309727,
    "DEC_REF": -24.5,
    "PA_APER": 198.1828801387168,
    "ROLL_REF": 198.1509949487168,
    "V2_REF": 120.0,
    "V3_REF": -460.0,
    "VPARITY": -1,
    "V3I_YANG": 0.03188519,
    # a velocity of the archive, and the scale that jwst's set_velocity_aberration gives for it
    "JWST_DX": 28.37988436455748,
    "JWST_DY": -7.342621569090224,
    "JWST_DZ": -3.330355717282262,
    "VA_SCALE": 0.9999899071726127,
}
SMALL = {
    **FULL,
    "DETECTOR": "NRCB4",
    "FILENAME": "jw01075001002_03105_00009_nrcb4_uncal.fits",
    "V2_REF": -43.2,
    "V3_REF": -514.8,
    "MODULE": "B",
    "SCA_NUM": 489,
    "READPATT": "DEEP8",
    "NINTS": 2,
    "NGROUPS": 3,
    "NFRAMES": 8,
    "GROUPGAP": 12,
    "TFRAME": 4.18584,
    "TGROUP": 83.7168,
    "EFFINTTM": 200.92032,
    "EFFEXPTM": 401.841,
    "NOUTPUTS": 1,
    "SUBARRAY": "SUB640",
    "SUBSTRT1": 1409,
    "SUBSTRT2": 1409,
    "SUBSIZE1": 640,
    "SUBSIZE2": 640,
    "FASTAXIS": -1,
    "SLOWAXIS": 2,
}
SHAPES = {"full": (1, 10, 2048, 2048), "small": (2, 3, 640, 640)}
HEADERS = {"full": FULL, "small": SMALL}
NOT_KNOWN = {"EXP_TYPE", "FILTER", "PUPIL", "V2_REF", "V3_REF"}
"""What no other keyword tells."""

PIPELINES = {"1": CeersDetector1, "2": CeersImage2, "3": CeersImage3}
CASES = [
    (stage, key)
    for stage, pipeline in PIPELINES.items()
    for key in (*pipeline.input_keywords, *pipeline.later_keywords)
]


OF_DETECTOR = ("MODULE", "CHANNEL")


def complete(header, stage, size):
    pipeline = PIPELINES[stage]
    shape = SHAPES[size] if stage == "1" else SHAPES[size][-2:]
    return complete_keywords(
        header, shape, "x.fits", needs=pipeline.input_keywords, later=pipeline.later_keywords
    )


def without(size, *keys):
    return {key: value for key, value in HEADERS[size].items() if key not in keys}


@pytest.mark.parametrize("size", HEADERS)
@pytest.mark.parametrize("stage", PIPELINES)
def test_a_whole_header_is_left_alone(stage, size):
    found = complete(HEADERS[size], stage, size)
    assert found.values == {}
    assert found.notes == ()


@pytest.mark.parametrize("size", HEADERS)
@pytest.mark.parametrize(("stage", "key"), CASES)
def test_each_keyword_removed(stage, key, size):
    needed = key in PIPELINES[stage].input_keywords
    if key in NOT_KNOWN and needed:
        with pytest.raises(CeersError, match=rf"^x\.fits: no keyword {key}, .*setval"):
            complete(without(size, key), stage, size)
        return
    found = complete(without(size, key), stage, size)
    if key in NOT_KNOWN:
        assert found.notes == (f"no {key}: a later stage needs it",)
        return
    truth = HEADERS[size][key]
    if isinstance(truth, float):
        assert found.values == {key: pytest.approx(truth, rel=2e-6)}
    else:
        assert found.values == {key: truth}
    assert len(found.notes) == 1
    assert found.notes[0].startswith(f"{key}={found.values[key]} is filled in (")


@pytest.mark.parametrize("size", HEADERS)
def test_many_keywords_removed_at_once(size):
    keys = ["INSTRUME", "MODULE", "CHANNEL", "NINTS", "NGROUPS", "NFRAMES", "GROUPGAP", "TFRAME"]
    keys += ["NOUTPUTS", "SUBSTRT1", "SUBSTRT2", "SUBSIZE1", "SUBSIZE2", "FASTAXIS", "SLOWAXIS"]
    found = complete(without(size, *keys), "1", size)
    truth = {key: HEADERS[size][key] for key in keys}
    frame_time = found.values.pop("TFRAME")
    assert frame_time == pytest.approx(truth.pop("TFRAME"), rel=2e-6)
    assert found.values == truth


def test_what_cannot_be_known_is_not_guessed():
    """A strip of a detector may be read by one output or by four."""
    shape = (1, 10, 64, 2048)
    header = without("full", "NOUTPUTS", "SUBSIZE2", "TFRAME", "TGROUP") | {"SUBARRAY": "SUBSTRIP"}
    with pytest.raises(CeersError, match="no keywords TFRAME, TGROUP, NOUTPUTS"):
        complete_keywords(
            header, (1, 10, 64, 2048), "x.fits", needs=["TFRAME", "TGROUP", "NOUTPUTS"]
        )
    # the time of a frame tells: (2048 / 4 + 12) ticks a row or (2048 + 12)
    for frame_time, n_outputs in ((0.3406, 4), (1.3596, 1)):
        values = {**header, "TFRAME": frame_time}
        found = complete_keywords(values, shape, "x.fits", needs=["NOUTPUTS"])
        assert found.values == {"NOUTPUTS": n_outputs}


def test_reference_point_of_a_calibrated_image_is_not_that_of_its_fits_keywords():
    header = without("full", "RA_REF") | {"CTYPE1": "RA---TAN-SIP"}
    with pytest.raises(CeersError, match="no keyword RA_REF"):
        complete(header, "3", "full")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("NGROUPS", "ten", "is not a whole number"),
        ("NGROUPS", 9.5, "is not a whole number"),
        ("NGROUPS", True, "is not a whole number"),
        ("NGROUPS", 0, "at least 1"),
        ("TFRAME", np.nan, "is not a number"),
        ("TGROUP", -1.0, "above 0"),
        ("FASTAXIS", 2, "one of -1, 1"),
        ("NOUTPUTS", 3, "one of 1, 2, 4"),
        ("DETECTOR", "NRCA5", "one of NRCA1"),
        ("DETECTOR", "../NRCA1", "is not one word"),
        ("BUNIT", -7, "is not text"),
        ("DATE-OBS", "21.6.2022", "is not a date"),
        ("TIME-OBS", "noon", "is not a time"),
        ("EXPSTART", -7.0, "from 50000 to 100000"),
        ("EFFEXPTM", -7.0, "above 0"),
        ("DEC_REF", 152.8, "from -90 to 90"),
        ("V3_REF", -4e4, "from -1000 to 1000"),
        ("VA_SCALE", 7, "from 0.9998 to 1.0002"),
        ("VA_SCALE", -1.0, "from 0.9998 to 1.0002"),
        ("JWST_DX", "fast", "is not a number"),
        ("MODULE", "C", "that of DETECTOR=.* is"),
        ("CHANNEL", "MIDDLE", "that of DETECTOR=.* is"),
        ("EXP_TYPE", -7, "is none of NIRCAM"),
        ("EXP_TYPE", "IMAGE", "is none of NIRCAM"),
        ("EXP_TYPE", "NRC_IMAG", "is none of NIRCAM"),
        ("INSTRUME", "WFC3", "one of NIRCAM"),
        ("TELESCOP", "HST", "must be JWST"),
        ("READPATT", "FOO", "must be one of RAPID, "),
        ("FILTER", 210, "is not one word"),
        ("RA_REF", "16:23:55", "is not a number"),
        ("SUBSTRT1", 0, "at least 1"),
    ],
)
def test_values_of_another_type_or_range(key, value, message):
    with pytest.raises(CeersError, match=rf"^x\.fits: {key}=.*{message}"):
        complete({**FULL, key: value}, "1", "full")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"SUBARRAY": "SUB320", "SUBSIZE1": 320, "SUBSIZE2": 320}, "SUBSIZE1=320 .* 640 columns"),
        ({"SUBARRAY": "SUB320"}, "SUBARRAY=SUB320 has 320 columns"),
        ({"SUBARRAY": "FULL"}, "SUBARRAY=FULL has 2048 columns"),
        ({"SUBSTRT1": 1410}, "SUBSTRT1=1410, .* not within the 2048 pixels"),
        ({"NGROUPS": 4}, "NGROUPS=4, but the array has 3 groups"),
        ({"NINTS": 3}, "NINTS=3, but the array has 2 integrations"),
        ({"TGROUP": 41.8584}, r"TGROUP=41.8584 s is not TFRAME"),
    ],
)
def test_contradictions(changes, message):
    with pytest.raises(CeersError, match=rf"^x\.fits: {message}"):
        complete({**SMALL, **changes}, "1", "small")


def test_a_turned_image():
    header = {**SMALL, "SUBARRAY": "OTHER", "SUBSIZE1": 640, "SUBSIZE2": 320}
    with pytest.raises(CeersError, match=r"SUBSIZE1=640 and SUBSIZE2=320, .* 320 columns and 640"):
        complete_keywords(header, (640, 320), "x.fits")


def test_aberration_is_that_of_jwst():
    """From the velocity; where that is not known, or in other units, the note says what it does."""
    velocity = ("JWST_DX", "JWST_DY", "JWST_DZ")
    wanted = compute_va_effects(*(FULL[key] for key in velocity), FULL["RA_REF"], FULL["DEC_REF"])
    header = without("full", "VA_SCALE")
    found = complete(header, "2", "full").values
    assert found["VA_SCALE"] - 1 == pytest.approx(wanted[0] - 1, rel=1e-6)
    assert abs(wanted[0] - 1) > 1e-5
    for changes in ({"JWST_DY": None}, {key: 1000 * FULL[key] for key in velocity}):
        found = complete({**header, **changes}, "2", "full")
        assert not found.values
        assert found.notes == (
            "no VA_SCALE: 1 stands for it, which moves the corners by up to 10 mas",
        )


def test_integrations_of_a_segment_are_counted_over_all_segments():
    assert not complete({**SMALL, "NINTS": 40, "INTSTART": 3}, "1", "small").values


@pytest.mark.parametrize("changes", [{"INSTRUME": "MIRI"}, {"EXP_TYPE": "NRC_WFSS"}])
def test_other_instruments_and_modes_are_left_to_jwst(changes):
    assert not complete(
        {**without("full", "NOUTPUTS"), **changes, "NGROUPS": "x"}, "1", "full"
    ).notes


@pytest.mark.parametrize("kind", ["NRC_WFSS", "NRC_TSGRISM"])
def test_spectra_need_what_disperses_them(kind):
    """jwst ends with an IndexError where it makes their coordinates; ramps are those of all."""
    image = {**FULL, "EXP_TYPE": kind}
    with pytest.raises(CeersError, match=rf"EXP_TYPE={kind} .* PUPIL=CLEAR disperses nothing"):
        complete(image, "2", "full")
    assert not complete(image, "1", "full").notes
    assert not complete({**image, "PUPIL": "GRISMR"}, "2", "full").notes


def test_kinds_are_those_of_the_data_models():
    """Of one of them jwst makes no coordinates, and ends with a KeyError."""
    from jwst.assign_wcs.nircam import exp_type2transform
    from stdatamodels.jwst.datamodels import JwstDataModel

    with JwstDataModel() as model:
        kinds = set(re.findall(r"'(NRC_\w+)'", str(model.schema)))
    assert kinds == set(KINDS)
    assert kinds - {kind.upper() for kind in exp_type2transform} == {"NRC_WFSC"}
    with pytest.raises(CeersError, match="EXP_TYPE=NRC_WFSC is one of which jwst makes no"):
        complete({**FULL, "EXP_TYPE": "NRC_WFSC"}, "2", "full")


def test_tables_are_those_of_the_simulator():
    """Which has them from the SIAF and the handbook, by itself."""
    assert tuple(instrument.DETECTORS) == DETECTORS
    for name, detector in instrument.DETECTORS.items():
        others = ("FASTAXIS", "SLOWAXIS", "FILENAME", *OF_DETECTOR)
        header = without("full", *others) | {"DETECTOR": name}
        found = complete_keywords(header, None, "x.fits", needs=["FASTAXIS", "SLOWAXIS"]).values
        assert found == {"FASTAXIS": detector.fast_axis, "SLOWAXIS": detector.slow_axis}
        for subarray, (x, y, side) in SUBARRAYS[name].items():
            window = instrument.find_subarray(detector, subarray)
            assert (window.x_start, window.y_start, window.nx, window.ny) == (x, y, side, side)
    known = {name: (p.n_frames, p.group_gap) for name, p in patterns.READ_PATTERNS.items()}
    assert known == READ_PATTERNS


def test_paths_are_those_of_the_data_models():
    from stdatamodels.jwst.datamodels import ImageModel

    with ImageModel() as model:
        for key, (path, _) in PATHS.items():
            assert f"meta.{path}" in model.find_fits_keyword(key), key


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"V3_REF": -527.5}, r"V3_REF=-527\.5 is not on NRCA2, which reaches from -494 to -426"),
        ({"V2_REF": 51.9}, r"V2_REF=51\.9 is not on NRCA2"),
        ({"RA_REF": 246.0}, r"RA_REF=246\.0, .* are 59\.41 arcsec apart, more than 1"),
        ({"DEC_REF": -24.499}, r"are 3\.6 arcsec apart, more than 1"),
    ],
)
def test_a_place_of_another_detector_or_exposure(changes, message):
    """Those of the neighbours are 68 arcsec away; only who makes a WCS of it looks."""
    values = {**FULL, **changes}
    with pytest.raises(CeersError, match=message):
        complete_keywords(values, (1, 10, 2048, 2048), "x", needs=["V2_REF"])
    complete_keywords(values, (1, 10, 2048, 2048), "x", needs=["DETECTOR"])
    made_up = {**values, "FILENAME": "test_uncal.fits"}
    complete_keywords(made_up, (1, 10, 2048, 2048), "x", needs=["V2_REF"])


def test_a_place_that_the_axis_of_the_telescope_contradicts():
    """Right ascension and CRVAL are both those of another exposure: nothing else tells."""
    from pysiaf.utils import rotations

    attitude = rotations.attitude(120.0, -460.0, FULL["RA_REF"], FULL["DEC_REF"], 198.1509949487168)
    ra, dec = rotations.pointing(attitude, 0.0, 0.0)
    angle = rotations.posangle(attitude, 0.0, 0.0)
    axis = {"RA_V1": float(ra), "DEC_V1": float(dec), "PA_V3": float(angle)}
    shape = (1, 10, 2048, 2048)
    complete_keywords({**FULL, **axis}, shape, "x", needs=["V2_REF"])
    for shift, fits_in in ((99 / 3600, True), (101 / 3600, False)):
        moved = {key: FULL[key] + shift for key in ("DEC_REF", "CRVAL2")}
        if fits_in:
            complete_keywords({**FULL, **axis, **moved}, shape, "x", needs=["V2_REF"])
            continue
        with pytest.raises(CeersError, match=r"are 101 arcsec from where RA_V1=.*, more than 100"):
            complete_keywords({**FULL, **axis, **moved}, shape, "x", needs=["V2_REF"])


def test_a_place_within_the_image_or_behind_a_mask():
    """CRVAL of a calibrated image is that of its middle; wedges move what is seen."""
    complete_keywords({**FULL, "DEC_REF": -24.49}, (2048, 2048), "x", needs=["V2_REF"])
    with pytest.raises(CeersError, match=r"are 180 arcsec apart, more than 100"):
        complete_keywords({**FULL, "DEC_REF": -24.45}, (2048, 2048), "x", needs=["V2_REF"])
    masked = {**FULL, "V3_REF": -405.2, "PUPIL": "MASKRND"}
    complete_keywords(masked, (1, 10, 2048, 2048), "x", needs=["V2_REF"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"OBSERVTN": "009"},
            "OBSERVTN=009, but FILENAME is that of exposure jw01075001002",
        ),
        ({"EXPOSURE": "00003"}, "EXPOSURE=00003, but FILENAME"),
        ({"SEQ_ID": "2"}, "SEQ_ID=2, but FILENAME"),
    ],
)
def test_keywords_of_another_exposure_are_noted(changes, message):
    (note,) = complete_keywords({**FULL, **changes}, None, "x.fits").notes
    assert re.match(message, note)
    made_up = {**FULL, **changes, "FILENAME": "test_uncal.fits"}
    assert complete_keywords(made_up, None, "x.fits").notes == ()
    (note,) = complete_keywords(made_up, None, "jw01075001002_03105_00007_nrca2_uncal.fits").notes
    assert "its name is that of exposure jw01075001002_03105_00007_nrca2" in note


def test_a_file_named_after_another_exposure_is_noted():
    name = "jw01075001002_03105_{}_nrca2_rate.fits"
    assert complete_keywords(FULL, None, "bkgfix_" + name.format("00009")).notes == ()
    (note,) = complete_keywords(FULL, None, "/data/" + name.format("00010")).notes
    assert re.match(r"its name is .*_00010_nrca2, its FILENAME that of .*_00009", note)


@pytest.mark.parametrize(
    ("key", "value"), [("FILTER", "f210m"), ("FILTER", "F999W"), ("PUPIL", "clear"), ("PUPIL", "X")]
)
def test_names_of_wheels_that_jwst_would_pass_over_are_refused(key, value):
    """It would take what the ASDF extension has, whatever the header says."""
    with pytest.raises(CeersError, match=rf"{key}={value}, it must be one of .*F"):
        complete_keywords({**FULL, key: value}, SHAPES["full"], "x")


def test_names_of_wheels_are_those_of_jwst():
    """All that we take, it takes too; and all NIRCam bands that are simulated are taken."""
    filters, pupils = instrument_names("filter"), instrument_names("pupil")
    assert filters >= set(NAMES["FILTER"])
    assert pupils >= set(NAMES["PUPIL"])
    assert set(instrument.FILTERS) <= {*NAMES["FILTER"], *NAMES["PUPIL"]}


def instrument_names(key):
    """Values that the schema of jwst has for the header keyword of a wheel."""
    schema = datamodels.ImageModel().schema["properties"]["meta"]["properties"]["instrument"]
    return set(schema["properties"][key]["enum"])
