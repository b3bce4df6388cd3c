"""Settings of the server. Each is an option of `textrnn serve` and an environment variable, ``TEXTRNN_NAME``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from textrnn.errors import UserError, shown

PREFIX = "TEXTRNN_"


def _setting(default: Any, least: float, most: float, text: str) -> Any:
    return field(default=default, metadata={"least": least, "most": most, "text": text})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the server.

    Raises:
        UserError: a value is out of its range.
    """

    host: str = _setting("127.0.0.1", 0, 0, "address to listen on; 0.0.0.0 is every network")
    port: int = _setting(8000, 0, 65535, "port to listen on; 0 is any free one")
    api_key: str = _setting("", 0, 0, "key that clients must send, as: Authorization: Bearer KEY")
    cors_origins: str = _setting(
        "", 0, 0, "origins of web pages that may call the server, separated by commas; * is all"
    )
    streams: int = _setting(16, 1, 1024, "texts of a model in one call of its graph")
    queue: int = _setting(
        64, 0, 100_000, "further texts of a model, which take turns, or requests of other kinds that wait"
    )
    max_body: int = _setting(1 << 20, 1, 1 << 30, "maximum bytes of a request")
    max_tokens: int = _setting(10_000, 1, 10_000_000, "maximum length of a text that a request may ask for")
    read_seconds: float = _setting(10.0, 0.01, 3600, "seconds that a client may take to send a request")
    stall_seconds: float = _setting(60.0, 0.01, 3600, "seconds that a client may take to accept a part of an answer")
    drain_seconds: float = _setting(30.0, 0, 3600, "seconds that answers have to finish after SIGTERM or Ctrl-C")

    def __post_init__(self) -> None:
        for entry in fields(self):
            value, least, most = getattr(self, entry.name), entry.metadata["least"], entry.metadata["most"]
            if not isinstance(value, str) and not least <= value <= most:
                raise UserError(
                    f"{option(entry.name)} must be between {least:,} and {most:,}, was: {shown(value)}; "
                    "see textrnn serve --help"
                )

    @property
    def origins(self) -> list[str]:
        """The origins of `cors_origins`."""
        return [origin.strip() for origin in self.cors_origins.split(",") if origin.strip()]


def option(name: str) -> str:
    """Return the option of a setting."""
    return "--" + name.replace("_", "-")


def from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings that are environment variables.

    Raises:
        UserError: a variable is not a number where it must be one.
    """
    found = dict[str, Any]()
    for entry in fields(Settings):
        name = PREFIX + entry.name.upper()
        if name in environment:
            kind: Any = type(entry.default)
            try:
                found[entry.name] = kind(environment[name])
            except ValueError:
                what = "a whole number" if kind is int else "a number"
                raise UserError(f"{name} must be {what}, was: {shown(environment[name])}; change or unset it") from None
    return found
