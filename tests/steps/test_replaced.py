"""Products of exposures that an association would take from another one."""

import shutil

import pytest
from astropy.io import fits

from ceers_steps import CeersImage3
from ceers_steps.errors import CeersError
from ceers_steps.files.associations import as_json, build_association, read_association
from ceers_steps.steps.inputs.replaced import check_replaced

EXPOSURES = [f"jw01345001001_02201_{number:05d}_nrca1" for number in (1, 2, 3)]


@pytest.fixture
def folder(tmp_path):
    """A folder with exposures, an association of the first two, and products of these."""
    for name in EXPOSURES:
        fits.PrimaryHDU().writeto(tmp_path / f"{name}_cal.fits")
    associate(tmp_path, "a_asn.json", {"a": EXPOSURES[:2]})
    for name in EXPOSURES[:2]:
        product(tmp_path, name, "a_asn.json")
    return tmp_path


def associate(folder, name, products, **others):
    files = {key: [f"{each}_cal.fits" for each in names] for key, names in products.items()}
    (folder / name).write_bytes(as_json(build_association(files, **others)))
    return folder / name


def product(folder, exposure, table):
    header = fits.Header({"ASNTABLE": table})
    for kind in ("crf", "match"):
        path = folder / f"{exposure}_a3001_{kind}.fits"
        fits.PrimaryHDU(header=header).writeto(path)


def check(path, **others):
    """Check as the pipeline does, in the folder of the association."""
    association = read_association(path)
    asn_id = association["asn_id"]

    def paths_of(exposure):
        stem = exposure.removesuffix("_cal.fits")
        return [f"{stem}_{asn_id}_{kind}.fits" for kind in ("crf", "match")]

    check_replaced(path, association["products"], asn_id, paths_of)


@pytest.mark.parametrize("written", ["science", "SCIENCE"])
def test_products_of_another_association_are_not_replaced(folder, written):
    other = folder / "a_asn.json"
    other.write_text(other.read_text().replace("science", written))
    with pytest.raises(CeersError) as info:
        check(associate(folder, "b_asn.json", {"b": EXPOSURES[1:]}))
    message = str(info.value)
    assert f"{EXPOSURES[1]}_a3001_crf.fits was made for product a of a_asn.json" in message
    assert "product b of" in message
    assert "b_asn.json would replace it" in message
    assert "id (asn_id) a3001" in message


@pytest.mark.parametrize(
    ("name", "products", "others"),
    [
        ("a_asn.json", {"a": EXPOSURES[:2]}, {}),  # the same one again
        ("all_asn.json", {"a": EXPOSURES[:2], "b": EXPOSURES[2:]}, {}),  # with other filters
        ("b_asn.json", {"b": EXPOSURES[2:]}, {}),  # nothing is shared
        ("b_asn.json", {"b": EXPOSURES[1:]}, {"asn_id": "a3002"}),
    ],
)
def test_the_same_product_and_others_are_made(folder, name, products, others, caplog):
    check(associate(folder, name, products, **others))
    assert not caplog.text


def test_products_of_an_association_that_is_gone_are_replaced_with_a_warning(folder, caplog):
    path = associate(folder, "b_asn.json", {"b": EXPOSURES})
    (folder / "a_asn.json").unlink()
    check(path)
    assert len(caplog.messages) == 1
    assert f"{EXPOSURES[0]}_a3001_crf.fits and other products of a_asn.json" in caplog.text


def test_an_exposure_in_two_products_of_one_association_is_refused(folder):
    path = associate(folder, "b_asn.json", {"b": EXPOSURES[:2], "c": EXPOSURES[1:]})
    with pytest.raises(CeersError, match=f"{EXPOSURES[1]}_cal.fits stands in the products b and c"):
        check(path)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_pipeline_looks_before_the_work(folder, monkeypatch, elsewhere):
    """At the names that its products will have, in the folder where they will be."""
    path = associate(folder, "b_asn.json", {"b": EXPOSURES[1:]})
    out = folder / "out"
    out.mkdir()
    pipeline = CeersImage3(output_dir=str(out))
    pipeline.save_results = True

    def opened(*_):
        raise KeyError("the work begins")

    monkeypatch.setattr("ceers_steps.pipelines.image3.open_library", opened)
    if elsewhere:
        for product in folder.glob("*_a3001_*.fits"):
            shutil.move(product, out)
    with pytest.raises(CeersError if elsewhere else KeyError) as info:
        pipeline.process(str(path))
    assert ("would replace it" in str(info.value)) == elsewhere
    assert len(list(out.iterdir())) == 4 * elsewhere
