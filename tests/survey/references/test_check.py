"""``ceers references``: what is missing or damaged is named before a run, and can be fetched."""

import ast
import hashlib
import json
import os
import shutil

import asdf
import crds
import pytest
from astropy.io import fits
from crds.client import api, proxy
from crds.core import utils
from stdatamodels.jwst.datamodels import read_metadata

from ceers_steps import cli
from ceers_steps.errors import CeersError
from ceers_steps.simulate.references.crds_cache import CrdsCache, active
from ceers_steps.survey.references import check as references
from ceers_steps.survey.references.check import check_references, fetch_references
from ceers_steps.survey.references.crds_rules import open_rules, read_keywords
from ceers_steps.survey.references.types import PIPELINES, load_chain
from tests.survey.http_files import serve


class Field:
    """Two exposures with a CRDS cache and wisp templates of their own."""

    def __init__(self, folder, uncals):
        self.folder, self.uncals = folder, uncals
        self.cache = folder / "crds_cache"
        self.templates = folder / "wisp_templates"

    def reference(self, kind, detector="nrcb4"):
        """The reference of a kind that the exposures need: there are those of other sizes too."""
        needed = {item.name for item in check_references(self.uncals).references}
        paths = self.cache.glob(f"references/jwst/nircam/jwst_nircam_{kind}_{detector}*")
        (path,) = (path for path in paths if path.name in needed)
        return path

    def rules(self, kind):
        return self.mapping(f"jwst_nircam_{kind}_{{}}.rmap")

    def mapping(self, name):
        """Rules of the newest context."""
        serial = CrdsCache(self.cache).context[5:9]
        return self.cache / "mappings" / "jwst" / name.format(serial)

    def replace(self, path, data):
        """Write into a file of this copy only: it is a link to the original."""
        path.unlink()
        path.write_bytes(data)

    def rewrite_rules(self, kind, change):
        """Change the text of rules, and their checksum."""
        lines = change(self.rules(kind).read_text()).splitlines(True)
        plain = "".join(line for line in lines if "sha1sum" not in line)
        line = f"    'sha1sum' : {hashlib.sha1(plain.encode()).hexdigest()!r},\n"
        text = "".join(line if "sha1sum" in old else old for old in lines)
        self.replace(self.rules(kind), text.encode())

    def configure(self, **entries):
        """Change what the cache remembers of the server."""
        path = self.cache / "config" / "jwst" / "server_config"
        info = ast.literal_eval(path.read_text()) | entries
        self.replace(path, repr(info).encode())
        self.forget()
        return info

    def catalogue(self):
        """What a server would know of the files."""
        return {
            path.name: {
                "size": str(path.stat().st_size),
                "sha1sum": hashlib.sha1(path.read_bytes()).hexdigest(),
            }
            for path in self.cache.glob("references/jwst/nircam/*")
        }

    def forget(self):
        utils.clear_function_caches()
        api.set_crds_server(os.environ["CRDS_SERVER_URL"])

    def copies(self, count, folder):
        """Many exposures, half of them of each detector, at different times."""
        folder.mkdir()
        files = []
        for number in range(count):
            source = self.uncals[number % 2]
            header = fits.getheader(source)
            header["DATE-OBS"] = f"2022-{1 + number % 12:02}-15"
            header["TIME-OBS"] = f"00:{number % 60:02}:{number // 60:02}.123"
            path = (
                folder / f"jw01345001001_02101_{number:05}_{header['DETECTOR'].lower()}_uncal.fits"
            )
            fits.PrimaryHDU(header=header).writeto(path)
            files.append(path)
        return files


@pytest.fixture
def field(simulated_field, tmp_path):
    folder = tmp_path / "field"
    for name in ("crds_cache", "wisp_templates"):
        shutil.copytree(simulated_field.folder / name, folder / name, copy_function=os.link)
    uncals = [simulated_field.uncal(name, "sub640") for name in ("NRCB4", "NRCBLONG")]
    # other sizes may have been simulated into the same folder: only those used here are looked at
    with active(folder):
        yield Field(folder, uncals)


def command(*args):
    return cli.main(["references", *map(str, args)])


