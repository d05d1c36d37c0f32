"""The site's home is the README, and a link to a file that is on no page becomes that file's path.

Links in the repository lead from file to file; a site holds the pages alone.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?P<target>(?!https?:|#|<)[^)#\s]+)(?P<anchor>#[^)]*)?\)")
_IMAGE = re.compile(r"(!\[[^\]]*\]\()docs/")
HOME = "index.md"


def on_files(files: Files, /, *, config: MkDocsConfig) -> Files:
    readme = Path(config.config_file_path).parent / "README.md"
    files.append(File.generated(config, HOME, content=readme.read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, /, *, page: Page, files: Files, **_: Any) -> str:
    pages = {file.src_uri for file in files}
    home = page.file.src_uri == HOME
    folder = "" if home else posixpath.join("docs", posixpath.dirname(page.file.src_uri))

    def linked(found: re.Match[str]) -> Any:
        path = posixpath.normpath(posixpath.join(folder, found["target"]))
        inside = HOME if path == "README.md" else path.removeprefix("docs/")
        if inside in pages and (path.startswith("docs/") or inside == HOME):
            start = posixpath.dirname(page.file.src_uri)
            return f"[{found['text']}]({posixpath.relpath(inside, start or '.')}{found['anchor'] or ''})"
        return f"{found['text']} (`{path}`)"

    return _LINK.sub(linked, _IMAGE.sub(r"\1", markdown) if home else markdown)
