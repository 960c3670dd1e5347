"""The generator of the sync faces: what it converts, what it leaves, and that it sees drift."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from textwrap import dedent
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("unasync", ROOT / ".ci" / "unasync.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["unasync"] = module
    spec.loader.exec_module(module)
    return module


unasync = _load()


def twin(source: str, **renames: str) -> str:
    return str(unasync.convert(dedent(source), renames))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("async def f(): await g()\n", "def f(): g()\n"),
        ("async def f(): return (await g()).x\n", "def f(): return g().x\n"),
        ("async def f(): return h(await g())\n", "def f(): return h(g())\n"),
        ("async def f(): return (await g(), 1)\n", "def f(): return (g(), 1)\n"),
        (
            "async def f(): return [x async for x in aiter(g)]\n",
            "def f(): return [x for x in iter(g)]\n",
        ),
        ("def f(g: Callable[[], Awaitable[int]]): ...\n", "def f(g: Callable[[], int]): ...\n"),
        ("async def f(): return f'{await g()} {AsyncRun}'\n", "def f(): return f'{g()} {Run}'\n"),
        ("async def f(): raise StopAsyncIteration\n", "def f(): raise StopIteration\n"),
        ("from a.run_async import AsyncRun\n", "from a.run import Run\n"),
        ("__all__ = ['AsyncApi', 'MyAsyncApi']\n", "__all__ = ['Api', 'MyAsyncApi']\n"),
        ("é = 'é'; x: 'Awaitable[AsyncRun]'\n", "é = 'é'; x: 'Awaitable[Run]'\n"),
        ("async def f(): é = 'é' + (await g()).x\n", "def f(): é = 'é' + g().x\n"),
    ],
)
def test_code_is_converted_and_nothing_else(source: str, expected: str) -> None:
    assert twin(source) == expected


def test_context_managers_keep_comments_and_layout() -> None:
    source = """
        class AsyncRun:
            async def __aenter__(self) -> AsyncRun:  # the caller's loop
                return self

            async def __aexit__(self, *exc: object) -> None:
                async with self.lock:
                    # await the engine, then leave
                    await self.close(
                        timeout=1,  # seconds
                    )
    """
    expected = """
        class Run:
            def __enter__(self) -> Run:  # the caller's loop
                return self

            def __exit__(self, *exc: object) -> None:
                with self.lock:
                    # await the engine, then leave
                    self.close(
                        timeout=1,  # seconds
                    )
    """
    assert twin(source) == dedent(expected)


def test_docstring_examples_are_converted_and_prose_is_not() -> None:
    source = '''
        async def log() -> None:
            """Log a row; there is no need to await the server. `await run.ready` is code.

            >>> async with asyncwb.init_async() as run:
            ...     await run.log({"loss": 0.3})
            """
    '''
    assert twin(source) == dedent('''
        def log() -> None:
            """Log a row; there is no need to await the server. `run.ready` is code.

            >>> with asyncwb.init() as run:
            ...     run.log({"loss": 0.3})
            """
    ''')


def test_a_face_has_names_of_its_own() -> None:
    assert twin("async def get(self): ...\n", get="__getitem__") == "def __getitem__(self): ...\n"


def test_a_trailing_directive_replaces_the_logical_line() -> None:
    source = """
        async def pause(seconds: float) -> None:
            before()
            await sleep(
                seconds,
            )  # sync: time.sleep(seconds)
            after()
    """
    assert twin(source) == dedent("""
        def pause(seconds: float) -> None:
            before()
            time.sleep(seconds)
            after()
    """)


def test_a_directive_within_brackets_replaces_its_own_line() -> None:
    source = """
        from engine import (
            Command,
            await_command,  # sync: wait_command,
            Gone,  # sync: drop
        )
    """
    assert twin(source) == dedent("""
        from engine import (
            Command,
            wait_command,
        )
    """)


def test_drop_removes_a_whole_statement() -> None:
    source = """
        class AsyncRun:
            # sync: drop
            # why only async callers need it
            @property
            def __await__(self) -> int:
                return 1

            a = 1
            b = 2  # sync: drop
            def c(self) -> None:  # sync: drop
                pass
            d = 3
    """
    assert twin(source) == dedent("""
        class Run:

            a = 1
            d = 3
    """)


def test_a_line_of_its_own_is_added() -> None:
    source = """
        import anyio  # sync: drop
        # sync: import time
        x = 1
    """
    assert twin(source) == dedent("""
        import time
        x = 1
    """)


def test_a_directive_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(unasync.ConversionError, match="line 2: no statement"):
        twin("x = 1\n# sync: drop\n")
    with pytest.raises(unasync.ConversionError, match="does not parse"):
        twin("async def f():\n    await g()  # sync: drop\n")


@pytest.fixture
def face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    source = (
        "from typing import Awaitable\n\nasync def f(g: Awaitable[int]) -> int:\n    return 1\n"
    )
    (tmp_path / "a_async.py").write_text(source)
    monkeypatch.setattr(unasync, "ROOT", tmp_path)
    monkeypatch.setattr(unasync, "FACES", (unasync.Face("a_async.py", "a.py"),))
    return tmp_path


def test_what_is_written_says_where_it_comes_from_and_passes_the_check(face: Path) -> None:
    assert unasync.main([]) == 0
    first, *rest = (face / "a.py").read_text().splitlines()
    assert first.startswith("# Generated by .ci/unasync.py from a_async.py")
    assert [line for line in rest if line] == ["def f(g: int) -> int:", "    return 1"]
    assert unasync.main(["--check"]) == 0


def test_drift_and_a_missing_source_fail_the_check(
    face: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert unasync.main([]) == 0
    (face / "a.py").write_text("edited by hand\n")
    assert unasync.main(["--check"]) == 1
    assert "-edited by hand" in capsys.readouterr().out
    assert (face / "a.py").read_text() == "edited by hand\n"
    (face / "a_async.py").unlink()
    assert unasync.main(["--check"]) == 1
    assert "a_async.py" in capsys.readouterr().err
