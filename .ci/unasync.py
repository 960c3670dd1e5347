"""Write the sync faces from the async ones, so that every method is written once.

The async file is the source; the sync file is real code that an editor, a type checker and a
reader of the documentation see: committed, and checked for drift.

    python .ci/unasync.py            write the generated files
    python .ci/unasync.py --check    print the drift as a diff and exit with 1 if there is any

What is converted: `async def`, `async with`, `async for` and `await` lose their keyword,
`Awaitable[T]` becomes `T`, names lose `Async` in front and `_async` behind, and those of `NAMES`
(plus those of the file's own row in `FACES`) are replaced; so in code, docstrings, strings and
comments. A docstring example written with `await` is converted too. Unused imports are removed,
then ruff formats the result.

The few lines that differ are said in the source, by a comment:

    await tick()  # sync: tock()       the sync face has `tock()` in the place of this line
    await tick()  # sync: drop         the sync face does not have this statement
    # sync: drop                       (on a line of its own) nor the statement that follows
    # sync: tock()                     (on a line of its own) the sync face has this line too

Within brackets a line is what stands between two line ends (one name of an import list, one
argument); outside of them it is a whole logical line.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Face:
    """One generated file: where it comes from, and names that only it has otherwise."""

    source: str
    target: str
    renames: dict[str, str] = field(default_factory=dict)


FACES = (
    Face("asyncwb/client/live/run.py", "asyncwb/client/live/_sync/run.py"),
    *(
        Face(
            f"asyncwb/client/query/{name}.py",
            f"asyncwb/client/query/_sync/{name}.py",
            {"get": "__getitem__"} if name == "paging" else {},
        )
        for name in (
            "api",
            "files",
            "history",
            "paging",
            "projects",
            "reports",
            "run",
            "run_fields",
            "runs",
            "summary",
            "sweeps",
            "teams",
            "users",
        )
    ),
)

NAMES = {
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
    "aclose": "close",
    "aiter": "iter",
    "anext": "next",
    "asynccontextmanager": "contextmanager",
    "enter_async_context": "enter_context",
    "push_async_callback": "callback",
    "in_thread": "at_once",
    "AbstractAsyncContextManager": "AbstractContextManager",
    "StopAsyncIteration": "StopIteration",
}
ASYNC_IN_NAME = re.compile(r"^Async(?=[A-Z])|_async$")

DIRECTIVE = re.compile(r"#\s*sync:\s*(.*\S)\s*$")
# In text only what can be nothing but code loses its keyword: "await run.log(...)", never the
# "await" of a sentence.
CODE_IN_TEXT = re.compile(r"\bawait (?=[\w.]+[(\[`])|\basync (?=(?:with|for|def)\b)")
WORD = re.compile(r"\w+")
IMPORT = re.compile(r"^(\s*from )([\w.]+) ", re.MULTILINE)
CALLABLE_END = re.compile(r"[\w)\]\"']$")


class ConversionError(Exception):
    """A source cannot be converted; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace the characters `start:end` of the source by `text`."""

    start: int
    end: int
    text: str


class Source:
    """An async file: its text, tokens and syntax tree, all addressed by character offset."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = text.splitlines(keepends=True)
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line))
        self.tree = ast.parse(text)
        self.tokens = list(_merge_fstrings(tokenize.generate_tokens(io.StringIO(text).readline)))

    def at(self, row: int, column: int) -> int:
        """Give the offset of a token position (rows from 1, columns in characters)."""
        return self.starts[row - 1] + column

    def at_node(self, row: int, byte: int) -> int:
        """Give the offset of a syntax tree position (columns there are UTF-8 bytes)."""
        return self.at(row, len(self.lines[row - 1].encode()[:byte].decode()))

    def line(self, row: int) -> str:
        return self.lines[row - 1]


def _merge_fstrings(tokens: Iterator[tokenize.TokenInfo]) -> Iterator[tokenize.TokenInfo]:
    """Give an f-string as one STRING token, as Python 3.11 does, on every version."""
    start_type = getattr(tokenize, "FSTRING_START", None)
    end_type = getattr(tokenize, "FSTRING_END", None)
    for token in tokens:
        if start_type is None or token.type != start_type:
            yield token
            continue
        first, depth = token, 1
        while depth:
            token = next(tokens)
            depth += (token.type == start_type) - (token.type == end_type)
        yield tokenize.TokenInfo(tokenize.STRING, "", first.start, token.end, first.line)