def named(report):
    return {(item.name, item.state, item.exposures) for item in report.problems}


# -- what is needed


def test_all_is_there(field, capsys):
    report = check_references(field.uncals)
    assert report.ok
    assert report.problems == ()
    assert (report.n_exposures, report.n_configurations) == (2, 2)
    kinds = {kind for item in report.references for kind in item.types}
    assert {"dark", "flat", "gain", "linearity", "mask", "readnoise", "saturation"} <= kinds
    assert {"superbias", "area", "photom", "distortion"} <= kinds
    assert all(item.path.is_file() and item.size for item in report.references)
    assert [item.name for item in report.templates] == ["wisps_nrcb4_F150W.fits"]

    assert command("check", *field.uncals) == 0
    out = capsys.readouterr().out
    n = len(report.references)
    assert f"{n} of {n} references are there" in out
    assert "1 of 1 wisp templates are there" in out


def test_the_references_are_those_that_the_pipeline_takes(field):
    """Keywords read from the header alone choose the files that jwst's own reading chooses."""
    chain = load_chain(PIPELINES, {})
    rules = open_rules()
    for uncal in field.uncals:
        names = [*rules.keywords, "META.INSTRUMENT.NAME"]
        ours = rules.recommend(read_keywords(uncal, names), chain.all_types)
        theirs = crds.getrecommendations(
            read_metadata(uncal, flatten=True), reftypes=chain.all_types, observatory="jwst"
        )
        assert ours == {kind: name for kind, name in theirs.items() if "N/A" not in name.upper()}
        assert len(ours) > 10


def test_types_of_skipped_steps_are_not_needed(field):
    field.reference("dark").unlink()
    assert named(check_references(field.uncals)) == {(field_name("dark"), "missing", 1)}
    parameters = {"CeersDetector1": {"steps": {"dark_current": {"skip": True}}}}
    assert check_references(field.uncals, parameters=parameters).ok
    assert check_references(field.uncals, pipelines=["CeersImage2"]).ok
    parameters = {"CeersImage3": {"steps": {"source_catalog": {"skip": False}}}}
    report = check_references(field.uncals, parameters=parameters, pipelines=["CeersImage3"])
    kinds = {kind for item in report.references for kind in item.types}
    assert kinds == {"apcorr", "abvegaoffset"}


def field_name(kind):
    return f"jwst_nircam_{kind}_nrcb4_sub640" + ("_medium8.fits" if kind == "dark" else ".fits")


def test_a_reference_that_the_user_gives_takes_the_place(field, tmp_path):
    field.reference("dark").unlink()
    mine = tmp_path / "mine.fits"
    shutil.copy(field.reference("gain"), mine)
    parameters = {"CeersDetector1": {"steps": {"dark_current": {"override_dark": str(mine)}}}}
    report = check_references(field.uncals, parameters=parameters)
    assert report.ok
    assert [item.exposures for item in report.references if item.name == "mine.fits"] == [2]
    mine.unlink()
    assert named(check_references(field.uncals, parameters=parameters)) == {
        ("mine.fits", "missing", 2)
    }


def test_parameters_from_crds_count(field):
    """A step that CRDS's parameters skip needs no references; the user has the last word."""

    def parameters_file(name, parameters, **more):
        tree = {"name": name, "class": f"jwst.{name}", "parameters": parameters, **more}
        return lambda path: asdf.AsdfFile(tree).write_to(path)

    cache = CrdsCache(field.cache)
    of_step = parameters_file("dark_current", {"skip": True, "pre_hooks": []})
    saturation = {"name": "saturation", "class": "jwst.saturation", "parameters": {"skip": True}}
    dark = {"name": "dark_current", "class": "jwst.dark", "parameters": {"skip": False}}
    steps = {"NRCB4": [saturation], "NRCBLONG": [saturation, dark]}
    for uncal in field.uncals:
        key = tuple(fits.getheader(uncal)[name] for name in ("DETECTOR", "SUBARRAY"))
        cache.add("pars-darkcurrentstep", key, of_step, "asdf")
        of_pipeline = parameters_file("detector1", {}, steps=steps[key[0]])
        cache.add("pars-detector1pipeline", key, of_pipeline, "asdf")
    cache.commit()
    with active(field.folder):

        def uses(kind, **options):
            report = check_references(field.uncals, **options)
            return sum(item.exposures for item in report.references if kind in item.types)

        assert uses("pars-darkcurrentstep") == uses("pars-detector1pipeline") == 2
        no_trapped = {"CeersDetector1": {"steps": {"trapped_charge": {"skip": True}}}}
        assert uses("saturation", parameters=no_trapped) == 0
        assert uses("dark") == 1  # the pipeline's parameters beat those of the step
        parameters = {"CeersDetector1": {"steps": {"dark_current": {"skip": False}}}}
        assert uses("dark", parameters=parameters) == 2
        next(iter(field.cache.glob("references/jwst/nircam/*pars-darkcurrent*"))).unlink()
        (problem,) = check_references(field.uncals).problems
        assert problem.types == ("pars-darkcurrentstep",)


