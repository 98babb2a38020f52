"""Associations: what is built is read back; what is none is refused in one message."""

import json
import os
import time
from pathlib import Path

import pytest
import yaml

from ceers_steps.errors import CeersError
from ceers_steps.files.associations import (
    as_json,
    build_association,
    list_association,
    merge_products,
    read_association,
)


@pytest.fixture
def members(tmp_path):
    """Three files beside the association to be."""
    names = ["a_cal.fits", "b_cal.fits", "c_cal.fits"]
    for name in names:
        (tmp_path / name).touch()
    return names


def write(folder, products, name="my_asn.json"):
    """Write an association with these products."""
    path = folder / name
    path.write_text(json.dumps({"products": products}))
    return path


def product(name, *members):
    """Return a product."""
    return {"name": name, "members": [{"expname": m, "exptype": "science"} for m in members]}


def test_what_is_built_is_read_back(tmp_path, members):
    path = tmp_path / "f_asn.json"
    built = build_association({"f150w": members[:2], "f277w": members[1:]}, program="01345")
    path.write_bytes(as_json(built))
    found = read_association(path)
    assert [each["name"] for each in found["products"]] == ["f150w", "f277w"]
    assert [m["expname"] for m in found["products"][0]["members"]] == [
        str(tmp_path / name) for name in members[:2]
    ]
    merged = merge_products(found)
    assert [m["expname"] for m in merged["products"][0]["members"]] == [
        str(tmp_path / name) for name in members
    ]


def test_a_list_has_each_file_once_and_no_id():
    found = list_association(["a.fits", "b.fits", "./a.fits"])
    assert [m["expname"] for m in found["products"][0]["members"]] == [
        os.path.abspath("a.fits"),
        os.path.abspath("b.fits"),
    ]
    assert "asn_id" not in found


def test_yaml_that_may_be_cut_off_is_said(tmp_path, caplog):
    """Cut off between two members it is valid; the rest of a file of jwst's is missing then."""
    names = [f"{letter}_cal.fits" for letter in "abc"]
    for name in names:
        (tmp_path / name).touch()
    whole = yaml.dump(build_association({"m": names}))
    path = tmp_path / "my_asn.yaml"
    path.write_text(whole)
    assert len(read_association(path)["products"][0]["members"]) == 3
    assert "cut off" not in caplog.text
    read = 0
    for size in range(whole.index("products"), len(whole) - 1):
        caplog.clear()
        path.write_text(whole[:size])
        try:
            found = read_association(path)
        except CeersError:
            continue
        read += 1
        members = [member for each in found["products"] for member in each["members"]]
        assert len(members) == 3 or "may be cut off" in caplog.text
    assert read > 3


def test_types_of_members_are_those_that_a_library_takes(tmp_path, members):
    shouted = product("a", *members[:1])
    shouted["members"][0]["exptype"] = "SCIENCE"
    found = read_association(write(tmp_path, [shouted]))
    assert found["products"][0]["members"][0]["exptype"] == "science"


def test_yaml_and_a_byte_order_mark_are_read(tmp_path, members):
    text = "products:\n- name: f150w\n  members:\n  - {expname: a_cal.fits, exptype: science}\n"
    (tmp_path / "my_asn.yaml").write_text(text)
    (tmp_path / "my_asn.json").write_text(
        "\ufeff" + json.dumps({"products": [product("f150w", members[0])]})
    )
    assert read_association(tmp_path / "my_asn.yaml") == read_association(tmp_path / "my_asn.json")


