"""The two files of the npm package onnxruntime-web that a page needs: found, and checked by their hashes."""

from __future__ import annotations

from pathlib import Path

from textrnn.errors import UserError
from textrnn.files import sha256

MODULE = "ort.wasm.bundle.min.mjs"
WASM = "ort-wasm-simd-threaded.wasm"
RECOMMENDED = "1.24.3"
"""The smallest of the known versions: 3.1 MB compressed, 1.30.0 has 3.7; it is no slower."""

HASHES = {
    "1.24.3": {
        MODULE: "9f716d6e3c4280dcced6f0fcb9814c1d7630de83d8177880a2ef445fe48ca913",
        WASM: "be0e129949062ad50290ef94683fac8be5bb6156f709e030b7a5f1661a2f6c17",
    },
    "1.27.0": {
        MODULE: "1db5e1c5cd2b860eed85e6eeff23e2aaa7cffcc407f67093bcc888f631b94ba9",
        WASM: "d1ab1b94b16a65b29d710d0b587b29e7bed336827577623913479b8afe8113e6",
    },
    "1.30.0": {
        MODULE: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
        WASM: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    },
}
"""SHA-256 of the files by version. A page runs these versions, which were tested, and no other code."""

PACKAGE = Path("node_modules", "onnxruntime-web")


def find_onnxruntime_web(folder: Path | None) -> dict[str, Path]:
    """Return the paths of `MODULE` and `WASM`.

    Args:
        folder: the unpacked npm package, or the folder with its files; None: `PACKAGE` in the current folder.

    Raises:
        UserError: the files are not there, or are of an unknown version.
    """
    place = PACKAGE if folder is None else folder
    advice = f"run: npm install onnxruntime-web@{RECOMMENDED}"
    advice += ", or give the unpacked package: --runtime DIR" if folder is None else f" and give {PACKAGE}"
    home = next((home for home in (place / "dist", place) if (home / WASM).is_file()), None)
    if home is None or not (home / MODULE).is_file():
        raise UserError(f"a page needs {MODULE} and {WASM} of onnxruntime-web, {place} has not both; {advice}")
    found = {name: sha256(home / name) for name in (MODULE, WASM)}
    if found not in HASHES.values():
        known = ", ".join(HASHES)
        raise UserError(
            f"onnxruntime-web must be of a version that textrnn knows ({known}), {home} has another; {advice}"
        )
    return {name: home / name for name in found}
