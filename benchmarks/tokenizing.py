"""How fast texts become ids and come back, ours beside the usual libraries, in MB of UTF-8 a second.

    python benchmarks/tokenizing.py [--source FILE] [--megabytes N] [--json FILE]

The text is the Python language manual that comes with CPython, or a file of yours, repeated to the size asked for. All
candidates of a group are trained on it unrepeated, then encode the same text in turn, each handed it the way it likes
best: ours as one string, SentencePiece as lines, Hugging Face tokenizers and Keras as a batch of pieces of equal
length. Each has to give the ids as one integer array in the end. SentencePiece (ours as well), Hugging Face and Keras
use all cores, our characters and words one. Decoding reads a tenth of the ids back.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from measure import alternate, peer, print_table, write_json
from numpy.typing import NDArray

from textrnn.tokenizers import UNKNOWN_ID, train_tokenizer
from textrnn.tokenizers.word import _pattern as word_pattern
from textrnn.training.tensorflow_setup import import_tensorflow

UNSEEN = "\N{SNOWMAN}"
PIECE_CHARACTERS = 1 << 14  # of the batches that some like better than one string; near the best size for them
UNKNOWN = "<unk>"
HUGGING_FACE = "Hugging Face tokenizers"

Encode = Callable[[str], NDArray[Any]]
Decode = Callable[[NDArray[Any]], str]


@dataclass(frozen=True)
class Candidate:
    """A trained tokenizer; `decode` is None where the library has none."""

    name: str
    encode: Encode
    decode: Decode | None


def ours(kind: str, corpus: str, **options: Any) -> Candidate:
    tokenizer = train_tokenizer(kind, [corpus], **options)
    return Candidate("textrnn", tokenizer.encode, tokenizer.decode)


def in_plain_python(corpus: str, split: str) -> Candidate:
    """Our words one by one: the matches of a pattern, looked up in a dictionary."""
    tokenizer = train_tokenizer("word", [corpus], split=split)
    ids = {tokenizer.token_text(id): id for id in range(4, tokenizer.vocabulary_size)}
    pattern = word_pattern(split)

    def encode(text: str) -> NDArray[np.int32]:
        return np.fromiter((ids.get(match[0], UNKNOWN_ID) for match in pattern.finditer(text)), np.int32)

    return Candidate("in plain Python", encode, None)


def sentence_piece(model_type: str, corpus: str, vocabulary_size: int) -> Candidate:
    """The library that ours stands on, with the same options, without our splitting and our array of ids."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus.splitlines()),
        model_writer=model,
        model_type=model_type,
        vocab_size=vocabulary_size,
        byte_fallback=True,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    return Candidate(
        "sentencepiece",
        lambda text: _joined(processor.encode(text.splitlines())),
        lambda ids: str(processor.decode(ids.tolist())),
    )


def hugging_face(kind: str, corpus: str, vocabulary_size: int = 1 << 20) -> Candidate | None:
    """The `tokenizers` library: the model and the splitting that come nearest to ours."""
    library = peer("tokenizers")
    if library is None:
        return None
    models, split, trainers, decoders = library.models, library.pre_tokenizers, library.trainers, library.decoders
    words = {
        "characters": split.Split(library.Regex(r"[\s\S]"), "isolated"),
        "words": split.WhitespaceSplit(),
        "words and punctuation": split.Whitespace(),
    }
    options = {"vocab_size": vocabulary_size, "show_progress": False}
    if kind in words:
        tokenizer = library.Tokenizer(models.WordLevel(unk_token=UNKNOWN))
        tokenizer.pre_tokenizer = words[kind]
        tokenizer.decoder = decoders.Fuse() if kind == "characters" else None
        trainer = trainers.WordLevelTrainer(special_tokens=[UNKNOWN], **options)
    elif kind == "unigram":
        tokenizer = library.Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer, tokenizer.decoder = split.Metaspace(), decoders.Metaspace()
        trainer = trainers.UnigramTrainer(unk_token=UNKNOWN, special_tokens=[UNKNOWN], **options)
    else:
        tokenizer = library.Tokenizer(models.BPE())
        tokenizer.pre_tokenizer, tokenizer.decoder = split.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        trainer = trainers.BpeTrainer(initial_alphabet=split.ByteLevel.alphabet(), **options)
    tokenizer.train_from_iterator(corpus.splitlines(keepends=True), trainer)

    def encode(text: str) -> NDArray[Any]:
        return _joined(encoding.ids for encoding in tokenizer.encode_batch_fast(_pieces(text)))

    return Candidate(
        f"{HUGGING_FACE}, bytes" if kind == "bytes" else HUGGING_FACE,
        encode,
        lambda ids: str(tokenizer.decode(ids.tolist())),
    )


def text_vectorization(split: str, corpus: str) -> Candidate:
    """`keras.layers.TextVectorization`, called eagerly as a pipeline of tf.data would."""
    import keras
    import tensorflow as tf

    layer = keras.layers.TextVectorization(standardize=None, split=split, output_mode="int")
    layer.adapt(tf.constant(_pieces(corpus)))
    vocabulary = np.array(layer.get_vocabulary())
    joint = "" if split == "character" else " "

    def encode(text: str) -> NDArray[Any]:
        padded = np.asarray(layer(tf.constant(_pieces(text))))
        ids: NDArray[Any] = padded[padded != 0]
        return ids

    return Candidate("keras TextVectorization", encode, lambda ids: joint.join(vocabulary[ids]))


