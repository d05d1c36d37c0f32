"""Import the mappings of a migration, and tell which local modules they bring along.

Local is what is neither Python's own, nor in the list of an installed distribution (`installed`), nor Medferry: files
that somebody edits beside the migration, and that change what a row becomes as the mappings themselves do.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

from medferry.definition.installed import Installed, is_python_s_own

_MEDFERRY = Path(__file__).resolve().parent.parent

_FILE_NAME = re.compile(r"[\w .-]{1,100}\.\w{1,10}")

_imported: dict[str, tuple[Path, str]] = {}
"""Local module of an earlier load in this process → its file or folder, and the digest of it then."""


def mappings_package(migration: str, folder: Path) -> str:
    """Make the mappings folder importable as a package of its own, so that mappings can share ``from ._x import y``.

    Modules of an earlier load are forgotten; those beside the migration if any has changed since, as one keeps what it
    has taken from another.
    """
    name = f"medferry_migrations.{migration}"
    _forget(name)
    if any(_digest(path) != digest for path, digest in _imported.values()):
        for local in _imported:
            _forget(local)
        _imported.clear()
    importlib.invalidate_caches()
    for part, paths in (("medferry_migrations", []), (name, [str(folder)])):
        package = ModuleType(part)
        package.__path__ = paths
        sys.modules.setdefault(part, package)
    return name


def local_modules(package: str, folder: Path, installed: Installed) -> dict[str, Path]:
    """Name → file, or folder of a package, of the local modules that the mappings in `folder` import, by any way round.

    Modules of the migration's own folder are left out: all that is in there counts anyway.
    """
    own = folder.resolve().parent
    found: dict[str, Path] = {}
    looked_at: set[str] = set()
    waiting = [(f"{package}.{path.stem}", path) for path in sorted(folder.rglob("*.py"))]
    while waiting:
        module, path = waiting.pop()
        for name in dict.fromkeys(_imports(module, path)):
            if name in looked_at:
                continue
            looked_at.add(name)
            root, file = _first_local(name, own, installed)
            if file is None or root in found:
                continue
            place = found[root] = file.parent if file.stem == "__init__" else file
            _imported[root] = place, _digest(place)
            waiting += [(_name_of(root, place, file), file) for file in _python_files(place)]
    return found


def mapping_sources(folder: Path, modules: Mapping[str, Path]) -> list[Path]:
    """The Python files of the migration in `folder`, and of the local `modules` beside it that its mappings import."""
    return [*sorted(folder.rglob("*.py")), *(file for place in modules.values() for file in _python_files(place))]


def data_beside(modules: Mapping[str, Path]) -> dict[str, Path]:
    """Name → file that lies beside a single module and is named in it, in one text: what it reads, it may become.

    All that lies in the folder of a package counts anyway.
    """
    alone = {name: place for name, place in modules.items() if not place.is_dir()}
    return {f"{name}/{file.name}": file for name, place in alone.items() for file in _named_in(place)}


def _named_in(module: Path) -> Iterator[Path]:
    for node in ast.walk(source_tree(module)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _FILE_NAME.fullmatch(node.value):
            file = module.parent / node.value
            if file != module and file.is_file():
                yield file


def installed_packages(
    package: str, folder: Path, modules: Mapping[str, Path], installed: Installed
) -> tuple[str, ...]:
    """The installed distributions that the mappings in `folder`, or the local `modules` beside them, import themselves.

    What such a package imports in its turn is left out: a lock of the environment says that, no mapping does.
    """
    files = [(f"{package}.{path.stem}", path) for path in sorted(folder.rglob("*.py"))]
    files += [(_name_of(root, place, file), file) for root, place in modules.items() for file in _python_files(place)]
    names = {name.partition(".")[0] for module, path in files for name in _imports(module, path)}
    names -= {*sys.stdlib_module_names, *modules, "", "medferry", package.partition(".")[0]}
    return tuple(sorted({distribution for name in names for distribution in installed.of(name)}))


def _imports(module: str, path: Path) -> Iterator[str]:
    """The names of what a file imports, whether at its head or in a function, and of what it has imported otherwise."""
    tree = source_tree(path)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *filter(None, [base])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and _called(node.func) in ("import_module", "__import__"):
            yield from (one.value for one in node.args[:1] if isinstance(one, ast.Constant) and type(one.value) is str)
    for value in list(vars(sys.modules.get(module, ModuleType(""))).values()):
        yield value.__name__ if isinstance(value, ModuleType) else str(getattr(value, "__module__", "") or "")


def source_tree(path: Path) -> ast.AST:
    """What a file of Python says; nothing where it cannot be read as such."""
    try:
        return ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return ast.Module([], [])


def _called(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _is_local(module: str, file: Path, installed: Installed) -> bool:
    return not (file.is_relative_to(_MEDFERRY) or is_python_s_own(file) or installed.has(module, file))


def _first_local(name: str, own: Path, installed: Installed) -> tuple[str, Path | None]:
    """The outermost of a module's packages that is local, or the module itself, and its file; None where none is.

    What is in the folder `own` is not meant.
    """
    root, file = _locate(name)
    if file is None or file.is_relative_to(own):
        return root, None
    if _is_local(root, file, installed):
        return root, file
    inner, folder = root, file.parent
    for part in name.removeprefix(root).split(".")[1:] if file.stem == "__init__" else ():
        inner, folder = f"{inner}.{part}", folder / part
        for place in (folder / "__init__.py", folder.with_suffix(".py")):
            if place.is_file() and _is_local(inner, place, installed):
                return inner, place
    return root, None


def _locate(name: str) -> tuple[str, Path | None]:
    """The outermost package of a module that has a file, and that file: a single module's, or its `__init__`."""
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        prefix = ".".join(parts[:length])
        origin = _origin(prefix)
        if origin is not None:
            return prefix, Path(origin).resolve()
    return name, None


def _origin(name: str) -> str | None:
    module = sys.modules.get(name)
    if module is not None:
        return getattr(module, "__file__", None)
    try:
        spec = importlib.util.find_spec(name)
    except Exception:  # noqa: BLE001 -- a parent that cannot be imported, or a name that is no module
        return None
    return spec.origin if spec is not None and spec.has_location else None


def _python_files(place: Path) -> list[Path]:
    return sorted(place.rglob("*.py")) if place.is_dir() else [place]


def _name_of(root: str, place: Path, file: Path) -> str:
    if not place.is_dir():
        return root
    inner = file.relative_to(place).with_suffix("").parts
    return ".".join([root, *(part for part in inner if part != "__init__")])


def _digest(place: Path) -> str:
    """Of its data the times and sizes, too: a module may have read that when it was imported."""
    digest = hashlib.sha256()
    for file in _all_files(place):
        if file.is_file():
            facts = file.stat()
            told = b"%d %d %d" % (facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size)
            digest.update((file.read_bytes() if file.suffix == ".py" else told) + b"\0")
    return digest.hexdigest()


def _all_files(place: Path) -> Iterable[Path]:
    if not place.is_dir():
        return [place, *_named_in(place)]
    return sorted(file for file in place.rglob("*") if file.parent.name != "__pycache__")


def _forget(name: str) -> None:
    for stale in [module for module in sys.modules if module == name or module.startswith(f"{name}.")]:
        del sys.modules[stale]