def convert(text: str, renames: dict[str, str] | None = None) -> str:
    """Turn the text of an async file into that of its sync twin, before formatting.

    Raises ConversionError when a directive does not fit, or when the result does not parse.
    """
    source = Source(text)
    names = NAMES | (renames or {})
    edits = [*_directives(source), *_unwrapped(source), *_tokens(source, names)]
    result = _apply(text, edits)
    try:
        ast.parse(result)
    except SyntaxError as error:
        line = result.splitlines()[(error.lineno or 1) - 1]
        raise ConversionError(f"the sync twin does not parse: {error.msg}: {line!r}") from error
    return result


def _apply(text: str, edits: list[Edit]) -> str:
    """Apply the edits; one that lies inside a longer, earlier one is dropped with its text."""
    parts: list[str] = []
    done = 0
    for edit in sorted(edits, key=lambda e: (e.start, -e.end)):
        if edit.start < done:
            continue
        parts += [text[done : edit.start], edit.text]
        done = edit.end
    return "".join([*parts, text[done:]])


def _twin_imports(text: str, faces: Sequence[Face]) -> str:
    """Import from the generated files of other faces, where the source does from theirs."""
    twins = {_module(face.source): _module(face.target) for face in faces}
    return IMPORT.sub(lambda m: f"{m[1]}{twins.get(m[2], m[2])} ", text)


def _module(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".")


def _tokens(source: Source, names: dict[str, str]) -> Iterator[Edit]:
    """Drop the keywords and replace the names, token by token."""

    def named(name: str) -> str:
        return names.get(name) or ASYNC_IN_NAME.sub("", name)

    def reword(text: str) -> str:
        return CODE_IN_TEXT.sub("", WORD.sub(lambda m: named(m.group()), text))

    for token, after in zip(source.tokens, source.tokens[1:], strict=False):
        start, end = source.at(*token.start), source.at(*token.end)
        if token.type == tokenize.NAME and token.string in ("async", "await"):
            yield Edit(start, source.at(*after.start), "")
        elif token.type == tokenize.NAME:
            yield Edit(start, end, named(token.string))
        elif token.type in (tokenize.STRING, tokenize.COMMENT):
            yield Edit(start, end, reword(source.text[start:end]))


def _unwrapped(source: Source) -> Iterator[Edit]:
    """Drop `Awaitable[...]` around a type, and the parentheses that only an await needed."""
    text = source.text
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Awaitable":
            inner = node.slice
            yield Edit(_start(source, node), _start(source, inner), "")
            yield Edit(_end(source, inner), _end(source, node), "")
        elif isinstance(node, ast.Await):
            before, after = _start(source, node) - 1, _end(source, node)
            wrapped = text[before : before + 1] + text[after : after + 1] == "()"
            line_before = text[text.rfind("\n", 0, before) + 1 : before]
            if wrapped and not CALLABLE_END.search(line_before):
                yield Edit(before, _start(source, node.value), "")
                yield Edit(after, after + 1, "")


def _start(source: Source, node: ast.expr) -> int:
    return source.at_node(node.lineno, node.col_offset)


def _end(source: Source, node: ast.expr) -> int:
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return source.at_node(node.end_lineno, node.end_col_offset)


def _directives(source: Source) -> Iterator[Edit]:
    """Carry out the `# sync:` comments."""
    depth, first_row = 0, 1
    for token in source.tokens:
        if token.type == tokenize.OP:
            depth += (token.string in "([{") - (token.string in ")]}")
        elif token.type == tokenize.NEWLINE:
            first_row = token.end[0] + 1
        elif token.type == tokenize.NL and not depth and not token.line.strip():
            first_row = max(first_row, token.end[0] + 1)
        elif token.type == tokenize.COMMENT and (found := DIRECTIVE.match(token.string)):
            row, said = token.start[0], found.group(1)
            alone = source.line(row).lstrip().startswith("#")
            if alone and said != "drop":
                yield _replace_rows(source, row, row, said)
            elif alone:
                yield _drop_statement(source, row, after=True)
            elif depth:
                yield _replace_rows(source, row, row, "" if said == "drop" else said)
            elif said == "drop":
                yield _drop_statement(source, row, after=False)
            else:
                yield _replace_rows(source, _header_row(source, row), row, said)


