"""Which files an installed distribution vouches for: its version then says what they hold.

That a file lies in a folder of packages says nothing: an image's `COPY codes.py …/site-packages/` puts one there that
no distribution has a version for.
"""

from __future__ import annotations

import site
import sysconfig
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from importlib.metadata import Distribution, distribution, packages_distributions
from pathlib import Path

from more_itertools import map_reduce


class Installed:
    """The distributions as they are when first asked."""

    @cached_property
    def _by_module(self) -> Mapping[str, Sequence[str]]:
        """Outermost module → its distributions. Reads what every installed package says of itself."""
        return packages_distributions()

    def of(self, module: str) -> Sequence[str]:
        """The names of the distributions that have an outermost module of that name; none where it is nobody's."""
        return self._by_module.get(module, ())

    def has(self, module: str, file: Path) -> bool:
        """Whether `file`, of the module of that name, is in the list (RECORD) of a distribution.

        A distribution without a list, as Linux distributions leave them, is taken at its word for its folder.
        """
        return any(self._lists(name, file) for name in self.of(module.partition(".")[0]))

    def _lists(self, name: str, file: Path) -> bool:
        if name not in self._listed:
            self._listed[name] = _listed(name)
        found, files = self._listed[name]
        if files is None:  # a checkout that is installed to be edited has none either, and lies elsewhere
            return _of(found, "") in _folders() and file.is_relative_to(_of(found, ""))
        return any(_of(found, path) == file for path in files.get(file.name, ()))

    @cached_property
    def _listed(self) -> dict[str, tuple[Distribution, dict[str, list[str]] | None]]:
        """Distributions that were asked for, and the paths in their lists by the files' names."""
        return {}


def _listed(name: str) -> tuple[Distribution, dict[str, list[str]] | None]:
    found = distribution(name)
    if found.read_text("RECORD") is None:
        return found, None
    return found, map_reduce(found.files or (), lambda path: path.name, str)


def _of(found: Distribution, path: str) -> Path:
    return Path(str(found.locate_file(path))).resolve()


@cache
def _folders() -> frozenset[Path]:
    """Where installers put packages."""
    named = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()]
    return frozenset(Path(path).resolve() for path in [*named, site.getusersitepackages()] if path)


def is_python_s_own(file: Path) -> bool:
    """Whether a file is of the standard library: there, but in none of the folders of packages that lie within."""
    if {"site-packages", "dist-packages"} & set(file.parts) or any(map(file.is_relative_to, _folders())):
        return False
    return any(file.is_relative_to(folder) for folder in _standard())


@cache
def _standard() -> tuple[Path, ...]:
    return tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib"))
