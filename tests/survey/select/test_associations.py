"""What belongs together, and the files that say so."""

import json
import os
import re
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from jwst.associations import load_asn
from jwst.datamodels import ModelLibrary
from stdatamodels.jwst.datamodels import ImageModel

from ceers_steps.errors import CeersError
from ceers_steps.files.parameter_files import parameter_files_dir
from ceers_steps.survey.select.association_files import write_associations
from ceers_steps.survey.select.associations import group_exposures, incomplete, name_products
from ceers_steps.survey.select.exposures import Exposure, parse_s_region, plan_exposures
from ceers_steps.survey.select.footprints import overlap_groups
from ceers_steps.survey.select.grids import find_grid, fit_grid
from tests.survey.sky import square

# images of the pointings of CEERS NIRCam DR0.5 (Bagley et al. 2023, table 2)
PUBLISHED = {
    "nircam1": (96, 48, 24, 12, 12, 12, 6),
    "nircam2": (96, 48, 48, 12, 12, 12, 12),
    "nircam3": (48, 24, 24, 6, 6, 6, 6),
    "nircam6": (48, 24, 24, 6, 6, 6, 6),
}
FILTERS = ("F115W", "F150W", "F200W", "F277W", "F356W", "F410M", "F444W")
POINTINGS = {
    "001": "nircam1",
    "002": "nircam2",
    "052": "nircam2",
    "003": "nircam3",
    "004": "nircam6",
}


def exposure(name, *footprint, band="F150W", folder="."):
    """An exposure of a name, with polygons."""
    return Exposure(
        path=Path(folder) / f"{name}_cal.fits",
        name=name,
        program=name[2:7],
        observation=name[7:10],
        visit=name[10:13],
        detector=name.split("_")[3].upper(),
        filter=band,
        footprint=footprint,
    )


def published():
    """The 690 exposures, by their names alone."""
    return plan_exposures(parameter_files_dir() / "dr05/pointings.ecsv", "calibrated", "cal")


def names(groups):
    return [group.name for group in groups]


def test_published_exposures_make_the_published_associations(tmp_path):
    groups = name_products(group_exposures(published(), "pointing"), "ceers_{group}_{filter}_dr05")
    write_associations(groups, tmp_path)
    assert names(groups) == list(PUBLISHED)
    for pointing, counts in PUBLISHED.items():
        for band, count in zip(FILTERS, counts, strict=True):
            name = f"ceers_{pointing}_{band.lower()}_dr05"
            association = json.loads((tmp_path / f"{name}_asn.json").read_text())
            (product,) = association["products"]
            assert product["name"] == name
            assert len(product["members"]) == count
            observations = {Path(member["expname"]).name[7:10] for member in product["members"]}
            assert {POINTINGS[number] for number in observations} == {pointing}
    # observation 52 repeats two filters of pointing 2
    table = Table.read(tmp_path / "associations.ecsv")
    assert set(table["filter"][table["observation"] == "052"]) == {"F200W", "F444W"}
    assert len(table) == 690
    assert incomplete(groups) == []


def test_what_lacks_of_published_exposures_is_told():
    some = [each for each in published() if not each.name.startswith("jw01345003001_02201_00002")]
    told = incomplete(group_exposures(some, "pointing"))
    lacking = Counter(each.filter for each in published()) - Counter(each.filter for each in some)
    assert len(told) == len(lacking) == 2
    assert all(re.fullmatch(r"nircam3 F\d+\w: \d+ of the \d+ of DR0.5", line) for line in told)
    # exposures that only share the name of a pointing
    ours = exposure("jw01345001001_99999_00001_nrcb4", square(0, 0, 64))
    groups = group_exposures([ours], "pointing")
    assert names(groups) == ["nircam1"]
    assert incomplete(groups) == []


@pytest.mark.parametrize(
    ("by", "wanted"),
    [
        ("visit", ["jw01345001001", "jw01345001002", "jw01345002001"]),
        ("observation", ["jw01345001", "jw01345002"]),
        ("program", ["jw01345"]),
    ],
)
def test_groups_by_number(by, wanted):
    exposures = [
        exposure(f"jw01345{visit}_02201_00001_nrcb4") for visit in ("002001", "001002", "001001")
    ]
    assert names(group_exposures(exposures, by)) == wanted


def dither(number, east, north, program_observation="01727001"):
    """Both modules of a dither, with a gap of 44 arcsec between them."""
    stem = f"jw{program_observation}001_02101_{number:05d}"
    return [
        exposure(f"{stem}_nrcalong", square(east - 88, north, 129), band="F277W"),
        exposure(f"{stem}_nrcblong", square(east + 88, north, 129), band="F277W"),
    ]


