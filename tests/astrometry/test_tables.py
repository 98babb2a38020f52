"""Tables of the alignment: what is read, and what is refused."""

import os
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, Table

from ceers_steps.astrometry.reference import (
    ReferenceCatalog,
    read_reference_catalog,
    why_elsewhere,
)
from ceers_steps.astrometry.results import RESULT_COLUMNS, make_results_table
from ceers_steps.astrometry.tables import AlignmentSettings, read_alignment_table
from ceers_steps.errors import CeersError
from ceers_steps.files.parameter_files import parameter_files_dir

DR05 = parameter_files_dir() / "dr05" / "alignment.ecsv"


def write(table, path):
    table.write(path, overwrite=True)
    return path


class TestAlignmentTable:
    def test_published_one(self):
        table = read_alignment_table(DR05)
        settings = table.apply(AlignmentSettings(), "jw01345001001", "F277W")
        assert (settings.detect_thresh, settings.detect_minarea) == (4.0, 16)
        assert (settings.tolerance, settings.abs_separation) == (0.05, 0.5)
        assert settings.abs_fit("LONG").geometry == "rscale"
        assert settings.max_rmse == AlignmentSettings().max_rmse
        # every visit of a pointing that DR0.5 has in a filter of its own row
        assert len(table.rows) == 30

    @pytest.mark.skipif("CEERS_SHARED_DATA" not in os.environ, reason="no published tables")
    def test_published_values(self):
        folder = Path(os.environ["CEERS_SHARED_DATA"])
        published = Table.read(folder / "ceers_dr05" / "tweakreg_params.ecsv")
        table = read_alignment_table(DR05)
        assert len(table.rows) == len(published)
        names = {"deblend": "deblend_levels", "abs_fitgeom": "abs_fitgeometry"}
        for row in published:
            ours = table.rows[row["visit"], row["filter"]]
            for name in set(published.colnames) - {"pointing", "filter", "visit", "kernel_nsigma"}:
                assert ours[names.get(name, name)] == row[name]

    def test_other_visits_keep_the_parameters(self):
        settings = AlignmentSettings(tolerance=0.077)
        assert read_alignment_table(DR05).apply(settings, "jw09999001001", "F277W") == settings

    @pytest.mark.parametrize("visit", ["nircam1", "01345001001", "jw01345001001_02101", "jw*"])
    def test_a_visit_that_is_none(self, tmp_path, visit):
        path = tmp_path / "table.csv"
        path.write_text(f"visit,filter,minobj\n{visit},F150W,7\n")
        with pytest.raises(CeersError, match=r"row 1, column visit: .* is no visit"):
            read_alignment_table(path)

    def test_a_quote_that_is_not_closed(self, tmp_path):
        path = tmp_path / "table.csv"
        path.write_text(
            'pointing,visit,filter,minobj\n"a,jw01345001001,F150W,7\nb,jw01345002001,F150W,8\n'
        )
        with pytest.raises(CeersError, match="line 2: a quote is opened"):
            read_alignment_table(path)

    def test_empty_cells_and_csv(self, tmp_path):
        path = tmp_path / "table.csv"
        path.write_text(
            "visit,filter,minobj,use2dhist,abs_sigma\njw01345001001,f150w,7,False,\njw01345002001,F150W,,,2.5\n"
        )
        rows = read_alignment_table(path).rows
        assert rows["jw01345001001", "F150W"] == {"minobj": 7, "use2dhist": False}
        assert rows["jw01345002001", "F150W"] == {"abs_sigma": 2.5}

    @pytest.mark.parametrize(
        ("columns", "message"),
        [
            ({"visit": ["jw01345001001"]}, "no column 'filter'; found visit"),
            (
                {"visit": ["jw01345001001"], "filter": ["b"], "tolernace": [1.0]},
                "unknown column.*tolernace",
            ),
            (
                {"visit": ["jw01345001001", "jw01345001001"], "filter": ["b", "B"]},
                "visit jw01345001001, filter B stands in two rows",
            ),
            (
                {"visit": ["jw01345001001"], "filter": ["b"], "minobj": [2.5]},
                "row 1, column minobj: '2.5' is",
            ),
            (
                {"visit": ["jw01345001001"], "filter": ["b"], "minobj": ["inf"]},
                "row 1, column minobj: 'inf' is not a whole number",
            ),
            (
                {"visit": ["jw01345001001"], "filter": MaskedColumn(["b"], mask=[True])},
                "row 1, column filter: it is empty",
            ),
            ({"visit": ["jw1345001001"], "filter": ["b"]}, "is no visit, which is jw and 11"),
            (
                {"visit": ["jw01345001001"], "filter": ["b"], "sigma": ["wide"]},
                "'wide' is not a number",
            ),
            (
                {"visit": ["jw01345001001"], "filter": ["b"], "use2dhist": ["no"]},
                "'no' is not true or false",
            ),
            (
                {"visit": ["jw01345001001"], "filter": ["b"], "tolerance": [-1.0]},
                "tolerance=-1.0; use 0.001 to 10",
            ),
            (
                {"visit": ["jw01345001001"], "filter": ["b"], "fitgeometry": ["auto"]},
                "use one of shift, rsh",
            ),
        ],
    )
    def test_refused(self, tmp_path, columns, message):
        path = write(Table(columns), tmp_path / "table.ecsv")
        with pytest.raises(CeersError, match=message) as error:
            read_alignment_table(path)
        assert str(path) in str(error.value)

    def test_no_table(self, tmp_path):
        with pytest.raises(CeersError, match=r"alignment_table=.*does not exist"):
            read_alignment_table(tmp_path / "missing.ecsv")
        path = tmp_path / "text.ecsv"
        path.write_text("no table")
        with pytest.raises(CeersError, match=r"alignment_table=.*not a readable table"):
            read_alignment_table(path)


