"""Subword tokenizer of SentencePiece (Kudo and Richardson, 2018). Encoding is lossless."""

from __future__ import annotations

import hashlib
import io
import random
import re
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textrnn.errors import UserError
from textrnn.tokenizers.base import (
    BEGINNING_ID,
    END_ID,
    FORMAT_VERSION,
    PAD_ID,
    REPLACEMENT,
    SPECIAL_TOKENS,
    UNKNOWN_ID,
    StreamDecoder,
    Tokenizer,
    Utf8StreamDecoder,
    check_at_least,
    check_id,
    check_text,
    check_version,
    training_texts,
)

MODEL_TYPES = ("unigram", "bpe")
SPACE = "\u2581"  # SentencePiece's symbol for a space

# Characters that are always spelled as bytes and never part of a piece: control characters, which include the newline,
# and two characters that SentencePiece reserves.
APART = "\x00-\x1f\x7f\u2581\u2585"
PARTS = re.compile(f"[{APART}]+|[^{APART}]{{1,65536}}")
IS_APART = re.compile(f"[{APART}]")
# Without a piece for the space, SentencePiece would spell its symbol, which would be decoded as the symbol.
PARTS_WITHOUT_SPACE = re.compile(f"[ {APART}]+|[^ {APART}]{{1,65536}}")
IS_APART_OR_SPACE = re.compile(f"[ {APART}]")

# Training skips sentences of more than 4192 bytes; 1000 characters have at most 4000. Cut at a space if possible.
SENTENCES = re.compile(rf"[^{APART}]{{1,1000}}(?=[ {APART}]|\Z)|[^{APART}]{{1,1000}}")
# Training on more text takes more time and memory: about 20 bytes per character.
MAX_TRAINING_CHARACTERS = 20_000_000
TRAINING_THREADS = 4  # fixed, because the sums, and so the pieces, depend on it

HEADER = re.compile(rb"textrnn-sentencepiece (\d{1,9}) ([0-9a-f]{64})\n")
DEFAULT_VOCABULARY, SMALLEST_VOCABULARY = 8000, len(SPECIAL_TOKENS) + 256 + 1
CHARACTERS_A_PIECE = 20  # of the text, for the default vocabulary size
ATTEMPTS = 4  # to find a vocabulary size that SentencePiece accepts
TOO_LARGE = re.compile(r"set it to a value <= (\d+)")
TOO_SMALL = re.compile(r"smaller than required_chars\. \d+ vs (\d+)")