def test_overlapping_dithers_are_a_pointing_across_the_gap_between_the_modules():
    (group,) = group_exposures(dither(1, 0, 0) + dither(2, 6, 3), "pointing")
    assert group.name == "jw01727001"
    assert len(group.exposures) == 4


def test_fields_of_one_observation_are_numbered():
    exposures = dither(1, 0, 0) + dither(2, 3000, 0) + dither(3, 6, 3)
    groups = group_exposures(exposures, "pointing")
    assert names(groups) == ["jw01727-p01", "jw01727-p02"]
    assert [len(group.exposures) for group in groups] == [4, 2]


def test_observations_that_overlap_are_a_pointing():
    exposures = dither(1, 0, 0) + dither(1, 20, 0, "01727002") + dither(1, 20, 9, "01837005")
    assert names(group_exposures(exposures, "pointing")) == ["jw01727-01837-p01"]


def test_without_footprints_an_observation_is_a_pointing():
    exposures = [
        *dither(1, 0, 0),
        exposure("jw01727004001_02101_00001_nrcb4"),
        exposure("jw01727005001_02101_00001_nrcb4"),
    ]
    groups = group_exposures(exposures, "pointing")
    assert names(groups) == ["jw01727001", "jw01727004", "jw01727005"]


def test_names_of_products():
    groups = group_exposures(dither(1, 0, 0), "observation")
    (group,) = name_products(groups, None)
    assert group.products == {
        "F277W": "jw01727001_f277w",
        "allfilters": "jw01727001_allfilters",
    }
    (group,) = name_products(groups, "deep")
    assert group.products["F277W"] == "deep_f277w"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("deep", "gives all 2 groups the same names .*jw01727001, jw01727002.*Put {group}"),
        ("{grp}", "Only {group} and {filter}|Put {group}"),
        ("{group}_{grp}", "KeyError: 'grp'"),
        ("{group}_{0}", "not understood .IndexError"),
        ("{group}_{", "not understood .ValueError"),
        ("deep/{group}", "'deep/jw01727001_.*' has other .* Give the folder with -o"),
        ("\u00e9_{group}", "has other characters than letters"),
    ],
)
def test_names_that_cannot_be(template, message):
    groups = group_exposures(dither(1, 0, 0) + dither(1, 0, 0, "01727002"), "observation")
    with pytest.raises(CeersError, match=message):
        name_products(groups, template)


@pytest.fixture
def written(tmp_path):
    """Two filters with footprints, on a grid; members are real files of jwst."""
    exposures = []
    for number, (band, detector) in enumerate((("F150W", "nrcb4"), ("F277W", "nrcblong")), 1):
        name = f"jw01727001001_02101_{number:05d}_{detector}"
        exposures.append(exposure(name, square(0, 0, 64), band=band, folder=tmp_path / "cal"))
        model = ImageModel(np.zeros((2, 2), np.float32))
        model.meta.observation.program_number = "01727"
        model.meta.observation.observation_number = "001"
        model.meta.observation.visit_number = "001"
        model.meta.observation.visit_group = "02"
        model.meta.observation.sequence_id = "1"
        model.meta.observation.activity_id = "01"
        model.meta.observation.exposure_number = str(number)
        (tmp_path / "cal").mkdir(exist_ok=True)
        model.save(exposures[-1].path)
    (group,) = name_products(group_exposures(exposures, "pointing"), None)
    grid = fit_grid([polygon for each in exposures for polygon in each.footprint])
    return type(group)(group.name, group.exposures, group.products, grid)


def test_jwst_reads_the_associations(tmp_path, written):
    folder = tmp_path / "asn"
    paths = write_associations([written], folder)
    assert {path.name for path in paths} == {
        "jw01727001_f150w_asn.json",
        "jw01727001_f277w_asn.json",
        "jw01727001_allfilters_asn.json",
        "jw01727001_grid.asdf",
        "jw01727001_image3.asdf",
        "associations.ecsv",
        "grids.ecsv",
    }
    with warnings.catch_warnings():
        # jwst would have all files in one folder
        warnings.filterwarnings("ignore", "Input association file contains path information")
        with (folder / "jw01727001_allfilters_asn.json").open() as stream:
            association = load_asn(stream)
        library = ModelLibrary(str(folder / "jw01727001_f277w_asn.json"))
    assert [product["name"] for product in association["products"]] == [
        "jw01727001_f150w",
        "jw01727001_f277w",
    ]
    assert association["asn_id"] == "a3001"
    assert library.group_names == {"jw01727001001_02101_2"}
    assert find_grid(str(folder / "grids.ecsv"), "jw01727001") == written.grid


