"""The ``ceers`` command: fast help, parameter files, exit codes."""

import os
import subprocess
import sys

import pytest

import ceers_steps.demo
from ceers_steps import __version__, cli
from ceers_steps.errors import CeersError
from ceers_steps.files import parameter_files as parameters


def python(code, **kwargs):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, **kwargs
    )


def test_help_loads_nothing_heavy():
    result = python(
        "import sys; from ceers_steps.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        "heavy = {'jwst', 'stpipe', 'astropy', 'numpy', 'scipy', 'galsim', 'matplotlib'}\n"
        "print('loaded:', sorted(heavy & set(sys.modules)))"
    )
    assert result.returncode == 0, result.stderr
    assert "loaded: []" in result.stdout
    for command in ("demo", "params", "simulate"):
        assert command in result.stdout


def test_the_process_of_a_task_loads_nothing_heavy_before_its_work():
    """Hundreds of tasks start one: what their work does not need costs CPU minutes."""
    result = python(
        "import sys; import ceers_steps.survey.running.task\n"
        "heavy = {'jwst', 'stpipe', 'asdf', 'astropy', 'numpy', 'scipy', 'matplotlib'}\n"
        "print('loaded:', sorted(heavy & set(sys.modules)))"
    )
    assert "loaded: []" in result.stdout, result.stderr


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert __version__ in capsys.readouterr().out


def test_names_that_are_no_text(tmp_path):
    """Bytes that are no UTF-8 in names, and a terminal that lacks a letter."""
    raw = os.fsencode(tmp_path / "x") + b"\xff\xc3\xa9"
    os.mkdir(raw)
    code = "import sys; from ceers_steps.cli import main; sys.exit(main())"
    result = subprocess.run(
        [sys.executable, "-c", code, "params", "--check", raw],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii:strict"},
    )
    assert result.returncode == 1
    assert b"Traceback" not in result.stderr
    assert b"\\xe9" in result.stdout + result.stderr


def test_params_lists_every_file(capsys):
    assert cli.main(["params"]) == 0
    out = capsys.readouterr().out
    names = [file.name for file in parameters.list_parameter_files()]
    assert {"detector1.asdf", "dr05/detector1.asdf", "dr05/exposures.ecsv"} <= set(names)
    assert all(name in out for name in names)


def test_every_parameter_file_says_what_it_is():
    assert all(file.description for file in parameters.list_parameter_files())


def test_params_copies_and_keeps_what_is_there(tmp_path, capsys):
    source = parameters.parameter_files_dir() / "dr05" / "detector1.asdf"
    copy = tmp_path / "mine" / "dr05" / "detector1.asdf"
    assert cli.main(["params", "dr05/detector1", "-o", str(tmp_path / "mine")]) == 0
    assert capsys.readouterr().out.split() == [str(copy)]
    assert copy.read_bytes() == source.read_bytes()

    copy.write_text("edited")
    assert cli.main(["params", "dr05/detector1.asdf", "-o", str(tmp_path / "mine")]) == 1
    assert "--force" in capsys.readouterr().err
    assert copy.read_text() == "edited"
    assert cli.main(["params", "dr05/detector1", "--force", "-o", str(tmp_path / "mine")]) == 0
    assert copy.read_bytes() == source.read_bytes()


def test_params_copies_all(tmp_path):
    assert cli.main(["params", "--all", "-o", str(tmp_path)]) == 0
    copied = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    assert copied == {file.name for file in parameters.list_parameter_files()}


def test_params_names_what_there_is(tmp_path, capsys):
    assert cli.main(["params", "detector2", "-o", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert "'detector2'" in err
    assert "dr05/detector1.asdf" in err


def test_params_to_a_folder_that_cannot_be_made(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert cli.main(["params", "detector1", "-o", str(tmp_path / "file" / "below")]) == 1
    assert "Cannot write" in capsys.readouterr().err


def test_parameter_files_of_a_wheel_and_of_none(tmp_path, monkeypatch):
    package = tmp_path / "site" / "ceers_steps"
    (package / "parameter_files").mkdir(parents=True)
    monkeypatch.setattr(parameters, "__file__", str(package / "files" / "parameter_files.py"))
    assert parameters.parameter_files_dir() == package / "parameter_files"
    (package / "parameter_files").rmdir()
    with pytest.raises(CeersError, match="Install ceers_steps again"):
        parameters.parameter_files_dir()


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (CeersError("no room on disk"), 1, "ceers demo: no room on disk\n"),
        (
            OSError(36, "File name too long", "x"),
            1,
            "ceers demo: [Errno 36] File name too long: 'x'\n",
        ),
        (KeyboardInterrupt(), 130, "ceers demo: interrupted\n"),
    ],
)
def test_exit_codes(monkeypatch, capsys, error, code, message):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(ceers_steps.demo, "run_demo", fail)
    assert cli.main(["demo"]) == code
    assert capsys.readouterr().err == message


def test_wrong_arguments(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["no-such-command"])
    assert stop.value.code == 2


def test_a_reader_that_leaves_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from ceers_steps.cli import main; sys.exit(main(['params']))",
        ],
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert result.returncode == 1
    assert result.stderr == b""


def test_the_table_that_a_parameter_file_names_comes_along(tmp_path):
    assert cli.main(["params", "dr05/detector1", "-o", str(tmp_path)]) == 0
    copied = sorted(path.name for path in (tmp_path / "dr05").iterdir())
    assert copied == ["detector1.asdf", "exposures.ecsv"]


def test_streams_that_are_closed(monkeypatch, tmp_path):
    """Of a job whose output nobody wants (``>&-``), Python has none."""
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    assert cli.main(["params"]) == 0
    assert cli.main(["inspect", str(tmp_path / "none.fits")]) == 1
    sys.stdout.close()
    sys.stderr.close()
