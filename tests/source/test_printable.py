"""What a terminal or a page obeys is shown as its escape."""

from __future__ import annotations

from medferry.source.printable import printable, printable_value
from medferry.source.shown_keys import shown_key, shown_name


def test_each_is_its_escape_and_all_else_as_it_is() -> None:
    assert printable("é\x1b[2J\r\u2066\t\n\\x1b") == "é\\x1b[2J\\r\\u2066\t\n\\x1b"
    assert printable_value(7) == 7


def test_a_record_is_named_so_in_a_text_and_its_key_stays_the_key() -> None:
    assert shown_name("patient", "4\x1b7") == r"patient 4\x1b7"
    assert shown_key("patient", "4\x1b7") == "4\x1b7"
