"""The tokenizer of a corpus, learned chunk by chunk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from commands import error_of

from textrnn.data import text_files
from textrnn.data.records import SourceOptions
from textrnn.data.tokens import chunks
from textrnn.data.tokens.chunks import Corpus
from textrnn.data.tokens.vocabulary import learn_tokenizer
from textrnn.tokenizers import train_tokenizer
from textrnn.tokenizers import word as word_module
from textrnn.training.tasks.configuration import from_dict
from textrnn.training.tasks.runs import create_run
from textrnn.training.tasks.table import prepare, task_of

LINES = [f"line {number} of 春眠不觉晓 and <unk> more\n" for number in range(200)]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A text of many chunks; some of its characters are in its last tenth alone."""
    monkeypatch.setattr(text_files, "BLOCK_BYTES", 256)
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 600)
    path = tmp_path / "a.txt"
    path.write_text("".join(LINES) + "处处闻啼鸟\n" * 60, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("char", {"vocabulary_size": 30}),
        ("word", {"min_count": 2, "lowercase": True, "split": "punctuation"}),
        ("sentencepiece", {"vocabulary_size": 300}),
    ],
)
def test_tokenizers_are_those_of_the_whole_text(source: str, kind: str, options: dict[str, Any]) -> None:
    whole = train_tokenizer(kind, Corpus([source], SourceOptions(), False, 0.1, quiet=True).training_texts(), **options)
    for processes in (1, 2) if kind == "word" else (1,):
        corpus = Corpus([source], SourceOptions(), False, 0.1, processes, quiet=True)
        assert learn_tokenizer(kind, corpus, **options).fingerprint == whole.fingerprint


def test_held_out_text_is_not_learned(source: str) -> None:
    characters = learn_tokenizer("char", Corpus([source], SourceOptions(), False, 0.1, 1, quiet=True))
    text = "".join(LINES) + "处处闻啼鸟\n" * 60
    assert characters.vocabulary_size == 20 + len(set(text[: int(len(text) * 0.9)]))


def test_of_very_many_words_the_rarest_are_left_out(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_module, "MOST_COUNTED", 20)
    corpus = Corpus([source], SourceOptions(), False, None, 1, quiet=True)
    words = learn_tokenizer("word", corpus)
    assert words.vocabulary_size <= 5 + 20
    assert all(id > 4 for id in words.encode("line of 春眠不觉晓 and more"))


def test_options_are_refused_before_the_text_is_read(tmp_path: Path) -> None:
    corpus = Corpus([str(tmp_path / "none.txt")], SourceOptions(), False, None, 1, quiet=True)
    assert "min_count" in error_of(lambda: learn_tokenizer("word", corpus, min_count=0))
    assert "none.txt" in error_of(lambda: learn_tokenizer("word", corpus))


def test_a_vocabulary_larger_than_the_text_has(source: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def settings(kind: str, size: int) -> dict[str, Any]:
        return {"data": {"source": [source]}, "tokenizer": {"kind": kind, "vocabulary_size": size}}

    run = create_run(tmp_path / "word", from_dict(settings("word", 50_000)))
    words = task_of(run.config).tokenizer(run)
    assert words is not None
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.endswith(
        f"is {words.vocabulary_size} tokens, all that the text has, of at most 50,000 (tokenizer.vocabulary_size)"
    )
    for model_type in ("unigram", "bpe"):
        values = settings("sentencepiece", 50_000)
        values["tokenizer"]["model_type"] = model_type
        run = create_run(tmp_path / model_type, from_dict(values))
        message = error_of(lambda run=run: prepare(run))  # type: ignore[misc]
        assert "vocabulary_size must be at most" in message and "was: 50000" in message
