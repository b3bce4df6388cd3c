"""Writing of a page that runs a model in a browser: a static folder, or one HTML file that opens from disk.

The JavaScript modules are joined to two scripts, one for the page and one for its worker; a third records sound. The
files of the model and the WebAssembly are compressed here (gzip), because few static servers do it. The one file has
all files in base64.
"""

from __future__ import annotations

import base64
import gzip
import html
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from textrnn.bundle import CARD, MANIFEST, Bundle
from textrnn.errors import UserError
from textrnn.files import new_folder, write_atomically
from textrnn.web.onnxruntime_web import MODULE, WASM

HERE = Path(__file__).resolve().parent
RECORDER = HERE.parent / "serve" / "page" / "js" / "audio" / "recorder.js"  # of a microphone, in a thread of its own
RUNTIME = {"module": "runtime/ort.wasm.bundle.min.js", "wasm": f"runtime/{WASM}"}  # some servers do not know .mjs
# Nothing is fetched from elsewhere, and nothing is sent.
POLICY = (
    "default-src 'none'; img-src data:; style-src {own}; script-src {scripts} 'wasm-unsafe-eval'; "
    "worker-src {own}; connect-src {own}"
)

IMPORT = re.compile(r'^import (\{[^}]*\}) from "(\.[^"]+)";\n', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async )?(?:function\*?|class|const) (\[[^\]]*\]|\w+))", re.MULTILINE)


def write_site(bundle: Bundle, name: str, onnxruntime_web: Mapping[str, Path], out: Path) -> None:
    """Write a static folder: index.html, its scripts and style, the model and the files of onnxruntime-web.

    Args:
        bundle: the model.
        name: title of the page.
        onnxruntime_web: paths of `find_onnxruntime_web`.
        out: the folder, which must not exist yet.

    Raises:
        UserError: `out` exists, or cannot be written.
    """
    with new_folder(out) as folder:
        (folder / "model").mkdir()
        (folder / "runtime").mkdir()
        for file, path in _files(bundle, onnxruntime_web).items():
            (folder / f"{file}.gz").write_bytes(_compressed(path.read_bytes()))
        shutil.copyfile(onnxruntime_web[MODULE], folder / RUNTIME["module"])
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        for script in ("page.js", "worker.js"):
            _write(folder / script, joined_modules(HERE / "page" / script))
        shutil.copyfile(RECORDER, folder / RECORDER.name)
        _write(folder / "style.css", (HERE / "page" / "style.css").read_text(encoding="utf-8"))
        page = _page(
            policy=POLICY.format(own="'self'", scripts="'self'"),
            style='<link rel="stylesheet" href="style.css">',
            files=_described(name, size, inside=False),
            script='<script type="module" src="page.js"></script>',
        )
        _write(folder / "index.html", page)


def write_single_file(bundle: Bundle, name: str, onnxruntime_web: Mapping[str, Path], out: Path) -> None:
    """Write one HTML file with everything inside, which needs no server.

    Arguments as in `write_site`; `out` is the file.

    Raises:
        UserError: `out` exists, or cannot be written.
    """
    require_new(out)
    files = {file: path.read_bytes() for file, path in _files(bundle, onnxruntime_web).items()}
    files[RUNTIME["module"]] = onnxruntime_web[MODULE].read_bytes()
    files["worker.js"] = joined_modules(HERE / "page" / "worker.js").encode("utf-8")
    files[RECORDER.name] = RECORDER.read_bytes()
    packed = {file: base64.b64encode(_compressed(content)).decode("ascii") for file, content in files.items()}
    inside = [f'<script type="text/plain" data-file="{file}">{text}</script>' for file, text in packed.items()]
    style = (HERE / "page" / "style.css").read_text(encoding="utf-8")
    page = _page(
        policy=POLICY.format(own="'unsafe-inline' blob:", scripts="'unsafe-inline' blob: data:"),
        style=f"<style>\n{style}</style>",
        files="\n".join([*inside, _described(name, sum(map(len, packed.values())), inside=True)]),
        script=f'<script type="module">\n{joined_modules(HERE / "page" / "page.js")}</script>',
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(out) as temporary:
        _write(temporary, page)


def require_new(out: Path) -> None:
    """Raise a UserError if a file or folder exists already."""
    if out.exists():
        raise UserError(f"a page must not exist yet, found: {out}; remove it or choose another name")


def joined_modules(path: Path) -> str:
    """Return one script of a module and all that it imports.

    Each imported module becomes a function that is called once, so that names of different modules do not meet. A
    module has only imports and exports of names, and no module imports the first one.
    """
    parts: dict[Path, str] = {}

    def add(module: Path) -> str:
        """Return the code of a module, after the modules that it imports were added to `parts`."""
        text = module.read_text(encoding="utf-8")
        for _, place in IMPORT.findall(text):
            imported = (module.parent / place).resolve()
            if imported not in parts:
                code = add(imported)
                names = ", ".join(found.strip("[]") for found in EXPORT.findall(code))
                code = EXPORT.sub("", code)
                parts[imported] = f"const {_variable(imported)} = (() => {{\n{code}return {{ {names} }};\n}})();\n"
        return IMPORT.sub(
            lambda match: f"const {match[1]} = {_variable((module.parent / match[2]).resolve())};\n", text
        )

    last = add(path)
    return "".join([*parts.values(), last])


def _variable(module: Path) -> str:
    return f"{module.stem}_module"


def _files(bundle: Bundle, onnxruntime_web: Mapping[str, Path]) -> dict[str, Path]:
    """Return the files of the model and the WebAssembly, by their names in the page."""
    names = [MANIFEST, *(name for name in bundle.manifest.files if name != CARD)]
    return {**{f"model/{name}": bundle.path(name) for name in names}, RUNTIME["wasm"]: onnxruntime_web[WASM]}


def _compressed(content: bytes) -> bytes:
    return gzip.compress(content, compresslevel=6, mtime=0)


def _described(name: str, size: int, inside: bool) -> str:
    """Return what the page is told of itself; no text in it can end the script element."""
    document = json.dumps({"name": name, "bytes": size, "inside": inside, "runtime": RUNTIME})
    return f'<script type="application/json" id="site">{document.replace("<", chr(92) + "u003c")}</script>'


def _page(policy: str, **parts: str) -> str:
    page = (HERE / "page" / "index.html").read_text(encoding="utf-8")
    parts["policy"] = f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">'
    for name, part in parts.items():
        page = page.replace(f"<!-- {name} -->", part)
    return page


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
