"""Read text files in the encodings and with the line ends that editors write."""

from __future__ import annotations

import codecs
from pathlib import Path

from praxiscope.errors import DataError

__all__ = ["numbered_lines", "read_text"]

# UTF-32's mark begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def read_text(path: str | Path) -> str:
    """Read a text file as UTF-8, or as UTF-16 or UTF-32 if a byte order mark or zero bytes show this.

    Returns:
        The text without byte order marks, with newline characters as line ends.

    Raises:
        DataError: the file cannot be opened, or is not text in these encodings.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file.") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        text = content.decode(_encoding(content))
    except UnicodeDecodeError as error:
        where = f"byte {error.start}, line {content.count(10, 0, error.start) + 1}"
        raise DataError(f"{path}: not UTF-8 text ({error.reason}, {where}). Save it as UTF-8.") from None
    if "\0" in text:
        raise DataError(f"{path}: not UTF-8 text (contains zero bytes). Save it as UTF-8.")
    # Lists that were concatenated contain the mark of each; it is never a character of the text.
    return text.replace("\ufeff", "").replace("\r\n", "\n").replace("\r", "\n")


def numbered_lines(text: str) -> list[tuple[int, str]]:
    """The lines that are not blank, stripped, with their line numbers from 1."""
    return [(number, line.strip()) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]


def _encoding(content: bytes) -> str:
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return encoding
    # UTF-16 has a zero byte in every line end and every letter of ASCII, on one side; UTF-8 text has none.
    even, odd = content[::2].count(0), content[1::2].count(0)
    if min(even, odd) > max(even, odd) // 4 or max(even, odd) < content.count(10):
        return "utf-8"
    return "utf-16-le" if odd > even else "utf-16-be" if even > odd else "utf-8"
