"""What goes to a run's process and what comes back: one JSON request in, one JSON event per line out."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any, Literal, TypeVar

from recommender import errors
from recommender.types import Measurement, Memory, Settings

T = TypeVar("T")


@dataclass(frozen=True)
class Message:
    """One turn of a chat. ``role`` is "system", "user" or "assistant"."""

    role: str
    content: str


@dataclass(frozen=True)
class RunRequest:
    """One run: which file, with which settings, what to measure and what to answer.

    The file is ``model_path`` on this machine, or ``repo`` + ``file`` + ``revision`` on the Hub, which is then
    downloaded first; with the runtime "ollama", ``file`` is the model's name there. ``repeats=0`` measures nothing;
    no ``prompt`` and no ``messages`` answers nothing.
    """

    model_id: str
    quantization: str
    settings: Settings
    model_path: str = ""
    repo: str = ""
    file: str = ""  # the first part, when the file is split
    revision: str = ""  # a commit; "" = the newest
    file_sha256: str = ""
    runtime: str = "llama.cpp"
    binding: str | None = None  # None: the best one installed
    prompt: str = ""
    messages: tuple[Message, ...] = ()  # a whole chat; ``prompt`` alone is one turn of the user
    answer_tokens: int = 256
    temperature: float = 0.7
    seed: int = 0
    answer_first: bool = False  # answer before measuring
    prompt_tokens: int = 512
    gen_tokens: int = 128
    repeats: int = 3
    device_name: str = ""
    device_key: str = ""
    rehearsal: bool = False
    predicted_decode_tokens_per_s: float | None = None
    predicted_prefill_tokens_per_s: float | None = None
    predicted_ttft_s: float | None = None
    predicted_memory_bytes: float | None = None

    def chat(self) -> tuple[Message, ...]:
        """The turns to answer; empty when nothing is to be answered."""
        return self.messages or ((Message("user", self.prompt),) if self.prompt else ())

    def check(self) -> None:
        """Raises ``BadInputError`` when the request makes no sense, before any process is started."""
        settings = self.settings
        if self.runtime not in RUNTIMES:
            raise errors.unknown("runtime", self.runtime, list(RUNTIMES))
        if self.runtime == "ollama" and not self.file:
            raise errors.BadInputError("A run with Ollama needs the model's name there, such as qwen3:0.6b.")
        if self.runtime == "llama.cpp" and not self.model_path and not (self.repo and self.file):
            raise errors.BadInputError("A run needs a model file: a path on this machine, or a repository and a file.")
        for name, value, least in (
            ("context", settings.context_tokens, 1),
            ("batch", settings.batch_tokens, 1),
            ("ubatch", settings.ubatch_tokens, 1),
            ("parallel", settings.parallel, 1),
            ("threads", settings.threads, 1),
            ("GPU layers", settings.gpu_layers, -1),
            ("prompt tokens", self.prompt_tokens, 1),
            ("generated tokens", self.gen_tokens, 1),
            ("answer tokens", self.answer_tokens, 1),
            ("repeats", self.repeats, 0),
        ):
            if value < least:
                raise errors.BadInputError(f"{name} is {value}: it must be at least {least}.")
        if settings.ubatch_tokens > settings.batch_tokens:
            raise errors.BadInputError(
                f"ubatch is {settings.ubatch_tokens}, above the batch of {settings.batch_tokens}: make it at most that."
            )
        if settings.kv_type not in KV_TYPES:
            raise errors.BadInputError(
                f"{settings.kv_type!r} is no KV cache type: choose one of {', '.join(KV_TYPES)}."
            )
        if settings.kv_type not in ("f32", "f16", "bf16") and not settings.flash_attn:
            raise errors.BadInputError(f"A {settings.kv_type} KV cache needs flash attention: turn it on, or use f16.")
        wanted = self.prompt_tokens + self.gen_tokens + 1
        if self.repeats and wanted > settings.context_tokens:
            raise errors.BadInputError(
                f"Measuring {self.prompt_tokens} + {self.gen_tokens} tokens needs a context of {wanted}, but it is "
                f"{settings.context_tokens}: raise the context or measure fewer tokens."
            )


RUNTIMES = ("llama.cpp", "ollama")  # those that can run here
KV_TYPES = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")

# ── events ───────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Queued:
    """Waiting for the one worker slot. ``position`` 1 is next."""

    position: int


@dataclass(frozen=True)
class Downloading:
    file: str
    done_bytes: float
    total_bytes: float
    bytes_per_s: float | None = None


@dataclass(frozen=True)
class Verifying:
    file: str


@dataclass(frozen=True)
class Loading:
    file: str
    file_bytes: float
    binding: str


@dataclass(frozen=True)
class Loaded:
    """``memory`` is what the runtime's own load log says it allocated."""

    memory: Memory
    load_s: float
    build: str


