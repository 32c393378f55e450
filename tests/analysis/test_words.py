"""What terminals and pages would obey is shown as text."""

from __future__ import annotations

from analysis.words import plain


def test_control_characters_are_shown_as_text() -> None:
    assert plain("red \x1b[31m, bell \x07, back \r\n, tab\t, C1 \x9b2J, reversed \u202e") == (
        "red \\x1b[31m, bell \\x07, back \\r\n, tab\t, C1 \\x9b2J, reversed \\u202e"
    )
    assert plain("Größe · 1,000 → naïve 数") == "Größe · 1,000 → naïve 数"