def test_a_name_that_is_no_pipeline(field):
    with pytest.raises(CeersError, match="CeersDetector9 is no pipeline"):
        check_references(field.uncals, parameters={"CeersDetector9": {}})


# -- what is wrong


def test_a_missing_reference_is_named_with_the_number_of_exposures(field, capsys, tmp_path):
    files = field.copies(10, tmp_path / "many")
    field.reference("flat").unlink()
    assert named(check_references(files)) == {(field_name("flat"), "missing", 5)}
    assert command("check", tmp_path / "many") == 1
    out = capsys.readouterr().out
    assert f"missing: {field_name('flat')} (flat; 5 exposures): not at {field.cache}" in out


@pytest.mark.parametrize(("kind", "keep"), [("flat", 0.6), ("gain", 0.0), ("distortion", 0.3)])
def test_a_reference_that_is_cut_off_is_named(field, kind, keep):
    path = field.reference(kind)
    data = path.read_bytes()
    field.replace(path, data[: int(keep * len(data))])
    report = check_references(field.uncals)
    assert named(report) == {(path.name, "damaged", 1)}
    assert path.name in report.summary()


def test_sizes_and_checksums_of_the_last_contact_are_used(field):
    """Without a server, what it said the last time is in the cache."""
    catalogue = field.catalogue()
    field.configure(download_metadata=proxy.crds_encode(catalogue))
    report = check_references(field.uncals, checksums=True)
    assert report.ok
    assert report.n_listed == len(report.references)
    path = field.reference("flat")
    data = bytearray(path.read_bytes())
    data[-3000] ^= 1  # a flipped bit: only the checksum can tell
    field.replace(path, bytes(data))
    assert check_references(field.uncals).ok
    report = check_references(field.uncals, checksums=True)
    assert named(report) == {(path.name, "damaged", 1)}
    assert "checksum" in report.problems[0].note
    field.replace(path, bytes(data) + b"\0" * 2880)
    (problem,) = check_references(field.uncals).problems
    assert problem.note == f"{len(data) + 2880} bytes, {len(data)} in CRDS"


def test_exposures_without_a_rule_are_named(field, tmp_path):
    (path,) = field.copies(1, tmp_path / "one")
    with fits.open(path, mode="update") as hdus:
        hdus[0].header["READPATT"] = "DEEP8"
    report = check_references([path])
    (problem,) = report.problems
    assert (problem.state, problem.types) == ("no rule", ("dark",))
    assert problem.note


def test_a_reference_that_crds_calls_invalid(field):
    field.configure(bad_files_list=[field_name("flat")], bad_files=field_name("flat"))
    with pytest.raises(CeersError, match=f"(?s)refuses.*{field_name('flat')}"):
        check_references(field.uncals)


@pytest.mark.parametrize(
    "name", ["jwst_{}.pmap", "jwst_nircam_{}.imap", "jwst_nircam_flat_{}.rmap"]
)
def test_missing_rules(field, capsys, name):
    path = field.mapping(name)
    path.unlink()
    field.forget()
    assert command("check", *field.uncals) == 1
    err = capsys.readouterr().err
    assert f"{path} is missing" in err
    assert "CRDS_SERVER_URL" in err


