"""What a test sees: of a command its exit code, outputs and the files it leaves, of any failure its one line."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest

from textrnn import cli
from textrnn.errors import UserError
from textrnn.files import sha256


class Result(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


def call(*argv: object, main: Callable[[Sequence[str]], int] = cli.main) -> Result:
    """Run a command in this process; `main` is that of textrnn, or of a script."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main([str(argument) for argument in argv])
        except SystemExit as leaving:  # argparse leaves so
            code = int(leaving.code or 0)
    return Result(code, out.getvalue(), err.getvalue())


def files_of(folder: Path) -> dict[str, str]:
    """Every file and folder below one, hidden ones included: its name, and what is in it."""
    found = sorted(folder.rglob("*"))
    return {path.relative_to(folder).as_posix(): sha256(path) if path.is_file() else "" for path in found}


def told(result: Result) -> str:
    """The one line of a command that failed."""
    assert result.code in (1, 2), result
    assert result.out == ""
    line, end = result.err[:-1], result.err[-1:]
    assert end == "\n"
    assert "\n" not in line
    assert line.startswith("textrnn: ")
    assert "Traceback" not in line
    return line


def error_of(action: Callable[[], object]) -> str:
    """The one line of what cannot be done."""
    with pytest.raises(UserError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 1000
    return message
