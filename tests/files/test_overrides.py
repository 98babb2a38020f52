"""The table of per-exposure values."""

import json

import pytest

from ceers_steps.errors import CeersError
from ceers_steps.files.overrides import read_overrides
from ceers_steps.files.parameter_files import parameter_files_dir
from ceers_steps.names import exposure_name


@pytest.mark.parametrize(
    ("name", "exposure"),
    [
        ("jw01345001001_02201_00001_nrca1_rate.fits", "jw01345001001_02201_00001_nrca1"),
        ("/a/jw01345001001_02201_00001_nrcalong_uncal.fits", "jw01345001001_02201_00001_nrcalong"),
        (
            "jw01345001001_02201_00001-seg002_nrcb4_uncal.fits",
            "jw01345001001_02201_00001-seg002_nrcb4",
        ),
        ("jw01345001001_02201_00001_nrcb4", "jw01345001001_02201_00001_nrcb4"),
        ("mine_rate.fits", "mine"),
        ("mine.fits", "mine"),
    ],
)
def test_exposure_name(name, exposure):
    assert exposure_name(name) == exposure


def write(path, text):
    path.write_text(text)
    return path


def test_values_are_typed_and_empty_cells_give_no_value(tmp_path):
    table = write(
        tmp_path / "o.csv",
        "exposure,wisp_scale,mask_threshold,skip_wispsub,skip_snowball\n"
        "jw01345001001_02201_00001_nrcb4_rate.fits,0.71,,false,1\n"
        "jw01345001001_02201_00002_nrcb4,nan,0.8,True,\n"
        "jw01345001001_02201_00003_nrcb4,,,,\n",
    )
    assert read_overrides(table) == {
        "jw01345001001_02201_00001_nrcb4": {
            "wisp_scale": 0.71,
            "skip_wispsub": False,
            "skip_snowball": True,
        },
        "jw01345001001_02201_00002_nrcb4": {"mask_threshold": 0.8, "skip_wispsub": True},
        "jw01345001001_02201_00003_nrcb4": {},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("exposure,wisp_scal\na_rate,1\n", "unknown column.*wisp_scal"),
        ("file,wisp_scale\na_rate,1\n", "no column 'exposure'"),
        ("exposure,wisp_scale\na_rate,1\na_uncal,2\n", "exposure a stands in two rows"),
        ("exposure,wisp_scale\na_rate,much\n", "row 1, column wisp_scale: 'much' is not a number"),
        ("exposure,skip_wispsub\na_rate,maybe\n", "'maybe' is not a true/false value"),
        ("", "no column 'exposure'"),
    ],
)
def test_a_bad_table_is_an_error_that_says_where(tmp_path, text, message):
    with pytest.raises(CeersError, match=message):
        read_overrides(write(tmp_path / "o.csv", text))


def test_other_file_types_and_missing_files_are_errors(tmp_path):
    with pytest.raises(CeersError, match=r"\.ecsv or \.csv"):
        read_overrides(write(tmp_path / "o.txt", "exposure\na\n"))
    with pytest.raises(CeersError, match="not a readable table"):
        read_overrides(tmp_path / "none.ecsv")


def test_the_table_of_dr05_has_690_exposures_and_132_wisps():
    rows = read_overrides(parameter_files_dir() / "dr05" / "exposures.ecsv")
    assert len(rows) == 690
    scales = [row["wisp_scale"] for row in rows.values() if not row["skip_wispsub"]]
    assert len(scales) == 132
    assert 0.53 <= min(scales) <= max(scales) <= 1.19
    assert all("mask_threshold" in row for row in rows.values())


def test_json_of_another_survey_says_what_to_do(tmp_path):
    name = "jw01243001001_04101_00001_nrca1"
    path = write(tmp_path / "scales.json", json.dumps({f"/data/{name}": [1, 0.8]}))
    with pytest.raises(CeersError, match="its 1 values") as caught:
        read_overrides(path)
    assert f"{name}: [1, 0.8]" in str(caught.value)
    assert "wisp_scale" in str(caught.value)


@pytest.mark.parametrize("text", ["", "[1, 2]", "{}", "[" * 100_000])
def test_other_json_is_no_table(tmp_path, text):
    with pytest.raises(CeersError, match=r"the table must be a \.ecsv or \.csv file"):
        read_overrides(write(tmp_path / "o.json", text))


@pytest.mark.parametrize("value", ["-5", "inf", "1e30", "-inf", "100.5"])
def test_wisp_scales_that_are_mistakes(tmp_path, value):
    path = write(tmp_path / "o.csv", f"exposure,wisp_scale\na,0.5\nb,{value}\n")
    with pytest.raises(CeersError, match=r"row 2, column wisp_scale: .*use 0 to 100"):
        read_overrides(path)


@pytest.mark.parametrize("value", ["-0.1", "1.5", "inf"])
def test_mask_thresholds_that_are_no_fractions(tmp_path, value):
    path = write(tmp_path / "o.csv", f"exposure,mask_threshold\na,{value}\n")
    with pytest.raises(CeersError, match=r"row 1, column mask_threshold: .*use 0 to 1"):
        read_overrides(path)


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "latin-1"])
def test_tables_of_spreadsheets(tmp_path, codec):
    path = tmp_path / "o.csv"
    path.write_bytes("exposure,note\r\nJW01345001001_02201_00001_NRCB4,\u00e9\r\n".encode(codec))
    assert read_overrides(path) == {"jw01345001001_02201_00001_nrcb4": {"note": "\u00e9"}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # the second row would be part of the note of the first, and not be excluded
        ('exposure,note,exclude\na,"bad,true\nb,,true\n', "line 2: a quote is opened"),
        ("exposure;wisp_scale\na;1,5\n", "separated by ';'"),
        ("exposure,wisp_scale\n,1\n", "row 1, column exposure: .* is no name"),
        ("exposure,exclude\njw01345001001_*,true\n", "a pattern stands for none"),
        ("exposure," + ",".join(f"c{n}" for n in range(999)) + "\n", r"c7, \.\.\."),
    ],
)
def test_rows_that_would_be_lost(tmp_path, text, message):
    with pytest.raises(CeersError, match=message):
        read_overrides(write(tmp_path / "o.csv", text))


def test_a_quote_that_is_not_closed_in_ecsv(tmp_path):
    head = "# %ECSV 1.0\n# ---\n# datatype:\n# - {name: exposure, datatype: string}\n"
    head += "# - {name: note, datatype: string}\nexposure note\n"
    with pytest.raises(CeersError, match="row 1, column note: a line break"):
        read_overrides(write(tmp_path / "o.ecsv", f'{head}a "bad\nb "x"\n'))
