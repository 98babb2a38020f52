"""The parameter files and tables that come with the package: where they are, what they are."""

import os
from dataclasses import dataclass
from pathlib import Path

from ceers_steps.errors import CeersError
from ceers_steps.io import write_atomic

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
    def description(self):
        """What the file says about itself, in one line; empty when it says nothing."""
        if self.path.suffix == ".asdf":
            from asdf.util import load_yaml

            text = load_yaml(self.path).get("meta", {}).get("description", "")
        else:
            from astropy.table import Table

            text = " ".join(Table.read(self.path, format="ascii.ecsv").meta.get("comments", []))
        return " ".join(text.split())


def parameter_files_dir():
    """Return the folder of the parameter files, of a wheel or of a source tree.

    Raises
    ------
    CeersError
        When neither has it: the installation is broken.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "parameter_files", package.parent / "parameter_files"):
        if folder.is_dir():
            return folder
    raise CeersError(
        f"No parameter files beside {package}: the installation is not complete. "
        "Install ceers_steps again."
    )


def list_parameter_files():
    """Return every `ParameterFile`, the best values before the published ones."""
    folder = parameter_files_dir()
    paths = [path for path in folder.rglob("*") if path.suffix in SUFFIXES]
    files = [ParameterFile(path.relative_to(folder).as_posix(), path) for path in paths]
    return sorted(files, key=lambda file: (file.name.count("/"), file.name))


def copy_parameter_file(name, folder, *, force=False):
    """Copy a parameter file, keeping its place below the folder (``dr05/detector1.asdf``).

    Parameters
    ----------
    name : str
        As `list_parameter_files` gives it, with or without the extension.
    folder : path
        Made when it is missing.
    force : bool
        Replace an existing file.

    Returns
    -------
    Path
        The copy.

    Raises
    ------
    CeersError
        For an unknown name, an existing file without `force`, a folder that cannot be written.
    """
    files = list_parameter_files()
    wanted = [file for file in files if name in (file.name, os.path.splitext(file.name)[0])]
    if not wanted:
        raise CeersError(
            f"No parameter file {name!r}; there are: {', '.join(file.name for file in files)}"
        )
    target = Path(folder) / wanted[0].name
    if target.exists() and not force:
        raise CeersError(
            f"{target} exists; choose another folder with -o or replace it with --force"
        )
    return write_atomic(target, lambda scratch: scratch.write_bytes(wanted[0].path.read_bytes()))
