"""Documents in the database: texts that end in a checksum of themselves.

What users write as a whole (a run's config, a sweep's configuration, a report) and what is computed
from their rows (summary, fold) stands in one column each, as the text followed by

    \\x1e 8 hexadecimal digits       the CRC-32 of the text before it, in UTF-8

which neither JSON nor YAML can hold at its end. So whatever statement writes a document writes its
checksum, and whatever reads one checks it. One without was written by an older release.
"""

from __future__ import annotations

import zlib
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Dialect,
    LargeBinary,
    Text,
    TypeDecorator,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

from asyncwb.wire.rows.values import dumps

_MARK: Final = b"\x1e"
_TAIL: Final = len(_MARK) + 8


class DamagedText(str):
    """Stands for a document that is not the one that was written.

    It is empty, so that no parser takes it: who reads documents asks for this first.
    """

    __slots__ = ()


class Document(TypeDecorator[str]):
    """A text with its checksum. Anything else that is written is written as JSON.

    Read as `str`, or as `DamagedText`.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: object, dialect: Dialect) -> str | None:
        """Return what the database keeps."""
        if value is None:
            return None
        return seal(value if isinstance(value, str) else dumps(value).decode())

    def column_expression(self, column: ColumnElement[str]) -> ColumnElement[str]:
        """Read the bytes: a flipped bit may leave text that is no UTF-8, which drivers refuse."""
        return Bytes(column, type_=self)

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> str | None:
        """Return the text without its checksum, or that it is damaged."""
        return None if value is None else read(value)[0]


class Bytes(FunctionElement[Any]):
    """The bytes of a text in UTF-8, as they are stored."""

    inherit_cache = True

    def __init__(self, *clauses: ColumnElement[str], type_: TypeEngine[str] | None = None) -> None:
        super().__init__(*clauses)
        self.type = LargeBinary() if type_ is None else type_


@compiles(Bytes, "sqlite")
def _bytes_on_sqlite(element: Bytes, compiler: SQLCompiler, **options: object) -> str:
    return f"CAST({compiler.process(element.clauses, **options)} AS BLOB)"


@compiles(Bytes, "postgresql")
def _bytes_on_postgres(element: Bytes, compiler: SQLCompiler, **options: object) -> str:
    return f"convert_to({compiler.process(element.clauses, **options)}, 'UTF8')"


class Size(FunctionElement[int]):
    """The bytes of texts together, as they are stored; PostgreSQL reads none of them for it."""

    inherit_cache = True
    type = BigInteger()


@compiles(Size, "sqlite")
def _size_on_sqlite(element: Size, compiler: SQLCompiler, **options: object) -> str:
    return _sum("length(CAST({} AS BLOB))", element, compiler, options)


@compiles(Size, "postgresql")
def _size_on_postgres(element: Size, compiler: SQLCompiler, **options: object) -> str:
    return _sum("octet_length({})", element, compiler, options)


def _sum(form: str, element: Size, compiler: SQLCompiler, options: dict[str, object]) -> str:
    columns = (compiler.process(column, **options) for column in element.clauses)
    return " + ".join(f"coalesce({form.format(column)}, 0)" for column in columns)


def seal(text: str) -> str:
    """Return a text with its checksum."""
    return f"{text}\x1e{zlib.crc32(text.encode()):08x}"


def read(stored: bytes) -> tuple[str, bool]:
    """Return the text, `DamagedText` where it is not what was written, and if it has a checksum."""
    text = stored[:-_TAIL]
    marked = stored[-_TAIL:-8] == _MARK
    fits = b"%08x" % zlib.crc32(text) == stored[-8:]
    if marked != fits:  # where only the mark does not fit, it is damaged itself
        return DamagedText(), True
    try:
        return (text if marked else stored).decode(), marked
    except UnicodeDecodeError:
        return DamagedText(), marked