class TestSettings:
    def test_auto_goes_by_channel(self):
        settings = AlignmentSettings()
        assert settings.abs_fit("SHORT").geometry == "rshift"
        assert settings.abs_fit("LONG").geometry == "rscale"
        assert settings.abs_fit("LONG").expected_rotation
        fixed = AlignmentSettings(abs_fitgeometry="shift")
        assert fixed.abs_fit("LONG").geometry == "shift"
        assert not fixed.abs_fit("LONG").expected_rotation

    def test_search_only_about_the_expected_shift(self):
        match = AlignmentSettings(use2dhist=False, xoffset=0.5, yoffset=-1).match
        assert match.search_radius == 0
        assert match.offset == (0.5, -1)

    def test_catalogue(self):
        assert AlignmentSettings(snr_threshold=7.0).catalog.snr_threshold == 7.0


class TestReference:
    RA, DEC = np.array([214.9, 215.0]), np.array([52.8, 52.9])

    @pytest.mark.parametrize("names", [("RA", "DEC"), ("ra", "dec"), ("Ra", "Dec")])
    @pytest.mark.parametrize("suffix", ["ecsv", "fits", "csv"])
    def test_any_case_and_format(self, tmp_path, names, suffix):
        table = Table([self.RA, self.DEC, [1.0, 2.0]], names=[*names, "mag"])
        reference = read_reference_catalog(write(table, tmp_path / f"a.{suffix}"))
        np.testing.assert_array_equal(reference.ra, self.RA)
        np.testing.assert_array_equal(reference.dec, self.DEC)
        assert reference.name == f"a.{suffix}"
        assert len(reference) == 2

    def test_units(self, tmp_path):
        table = Table([np.deg2rad(self.RA), np.deg2rad(self.DEC)], names=["RA", "DEC"])
        table["RA"].unit = table["DEC"].unit = u.rad
        reference = read_reference_catalog(write(table, tmp_path / "a.ecsv"))
        np.testing.assert_allclose(reference.ra, self.RA, rtol=1e-14)

    def test_source_catalogue_of_jwst(self, tmp_path):
        table = Table({"sky_centroid": SkyCoord(self.RA, self.DEC, unit="deg"), "label": [1, 2]})
        reference = read_reference_catalog(write(table, tmp_path / "a.ecsv"))
        np.testing.assert_allclose(reference.dec, self.DEC, rtol=1e-14)

    @pytest.mark.parametrize("frame", ["galactic", "fk5", "fk4", "barycentricmeanecliptic"])
    def test_source_catalogue_in_another_frame(self, tmp_path, frame):
        sky = SkyCoord(self.RA, self.DEC, unit="deg").transform_to(frame)
        reference = read_reference_catalog(write(Table({"sky_centroid": sky}), tmp_path / "a.ecsv"))
        np.testing.assert_allclose(reference.ra, self.RA, rtol=0, atol=1e-9)
        np.testing.assert_allclose(reference.dec, self.DEC, rtol=0, atol=1e-9)

    def test_rows_that_repeat_a_position_count_once(self, tmp_path, caplog):
        """As sources with a neighbour they would all be left out."""
        ra = [*self.RA[::-1], *self.RA, 215.0 - 360]
        table = Table({"ra": ra, "dec": [*self.DEC[::-1], *self.DEC, 52.9]})
        reference = read_reference_catalog(write(table, tmp_path / "a.ecsv"))
        assert reference.ra.tolist() == self.RA[::-1].tolist()
        assert "3 rows repeat a position" in caplog.text

    @pytest.mark.parametrize(("kind", "said"), [("f4", True), ("f8", False), ("i4", False)])
    def test_positions_in_few_bits_are_said(self, tmp_path, caplog, kind, said):
        table = Table({"ra": np.array([214.9, 215.0], kind), "dec": self.DEC})
        read_reference_catalog(write(table, tmp_path / "a.fits"))
        assert ("ra is kept in 32 bits, which hold it to 92 mas" in caplog.text.lower()) == said

    @pytest.mark.parametrize("unit", [u.mas / u.yr, u.arcsec / u.yr, u.deg / u.yr, None])
    @pytest.mark.parametrize("names", [("pmra", "pmdec"), ("pmRA", "pmDE")])
    @pytest.mark.parametrize("year", [2016.0, "J2016.0"])
    def test_motions_in_any_unit(self, tmp_path, unit, names, year):
        motion = np.array([3.0, 3.0]) * u.mas / u.yr
        column = motion.value if unit is None else motion.to(unit)
        table = Table({"ra": self.RA, "dec": self.DEC, **dict.fromkeys(names, column)})
        table["ref_epoch"] = year
        reference = read_reference_catalog(write(table, tmp_path / "a.ecsv"))
        assert reference.motion == pytest.approx(3 * np.sqrt(2))
        assert reference.epoch == 2016

    @pytest.mark.parametrize("epoch", [{}, {"ref_epoch": np.nan}, {"ref_epoch": "then"}])
    def test_motions_without_an_epoch_are_said(self, tmp_path, caplog, epoch):
        motions = {"pmra": [1.0, 2.0], "pmdec": [1.0, 2.0]}
        table = Table({"ra": self.RA, "dec": self.DEC, **motions})
        for name, value in epoch.items():
            table[name] = value
        reference = read_reference_catalog(write(table, tmp_path / "a.ecsv"))
        assert reference.motion == 0
        assert "proper motions (pmra, pmdec), but no ref_epoch" in caplog.text

    def test_rows_without_position(self, tmp_path):
        ra = MaskedColumn([10.0, 20.0, 30.0], mask=[False, True, False])
        table = Table({"ra": ra, "dec": [1.0, 2.0, np.nan]})
        reference = read_reference_catalog(write(table, tmp_path / "a.ecsv"))
        assert reference.ra.tolist() == [10.0]

    def test_near(self, tmp_path):
        table = Table({"ra": [359.999, 0.001, 1.0], "dec": [0.0, 0.0, 0.0]})
        reference = read_reference_catalog(write(table, tmp_path / "a.ecsv"))
        assert reference.near(0.0, 0.0, 4.0).tolist() == [0, 1]
        assert reference.near(0.0, 0.0, 3.0).tolist() == []

    @pytest.mark.parametrize(
        ("columns", "message"),
        [
            ({"x": [1.0], "y": [1.0]}, "no columns RA and DEC; found x, y"),
            ({"ra": [1.0]}, "no columns RA and DEC; found ra"),
            ({"ra": [1.0], "RA": [1.0], "dec": [1.0]}, r"several columns are called RA \(ra, RA"),
            ({"ra": ["12:00:00"], "dec": ["1:0:0"]}, "RA and DEC are not angles"),
            ({"ra": [np.nan], "dec": [1.0]}, "no row has a position"),
            ({"ra": [10.0], "dec": [120.0]}, "DEC beyond 90 degrees"),
        ],
    )
    def test_refused(self, tmp_path, columns, message):
        path = write(Table(columns), tmp_path / "a.ecsv")
        with pytest.raises(CeersError, match=message):
            read_reference_catalog(path)

    def test_wrong_unit(self, tmp_path):
        table = Table({"ra": [1.0] * u.m, "dec": [1.0] * u.m})
        with pytest.raises(CeersError, match="RA and DEC are not angles"):
            read_reference_catalog(write(table, tmp_path / "a.ecsv"))

    def test_a_text_of_no_known_kind(self, tmp_path):
        (tmp_path / "a.txt").write_text("# RA DEC\n1 2\n")
        with pytest.raises(CeersError, match=r"a\.txt: not a table that is known .* Give ECSV"):
            read_reference_catalog(tmp_path / "a.txt")

    def test_no_file(self, tmp_path):
        with pytest.raises(CeersError, match=r"abs_refcat=.*does not exist"):
            read_reference_catalog(tmp_path / "missing.fits")


