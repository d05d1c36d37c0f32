"""Signs that a terminal obeys never reach one, whatever they come from."""

from __future__ import annotations

import io

import pytest
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from medferry.cli.terminal import SafeConsole

HOSTILE = "a\x1b[2Jb\x1b]0;title\x07c\x9b31md\re\u202ef\x00g\x7f"
OBEYED = set("\x1b\x07\x9b\r\u202e\x00\x7f")


def shown(*renderables: object) -> str:
    file = io.StringIO()
    console = SafeConsole(file=file, width=60, force_terminal=False)
    for one in renderables:
        console.print(one)
    return file.getvalue()


@pytest.mark.parametrize("as_what", [escape, Text, lambda text: f"[red]{escape(text)}[/]"])
def test_a_text_is_shown_and_not_obeyed(as_what) -> None:
    text = shown(as_what(HOSTILE))
    assert not OBEYED & set(text)
    assert text.startswith("a\ufffd[2Jb")


def test_a_table_is_shown_and_not_obeyed() -> None:
    table = Table("key", title=HOSTILE)
    table.add_row(HOSTILE)
    table.add_row(Text(HOSTILE))
    assert not OBEYED & set(shown(table))


def test_lines_tabs_and_names_in_any_script_stay() -> None:
    assert shown("Zoë 医\u200c\n\tx").replace(" ", "") == "Zoë医\u200c\nx\n"


def test_the_console_s_own_colours_stay() -> None:
    file = io.StringIO()
    SafeConsole(file=file, force_terminal=True, color_system="standard", width=60).print(f"[red]x{escape(HOSTILE)}[/]")
    assert file.getvalue().startswith("\x1b[31mx") and "\x1b[2J" not in file.getvalue()
