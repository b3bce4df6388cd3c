"""Draw the rooms of the package and what they import, as docs/rooms.svg: python docs/draw_rooms.py

A room is a folder of `textrnn/`; modules beside the folders stand together by what they are for. An arrow says that a
room imports another, where no longer way says so already.
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "rooms.svg"
TOGETHER = {
    "cli": ("cli", "__main__"),
    "load, train": ("__init__", "estimator"),
    "bundle": ("bundle",),
    "generation": ("generation", "sampling", "scoring", "classification"),
    "spelling": ("spelling",),
    "config": ("config",),
    "basics": ("errors", "files", "fonts", "hardware", "platforms"),
}
WAY_UP = ("runtime", "actions")  # methods of a model import it when they are called
WIDTH, LINE, MARGIN, GAP = 1200, 15, 20, 44  # pixels


def room_of(module: str) -> str:
    """The room of a module: ``training/loop`` of ``textrnn.training.loop.trainer``."""
    parts = module.split(".")[1:] or ["__init__"]
    folder = ROOT / "textrnn" / Path(*parts)
    if len(parts) == 1 and not folder.is_dir():
        return next((name for name, modules in TOGETHER.items() if parts[0] in modules), parts[0])
    return "/".join((parts if folder.is_dir() else parts[:-1])[:2])  # the folders of tasks stand together


def modules_of_rooms() -> dict[str, list[str]]:
    """The modules of every room, by its name."""
    rooms: dict[str, list[str]] = {}
    for path in sorted((ROOT / "textrnn").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[-1] == "__init__" and len(parts) > 2:
            continue
        module = ".".join(parts).removesuffix(".__init__")
        room = room_of(module)
        inner = "/".join(parts[1 + len(room.split("/")) :]) if room not in TOGETHER else parts[-1]
        rooms.setdefault(room, []).append(inner or parts[-1])
    return rooms


def imported_rooms() -> dict[str, set[str]]:
    """The rooms that each room imports, inside functions too."""
    graph: dict[str, set[str]] = {}
    for path in sorted((ROOT / "textrnn").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        own = graph.setdefault(room_of(module), set())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "textrnn":
                for alias in node.names:
                    full = f"{node.module}.{alias.name}"
                    is_module = (ROOT / Path(*full.split("."))).with_suffix(".py").is_file()
                    own.add(room_of(full if is_module else str(node.module)))
            elif isinstance(node, ast.Import):
                own |= {room_of(alias.name) for alias in node.names if alias.name.split(".")[0] == "textrnn"}
    way_up = {WAY_UP[0]: {WAY_UP[1]}}
    return {room: rooms - {room} - way_up.get(room, set()) for room, rooms in graph.items()}


def heights(graph: dict[str, set[str]]) -> dict[str, int]:
    """How many rooms lie one upon the other below each."""
    found: dict[str, int] = {}

    def height(room: str) -> int:
        if room not in found:
            found[room] = 1 + max((height(other) for other in graph[room]), default=-1)
        return found[room]

    for room in graph:
        height(room)
    return found


def arrows(graph: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Imports that no longer way stands for."""

    def reached(room: str) -> set[str]:
        return graph[room].union(*(reached(other) for other in graph[room])) if graph[room] else set()

    return sorted(
        (room, other)
        for room, rooms in graph.items()
        for other in rooms
        if not any(other in reached(between) for between in rooms - {other})
    )


def draw() -> str:
    """The picture, as SVG."""
    graph, modules = imported_rooms(), modules_of_rooms()
    rows: dict[int, list[str]] = {}
    for room, height in sorted(heights(graph).items()):
        rows.setdefault(height, []).append(room)
    boxes: dict[str, tuple[float, float, float, float]] = {}
    shapes: list[str] = []
    y = float(MARGIN)
    for _, row in sorted(rows.items(), reverse=True):
        width = min(360.0, (WIDTH - MARGIN * (len(row) + 1)) / len(row))
        left = (WIDTH - len(row) * width - (len(row) - 1) * MARGIN) / 2
        listed = {room: _lines(", ".join(modules[room]), int(width / 6.2)) for room in row}
        tallness = 34 + LINE * max(map(len, listed.values()))
        for index, (room, lines) in enumerate(listed.items()):
            x = left + index * (width + MARGIN)
            boxes[room] = (x, y, width, tallness)
            shapes.append(f'<rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{tallness}" rx="6"/>')
            shapes.append(f'<text class="name" x="{x + 10:.0f}" y="{y + 20:.0f}">{room}</text>')
            shapes += [
                f'<text x="{x + 10:.0f}" y="{y + 38 + number * LINE:.0f}">{line}</text>'
                for number, line in enumerate(lines)
            ]
        y += tallness + GAP
    tall = round(y - GAP + MARGIN)
    for room, other in arrows(graph):
        (x, y, width, tallness), (to_x, to_y, to_width, _) = boxes[room], boxes[other]
        shapes.insert(
            0,
            f'<line x1="{x + width / 2:.0f}" y1="{y + tallness:.0f}" x2="{to_x + to_width / 2:.0f}" y2="{to_y:.0f}"/>',
        )
    style = (
        "text{font:11px sans-serif;fill:#333}.name{font:bold 14px sans-serif;fill:#000}"
        "rect{fill:#f4f6f8;stroke:#7a8793}line{stroke:#7a8793;marker-end:url(#end)}"
    )
    marker = (
        '<marker id="end" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#7a8793"/></marker>'
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {tall}">'
    background = f'<rect width="{WIDTH}" height="{tall}" style="fill:#fff;stroke:none"/>'
    return "\n".join([head, f"<style>{style}</style><defs>{marker}</defs>", background, *shapes, "</svg>", ""])


def _lines(text: str, longest: int) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        if len(lines[-1]) + len(word) > longest:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
