"""The fingerprint covers every file that can change what a row becomes, and nothing that comes and goes by itself."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from medferry.definition import fingerprint, importing
from medferry.definition.fingerprint import DefinitionFiles
from medferry.definition.migration import load_migration
from medferry.errors import DefinitionError
from tests.tiny_platform import MIGRATION


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MIGRATION, tmp_path / "tiny", ignore=shutil.ignore_patterns("__pycache__")))


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of local modules, where Python looks for them."""
    known = set(sys.modules)
    path = tmp_path / "beside"
    path.mkdir()
    monkeypatch.syspath_prepend(str(path))
    yield path
    for name in set(sys.modules) - known:
        del sys.modules[name]
    importing._imported.clear()


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def add_import(folder: Path, statement: str, inside: bool = False) -> None:
    mapping = folder / "mappings/patient.py"
    text = mapping.read_text()
    if inside:
        assert text.count("    yield ctx") == 1
        mapping.write_text(text.replace("    yield ctx", f"    {statement}\n    yield ctx"))
    else:
        mapping.write_text(text.replace("from medferry", f"{statement}\nfrom medferry", 1))


CHANGES: dict[str, Callable[[Path], None]] = {
    "a mapping": lambda folder: write(folder / "mappings/clinic.py", (folder / "mappings/clinic.py").read_text() + "#"),
    "a text beside the mappings": lambda folder: write(folder / "mappings/names.txt", "x"),
    "a spreadsheet": lambda folder: write(folder / "lookup/codes.XLSX", "x"),
    "a file without ending": lambda folder: write(folder / "VERSION", "2"),
    "a hidden file": lambda folder: write(folder / ".codes", "x"),
    "a file in a hidden folder": lambda folder: write(folder / ".tables/codes.csv", "x"),
    "the same content under another name": lambda folder: (folder / "register.csv").rename(folder / "register2.csv"),
    "a link to nothing": lambda folder: (folder / "later.csv").symlink_to("nowhere.csv"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_file_counts_whatever_its_name(folder: Path, change: str) -> None:
    write(folder / "register.csv", "a,b\n")
    before = load_migration(folder).fingerprint
    CHANGES[change](folder)
    assert load_migration(folder).fingerprint != before


@pytest.mark.parametrize(
    "name",
    [
        "mappings/__pycache__/patient.cpython-311.pyc",
        "mappings/patient.pyc",
        ".git/HEAD",
        "mappings/.patient.py.swp",
        "mappings/patient.py~",
        "mappings/.#patient.py",
        ".DS_Store",
        ".ruff_cache/x",
    ],
)
def test_caches_repositories_and_what_editors_leave_do_not(folder: Path, name: str) -> None:
    before = load_migration(folder).fingerprint
    write(folder / name, "x")
    assert load_migration(folder).fingerprint == before


def test_what_people_plan_does_not_and_the_rest_of_the_plan_does(folder: Path) -> None:
    plan, seen = folder / "plan.yaml", [load_migration(folder).fingerprint]
    for added in ("rollback: {window_days: 14, triggers: [A chart lacks an allergy.]}\n", "leftovers: keep\n"):
        write(plan, plan.read_text() + added)
        seen.append(load_migration(folder).fingerprint)
    assert seen[0] == seen[1] != seen[2]


def test_links_count_by_what_they_lead_to(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "shared/codes.csv", "1")
    write(tmp_path / "one.csv", "1")
    (folder / "shared").symlink_to(tmp_path / "shared")
    (folder / "one.csv").symlink_to(tmp_path / "one.csv")
    seen = [load_migration(folder).fingerprint]
    for changed in ("shared/codes.csv", "one.csv", "shared/new.csv"):
        write(tmp_path / changed, "2")
        seen.append(load_migration(folder).fingerprint)
    assert len(set(seen)) == 4


def test_links_in_a_ring_come_to_an_end(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (folder / "self").symlink_to(folder)
    (folder / "out").symlink_to(tmp_path / "outside")
    (tmp_path / "outside/back").symlink_to(folder)
    before = load_migration(folder).fingerprint
    write(tmp_path / "outside/x", "1")
    assert load_migration(folder).fingerprint != before


def test_the_fingerprint_does_not_depend_on_where_the_folder_is(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "elsewhere/tiny")
    assert load_migration(folder).fingerprint == load_migration(tmp_path / "elsewhere/tiny").fingerprint


@pytest.mark.parametrize("inside", [False, True], ids=["at the head", "in the function"])
@pytest.mark.parametrize(
    ("statement", "files"),
    [
        ("import house_codes", ["house_codes.py"]),
        ("from house_codes import VALUE", ["house_codes.py"]),
        ("import house", ["house/__init__.py", "house/deep/table.csv", "house/deep/reader.py"]),
        ("from house.deep import reader", ["house_codes.py", "house/deep/reader.py"]),
        ("from spaces.inner import reader", ["spaces/inner/reader.py"]),
        ("import importlib; codes = importlib.import_module('house_codes')", ["house_codes.py"]),
        ("import importlib; codes = importlib.import_module('house_' + 'codes')", ["house_codes.py"]),
    ],
)
def test_local_modules_that_a_mapping_imports_count(
    folder: Path, beside: Path, statement: str, files: list[str], inside: bool
) -> None:
    write(beside / "house_codes.py", "VALUE = 1\n")
    write(beside / "house/__init__.py", "")
    write(beside / "house/deep/__init__.py", "")
    write(beside / "house/deep/reader.py", "def read():\n    import house_codes\n    return house_codes.VALUE\n")
    write(beside / "house/deep/table.csv", "1")
    write(beside / "spaces/inner/reader.py", "VALUE = 1\n")
    write(beside / "unused.py", "")
    if inside and "+" in statement:
        pytest.skip("what a function asks for by a computed name is known when it is called, not before")
    add_import(folder, statement, inside)
    before = load_migration(folder).fingerprint
    write(beside / "unused.py", "changed = 1")
    assert load_migration(folder).fingerprint == before
    for name in files:
        write(beside / name, "VALUE = 222\n\n")
        after = load_migration(folder).fingerprint
        assert after != before, name
        before = after


def test_a_local_module_that_was_changed_is_imported_anew(folder: Path, beside: Path) -> None:
    write(beside / "house_codes.py", "VERSION = 'one'\n")
    add_import(folder, "from house_codes import VERSION")
    mapping = folder / "mappings/patient.py"
    mapping.write_text(mapping.read_text().replace('version="1"', "version=VERSION"))
    assert load_migration(folder).specs["patient"].version == "one"
    write(beside / "house_codes.py", "VERSION = 'second'\n")
    assert load_migration(folder).specs["patient"].version == "second"


def test_python_installed_packages_and_medferry_are_not_local(folder: Path) -> None:
    add_import(folder, "import json, sqlalchemy, orjson; from medferry.fhir import bundle")
    assert load_migration(folder).files.modules == {}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed packages with one in it, `house-codes`, which is imported as `house_codes`."""
    path = tmp_path / "site-packages"
    write(path / "house_codes/__init__.py", "VALUE = 1\n")
    write(path / "house_codes-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: house-codes\nVersion: 1.0\n")
    write(path / "house_codes-1.0.dist-info/top_level.txt", "house_codes\n")
    write(path / "house_codes-1.0.dist-info/RECORD", "house_codes/__init__.py,,\n")
    known = set(sys.modules)
    monkeypatch.syspath_prepend(str(path))
    yield path
    for name in set(sys.modules) - known:
        del sys.modules[name]
    importing._imported.clear()


def release(installed: Path, version: str) -> None:
    metadata = installed / "house_codes-1.0.dist-info/METADATA"
    metadata.write_text(metadata.read_text().rpartition("Version: ")[0] + f"Version: {version}\n")


@pytest.mark.parametrize("by", ["a mapping", "a function", "a local module"])
def test_installed_packages_that_a_mapping_imports_count_by_version(
    folder: Path, beside: Path, installed: Path, by: str
) -> None:
    plain = load_migration(folder)
    assert plain.files.packages == ()
    write(beside / "between.py", "import house_codes\n" if by == "a local module" else "")
    add_import(folder, "import between" if by == "a local module" else "import house_codes", by == "a function")
    migration = load_migration(folder)
    assert migration.files.packages == ("house-codes",)
    assert migration.files.still_are(migration.fingerprint)
    release(installed, "1.1")
    assert not migration.files.still_are(migration.fingerprint)
    assert load_migration(folder).fingerprint != migration.fingerprint
    release(installed, "1.0")
    assert load_migration(folder).fingerprint == migration.fingerprint


def test_of_what_an_installed_package_imports_itself_nothing_counts(folder: Path, installed: Path) -> None:
    write(installed / "house_codes/__init__.py", "import orjson\n")
    add_import(folder, "import house_codes")
    assert load_migration(folder).files.packages == ("house-codes",)


UNOWNED = {
    "a module among packages": ("import stray_codes", "stray_codes.py"),
    "its data": ("import stray_codes", "stray_codes.json"),
    "a package among packages": ("from stray import reader", "stray/reader.py"),
    "the data of a package": ("from stray import reader", "stray/codes.csv"),
    "a package without a head": ("from spread.inner import reader", "spread/inner/reader.py"),
    "a module in another's package": ("from house_codes import added", "house_codes/added.py"),
    "a package in another's package": ("import house_codes.more.reader", "house_codes/more/reader.py"),
}


@pytest.mark.parametrize("inside", [False, True], ids=["at the head", "in the function"])
@pytest.mark.parametrize("changed", UNOWNED)
def test_what_lies_among_installed_packages_and_no_distribution_has_counts_by_content(
    folder: Path, installed: Path, changed: str, inside: bool
) -> None:
    for _, name in UNOWNED.values():
        write(installed / name, "'stray_codes.json'\n" if name == "stray_codes.py" else "")
    for package in ("stray", "house_codes/more"):
        write(installed / package / "__init__.py", "")
    statement, name = UNOWNED[changed]
    add_import(folder, statement, inside)
    migration = load_migration(folder)
    assert migration.files.still_are(migration.fingerprint)
    write(installed / "house_codes/__init__.py", "VALUE = 2\n")  # this one its version tells of
    assert migration.files.still_are(migration.fingerprint)
    write(installed / name, "VALUE = 2\n")
    assert not migration.files.still_are(migration.fingerprint)
    assert load_migration(folder).fingerprint != migration.fingerprint


def test_a_checkout_that_is_installed_to_be_edited_counts_by_content(
    folder: Path, installed: Path, beside: Path
) -> None:
    write(beside / "edited_codes/__init__.py", "VALUE = 1\n")
    write(
        installed / "edited_codes-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: edited-codes\nVersion: 1.0\n"
    )
    write(installed / "edited_codes-1.0.dist-info/RECORD", "edited_codes.pth,,\nedited_codes-1.0.dist-info/RECORD,,\n")
    write(installed / "edited_codes-1.0.dist-info/top_level.txt", "edited_codes\n")
    add_import(folder, "import edited_codes")
    before = load_migration(folder).fingerprint
    write(beside / "edited_codes/__init__.py", "VALUE = 2\n")
    assert load_migration(folder).fingerprint != before


def test_what_another_module_has_taken_is_taken_anew(folder: Path, beside: Path) -> None:
    write(beside / "table.json", '"one"')
    write(beside / "house_codes.py", "import json, pathlib\nPATH = pathlib.Path(__file__).parent / 'table.json'\n")
    write(
        beside / "house_codes.py", (beside / "house_codes.py").read_text() + "VERSION = json.loads(PATH.read_text())\n"
    )
    write(beside / "between.py", "from house_codes import VERSION\n")
    add_import(folder, "from between import VERSION")
    mapping = folder / "mappings/patient.py"
    mapping.write_text(mapping.read_text().replace('version="1"', "version=VERSION"))
    assert load_migration(folder).specs["patient"].version == "one"
    write(beside / "table.json", '"second"')
    assert load_migration(folder).specs["patient"].version == "second"


def test_files_are_read_again_only_when_they_look_changed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = DefinitionFiles(folder)
    read: list[Path] = []
    content = fingerprint._content
    monkeypatch.setattr(fingerprint, "_content", lambda path: read.append(path) or content(path))
    monkeypatch.setattr(fingerprint, "_SETTLED_SECONDS", 0.0)
    before = files.fingerprint()
    once = len(read)
    assert files.fingerprint() == before and len(read) == once
    write(folder / "terminology/sex.csv", (folder / "terminology/sex.csv").read_text() + "\n")
    assert files.fingerprint() != before and len(read) == 2 * once


def test_a_file_that_has_just_been_changed_is_not_trusted_by_its_times(folder: Path) -> None:
    files = DefinitionFiles(folder)
    write(folder / "x", "1")
    facts = (folder / "x").stat()
    before = files.fingerprint()
    write(folder / "x", "2")
    os.utime(folder / "x", ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert files.fingerprint() != before


def test_a_deployment_that_is_not_complete_yet_is_looked_at_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = DefinitionFiles(folder)
    before = files.fingerprint()
    table = folder / "terminology/sex.csv"
    text = table.read_text()
    table.write_text("half")
    monkeypatch.setattr(fingerprint.time, "sleep", lambda _: table.write_text(text))
    assert files.still_are(before)
    table.write_text("another")
    monkeypatch.setattr(fingerprint.time, "sleep", lambda _: None)
    assert not files.still_are(before)
    shutil.rmtree(folder)
    assert not files.still_are(before)


def test_files_that_change_while_they_are_read_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_import(folder, "from pathlib import Path; Path(__file__).with_name('made.txt').write_text('x')")
    with pytest.raises(DefinitionError, match="changed while they were read"):
        load_migration(folder)
