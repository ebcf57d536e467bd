"""What commands print: data is shown, and commands no terminal."""

import pytest
from rich.text import Text

from orchestration.commands.console import out, table

HOSTILE = "a\x1b[2Jb\x9b31mc\u202ed\x07e"


@pytest.mark.parametrize("shown", [HOSTILE, Text(HOSTILE), table([HOSTILE], [(HOSTILE,)], title=HOSTILE)])
def test_what_data_holds_commands_no_terminal(shown: object) -> None:
    with out.capture() as capture:
        out.print(shown)
    printed = capture.get()
    assert not set("\x1b\x9b\u202e\x07") & set(printed)
    assert "a\ufffd[2Jb\ufffd31mc\ufffdd" in printed


def test_styles_and_other_scripts_still_arrive() -> None:
    with out.capture() as capture:
        out.print(Text("größer → 日本 😀\tالعربية", style="bold"))
    assert "größer → 日本 😀" in capture.get()
    assert "العربية" in capture.get()