def test_damaged_rules(field):
    field.replace(field.rules("gain"), field.rules("gain").read_bytes() + b"# more\n")
    field.forget()
    with pytest.raises(CeersError, match=r"sha1sum mismatch in 'jwst_nircam_gain_\d+\.rmap'"):
        check_references(field.uncals)


@pytest.mark.parametrize(
    ("context", "message"),
    [("jwst_0099.pmap", "jwst_0099.pmap is missing"), ("newest", "CRDS knows no context newest")],
)
def test_a_context_that_is_not_there(field, context, message):
    with pytest.raises(CeersError, match=message):
        check_references(field.uncals, context)


def test_neither_server_nor_cache(field, monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("CRDS_PATH", str(tmp_path / "nothing"))
    field.forget()
    with pytest.raises(CeersError, match="neither a server nor a cache"):
        check_references(field.uncals)
    # CRDS itself has nothing to add
    assert not [record for record in caplog.records if record.name == "CRDS"]


def test_what_is_no_exposure(field, tmp_path, capsys):
    text = tmp_path / "text.fits"
    text.write_text("no exposure")
    fgs = tmp_path / "fgs.fits"
    fits.PrimaryHDU(header=fits.Header({"INSTRUME": "FGS"})).writeto(fgs)
    report = check_references([text, fgs, tmp_path / "none.fits", *field.uncals])
    assert not report.ok
    assert report.n_exposures == 2
    assert [path.name for path in report.unreadable] == ["text.fits", "fgs.fits", "none.fits"]
    assert "not of NIRCAM, MIRI, NIRISS (INSTRUME FGS)" in report.summary()
    with pytest.raises(CeersError, match="No files"):
        check_references([])
    (tmp_path / "empty").mkdir()
    assert command("check", tmp_path / "empty") == 1
    assert "has no *_uncal.fits" in capsys.readouterr().err


def test_a_context_without_rules_for_an_instrument(field, tmp_path):
    miri = tmp_path / "miri.fits"
    fits.PrimaryHDU(header=fits.Header({"INSTRUME": "MIRI"})).writeto(miri)
    with pytest.raises(CeersError, match=r"jwst_\d+.pmap has no rules for MIRI, .* --context"):
        check_references([*field.uncals, miri])


# -- wisp templates


def test_a_missing_wisp_template_is_named(field, capsys, tmp_path, monkeypatch):
    (template,) = field.templates.glob("wisps_nrcb4_F150W.fits")
    moved = tmp_path / "elsewhere" / template.name
    moved.parent.mkdir()
    template.rename(moved)
    assert command("check", *field.uncals) == 1
    out = capsys.readouterr().out
    assert "missing: wisps_nrcb4_F150W.fits (wisp template; 1 exposure)" in out
    assert str(field.templates) in out  # where it was looked for
    assert command("check", "--template-dir", moved.parent, *field.uncals) == 0
    table = tmp_path / "mine.csv"
    table.write_text(f"exposure,skip_wispsub\n{field.uncals[0].name},true\n")
    assert command("check", "--overrides", table, *field.uncals) == 0
    parameters = {"CeersDetector1": {"steps": {"wispsub": {"skip": True}}}}
    assert check_references(field.uncals, parameters=parameters).ok
    parameters = {"CeersDetector1": {"steps": {"wispsub": {"templates": [str(moved)]}}}}
    assert check_references(field.uncals, parameters=parameters).ok
    monkeypatch.delenv("NIRCAM_WISP_TEMPLATES")
    assert "$NIRCAM_WISP_TEMPLATES" in check_references(field.uncals).summary()


def test_templates_of_the_package_are_listed(field, wisp_package, capsys, monkeypatch):
    monkeypatch.delenv("NIRCAM_WISP_TEMPLATES")
    assert command("check", *field.uncals) == 0
    out = capsys.readouterr().out
    assert "wisp template nrcb4_f150w_wisp.fits.gz of nmfwisp 9.8.7" in out
    path = wisp_package / "nrcb4_org" / "nrcb4_f150w_wisp.fits.gz"
    path.write_bytes(path.read_bytes()[:-100])
    assert command("check", *field.uncals) == 1
    assert "damaged: nrcb4_f150w_wisp.fits.gz" in capsys.readouterr().out


def test_a_damaged_wisp_template_is_named(field):
    (template,) = field.templates.glob("wisps_nrcb4_F150W.fits")
    field.replace(template, template.read_bytes()[:50000])
    assert named(check_references(field.uncals)) == {(template.name, "damaged", 1)}


def test_a_filter_without_wisps_needs_no_template(field, tmp_path):
    (path,) = field.copies(1, tmp_path / "one")
    with fits.open(path, mode="update") as hdus:
        hdus[0].header["FILTER"] = "F090W"
    assert check_references([path]).templates == ()


# -- many exposures


def test_crds_is_asked_once_for_each_configuration(field, tmp_path, monkeypatch):
    files = field.copies(40, tmp_path / "many")
    asked = []
    real = crds.getrecommendations
    monkeypatch.setattr(
        crds, "getrecommendations", lambda *args, **keys: asked.append(1) or real(*args, **keys)
    )
    report = check_references(files)
    assert report.ok
    assert (report.n_exposures, report.n_configurations) == (40, 2)
    assert len(asked) == 2
    assert {item.exposures for item in report.references} == {20}


def test_dates_count_only_where_the_rules_change(field, tmp_path):
    """With rules that change in time, every exposure is counted for the file that CRDS gives it."""
    first = field.reference("flat").name
    second = first.replace("sub640", "sub640b")
    third = first.replace("sub640", "sub640c")
    for name in (second, third):
        os.link(field.reference("gain"), field.reference("gain").with_name(name))
    boundary = "2022-05-15 00:04:00"  # the moment of one exposure, to the second

    def change(text):
        dates = {"2014-01-01 00:00:00": first, boundary: second, "2022-09-01 12:00:00": third}
        after = ", ".join(f"{date!r} : {name!r}" for date, name in dates.items())
        text = text.replace(f": '{first}'", f": UseAfter({{{after}}})")
        one = f": '{first.replace('nrcb4', 'nrcblong')}'"
        text = text.replace(one, f": UseAfter({{'2014-01-01 00:00:00' {one}}})")
        text = text.replace("('Match',)", "('Match', 'UseAfter')")
        keys = "('META.INSTRUMENT.DETECTOR', 'META.SUBARRAY.NAME')"
        return text.replace(
            f"({keys},)", f"({keys}, ('META.OBSERVATION.DATE', 'META.OBSERVATION.TIME'))"
        )

    field.rewrite_rules("flat", change)
    field.forget()
    files = field.copies(60, tmp_path / "many")
    names = [*open_rules().keywords, "META.INSTRUMENT.NAME"]
    assert "META.OBSERVATION.TIME" in names
    expected = {}
    for path in files:
        keywords = read_keywords(path, names)
        found = crds.getrecommendations(keywords, reftypes=["flat"], observatory="jwst")["flat"]
        expected[found] = expected.get(found, 0) + 1
    assert len(expected) == 4  # three of one detector, one of the other
    report = check_references(files)
    assert report.n_configurations == 6
    counted = {item.name: item.exposures for item in report.references if "flat" in item.types}
    assert counted == expected


# -- fetch


@pytest.fixture
def crds_server(field, monkeypatch):
    """A server with the references of the field, and the field's cache connected to it."""
    with serve() as server:
        server.url = server.url.replace("127.0.0.1", "localhost")
        catalogue = field.catalogue()
        for path in field.cache.glob("references/jwst/nircam/*"):
            server.files[f"/references/{path.name}"] = path.read_bytes()
        mappings = [path.name for path in field.cache.glob("mappings/jwst/*")]
        for path in field.cache.glob("mappings/jwst/*"):
            server.files[f"/mappings/{path.name}"] = path.read_bytes()
            catalogue[path.name] = {
                "size": str(path.stat().st_size),
                "sha1sum": hashlib.sha1(path.read_bytes()).hexdigest(),
            }
        monkeypatch.setenv("CRDS_SERVER_URL", server.url)
        info = field.configure()
        info |= {
            "reference_url": {"unchecked": {"jwst": f"{server.url}/references"}},
            "mapping_url": {"unchecked": {"jwst": f"{server.url}/mappings"}},
            "download_metadata": proxy.crds_encode(catalogue),
        }
        answers = {"get_server_info": info, "get_mapping_names": mappings}

        def answer(path, body):
            method = json.loads(body)["method"]
            return json.dumps({"error": None, "result": answers[method]}).encode()

        server.posts.append(answer)
        yield server


def test_fetch_gets_what_is_missing_or_damaged(field, crds_server, capsys):
    gain, flat = field.reference("gain"), field.reference("flat", "nrcblong")
    wanted = {path: path.read_bytes() for path in (gain, flat)}
    gain.unlink()
    field.replace(flat, wanted[flat][:5000])
    assert command("check", *field.uncals) == 1
    out = capsys.readouterr().out
    assert f"damaged: {flat.name}" in out
    assert f"missing: {gain.name}" in out
    assert command("fetch", *field.uncals) == 0
    assert {path: path.read_bytes() for path in wanted} == wanted
    captured = capsys.readouterr()
    assert "2 reference files to fetch" in captured.err
    assert f"2 of 2: {gain.name} fetched" in captured.err
    asked = [path for path, _ in crds_server.requests if path.startswith("/references")]
    assert sorted(asked) == sorted(f"/references/{path.name}" for path in wanted)


def test_fetch_gets_rules_that_are_missing(field, crds_server):
    for path in field.cache.glob("mappings/jwst/*"):
        path.unlink()
    field.forget()
    assert command("fetch", *field.uncals) == 0
    assert field.rules("flat").is_file()


def test_fetch_leaves_nothing_that_is_not_right(field, crds_server, capsys):
    gain = field.reference("gain")
    data = bytearray(gain.read_bytes())
    gain.unlink()
    data[-3000] ^= 1
    crds_server.files[f"/references/{gain.name}"] = bytes(data)
    flat = field.reference("flat")
    flat.unlink()
    assert command("fetch", *field.uncals) == 1
    assert not gain.exists()
    assert flat.is_file()
    out = capsys.readouterr().out
    assert f"could not be fetched: {gain.name}" in out
    assert "sha1sum" in out
    asked = [path for path, _ in crds_server.requests if gain.name in path]
    assert len(asked) == references.FETCH_ATTEMPTS


def test_fetch_without_a_server(field, capsys):
    field.reference("gain").unlink()
    assert command("fetch", *field.uncals) == 1
    captured = capsys.readouterr()
    assert "cannot be reached; 1 reference files have to be fetched" in captured.err
    assert f"missing: {field_name('gain')}" in captured.out


def test_fetch_cannot_get_what_the_user_gives(field, crds_server, tmp_path):
    mine = str(tmp_path / "mine.fits")
    parameters = {"CeersDetector1": {"steps": {"dark_current": {"override_dark": mine}}}}
    report = check_references(field.uncals, parameters=parameters)
    (failed,) = fetch_references(report)
    assert failed.name == "mine.fits"
    assert "not from CRDS" in failed.note


def test_fetch_needs_room(field, crds_server, monkeypatch):
    field.reference("gain").unlink()
    usage = shutil.disk_usage(field.cache)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(CeersError, match="free"):
        fetch_references(check_references(field.uncals))
    assert not any("/references" in path for path, _ in crds_server.requests)


def test_fetch_cannot_get_templates(field, crds_server, capsys):
    (template,) = field.templates.glob("wisps_nrcb4_F150W.fits")
    template.unlink()
    assert command("fetch", *field.uncals) == 1
    assert "missing: wisps_nrcb4_F150W.fits" in capsys.readouterr().out


def test_the_list(field, capsys):
    assert command("check", "--list", *field.uncals) == 0
    out = capsys.readouterr().out
    for item in check_references(field.uncals).references:
        assert item.name in out
    assert "wisp template" in out


def test_packed_exposures_are_said_to_need_unpacking(tmp_path, capsys):
    packed = tmp_path / "jw01345001001_02201_00001_nrca1_uncal.fits.gz"
    packed.write_bytes(b"x")
    for path in (packed, tmp_path):
        assert cli.main(["references", "check", str(path)]) == 1
        assert "must be unpacked (gunzip)" in capsys.readouterr().err
