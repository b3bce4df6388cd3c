"""What every tokenizer shares: the special tokens, the verbs, and the way it is kept in a file."""

from __future__ import annotations

import codecs
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from textrnn.errors import UserError, shown
from textrnn.files import write_atomically

SPECIAL_TOKENS = ("<pad>", "<unk>", "<s>", "</s>")
PAD_ID, UNKNOWN_ID, BEGINNING_ID, END_ID = range(4)
REPLACEMENT = "\ufffd"  # stands for what is no text: the unknown token, broken UTF-8

FORMAT_VERSION = 1
MAX_FILE_BYTES = 1 << 28  # no vocabulary comes near it; a larger file is not ours and is not read

AnyTokenizer = TypeVar("AnyTokenizer", bound="Tokenizer")


class StreamDecoder(ABC):
    """Turns ids into text while they are being generated.

    The texts of all `push` calls and of `finish`, joined, are what `Tokenizer.decode` gives for all ids at once.
    Each of them is whole characters: a character spelled over several tokens comes out with the last of them.
    """

    @abstractmethod
    def push(self, id: int) -> str:
        """Take the next id; give the text that no later id can change, often `""`.

        Raises:
            UserError: no token has this id.
        """

    def extend(self, ids: Sequence[int]) -> str:
        """Take several ids; give what `push` gives for all of them, joined."""
        return "".join(map(self.push, ids))

    @abstractmethod
    def finish(self) -> str:
        """Give what is still held back, bytes that never became a character as U+FFFD, and start afresh."""


class Utf8StreamDecoder(StreamDecoder):
    """A stream decoder for tokens that each stand for some bytes of UTF-8."""

    def __init__(self, token_bytes: Sequence[bytes]) -> None:
        self._token_bytes = token_bytes
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, id: int) -> str:
        check_id(id, len(self._token_bytes))
        return self._utf8.decode(self._token_bytes[id])

    def extend(self, ids: Sequence[int]) -> str:
        if not ids:
            return ""
        for extreme in (min(ids), max(ids)):
            check_id(extreme, len(self._token_bytes))
        return self._utf8.decode(b"".join([self._token_bytes[id] for id in ids]))

    def finish(self) -> str:
        rest = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        return rest