@dataclass(frozen=True)
class WarmUp:
    pass


@dataclass(frozen=True)
class Repeat:
    """One timed repeat. Counts and times are the runtime's own; ``ttft_s`` is wall clock."""

    number: int
    of: int
    prompt_tokens: int
    gen_tokens: int
    prefill_tokens_per_s: float
    decode_tokens_per_s: float
    ttft_s: float


@dataclass(frozen=True)
class FirstToken:
    ttft_s: float


@dataclass(frozen=True)
class Text:
    piece: str


@dataclass(frozen=True)
class Answered:
    """``template`` is "file" when the GGUF's own chat template was used, "plain" when it has none that works."""

    prompt_tokens: int
    answer_tokens: int
    ttft_s: float
    decode_tokens_per_s: float
    finish: str  # "stop" or "length"
    template: str


@dataclass(frozen=True)
class Result:
    measurement: Measurement


@dataclass(frozen=True)
class FileReady:
    """A download is complete and verified."""

    path: str
    sha256: str


@dataclass(frozen=True)
class Error:
    """``kind`` is the name of a class in ``errors.py``; ``message`` is shown as it is."""

    kind: str
    message: str


Event = (
    Queued
    | Downloading
    | Verifying
    | Loading
    | Loaded
    | WarmUp
    | Repeat
    | FirstToken
    | Text
    | Answered
    | Result
    | FileReady
    | Error
)
EVENTS: dict[str, type[Any]] = {event.__name__: event for event in typing.get_args(Event)}

State = Literal["queued", "downloading", "loading", "measuring", "answering", "done", "failed", "cancelled"]


# ── JSON ─────────────────────────────────────────────────────────────────────────────────────────────────────


def to_json(item: Any) -> str:
    """A dataclass as one line of JSON."""
    return json.dumps(asdict(item))


def encode(event: Event) -> str:
    """An event as one line of JSON."""
    return json.dumps({"event": type(event).__name__, **asdict(event)})


def decode(line: str) -> Event:
    """The event in a line. Raises ``ValueError`` when the line is not one of ours."""
    data = json.loads(line)
    if not isinstance(data, dict) or data.get("event") not in EVENTS:
        raise ValueError("not an event")
    event: Event = from_dict(EVENTS[data.pop("event")], data)
    return event


def from_dict(cls: type[T], data: Mapping[str, Any]) -> T:
    """Build a dataclass from what ``asdict`` made of it. Raises ``ValueError`` for unknown or missing fields."""
    hints = typing.get_type_hints(cls)
    known = {field.name for field in fields(cls)}  # type: ignore[arg-type]
    if unknown := set(data) - known:
        raise ValueError(f"unknown fields: {', '.join(sorted(unknown))}")
    try:
        return cls(**{name: _convert(hints[name], value) for name, value in data.items()})
    except TypeError as error:
        raise ValueError(str(error)) from error


def _convert(hint: Any, value: Any) -> Any:
    if value is None:
        return None
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert(next(argument for argument in arguments if argument is not type(None)), value)
    if origin is tuple:
        return tuple(_convert(arguments[0], item) for item in value)
    if is_dataclass(hint) and isinstance(hint, type):
        return from_dict(hint, value)
    return value


def error_from(event: Error) -> errors.RecommenderError:
    """The exception an ``Error`` event stands for."""
    cls = getattr(errors, event.kind, None)
    if isinstance(cls, type) and issubclass(cls, errors.RecommenderError):
        return cls(event.message)
    return errors.RunError(event.message)