def groups(corpus: str, vocabulary_size: int) -> dict[str, list[Callable[[], Candidate | None]]]:
    """What is compared with what; each is trained only when its turn comes."""
    characters: list[Callable[[], Candidate | None]] = [
        lambda: ours("char", corpus),
        lambda: hugging_face("characters", corpus),
        lambda: hugging_face("bytes", corpus, 256),
        lambda: text_vectorization("character", corpus),
    ]
    return {
        "characters": characters,
        "characters, one in 1,000 unseen": characters,
        "words": [
            lambda: ours("word", corpus),
            lambda: in_plain_python(corpus, "space"),
            lambda: hugging_face("words", corpus),
            lambda: text_vectorization("whitespace", corpus),
        ],
        "words and punctuation": [
            lambda: ours("word", corpus, split="punctuation"),
            lambda: in_plain_python(corpus, "punctuation"),
            lambda: hugging_face("words and punctuation", corpus),
        ],
        "unigram pieces": [
            lambda: ours("sentencepiece", corpus, vocabulary_size=vocabulary_size),
            lambda: sentence_piece("unigram", corpus, vocabulary_size),
            lambda: hugging_face("unigram", corpus, vocabulary_size),
        ],
        "BPE pieces": [
            lambda: ours("sentencepiece", corpus, vocabulary_size=vocabulary_size, model_type="bpe"),
            lambda: sentence_piece("bpe", corpus, vocabulary_size),
            lambda: hugging_face("bpe", corpus, vocabulary_size),
        ],
    }


def compare(
    group: str, makers: Sequence[Callable[[], Candidate | None]], corpus: str, text: str, seconds: float
) -> list[dict[str, Any]]:
    """Train all candidates of a group, then time them in turn; one row a candidate, speeds in MB/s."""
    corpus_megabytes = len(corpus.encode()) / 1e6
    candidates, training = [], {}
    for make in makers:
        start = time.perf_counter()
        candidate = make()
        if candidate is not None:
            candidates.append(candidate)
            training[candidate.name] = corpus_megabytes / (time.perf_counter() - start)
    ids = {candidate.name: candidate.encode(text) for candidate in candidates}
    some = {name: array[: len(array) // 10] for name, array in ids.items()}
    encoding = alternate({c.name: partial(c.encode, text) for c in candidates}, seconds, minimum=3, warm_up=0)
    decoders = {c.name: c.decode for c in candidates if c.decode is not None}
    decoding = alternate(
        {name: partial(decode, some[name]) for name, decode in decoders.items()}, seconds / 10, minimum=3, warm_up=1
    )
    megabytes = len(text.encode()) / 1e6
    speeds = {name: megabytes / statistics.median(times) for name, times in encoding.items()}
    return [
        {
            "group": group,
            "candidate": name,
            "train": training[name],
            "encode": speed,
            "decode": len(decoders[name](some[name]).encode()) / 1e6 / statistics.median(decoding[name])
            if name in decoders
            else None,
            "bytes_a_token": megabytes * 1e6 / len(ids[name]),
            "ours_times_faster": speeds["textrnn"] / speed,
        }
        for name, speed in speeds.items()
    ]


def _joined(lists: Iterator[list[int]] | Sequence[list[int]]) -> NDArray[np.int32]:
    return np.fromiter(chain.from_iterable(lists), dtype=np.int32)


def _pieces(text: str) -> list[str]:
    return [text[start : start + PIECE_CHARACTERS] for start in range(0, len(text), PIECE_CHARACTERS)]


def _python_manual() -> str:
    from pydoc_data import topics

    return "\n".join(topics.topics.values())


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--source", type=Path, metavar="FILE", help="a UTF-8 text (default: Python's own manual)")
    parser.add_argument("--megabytes", type=float, default=10, metavar="N", help="size of the text (%(default)s)")
    parser.add_argument("--pieces", type=int, default=4000, metavar="N", help="of the unigram and BPE vocabularies")
    parser.add_argument("--seconds", type=float, default=10, metavar="N", help="of encoding, a group (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    arguments = parser.parse_args(argv)
    corpus = arguments.source.read_text("utf-8") if arguments.source else _python_manual()
    repeated = corpus * max(1, round(arguments.megabytes * 1e6 / len(corpus.encode())))

    import_tensorflow()  # no part of anybody's training

    rows = []
    for group, makers in groups(corpus, arguments.pieces).items():
        text = repeated
        if "unseen" in group:
            text = UNSEEN.join(text[start : start + 999] for start in range(0, len(text), 999))
        group_rows = compare(group, makers, corpus, text, arguments.seconds)
        rows += group_rows
        print_table(group_rows)
        print()
    if arguments.json:
        source = "given" if arguments.source else "Python's manual"
        write_json(arguments.json, "tokenizing", rows, unit="MB of UTF-8 a second", source=source)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
