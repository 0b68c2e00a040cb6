"""Text files in the encodings that teams have: UTF-8, UTF-16 and the older ones, line by line."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from label_configs.errors import ConfigError

# UTF-32's mark begins with UTF-16's, so it is looked for first.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8"),
)
_WIDE = ("utf-16", "utf-32")
_ESCAPED = re.compile("[\udc80-\udcff]")  # what the error handler "surrogateescape" makes of bytes 0x80 to 0xFF
_REMEDY = "save the file as UTF-8, or name the encoding that it has, as in --encoding latin-1"


@dataclass(frozen=True)
class TextFile:
    """A file and its encoding. Bytes that the encoding does not have are kept and told line by line, so that one such
    byte does not hide the rest of the file."""

    path: Path
    encoding: str

    @classmethod
    def of(cls, path: Path, encoding: str | None = None) -> TextFile:
        """The file as its byte order mark says, else as ``encoding`` does, else as UTF-8.

        Raises ConfigError when it cannot be read, when there is no such encoding, and when the mark is another's.
        """
        named = _known(encoding) if encoding else None
        try:
            with path.open("rb") as file:
                begin = file.read(4)
        except OSError as error:
            raise _unreadable(path, error) from error
        marked = next((name for mark, name in _MARKS if begin.startswith(mark)), None)
        if marked and named and not named.startswith(marked):
            raise ConfigError(f"{path}:1: begins with the mark of {marked.upper()}; leave --encoding {encoding} out")
        if not (marked or named) and b"\0" in begin:
            order = "be" if begin.startswith(b"\0") else "le"
            raise ConfigError(f"{path}:1: looks like UTF-16 without its mark; try --encoding utf-16-{order}")
        if marked:
            return cls(path, "utf-8-sig" if marked == "utf-8" else marked)
        return cls(path, named or "utf-8")

    def lines(self, newline: str) -> Iterator[str]:
        """The lines with their ends, split as ``open`` does for ``newline``; see ``undecoded`` for bytes at fault.

        Raises ConfigError when the file cannot be read, or breaks off within a character.
        """
        errors = "surrogatepass" if self.encoding.startswith(_WIDE) else "surrogateescape"
        number = 0
        try:
            with self.path.open(encoding=self.encoding, errors=errors, newline=newline) as file:
                for line in file:
                    number += 1
                    yield line
        except OSError as error:
            raise _unreadable(self.path, error) from error
        except UnicodeError as error:
            raise ConfigError(f"{self.path}:{number + 1}: not {self._name} ({_cause(error)}); {_REMEDY}") from None

    def undecoded(self, text: str) -> str:
        """Which byte of ``text`` is not of the encoding, and what to do; empty when there is none."""
        if text.isascii() or self.encoding.startswith(_WIDE) or not (found := _ESCAPED.search(text)):
            return ""
        return f"byte 0x{ord(found[0]) - 0xDC00:02X} is not {self._name}; {_REMEDY}"

    @property
    def _name(self) -> str:
        return self.encoding.upper().removesuffix("-SIG")


def _known(encoding: str) -> str:
    """The encoding's name as Python has it."""
    try:
        "".encode(encoding)  # refuses what is no encoding of text, such as base64
        return codecs.lookup(encoding).name
    except (LookupError, UnicodeError):
        raise ConfigError(f"--encoding {encoding}: no such encoding; use utf-8, utf-16, latin-1 or cp1252") from None


def _unreadable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions")


def _cause(error: UnicodeError) -> str:
    return error.reason if isinstance(error, UnicodeDecodeError) else str(error)