def test_results_have_units_and_meanings(tmp_path):
    rows = [
        {"exposure": "jw01345001001", "alignment": "relative", "status": "FAILED", "note": "none"}
    ]
    table = make_results_table(rows, {"abs_refcat": "a.ecsv"})
    assert table.colnames == list(RESULT_COLUMNS)
    back = Table.read(write(table, tmp_path / "a.ecsv"))
    assert back["rmse"].unit == "mas"
    assert back["rotation"].unit == "arcsec"
    assert np.isnan(back["rmse"][0])
    assert back["n_matched"][0] == 0
    assert back["scale"].description == "scale"
    assert back.meta["abs_refcat"] == "a.ecsv"
    assert len(make_results_table([], {})) == 0


def test_why_a_catalogue_has_nothing_here():
    swapped = ReferenceCatalog("a.ecsv", np.array([-5.0 % 360]), np.array([34.3]))
    assert "swapped columns" in why_elsewhere(swapped, 34.3, -5.0, 60.0)
    far = ReferenceCatalog("a.ecsv", np.array([34.3]), np.array([5.0]))
    assert "the nearest is 10 degrees" in why_elsewhere(far, 34.3, -5.0, 60.0)
    assert why_elsewhere(ReferenceCatalog("a", np.zeros(0), np.zeros(0)), 0, 0, 1).startswith(
        "none"
    )