class SentencePieceTokenizer(Tokenizer):
    """A tokenizer of subwords, called pieces in SentencePiece.

    The vocabulary has the special tokens, the 256 bytes, then the pieces. Characters that are in no piece, and all
    control characters, are spelled as their UTF-8 bytes, one token per byte. A newline is one such token, and so is a
    space if the training texts have none.

    `decode(encode(text)) == text` for every valid string: text is not normalised and all whitespace is kept. Ids that
    are not valid UTF-8 decode to U+FFFD.
    """

    kind = "sentencepiece"
    file_name = "tokenizer.model"

    def __init__(self, model: bytes) -> None:
        """Build the tokenizer from a serialised SentencePiece model that `train` created.

        Raises:
            UserError: the bytes are not such a model.
        """
        from sentencepiece import SentencePieceProcessor

        try:
            processor = SentencePieceProcessor()
            processor.LoadFromSerializedProto(model)
            pieces = [processor.id_to_piece(id) for id in range(processor.vocab_size())]
            byte_ids = [id for id in range(len(pieces)) if processor.is_byte(id)]
        except (RuntimeError, OSError, ValueError) as error:
            raise UserError("it must hold a whole SentencePiece model; copy it again or train again") from error
        byte_pieces = [pieces[id] for id in byte_ids]
        if tuple(pieces[:4]) != SPECIAL_TOKENS or byte_pieces != [f"<0x{byte:02X}>" for byte in range(256)]:
            raise UserError("its SentencePiece model must have the special tokens and bytes of textrnn; train again")
        self._model = model
        self._processor = processor
        self._pieces = pieces
        self._byte_ids = byte_ids
        has_space = SPACE in pieces
        self._parts, self._is_apart = (PARTS, IS_APART) if has_space else (PARTS_WITHOUT_SPACE, IS_APART_OR_SPACE)
        self._token_bytes = [piece.replace(SPACE, " ").encode("utf-8") for piece in pieces]
        self._token_bytes[: len(SPECIAL_TOKENS)] = [b""] * len(SPECIAL_TOKENS)
        self._token_bytes[UNKNOWN_ID] = REPLACEMENT.encode("utf-8")
        for byte, id in enumerate(byte_ids):
            self._token_bytes[id] = bytes([byte])

    @classmethod
    def train(
        cls, texts: Iterable[str], *, vocabulary_size: int | None = None, model_type: str = "unigram"
    ) -> SentencePieceTokenizer:
        """Train the tokenizer on some texts. The same texts give the same pieces.

        Args:
            texts: the corpus. If it has more than 20 million characters, a random sample of lines is used.
            vocabulary_size: exact number of ids, including the 260 special tokens and bytes. None selects it from the
                text: about one id for each 20 characters, at most 8,000, changed to a size that the text allows.
            model_type: `"unigram"` (Kudo, 2018) or `"bpe"` (Sennrich, Haddow and Birch, 2016).

        Raises:
            UserError: there is no text, a text has a lone surrogate, an option is out of range, or the vocabulary size
                is too large or too small for the text. The message gives the limit.
        """
        if model_type not in MODEL_TYPES:
            raise UserError(f"model_type must be one of {', '.join(MODEL_TYPES)}, was: {model_type!r}")
        if vocabulary_size is not None:
            check_at_least("vocabulary_size", vocabulary_size, SMALLEST_VOCABULARY)
        sentences = _sample(chain.from_iterable(map(SENTENCES.findall, training_texts(texts))))
        if not sentences:
            raise UserError("a SentencePiece tokenizer needs visible text to train on, was: control characters only")
        if vocabulary_size is not None:
            try:
                return cls(_learned(sentences, vocabulary_size, model_type))
            except RuntimeError as error:
                raise _training_error(vocabulary_size, str(error)) from error
        size = min(DEFAULT_VOCABULARY, SMALLEST_VOCABULARY + sum(map(len, sentences)) // CHARACTERS_A_PIECE)
        for _ in range(ATTEMPTS):
            try:
                return cls(_learned(sentences, size, model_type))
            except RuntimeError as error:
                limits = TOO_LARGE.search(str(error)) or TOO_SMALL.search(str(error))
                if limits is None:
                    raise _training_error(size, str(error)) from error
                size = int(limits[1])
        raise UserError("SentencePiece found no vocabulary size for this text; give vocabulary_size")

    @property
    def vocabulary_size(self) -> int:
        return len(self._pieces)

    def encode(self, text: str) -> NDArray[np.int32]:
        check_text(text)
        parts, is_apart = self._parts.findall(text), self._is_apart.match
        encoded = iter(self._processor.encode([part for part in parts if not is_apart(part)]))
        ids = (self._spell(part) if is_apart(part) else next(encoded) for part in parts)
        return np.fromiter(chain.from_iterable(ids), dtype=np.int32)

    def _spell(self, part: str) -> list[int]:
        return [self._byte_ids[byte] for byte in part.encode("utf-8")]

    def _decode(self, ids: NDArray[np.integer[Any]], after: str) -> str:
        return b"".join(map(self._token_bytes.__getitem__, ids.tolist())).decode("utf-8", errors="replace")

    def token_text(self, id: int) -> str:
        check_id(id, self.vocabulary_size)
        return self._pieces[id].replace(SPACE, " ")

    def stream_decoder(self, after: str = "") -> StreamDecoder:
        return Utf8StreamDecoder(self._token_bytes)

    def _to_bytes(self) -> bytes:
        digest = hashlib.sha256(self._model).hexdigest()
        return f"textrnn-sentencepiece {FORMAT_VERSION} {digest}\n".encode("ascii") + self._model

    @classmethod
    def _from_bytes(cls, content: bytes) -> SentencePieceTokenizer:
        header = HEADER.match(content)
        if header is None:
            raise UserError("its first line must name the format and its version; copy it again or train again")
        check_version(int(header[1]))
        model = content[header.end() :]
        if hashlib.sha256(model).hexdigest() != header[2].decode("ascii"):
            raise UserError("its content must match the SHA-256 in its first line; copy it again or train again")
        return cls(model)


def _sample(sentences: Iterable[str]) -> list[str]:
    """Return a random sample of at most `MAX_TRAINING_CHARACTERS`; all sentences have the same probability.

    Whenever the sample is too large, about half of it is dropped, and the rate for later sentences is halved.
    """
    draw = random.Random(0).random
    kept: list[str] = []
    characters = 0
    share = 1.0
    for sentence in sentences:
        if share < 1.0 and draw() >= share:
            continue
        kept.append(sentence)
        characters += len(sentence)
        while characters > MAX_TRAINING_CHARACTERS:
            share /= 2
            kept = [sentence for sentence in kept if draw() < 0.5]
            characters = sum(map(len, kept))
    return kept


def _learned(sentences: Sequence[str], vocabulary_size: int, model_type: str) -> bytes:
    """Train SentencePiece on some sentences and return the serialised model.

    Raises:
        RuntimeError: the sentences do not allow this vocabulary size.
    """
    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_writer=model,
        model_type=model_type,
        vocab_size=vocabulary_size,
        byte_fallback=True,
        character_coverage=0.9995,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=False,
        pad_id=PAD_ID,
        unk_id=UNKNOWN_ID,
        bos_id=BEGINNING_ID,
        eos_id=END_ID,
        pad_piece=SPECIAL_TOKENS[PAD_ID],
        unk_piece=SPECIAL_TOKENS[UNKNOWN_ID],
        bos_piece=SPECIAL_TOKENS[BEGINNING_ID],
        eos_piece=SPECIAL_TOKENS[END_ID],
        num_threads=TRAINING_THREADS,
        minloglevel=2,
    )
    return model.getvalue()


def _training_error(vocabulary_size: int, message: str) -> UserError:
    if largest := TOO_LARGE.search(message):
        return UserError(
            f"vocabulary_size must be at most {largest[1]} for this text, was: {vocabulary_size}; "
            "lower it or train on more text"
        )
    if smallest := TOO_SMALL.search(message):
        return UserError(
            f"vocabulary_size must be at least {smallest[1]} for the characters of this text, "
            f"was: {vocabulary_size}; raise it"
        )
    return UserError(f"SentencePiece could not train on this text: {' '.join(message.split())}")
