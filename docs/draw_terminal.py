"""Draws docs/terminal.svg, the picture at the top of README.md: commands with finished models and what they print.

python docs/draw_terminal.py
"""

from __future__ import annotations

import os
import subprocess
import sys
from html import escape
from pathlib import Path

DOCS = Path(__file__).resolve().parent
COMMANDS = (
    ("generate", "shakespeare", "--temperature", "0.6", "--seed", "4"),
    ("generate", "tang", "--temperature", "0.6", "--seed", "3"),
    ("predict", "reviews-en", "Arrived broken, and nobody answers.", "Lovely colour!"),
    ("predict", "reviews-zh", "房间很干净，服务态度也好", "等了两个小时，菜还是凉的"),
)
SIZE, LEADING, MARGIN, COLUMNS = 14, 20, 24, 84


def main() -> None:
    lines = [line for command in COMMANDS for line in (("$ textrnn " + _typed(command), True), *_printed(command))]
    height = 2 * MARGIN + LEADING * len(lines) + 16
    width = 2 * MARGIN + round(COLUMNS * SIZE * 0.602)
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        ' role="img" aria-label="textrnn in a terminal">',
        f"<style>text{{font:{SIZE}px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono','Noto Sans Mono CJK SC',monospace;"
        "fill:#d6dbe1;white-space:pre}.typed{fill:#8fd3a6}</style>",
        f'<rect width="{width}" height="{height}" rx="10" fill="#1b1f24"/>',
        *(f'<circle cx="{MARGIN + 18 * dot}" cy="20" r="5" fill="#454c55"/>' for dot in range(3)),
    ]
    for number, (line, is_typed) in enumerate(lines):
        place = f'x="{MARGIN}" y="{MARGIN + 32 + LEADING * number}"'
        body.append(f"<text {place}{' class=' + chr(34) + 'typed' + chr(34) if is_typed else ''}>{escape(line)}</text>")
    (DOCS / "terminal.svg").write_text("\n".join([*body, "</svg>", ""]), encoding="utf-8")


def _typed(command: tuple[str, ...]) -> str:
    return " ".join(
        word if word.replace("-", "").replace(".", "").isalnum() and word.isascii() else f'"{word}"' for word in command
    )


def _printed(command: tuple[str, ...]) -> list[tuple[str, bool]]:
    """Run a command on a pseudo-terminal, as a person sees it, and return its lines."""
    import pty

    person, terminal = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(DOCS.parent)}
    with subprocess.Popen([sys.executable, "-m", "textrnn", *command], stdout=terminal, env=environment) as running:
        os.close(terminal)
        printed = b""
        try:
            while part := os.read(person, 4096):
                printed += part
        except OSError:  # the command has ended
            pass
        if running.wait():
            raise SystemExit(f"textrnn {command[0]} failed")
    os.close(person)
    return [(line, False) for line in [*printed.decode().strip().splitlines(), ""]]


if __name__ == "__main__":
    main()