class Tokenizer(ABC):
    """Text to integer ids and back.

    Ids 0 to 3 are `SPECIAL_TOKENS` in every tokenizer. `encode` never adds them; the beginning and end of a document
    are for the caller to mark. A text cut after a newline encodes as its two parts do, so a long text can be encoded
    part by part.
    """

    kind: ClassVar[str]
    file_name: ClassVar[str]
    can_grow: ClassVar[bool] = False
    """Whether `extended` adds tokens."""

    @property
    @abstractmethod
    def vocabulary_size(self) -> int:
        """The number of ids, the special ones included."""

    def extended(self, other: Tokenizer) -> Tokenizer:
        """Return a tokenizer that has the tokens of another of its kind too, after its own, whose ids stay.

        Pieces of SentencePiece cannot be added: characters in no piece are spelled as bytes, and nothing is lost.
        """
        return self

    @abstractmethod
    def encode(self, text: str) -> NDArray[np.int32]:
        """Encode a text to ids, int32 `(tokens,)`, without special tokens.

        Raises:
            UserError: it is no string, or holds a lone surrogate, which no UTF-8 file can.
        """

    def encode_all(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """Encode each of some texts as `encode` does."""
        return [self.encode(text) for text in texts]

    def decode(self, ids: Sequence[int] | NDArray[np.integer[Any]], after: str = "") -> str:
        """Return the text of ids `(tokens,)`; pad, beginning and end read as nothing.

        Args:
            ids: the tokens.
            after: the text that they continue, which is not repeated: `after + decode(ids, after)` reads as one text.

        Raises:
            UserError: an id that no token has.
        """
        array = np.asarray(ids)
        if not array.size:
            return ""
        for extreme in (array.min(), array.max()):
            check_id(extreme, self.vocabulary_size)
        return self._decode(array, after)

    @abstractmethod
    def _decode(self, ids: NDArray[np.integer[Any]], after: str) -> str:
        """Decode at least one id; all are in the vocabulary."""

    def encode_whole(self, text: str) -> tuple[NDArray[np.int32], list[str]]:
        """Encode a text as `encode` does, but each character or word that is not known as one unknown token.

        Returns:
            ids, int32 ``(tokens,)``, and the text of each token as written, which may take the place of an unknown one.
        """
        return self.encode(text), [piece.strip() for piece in self.pieces(text)]

    def pieces(self, text: str) -> list[str]:
        """Return the text of each token of `encode(text)`, as the text spells it."""
        return [self.token_text(int(id)) for id in self.encode(text)]

    @property
    def loses(self) -> str:
        """What `decode(encode(text))` lacks of a text beside unknown words, for people; empty if nothing."""
        return ""

    def unknown(self, text: str) -> tuple[int, float]:
        """Count the words of a text that become the unknown token, and the nats to spell them.

        None, where what is unknown is spelled in tokens.
        """
        return 0, 0.0

    @abstractmethod
    def token_text(self, id: int) -> str:
        """Return one token for people; a token that is no text by itself is named in angle brackets.

        Raises:
            UserError: no token has this id.
        """

    @abstractmethod
    def stream_decoder(self, after: str = "") -> StreamDecoder:
        """Return a new decoder for one stream of ids; `after` as in `decode`."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the content, as 64 hexadecimal digits: the same before `save` and after `load`."""
        return hashlib.sha256(self._to_bytes()).hexdigest()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the content of the file."""
        return type(self)._from_bytes, (self._to_bytes(),)

    def save(self, folder: Path, prefix: str = "") -> None:
        """Write the file `file_name`, with a prefix before its name, into an existing folder.

        Raises:
            UserError: the disk refuses.
        """
        with write_atomically(folder / f"{prefix}{self.file_name}") as temporary:
            temporary.write_bytes(self._to_bytes())

    @classmethod
    def load(cls: type[AnyTokenizer], folder: Path, prefix: str = "") -> AnyTokenizer:
        """Read what `save` wrote.

        Raises:
            UserError: the file is missing, damaged, of another kind or of a newer format.
        """
        path = folder / f"{prefix}{cls.file_name}"
        try:
            if (size := path.stat().st_size) > MAX_FILE_BYTES:
                raise UserError(f"a tokenizer file must be at most {MAX_FILE_BYTES} bytes, {path} has {size}")
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path} could not be read: {error.strerror}; name the folder of a tokenizer") from error
        try:
            return cls._from_bytes(content)
        except ValueError as error:
            raise UserError(f"{path} is no {cls.kind} tokenizer that can be read: {error}") from error

    @abstractmethod
    def _to_bytes(self) -> bytes:
        """Return the whole file: the same bytes for the same content, the format version first."""

    @classmethod
    @abstractmethod
    def _from_bytes(cls: type[AnyTokenizer], content: bytes) -> AnyTokenizer:
        """Build a tokenizer from `_to_bytes`; raise a ValueError with one line for anything else."""


def to_json(kind: str, fields: dict[str, Any]) -> bytes:
    """Return the file of a tokenizer that is kept as JSON."""
    document = {"format_version": FORMAT_VERSION, "kind": kind, **fields}
    return (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode("utf-8")


def from_json(content: bytes, kind: str, fields: dict[str, type]) -> dict[str, Any]:
    """Return the fields that `to_json` was given, checked by name and type; raise a ValueError for others."""
    try:
        document = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # RecursionError: nested without end
        raise ValueError(f"it must be JSON in UTF-8, was: {error}; copy it again or train again") from error
    if not isinstance(document, dict):
        raise ValueError("it must hold one JSON object; copy it again or train again")
    check_version(document.pop("format_version", None))
    if (found := document.pop("kind", None)) != kind:
        raise ValueError(f"its kind must be {kind!r}, was: {str(found)[:40]!r}; name the folder of a {kind} tokenizer")
    if {name: type(value) for name, value in document.items()} != fields:
        names = ", ".join(f"{name} ({type_.__name__})" for name, type_ in fields.items())
        raise ValueError(f"beside version and kind it must hold {names} and nothing else; copy it again or train again")
    return document


def check_version(version: object) -> None:
    """Refuse a format version that is not ours."""
    if type(version) is int and version > FORMAT_VERSION:
        raise ValueError(f"its format version must be {FORMAT_VERSION}, was: {version}; update textrnn")
    if type(version) is not int or version != FORMAT_VERSION:
        raise ValueError(f"its format version must be {FORMAT_VERSION}, was: {str(version)[:40]!r}; train again")


def check_id(id: int | np.integer[Any], vocabulary_size: int) -> None:
    """Refuse an id that no token has."""
    if not 0 <= id < vocabulary_size:
        raise UserError(f"an id must be at least 0 and below the vocabulary size {vocabulary_size}, was: {id}")


def check_at_least(name: str, value: int, least: int) -> None:
    """Refuse a training option below its range."""
    if value < least:
        raise UserError(f"{name} must be at least {least}, was: {value}; raise it or leave it out")


def check_text(text: str) -> None:
    """Refuse what is no string, and a text that UTF-8 cannot spell."""
    if not isinstance(text, str):
        raise UserError(f"a text must be a string, was: {shown(text)}; give a string")
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        raise UserError(
            f"text must not hold lone surrogates, was: U+{code:04X} at character {error.start}; "
            "read the text as UTF-8 with errors='replace'"
        ) from error


def training_texts(texts: Iterable[str]) -> Iterator[str]:
    """Pass the texts on, and refuse what no tokenizer can learn from."""
    if isinstance(texts, str):
        raise UserError("texts must be several strings, was one; put it in a list")
    empty = True
    for text in texts:
        check_text(text)
        empty = empty and not text
        yield text
    if empty:
        raise UserError("a tokenizer needs text to train on, was: none; give at least one character")