def test_members_are_found_from_the_folder_even_through_a_link(tmp_path, written):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "er")
    write_associations([written], tmp_path / "link")
    association = json.loads((tmp_path / "link" / "jw01727001_f150w_asn.json").read_text())
    (member,) = association["products"][0]["members"]
    assert not os.path.isabs(member["expname"])
    assert (tmp_path / "link" / member["expname"]).is_file()


def test_associations_that_share_exposures_have_ids_of_their_own(tmp_path):
    """Products of exposures have the id in their names, and would replace each other."""
    exposures = [
        exposure(f"jw0172700{number}001_02101_0000{dither}_nrcb4", folder=tmp_path)
        for number in (1, 2)
        for dither in (1, 2)
    ]

    def ids(by, chosen=exposures):
        groups = name_products(group_exposures(chosen, by), f"{by}_{{group}}_{{filter}}")
        paths = write_associations(groups, tmp_path / "asn", force=True)
        files = [path for path in paths if path.name.endswith("_asn.json")]
        return {json.loads(path.read_text())["asn_id"] for path in files}

    assert ids("observation") == {"a3001"}
    assert ids("program") == {"a3002"}
    # made again, they change nothing; others with no exposure in common need no other id
    assert ids("observation") == {"a3001"}
    assert ids("program") == {"a3002"}
    other = exposure("jw01728001001_02101_00001_nrcb4", folder=tmp_path)
    assert ids("visit", [other]) == {"a3001"}


def test_existing_files_are_kept(tmp_path, written):
    folder = tmp_path / "asn"
    before = {path: path.read_bytes() for path in write_associations([written], folder)}
    assert {path: path.read_bytes() for path in write_associations([written], folder)} == before
    mine = folder / "jw01727001_f150w_asn.json"
    mine.write_text("mine")
    (folder / "grids.ecsv").unlink()
    with pytest.raises(CeersError, match=r"1 file\(s\).*f150w_asn.json.*--force"):
        write_associations([written], folder)
    # nothing is written when something cannot be
    assert mine.read_text() == "mine"
    assert not (folder / "grids.ecsv").exists()
    write_associations([written], folder, force=True)
    assert mine.read_bytes() == before[mine]


def test_mosaics_are_one_product(tmp_path, written):
    write_associations([written], tmp_path / "asn", mosaics=True)
    assert sorted(os.listdir(tmp_path / "asn")) == [
        "associations.ecsv",
        "jw01727001_allfilters_asn.json",
    ]
    association = json.loads((tmp_path / "asn" / "jw01727001_allfilters_asn.json").read_text())
    (product,) = association["products"]
    assert len(product["members"]) == 2


def test_pointings_and_grids_against_the_published(shared_footprints):
    """The footprints of the 690 exposures alone give the pointings, and no larger grids."""
    dithers = {}
    for name, polygons in shared_footprints.items():
        dithers.setdefault(name.rpartition("_")[0], []).extend(polygons)
    for fraction in (0.06, 0.2, 0.6):
        labels = overlap_groups(list(dithers.values()), fraction)
        found = {
            (label, POINTINGS[name[7:10]]) for label, name in zip(labels, dithers, strict=True)
        }
        assert len(found) == 4
        assert len(set(labels)) == 4
    for pointing in PUBLISHED:
        polygons = [
            polygon
            for name, polygons in shared_footprints.items()
            if POINTINGS[name[7:10]] == pointing
            for polygon in polygons
        ]
        grid = find_grid(pointing, pointing)
        assert all(grid.covers(polygon) for polygon in polygons)
        ratio = np.prod(fit_grid(polygons).pixel_shape) / np.prod(grid.pixel_shape)
        assert 0.9 < ratio < 1.0


@pytest.fixture(scope="module")
def shared_footprints():
    """S_REGION of the published WCS files: {exposure: polygons}."""
    folder = Path(os.environ.get("CEERS_SHARED_DATA", "nowhere")) / "ceers_dr05" / "tweakreg_wcs"
    files = sorted(folder.glob("*.asdf"))
    if not files:
        pytest.skip("CEERS_SHARED_DATA is not set: no published WCS files")
    footprints = {}
    for file in files:
        text = file.read_bytes().decode("latin-1")
        region = re.search(r"s_region: (POLYGON ICRS[\d.\s-]+)", text)[1]
        footprints[file.name.removesuffix("_tweakreg.asdf")] = parse_s_region(region)
    assert len(footprints) == 690
    assert all(len(polygons) == 1 for polygons in footprints.values())
    return footprints