@pytest.mark.parametrize(
    ("products", "told"),
    [
        (5, "no products"),
        ([5], "no products"),
        ([product(5, "a_cal.fits")], "5 is no text"),
        ([product("a\nb", "a_cal.fits")], "other characters"),
        ([product("../a", "a_cal.fits")], "other characters"),
        ([{"name": "a"}], "no list of members"),
        ([{"name": "a", "members": {"expname": "a_cal.fits"}}], "no list of members"),
        ([{"name": "a", "members": ["a_cal.fits"]}], "no expname"),
        ([{"name": "a", "members": [{"expname": 5}]}], "no expname"),
        ([product("a", "a_cal.fits\n")], "no expname"),
        ([product("a", "other_asn.json")], "is an association itself"),
        ([product("a", "a_cal.fits", "./a_cal.fits")], "stands twice"),
        ([product("a")], "has no members"),
        ([product("a", "nowhere.fits")], "do not exist"),
        ([product("a", "/elsewhere/a_cal.fits")], "stand beside the association"),
        ([{"members": [{"expname": "a_cal.fits", "exptype": "background"}]}], "exptype 'science'"),
        ([{"members": [{"expname": "a_cal.fits", "exptype": "sience"}]}], "exptype 'sience'"),
        ([{"members": [{"expname": "a_cal.fits", "exptype": ["science"]}]}], "would not be used"),
        ([{"members": [{"expname": "a_cal.fits"}]}], "has no exptype"),
    ],
)
def test_what_is_no_association_is_told_in_one_message(tmp_path, members, products, told):
    with pytest.raises(CeersError, match=told):
        read_association(write(tmp_path, products))


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("my_asn.json", "[" * 100_000, "nested too deeply"),
        ("my_asn.json", "[]", "a list"),
        ("my_asn.json", "5", "a number"),
        ("my_asn.json", "{", "JSONDecodeError"),
        ("my_asn.json", '{"products": [], "products": []}', "'products' stands twice"),
        ("my_asn.yaml", "products: []\nproducts: []\n", "'products' stands twice"),
        ("my_asn.json", '{"products": [], "program": 1345}', "program: 1345 is no text"),
        ("my_asn.json", '{"products": [], "asn_pool": null}', "asn_pool: None is no text"),
        ("my_asn.json", '{"products": [], "asn_pool": "\\u03a9"}', "FITS headers cannot hold"),
        ("my_asn.json", '{"products": [], "asn_id": "../a"}', "asn_id: '../a' has other"),
        ("my_\u03a9_asn.json", '{"products": []}', "FITS headers cannot hold"),
        ("my_asn.yaml", "products: &a [1]\nb: [*a, *a]\n", "YAML aliases"),
        ("my_asn.yaml", "products: !!python/object:os.system {}\n", "ConstructorError"),
    ],
)
def test_damaged_files_are_told_in_one_message(tmp_path, name, content, told):
    (tmp_path / name).write_text(content)
    with pytest.raises(CeersError, match=told):
        read_association(tmp_path / name)


def test_a_pipe_does_not_stop_anything(tmp_path):
    os.mkfifo(tmp_path / "my_asn.json")
    start = time.monotonic()
    with pytest.raises(CeersError, match="not a regular file"):
        read_association(tmp_path / "my_asn.json")
    assert time.monotonic() - start < 10


def test_a_missing_background_that_nobody_uses_is_no_error(tmp_path, members, caplog):
    made = product("a", *members)
    made["members"].append({"expname": "gone_cal.fits", "exptype": "background"})
    path = write(tmp_path, [made])
    found = read_association(path)
    assert [Path(each["expname"]).name for each in found["products"][0]["members"]] == members
    assert "gone_cal.fits (exptype background) is not there" in caplog.text
    # stage 2 subtracts it
    path.write_text(json.dumps({"asn_type": "image2", "products": [made]}))
    with pytest.raises(CeersError, match="gone_cal"):
        read_association(path)
    # an exposure that is to be combined is missed
    made["members"][0]["expname"] = "lost_cal.fits"
    with pytest.raises(CeersError, match="lost_cal"):
        read_association(write(tmp_path, [made]))


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 100_000])
def test_yaml_that_is_nested_without_end(tmp_path, text):
    path = tmp_path / "deep_asn.yaml"
    path.write_text(text)
    started = time.process_time()
    with pytest.raises(CeersError, match=r"deep_asn\.yaml is not an association"):
        read_association(path)
    assert time.process_time() - started < 2


def test_a_member_whose_name_no_file_can_have(tmp_path):
    path = tmp_path / "long_asn.json"
    member = {"expname": "x" * 300, "exptype": "science"}
    path.write_text(json.dumps({"products": [{"name": "x", "members": [member]}]}))
    with pytest.raises(CeersError, match=r"1 of the 1 members .* do not exist"):
        read_association(path)
