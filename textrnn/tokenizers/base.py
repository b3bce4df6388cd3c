"""Base class of tokenizers, with special tokens, file format and checks."""

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
REPLACEMENT = "\ufffd"  # for the unknown token and invalid UTF-8

FORMAT_VERSION = 1
MAX_FILE_BYTES = 1 << 28  # far above any vocabulary; a larger file is not a tokenizer and is not read

AnyTokenizer = TypeVar("AnyTokenizer", bound="Tokenizer")


class StreamDecoder(ABC):
    """A decoder of ids to text during generation.

    The joined results of all `push` calls and of `finish` equal the result of `Tokenizer.decode` for all ids. Each
    result has only whole characters: a character of several tokens is returned with its last token.
    """

    @abstractmethod
    def push(self, id: int) -> str:
        """Add the next id and return the text that later ids cannot change, often `""`.

        Raises:
            UserError: no token has this id.
        """

    @abstractmethod
    def finish(self) -> str:
        """Return the remaining text, with U+FFFD for bytes that do not form a character, and reset the decoder."""


class Utf8StreamDecoder(StreamDecoder):
    """A stream decoder for tokens that are bytes of UTF-8."""

    def __init__(self, token_bytes: Sequence[bytes]) -> None:
        self._token_bytes = token_bytes
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, id: int) -> str:
        check_id(id, len(self._token_bytes))
        return self._utf8.decode(self._token_bytes[id])

    def finish(self) -> str:
        rest = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        return rest


class Tokenizer(ABC):
    """A tokenizer, which encodes text to integer ids and decodes ids to text.

    Ids 0 to 3 are `SPECIAL_TOKENS` in every tokenizer. `encode` does not mark the beginning or end of a document; the
    caller does. If a text is cut after a newline, the ids of its two parts are together those of the whole text. So a
    long text can be encoded in parts.
    """

    kind: ClassVar[str]
    file_name: ClassVar[str]

    @property
    @abstractmethod
    def vocabulary_size(self) -> int:
        """The number of ids, including the special tokens."""

    @abstractmethod
    def encode(self, text: str) -> NDArray[np.int32]:
        """Return the ids of a text, int32 `(tokens,)`, without beginning, end and pad tokens.

        Raises:
            UserError: the text is not a string, or has a lone surrogate, which is not valid in UTF-8.
        """

    def decode(self, ids: Sequence[int] | NDArray[np.integer[Any]], after: str = "") -> str:
        """Return the text of ids `(tokens,)`. Pad, beginning and end tokens are skipped.

        Args:
            ids: the token ids.
            after: text before the ids. It is not part of the result: `after + decode(ids, after)` is the whole text.

        Raises:
            UserError: no token has one of the ids.
        """
        array = np.asarray(ids)
        if not array.size:
            return ""
        for extreme in (array.min(), array.max()):
            check_id(extreme, self.vocabulary_size)
        return self._decode(array, after)

    @abstractmethod
    def _decode(self, ids: NDArray[np.integer[Any]], after: str) -> str:
        """Decode one or more ids, which are all in the vocabulary, as `decode` does."""

    def pieces(self, text: str) -> list[str]:
        """Return the text of each token of `encode(text)`, as written in the text if the tokenizer can tell."""
        return [self.token_text(int(id)) for id in self.encode(text)]

    @property
    def loses(self) -> str:
        """What `decode(encode(text))` loses besides unknown words, as text for the user; empty if nothing."""
        return ""

    def unknown(self, text: str) -> tuple[int, float]:
        """Return the number of words of a text that become the unknown token, and the nats needed to spell them.

        Both are 0 if the tokenizer spells unknown text with known tokens.
        """
        return 0, 0.0

    @abstractmethod
    def token_text(self, id: int) -> str:
        """Return the text of one token for the user; a token that is not text has a name in angle brackets.

        Raises:
            UserError: no token has this id.
        """

    @abstractmethod
    def stream_decoder(self, after: str = "") -> StreamDecoder:
        """Return a new decoder for one stream of ids; `after` as in `decode`."""

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the content, as 64 hexadecimal digits. `save` and `load` do not change it."""
        return hashlib.sha256(self._to_bytes()).hexdigest()

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what pickle needs to send the tokenizer to another process: the content of its file."""
        return type(self)._from_bytes, (self._to_bytes(),)

    def save(self, folder: Path) -> None:
        """Write the file `file_name` to an existing folder.

        Raises:
            UserError: the file cannot be written.
        """
        with write_atomically(folder / self.file_name) as temporary:
            temporary.write_bytes(self._to_bytes())

    @classmethod
    def load(cls: type[AnyTokenizer], folder: Path) -> AnyTokenizer:
        """Load the tokenizer that `save` wrote to a folder.

        Raises:
            UserError: the file is missing, damaged, of another kind or of a newer format.
        """
        path = folder / cls.file_name
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
        """Return the content of the file, with the format version first. Equal tokenizers give equal bytes."""

    @classmethod
    @abstractmethod
    def _from_bytes(cls: type[AnyTokenizer], content: bytes) -> AnyTokenizer:
        """Build the tokenizer from the result of `_to_bytes`.

        Raises:
            ValueError: the content is not valid. The message is one line.
        """


