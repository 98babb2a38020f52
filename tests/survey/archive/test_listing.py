"""Lists of products that archives export, in place of a query."""

import os
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from astropy.table import Table

from ceers_steps.cli import main
from ceers_steps.errors import CeersError
from ceers_steps.survey.archive.listing import is_listing, read_listing

A = "jw01345001001_02201_00001_nrca1"
B = "jw01345002001_02201_00001_nrcalong"
ROWS = {
    "productFilename": [f"{A}_uncal.fits", f"{A}_rate.fits", f"{B}_cal.fits", "jw01345_i2d.fits"],
    "filters": ["F150W", "F150W", "F444W;F470N", "F150W"],
    "size": [100, 200, 300, 400],
    "dataRights": ["PUBLIC", "PUBLIC", "EXCLUSIVE_ACCESS", "PUBLIC"],
}


def write(path):
    """Write the rows in the format of the ending."""
    table = Table(ROWS)
    if path.suffix == ".csv":
        text = "\n".join(
            [
                "#remark, of the archive,,",
                "#@string,string,int,string",
                ",".join(ROWS),
                *(",".join(map(str, row)) for row in table.iterrows()),
            ]
        )
        path.write_text("\ufeff" + text, encoding="utf-8")
    elif path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.table(ROWS), path)
    else:
        table.write(path, format="ascii.ecsv" if path.suffix == ".ecsv" else "votable")
    return path


@pytest.mark.parametrize("ending", [".csv", ".ecsv", ".parquet", ".vot"])
def test_every_format_gives_the_same_exposures(tmp_path, ending):
    products, note = read_listing(write(tmp_path / f"list{ending}"))
    assert [(each.name, each.size, each.filter, each.public) for each in products] == [
        (f"{A}_uncal.fits", 100, "F150W", True),
        (f"{B}_uncal.fits", None, "F470N", False),
    ]
    assert [each.uri for each in products] == [f"mast:JWST/product/{p.name}" for p in products]
    assert [each.observation for each in products] == [1, 2]
    assert "1 *_i2d" in note


def test_level_and_choice(tmp_path):
    path = write(tmp_path / "list.csv")
    (found,), _ = read_listing(path, "cal", filters=["f470n"])
    assert (found.name, found.size) == (f"{B}_cal.fits", 300)
    (found,), _ = read_listing(path, "rate", observations=[1])
    assert (found.name, found.size) == (f"{A}_rate.fits", 200)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column of file names .*no rows"),
        ("a,b\n1,2\n", "no column of file names .*found a, b"),
        ("filename\n../../etc/passwd\njw1_i2d.fits\n", "2 rows is an exposure.*1 \\*_i2d"),
        (f"filename\n{A}_uncal.fits\n", "observation 7"),
    ],
)
def test_useless_lists(tmp_path, text, message):
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.raises(CeersError, match=message):
        read_listing(path, observations=[7])


@pytest.mark.parametrize("ending", [".csv", ".ecsv", ".parquet", ".vot"])
def test_no_list_at_all(tmp_path, ending):
    path = tmp_path / f"list{ending}"
    with pytest.raises(CeersError, match="does not exist"):
        read_listing(path)
    path.write_bytes(np.random.default_rng(1).bytes(500))
    with pytest.raises(CeersError, match=f"list{ending}"):
        read_listing(path)


def test_sizes_are_numbers_or_unknown(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text(f"filename,size\n{A}_uncal.fits,1²\n{B}_uncal.fits,-5\n")
    products, _ = read_listing(path)
    assert [each.size for each in products] == [None, None]


def test_command(tmp_path, capsys):
    assert is_listing("a.CSV")
    assert not is_listing("1345")
    path = write(tmp_path / "list.csv")
    assert main(["download", str(path), "--dry-run", "-o", str(tmp_path / "raw")]) == 0
    text = capsys.readouterr().out
    assert f"{A}_uncal.fits" in text
    assert f"{B}_uncal.fits" in text
    assert "2 files, 100 B and 1 of unknown size" in text
    assert not (tmp_path / "raw").exists()


@pytest.mark.skipif("CEERS_SHARED_DATA" not in os.environ, reason="CEERS_SHARED_DATA is not set")
def test_real_lists():
    folder = Path(os.environ["CEERS_SHARED_DATA"]) / "real" / "product_tables"
    products, note = read_listing(folder / "sample_uri.csv", "cal")
    assert len(products) == 23
    assert {each.filter for each in products} == {"F150W", "F277W"}
    assert sum(each.size or 0 for each in products) > 23 * 100e6
    assert not note  # the mosaics in it are of single exposures, which the list names anyway
    with pytest.raises(CeersError, match=r"450 rows is an exposure.*there are 450 \*_i2d"):
        read_listing(folder / "JWST_NIRCam_Triple_Filter_cache_F200W_products.parquet")
