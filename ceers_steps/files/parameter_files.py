"""The parameter files and tables that come with the package: where they are, what they are."""

import os
from dataclasses import dataclass
from pathlib import Path

from ceers_steps.errors import CeersError
from ceers_steps.files.atomic import write_atomic

__all__ = ["ParameterFile", "copy_parameter_file", "list_parameter_files", "parameter_files_dir"]

SUFFIXES = (".asdf", ".ecsv")


@dataclass(frozen=True)
class ParameterFile:
    """A file that comes with the package.

    Attributes
    ----------
    name : str
        Path below the folder of parameter files, with forward slashes.
    path : Path
        The file.
    """

    name: str
    path: Path

    @property
    def description(self) -> str:
        """What the file says about itself, in one line; empty when it says nothing."""
        if self.path.suffix == ".asdf":
            from asdf.util import load_yaml

            text = load_yaml(self.path).get("meta", {}).get("description", "")
        else:
            from astropy.table import Table

            text = " ".join(Table.read(self.path, format="ascii.ecsv").meta.get("comments", []))
        return " ".join(text.split())


def parameter_files_dir() -> Path:
    """Return the folder of the parameter files, of a wheel or of a source tree.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    CeersError
        When neither has it: the installation is broken.
    """
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "parameter_files", package.parent / "parameter_files"):
        if folder.is_dir():
            return folder
    raise CeersError(
        f"No parameter files beside {package}: the installation is not complete. "
        "Install ceers_steps again."
    )


def list_parameter_files() -> list[ParameterFile]:
    """Return every `ParameterFile`, the best values before the published ones."""
    folder = parameter_files_dir()
    paths = [path for path in folder.rglob("*") if path.suffix in SUFFIXES]
    files = [ParameterFile(path.relative_to(folder).as_posix(), path) for path in paths]
    return sorted(files, key=lambda file: (file.name.count("/"), file.name))


def copy_parameter_file(name: str, folder: str | os.PathLike, *, force: bool = False) -> Path:
    """Copy a parameter file, keeping its place below the folder (``dr05/detector1.asdf``).

    The overrides table that it names comes along, unless there is one of that name already.

    Parameters
    ----------
    name : str
        As `list_parameter_files` gives it, with or without the extension.
    folder : path
        Made when it is missing.
    force : bool
        Replace an existing file that differs.

    Returns
    -------
    Path
        The copy.

    Raises
    ------
    CeersError
        For an unknown name, an existing file that differs without `force`, a folder that
        cannot be written.
    """
    files = list_parameter_files()
    wanted = [file for file in files if name in (file.name, os.path.splitext(file.name)[0])]
    if not wanted:
        raise CeersError(
            f"No parameter file {name!r}; there are: {', '.join(file.name for file in files)}"
        )
    target = Path(folder) / wanted[0].name
    if target.exists() and not force and target.read_bytes() != wanted[0].path.read_bytes():
        raise CeersError(
            f"{target} exists; choose another folder with -o or replace it with --force"
        )
    table = _table_beside(wanted[0].path)
    if table is not None and not (target.parent / table.name).exists():
        _copy(table, target.parent / table.name)
    return _copy(wanted[0].path, target)


def _copy(source: Path, target: Path) -> Path:
    """Copy a file whole or not at all."""
    return write_atomic(target, lambda scratch: scratch.write_bytes(source.read_bytes()))


def _table_beside(path: Path) -> Path | None:
    """Return the overrides table that a parameter file names beside it, or None."""
    if path.suffix != ".asdf":
        return None
    from asdf.util import load_yaml

    name = load_yaml(path).get("parameters", {}).get("overrides")
    return path.parent / name if name else None