def _header_row(source: Source, last: int) -> int:
    """Find the row where the logical line that ends in row `last` begins."""
    ends = [t.end[0] for t in source.tokens if t.type == tokenize.NEWLINE and t.end[0] < last]
    after = max(ends, default=0)
    return next(
        t.start[0]
        for t in source.tokens
        if t.start[0] > after and t.type in (tokenize.NAME, tokenize.OP, tokenize.STRING)
    )


def _replace_rows(source: Source, first: int, last: int, code: str) -> Edit:
    """Put `code`, at the indentation of row `first`, in the place of the rows."""
    indent = re.match(r"\s*", source.line(first))
    assert indent is not None
    text = f"{indent.group()}{code}\n" if code else ""
    return Edit(source.at(first, 0), source.at(last + 1, 0), text)


def _drop_statement(source: Source, row: int, *, after: bool) -> Edit:
    """Remove the statement that follows the comment in `row`, or that the comment trails."""
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.stmt):
            continue
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        last = node.end_lineno or node.lineno
        gap = "".join(source.lines[row : first - 1])
        follows = first > row and all(not x or x[0] == "#" for x in map(str.strip, gap.split("\n")))
        trails = first <= row <= last and row in (first, last, _first_row_end(node))
        if after and follows:
            return Edit(source.at(row, 0), source.at(last + 1, 0), "")
        if not after and trails and not _holds_statement_at(node, row):
            return Edit(source.at(first, 0), source.at(last + 1, 0), "")
    raise ConversionError(f"line {row}: no statement here for '# sync: drop'")


def _first_row_end(node: ast.stmt) -> int:
    """Give the last row of a compound statement's header (a def over several rows)."""
    body = getattr(node, "body", None)
    return body[0].lineno - 1 if body else node.lineno


def _holds_statement_at(node: ast.stmt, row: int) -> bool:
    """Say whether a statement inside `node` covers the row, and so is the one meant."""
    inner = (child for child in ast.walk(node) if isinstance(child, ast.stmt) and child is not node)
    return any(child.lineno <= row <= (child.end_lineno or child.lineno) for child in inner)


def generate(face: Face, root: Path) -> str:
    """Give the whole text of the generated file of `face`, formatted."""
    body = _twin_imports(convert((root / face.source).read_text(), face.renames), FACES)
    notice = f"# Generated by .ci/unasync.py from {face.source}: change that, not this.\n"
    ruff = [sys.executable, "-m", "ruff"]
    name = ["--stdin-filename", str(root / face.target)]
    fixed = _pipe([*ruff, "check", "-q", "--fix-only", "--select", "F401,I001", *name, "-"], body)
    return _pipe([*ruff, "format", "-q", *name, "-"], notice + fixed)


def _pipe(command: list[str], text: str) -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConversionError(done.stderr.strip() or done.stdout.strip())
    return done.stdout


def _drift(face: Face, wanted: str) -> str:
    target = ROOT / face.target
    found = target.read_text() if target.exists() else ""
    lines = difflib.unified_diff(
        found.splitlines(keepends=True),
        wanted.splitlines(keepends=True),
        f"{face.target} (as it is)",
        f"{face.target} (from {face.source})",
    )
    return "".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Write or check every face; give the exit status."""
    parser = argparse.ArgumentParser(description="Write the sync faces from the async ones.")
    parser.add_argument("--check", action="store_true", help="print the drift, write nothing")
    check = parser.parse_args(arguments).check
    status = 0
    for face in FACES:
        try:
            wanted = generate(face, ROOT)
        except (ConversionError, SyntaxError, FileNotFoundError) as error:
            print(f"{face.source}: {error}", file=sys.stderr)
            status = 1
            continue
        drift = _drift(face, wanted)
        if drift and check:
            print(drift)
            status = 1
        elif drift:
            (ROOT / face.target).write_text(wanted)
            print(f"wrote {face.target}")
    return status


if __name__ == "__main__":
    sys.exit(main())