def to_json(kind: str, fields: dict[str, Any]) -> bytes:
    """Return the content of the file of a tokenizer that is saved as JSON."""
    document = {"format_version": FORMAT_VERSION, "kind": kind, **fields}
    return (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode("utf-8")


def from_json(content: bytes, kind: str, fields: dict[str, type]) -> dict[str, Any]:
    """Return the fields that were given to `to_json`.

    Args:
        content: content of the file.
        kind: required kind of the tokenizer.
        fields: required type of each field.

    Raises:
        ValueError: the content is not valid JSON, or has another version, kind or other fields.
    """
    try:
        document = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # RecursionError: nested too deep
        raise ValueError(f"it must be JSON in UTF-8, was: {error}; copy it again or train anew") from error
    if not isinstance(document, dict):
        raise ValueError("it must hold one JSON object; copy it again or train anew")
    check_version(document.pop("format_version", None))
    if (found := document.pop("kind", None)) != kind:
        raise ValueError(f"its kind must be {kind!r}, was: {str(found)[:40]!r}; name the folder of a {kind} tokenizer")
    if {name: type(value) for name, value in document.items()} != fields:
        names = ", ".join(f"{name} ({type_.__name__})" for name, type_ in fields.items())
        raise ValueError(f"beside version and kind it must hold {names} and nothing else; copy it again or train anew")
    return document


def check_version(version: object) -> None:
    """Raise a ValueError if the format version of a file is not `FORMAT_VERSION`."""
    if type(version) is int and version > FORMAT_VERSION:
        raise ValueError(f"its format version must be {FORMAT_VERSION}, was: {version}; update textrnn")
    if type(version) is not int or version != FORMAT_VERSION:
        raise ValueError(f"its format version must be {FORMAT_VERSION}, was: {str(version)[:40]!r}; train anew")


def check_id(id: int | np.integer[Any], vocabulary_size: int) -> None:
    """Raise a UserError if no token has this id."""
    if not 0 <= id < vocabulary_size:
        raise UserError(f"an id must be at least 0 and below the vocabulary size {vocabulary_size}, was: {id}")


def check_at_least(name: str, value: int, least: int) -> None:
    """Raise a UserError if a training option is below its minimum."""
    if value < least:
        raise UserError(f"{name} must be at least {least}, was: {value}; raise it or leave it out")


def check_text(text: str) -> None:
    """Raise a UserError if a text is not a string or cannot be encoded as UTF-8."""
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
    """Yield the texts unchanged, and check them.

    Raises:
        UserError: `texts` is a single string, a text is not valid, or all texts are empty.
    """
    if isinstance(texts, str):
        raise UserError("texts must be several strings, was one; put it in a list")
    empty = True
    for text in texts:
        check_text(text)
        empty = empty and not text
        yield text
    if empty:
        raise UserError("a tokenizer needs text to train on, was: none; give at least one character")
