"""Import the mappings of a migration, and tell which local modules they bring along.

Local is what is neither Python's own, nor installed with pip, nor Medferry: files that somebody edits beside the
migration, and that change what a row becomes as the mappings themselves do.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import site
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType

_MEDFERRY = Path(__file__).resolve().parent.parent

_imported: dict[str, tuple[Path, str]] = {}
"""Local module of an earlier load in this process → its file or folder, and the digest of it then."""


def mappings_package(migration: str, folder: Path) -> str:
    """Make the mappings folder importable as a package of its own, so that mappings can share ``from ._x import y``.

    Modules of an earlier load are forgotten, those beside the migration if they have changed since.
    """
    name = f"medferry_migrations.{migration}"
    _forget(name)
    for local, (path, digest) in list(_imported.items()):
        if _digest(path) != digest:
            _forget(local)
            del _imported[local]
    importlib.invalidate_caches()
    for part, paths in (("medferry_migrations", []), (name, [str(folder)])):
        package = ModuleType(part)
        package.__path__ = paths
        sys.modules.setdefault(part, package)
    return name


def local_modules(package: str, folder: Path) -> dict[str, Path]:
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
            root, place = _locate(name)
            if place is None or root in found or not _is_local(place) or place.is_relative_to(own):
                continue
            found[root] = place
            _imported[root] = place, _digest(place)
            waiting += [(_name_of(root, place, file), file) for file in _python_files(place)]
    return found


def mapping_sources(folder: Path, modules: Mapping[str, Path]) -> list[Path]:
    """The Python files of the migration in `folder`, and of the local `modules` beside it that its mappings import."""
    return [*sorted(folder.rglob("*.py")), *(file for place in modules.values() for file in _python_files(place))]


def installed_packages(package: str, folder: Path, modules: Mapping[str, Path]) -> tuple[str, ...]:
    """The installed distributions that the mappings in `folder`, or the local `modules` beside them, import themselves.

    What such a package imports in its turn is left out: a lock of the environment says that, no mapping does.
    """
    files = [(f"{package}.{path.stem}", path) for path in sorted(folder.rglob("*.py"))]
    files += [(_name_of(root, place, file), file) for root, place in modules.items() for file in _python_files(place)]
    names = {name.partition(".")[0] for module, path in files for name in _imports(module, path)}
    names -= {*sys.stdlib_module_names, *modules, "", "medferry", package.partition(".")[0]}
    known = packages_distributions() if names else {}  # reads what every installed package says of itself
    return tuple(sorted({distribution for name in names for distribution in known.get(name, ())}))


def _imports(module: str, path: Path) -> Iterator[str]:
    """The names of what a file imports, whether at its head or in a function, and of what it has imported otherwise."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return
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
    for value in list(vars(sys.modules.get(module, ModuleType(""))).values()):
        yield value.__name__ if isinstance(value, ModuleType) else str(getattr(value, "__module__", "") or "")


@cache
def _standard() -> tuple[Path, ...]:
    paths = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    paths += [*site.getsitepackages(), site.getusersitepackages()]
    return tuple(Path(path).resolve() for path in paths if path)


def _is_local(path: Path) -> bool:
    installed = any(path.is_relative_to(folder) for folder in (*_standard(), _MEDFERRY))
    return not installed and not {"site-packages", "dist-packages"} & set(path.parts)


def _locate(name: str) -> tuple[str, Path | None]:
    """The outermost package of a module that has a file, and where: its folder, or the file of a single module."""
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        prefix = ".".join(parts[:length])
        origin = _origin(prefix)
        if origin is not None:
            path = Path(origin).resolve()
            return prefix, path.parent if path.stem == "__init__" else path
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
    digest = hashlib.sha256()
    for file in _python_files(place):
        if file.is_file():
            digest.update(file.read_bytes() + b"\0")
    return digest.hexdigest()


def _forget(name: str) -> None:
    for stale in [module for module in sys.modules if module == name or module.startswith(f"{name}.")]:
        del sys.modules[stale]
