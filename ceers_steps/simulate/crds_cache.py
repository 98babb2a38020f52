"""A CRDS cache that needs no server: rules and reference files in one folder."""

import contextlib
import hashlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from ceers_steps.errors import CeersError
from ceers_steps.io import write_atomic

__all__ = ["CrdsCache", "activate", "active", "environment"]

_KEYS = {
    "dark": ("META.INSTRUMENT.DETECTOR", "META.SUBARRAY.NAME", "META.EXPOSURE.READPATT"),
    "distortion": ("META.INSTRUMENT.DETECTOR",),
    "photom": ("META.INSTRUMENT.DETECTOR",),
}
_DEFAULT_KEY = ("META.INSTRUMENT.DETECTOR", "META.SUBARRAY.NAME")
_SERVER = "https://jwst-serverless.invalid"


def _all_types() -> list[str]:
    """Every type of reference file that CRDS knows for JWST, without importing crds.

    (crds reads the environment when it is imported, and `activate` may still come.)
    """
    spec = importlib.util.find_spec("crds")
    if spec is None or spec.origin is None:
        raise CeersError("The package crds, which comes with jwst, is not installed.")
    path = Path(spec.origin).parent / "jwst" / "specs" / "combined_specs.json"
    specs = json.loads(path.read_text())
    types = {name for kinds in specs.values() for name in kinds}
    return sorted(types - {"all", "system"})


def _mapping(header: dict[str, object], selector: str) -> str:
    """Text of a mapping with its checksum, which CRDS takes over all other lines."""
    lines = [f"    {key!r} : {value!r},\n" for key, value in sorted(header.items())]
    body = f"\nselector = {selector}\n"
    plain = "header = {\n" + "".join(lines) + "}\n" + body
    checksum = hashlib.sha1(plain.encode()).hexdigest()
    lines.append(f"    'sha1sum' : {checksum!r},\n")
    return "header = {\n" + "".join(lines) + "}\n" + body


