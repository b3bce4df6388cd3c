"""Sources cut into chunks, which several processes work on."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import error_of
from hypothesis import example, given
from hypothesis import strategies as st

from textrnn.data import text_files
from textrnn.data.records import SourceOptions, TextBlock
from textrnn.data.sources import read_text
from textrnn.data.tokens import chunks
from textrnn.data.tokens.chunks import Corpus, FileChunk, TextChunk

# What is awkward to cut: characters of one to four bytes, ends of lines, bytes that are no UTF-8.
BITS = ["a", "é", "春", "😀", "\n", "\n\n", "\r\n", "\r", "a long line without an end ", "\ufeff"]
bits = st.sampled_from([bit.encode() for bit in BITS] + [b"\xff", b"\xe6\x98", b"\xf0\x9f"])
contents = st.lists(bits, max_size=40).map(b"".join)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of some lines."""
    monkeypatch.setattr(text_files, "BLOCK_BYTES", 64)
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 200)


def read(corpus: Corpus) -> list[list[tuple[bool, TextBlock]]]:
    return [list(chunk.read()) for chunk in corpus.chunks()]


def cut(pieces: Iterator[TextBlock], held_out: float, apart: bool) -> list[tuple[bool, str]]:
    """Which text is held out, said in another way: by a list of whole documents, or of characters."""
    text, documents = "", [""]
    for piece in pieces:
        text += piece.text
        documents[-1] += piece.text
        if piece.ends_document:
            documents.append("")
    if not apart:
        end = int(len(text) * (1 - held_out))
        return [(False, text[:end]), (True, text[end:])]
    return [(int((i + 1) * held_out) > int(i * held_out), document) for i, document in enumerate(documents[:-1])]


@given(
    files=st.lists(contents, min_size=1, max_size=3),
    block=st.integers(8, 30),
    blocks=st.integers(1, 4),
    apart=st.booleans(),
    line=st.booleans(),
)
@example([b"a\n" * 9, b"", b"\xef\xbb\xbf", b"b"], 8, 1, False, False)
@example(["春眠不觉晓".encode() * 3], 8, 1, False, False)
def test_pieces_are_those_of_the_whole_text_wherever_it_is_cut(
    files: list[bytes], block: int, blocks: int, apart: bool, line: bool
) -> None:
    options = SourceOptions(errors="replace", documents="line" if line else "file")
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_files, "BLOCK_BYTES", block)
        patch.setattr(chunks, "CHUNK_BYTES", block * blocks)
        for number, content in enumerate(files):
            (Path(folder) / f"{number}.txt").write_bytes(content.replace(b"\0", b""))
        if not any(content not in (b"", b"\xef\xbb\xbf") for content in files):
            assert "some text" in error_of(lambda: read(Corpus([folder], options, apart, None)))
            return
        try:
            expected = list(read_text([folder], options, apart))
        except ValueError:  # nothing but empty lines, or what looks like no text
            return
        found = read(Corpus([folder], options, apart, None))
        assert [piece for chunk in found for _, piece in chunk] == expected
        assert not any(is_held_out for chunk in found for is_held_out, _ in chunk)
        for held_out in (0.1, 0.34):
            divided = read(Corpus([folder], options, apart, held_out))
            texts: list[tuple[bool, str]] = []
            joins = False  # a piece with what was read before
            for is_held_out, piece in (pair for chunk in divided for pair in chunk):
                if joins and texts[-1][0] == is_held_out:
                    texts[-1] = (is_held_out, texts[-1][1] + piece.text)
                else:
                    texts.append((is_held_out, piece.text))
                joins = not apart or not piece.ends_document
            wanted = cut(iter(expected), held_out, apart)
            assert texts == (wanted if apart else [part for part in wanted if part[1]])


def test_files_are_handed_on_by_name_and_records_by_their_text(tmp_path: Path, small: None) -> None:
    lines = [f"第 {number} 行 of some text\n" for number in range(60)]
    plain, packed = tmp_path / "a.txt", tmp_path / "a.txt.gz"
    plain.write_text("".join(lines), encoding="utf-8")
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    options = SourceOptions()
    for path, kind in ((plain, FileChunk), (packed, TextChunk)):
        corpus = Corpus([str(path)], options, False, 0.2)
        found = [(chunk.index, type(chunk), list(chunk.read())) for chunk in corpus.chunks()]
        assert [index for index, _, _ in found] == list(range(len(found)))
        assert {kind for _, kind, _ in found} == {kind}
        assert len(found) > 5
        pieces = [pair for _, _, chunk in found for pair in chunk]
        assert "".join(piece.text for _, piece in pieces) == "".join(lines)
        training = "".join(piece.text for is_held_out, piece in pieces if not is_held_out)
        assert training == "".join(lines)[: int(len("".join(lines)) * 0.8)]


def test_stretches_grow_so_that_a_large_text_is_not_cut_into_too_many_files() -> None:
    gigabytes = [sum(map(chunks.chunk_bytes, range(count))) / 1e9 for count in (1, 128, 256, 512, 768)]
    assert [round(size, 2) for size in gigabytes] == [0.03, 4.29, 12.88, 64.42, 270.58]


def test_progress_is_shown_unless_quiet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], small: None
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("some text\n" * 60)
    bar = chunks.tqdm
    monkeypatch.setattr(chunks, "tqdm", lambda **options: bar(**{**options, "delay": 0, "mininterval": 0}))
    for quiet in (True, False):
        corpus = Corpus([str(path)], SourceOptions(), False, 0.1, processes=1, quiet=quiet)
        counts = list(corpus.each("Measuring", chunks.count))
        assert (len(counts), sum(characters for characters, _ in counts)) == (3, 600)
        shown = capsys.readouterr().err
        assert shown == "" if quiet else "Measuring" in shown and "Counting" in shown
