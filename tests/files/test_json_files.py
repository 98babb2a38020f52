"""Small JSON files of our own, damaged in every way."""

import os

import pytest

from ceers_steps.files.json_files import read_note


def test_a_note_is_what_was_written(tmp_path):
    path = tmp_path / "note.json"
    path.write_text('{"a": 1, "b": null, "c": true, "d": "x"}')
    note = read_note(path, a=int, b=str | None, c=bool, d=str)
    assert note == {"a": 1, "b": None, "c": True, "d": "x"}


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "{",
        "[]",
        "null",
        "1",
        '"a"',
        '["a"]',
        "{}",
        '{"a": "1"}',
        '{"a": null}',
        '{"a": true}',
        '{"a": [1]}',
        '{"b": 1}',
        '{"a": 1' + "0" * 400 + "}",
        "[" * 100_000,
        '{"a":' * 100_000,
        "\udcff",
    ],
)
def test_what_is_no_note_is_absent(tmp_path, text):
    path = tmp_path / "note.json"
    if text is not None:
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert read_note(path, a=int | float) == {}
    path.unlink(missing_ok=True)
    path.mkdir()
    assert read_note(path) == {}


def test_a_pipe_is_no_note(tmp_path):
    os.mkfifo(tmp_path / "note.json")
    assert read_note(tmp_path / "note.json") == {}