class CrdsCache:
    """The cache in a folder; made when it is not there, extended when it is.

    Parameters
    ----------
    folder
        Where `CRDS_PATH` will point.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = Path(folder)
        self._manifest_path = self.folder / "config" / "jwst" / "ceers_steps.json"
        self._manifest: dict = {"serial": 0, "calibrations": {}, "references": {}}
        if self._manifest_path.exists():
            self._manifest = json.loads(self._manifest_path.read_text())
        self._changed = False

    @property
    def context(self) -> str:
        """Name of the newest context (pmap)."""
        return f"jwst_{self._manifest['serial']:04d}.pmap"

    @property
    def references(self) -> Path:
        """Folder of the reference files."""
        return self.folder / "references" / "jwst" / "nircam"

    def check_calibration(self, detector: str, fingerprint: str) -> None:
        """Make sure that a detector's files here belong to the same calibration.

        Raises
        ------
        CeersError
            When they were made with another seed or configuration.
        """
        known = self._manifest["calibrations"].setdefault(detector, fingerprint)
        if known != fingerprint:
            raise CeersError(
                f"The reference files of {detector} in {self.folder} were made with another seed "
                "or another configuration of the detector. Choose another output folder, or the "
                "same seed and configuration."
            )

    def get(self, kind: str, key: tuple[str, ...]) -> Path | None:
        """Reference file of a kind for a key, or None."""
        name = self._manifest["references"].get(kind, {}).get(" ".join(key))
        return None if name is None else self.references / name

    def add(
        self, kind: str, key: tuple[str, ...], writer: Callable[[Path], object], ext: str = "fits"
    ) -> None:
        """Write a reference file and enter it into the rules.

        Parameters
        ----------
        kind
            Type of reference file, e.g. ``gain``.
        key
            Values that select it: detector, then subarray, then read pattern, as far as the
            type depends on them.
        writer
            Called with the path to write.
        ext
            Extension of the file.
        """
        name = "_".join(["jwst", "nircam", kind, *(part.lower() for part in key)]) + f".{ext}"
        write_atomic(self.references / name, writer)
        self._manifest["references"].setdefault(kind, {})[" ".join(key)] = name
        self._changed = True

    def commit(self) -> None:
        """Write the rules: a new context when anything was added."""
        if not self._changed:
            return
        self._manifest["serial"] += 1
        serial = f"{self._manifest['serial']:04d}"
        selections = dict.fromkeys(_all_types(), "N/A")
        for kind, files in sorted(self._manifest["references"].items()):
            selections[kind] = f"jwst_nircam_{kind}_{serial}.rmap"
            self._write_mapping(selections[kind], self._rmap(kind, files, selections[kind]))
        imap = f"jwst_nircam_{serial}.imap"
        common = {"observatory": "JWST", "description": "made by the simulator of ceers_steps"}
        header = {
            **common,
            "mapping": "INSTRUMENT",
            "instrument": "NIRCAM",
            "name": imap,
            "parkey": ("REFTYPE",),
        }
        self._write_mapping(imap, _mapping(header, _dictionary(selections)))
        header = {
            **common,
            "mapping": "PIPELINE",
            "name": self.context,
            "parkey": ("META.INSTRUMENT.NAME",),
        }
        self._write_mapping(self.context, _mapping(header, _dictionary({"NIRCAM": imap})))
        self._write_config()
        self._changed = False

    def _rmap(self, kind: str, files: dict[str, str], name: str) -> str:
        parkey = _KEYS.get(kind, _DEFAULT_KEY)
        header = {
            "classes": ("Match",),
            "description": "made by the simulator of ceers_steps",
            "file_ext": f".{next(iter(files.values())).rsplit('.', 1)[1]}",
            "filekind": kind.upper(),
            "filetype": kind.upper(),
            "instrument": "NIRCAM",
            "mapping": "REFERENCE",
            "name": name,
            "observatory": "JWST",
            "parkey": (parkey,),
            "suffix": kind,
        }
        rules = {tuple(key.split(" ")): file for key, file in sorted(files.items())}
        return _mapping(header, f"Match({_dictionary(rules)})")

    def _write_mapping(self, name: str, text: str) -> None:
        write_atomic(self.folder / "mappings" / "jwst" / name, lambda path: path.write_text(text))

    def _write_config(self) -> None:
        server = {
            "observatory": "jwst",
            "default_context": self.context,
            "operational_context": self.context,
            "edit_context": self.context,
            "latest_context": self.context,
            "bad_files_list": [],
            "bad_files": "",
            "crds_version": {"str": "14.0.0"},
            "connected": False,
            "force_remote_mode": False,
            "status": "cache",
            "last_synced": "never",
        }
        config = self._manifest_path.parent
        write_atomic(config / "server_config", lambda path: path.write_text(repr(server)))
        write_atomic(config / "ref_cache_subdir_mode", lambda path: path.write_text("instrument"))
        write_atomic(
            self._manifest_path, lambda path: path.write_text(json.dumps(self._manifest, indent=1))
        )


def _dictionary(items: dict) -> str:
    return "{\n" + "".join(f"    {key!r} : {value!r},\n" for key, value in items.items()) + "}"


def environment(out: str | os.PathLike) -> dict[str, str]:
    """Environment variables that make jwst use what `simulate` wrote.

    Parameters
    ----------
    out
        Output folder of `ceers_steps.simulate.simulate`.

    Raises
    ------
    CeersError
        When the folder holds no reference files.
    """
    out = Path(out).absolute()
    folder = out / "crds_cache"
    if not (folder / "config" / "jwst" / "ceers_steps.json").exists():
        raise CeersError(
            f"{out} has no simulated reference files: run 'ceers simulate {out}' first."
        )
    return {
        "CRDS_PATH": str(folder),
        "CRDS_SERVER_URL": _SERVER,
        "CRDS_CONTEXT": CrdsCache(folder).context,
        "NIRCAM_WISP_TEMPLATES": str(out / "wisp_templates"),
    }


def write_environment(out: Path) -> None:
    """Write ``env.sh``, which sets the environment for a shell and moves with its folder."""
    values = environment(out)
    folder = "$CEERS_SIMULATION"
    lines = [
        "# source this file: jwst then finds the simulated reference files and wisp templates",
        'CEERS_SIMULATION="$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")" && pwd)"',
        *(
            f'export {name}="{value.replace(str(out.absolute()), folder)}"'
            for name, value in values.items()
        ),
    ]
    write_atomic(out / "env.sh", lambda path: path.write_text("\n".join(lines) + "\n"))


def _forget() -> None:
    """Make crds, when it is imported already, forget what it read from another cache."""
    if "crds" in sys.modules:
        from crds.client import api
        from crds.core import utils

        utils.clear_function_caches()
        api.set_crds_server(os.environ.get("CRDS_SERVER_URL", _SERVER))


def activate(out: str | os.PathLike) -> None:
    """Let jwst in this process use the reference files and wisp templates of a simulation.

    Parameters
    ----------
    out
        Output folder of `ceers_steps.simulate.simulate`.
    """
    os.environ.update(environment(out))
    _forget()


@contextlib.contextmanager
def active(out: str | os.PathLike) -> Iterator[None]:
    """Use the files of a simulation inside a ``with`` block; afterwards all is as before."""
    wanted = environment(out)
    before = {name: os.environ.get(name) for name in wanted}
    activate(out)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        _forget()
