"""What goes to a run's process and what comes back: one JSON request in, one JSON event per line out."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, Literal, TypeVar

from recommender import errors
from recommender.runner.checks import Check, Verdict
from recommender.types import KV_TYPES, Measurement, Memory, Settings

T = TypeVar("T")


@dataclass(frozen=True)
class Message:
    """One turn of a chat. ``role`` is "system", "user" or "assistant"."""

    role: str
    content: str


@dataclass(frozen=True)
class Question:
    """A chat to answer. Its last turn is the user's."""

    messages: tuple[Message, ...]
    answer_tokens: int = 256
    temperature: float = 0.7
    seed: int = 0
    reuse_prefix: bool = False  # keep what the last answer computed of these turns: quick, but no measurement


@dataclass(frozen=True)
class TokenCounts:
    prompt_tokens: int
    gen_tokens: int


@dataclass(frozen=True)
class RunRequest:
    """One run: which file, with which settings, what to measure and what to answer.

    With the runtime "llama.cpp" the file is ``model_path`` on this machine, or ``repo`` + ``file`` + ``revision`` on
    the Hub, which is then downloaded first. With "ollama", ``file`` is the model's name there: it is pulled when the
    server lacks it, or made from ``model_path`` where that is given. With "openai" it is the name of the model that
    the server at ``endpoint`` gives it. ``repeats=0`` measures nothing; no ``prompt`` and no ``messages`` answers
    nothing. ``keep_loaded`` keeps the model in memory for a chat after all that.
    """

    model_id: str
    quantization: str
    settings: Settings
    model_path: str = ""
    repo: str = ""
    file: str = ""  # the first part, when the file is split
    revision: str = ""  # a commit; "" = the newest
    file_sha256: str = ""
    expected_file_bytes: float | None = None  # what the catalog says it has
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
    task_counts: TokenCounts | None = None  # measured as well: what the person's task looks like
    repeats: int = 3
    checks: tuple[Check, ...] = ()  # asked after the measurement
    keep_loaded: bool = False
    idle_s: float = 300.0  # a kept model leaves memory after so long without a question
    most_download_bytes: float | None = None  # a larger file is not fetched
    longest_s: float | None = None  # from its start, a download and a chat included; None: no limit
    longest_silence_s: float = 600.0  # a server with a large model may take minutes before its first word
    endpoint: str = ""
    api_key: str = field(default="", repr=False)
    device_name: str = ""
    device_key: str = ""
    rehearsal: bool = False
    predicted_decode_tokens_per_s: float | None = None
    predicted_prefill_tokens_per_s: float | None = None
    predicted_ttft_s: float | None = None
    predicted_memory_bytes: float | None = None

    def question(self) -> Question | None:
        """What to answer; None when nothing is to be answered."""
        turns = self.messages or ((Message("user", self.prompt),) if self.prompt else ())
        return Question(turns, self.answer_tokens, self.temperature, self.seed) if turns else None

    def counts(self) -> tuple[TokenCounts, ...]:
        """What to measure, one measurement each."""
        if not self.repeats:
            return ()
        standard = TokenCounts(self.prompt_tokens, self.gen_tokens)
        return (standard, self.task_counts) if self.task_counts else (standard,)

    def predicted_speeds(self, counts: TokenCounts) -> dict[str, float | None]:
        """The predictions for a measurement with these counts; they were made for the standard ones."""
        if counts != self.counts()[0]:
            return {}
        return {
            "predicted_decode_tokens_per_s": self.predicted_decode_tokens_per_s,
            "predicted_prefill_tokens_per_s": self.predicted_prefill_tokens_per_s,
            "predicted_ttft_s": self.predicted_ttft_s,
        }

    def check(self) -> None:
        """Raises ``BadInputError`` when the request makes no sense, before any process is started."""
        settings = self.settings
        if self.runtime not in RUNTIMES:
            raise errors.unknown("runtime", self.runtime, list(RUNTIMES))
        if self.runtime == "ollama" and not self.file:
            raise errors.BadInputError("A run with Ollama needs the model's name there, such as qwen3:0.6b.")
        if self.runtime == "openai" and not (self.file and self.endpoint.startswith(("http://", "https://"))):
            raise errors.BadInputError(
                "A run at a server needs its address, such as http://127.0.0.1:8080/v1, and the model's name there."
            )
        if self.runtime == "llama.cpp" and not self.model_path and not (self.repo and self.file):
            raise errors.BadInputError("A run needs a model file: a path on this machine, or a repository and a file.")
        if self.runtime == "onnx-genai" and not self.model_path:
            raise errors.BadInputError("A run with ONNX Runtime GenAI needs the folder that Olive made.")
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
        for counts in self.counts():
            wanted = counts.prompt_tokens + counts.gen_tokens + 1
            if wanted > settings.context_tokens:
                raise errors.BadInputError(
                    f"Measuring {counts.prompt_tokens} + {counts.gen_tokens} tokens needs a context of {wanted}, but "
                    f"it is {settings.context_tokens}: raise the context or measure fewer tokens."
                )


# Those that can run here; "openai" is any server that speaks its protocol.
RUNTIMES = ("llama.cpp", "ollama", "openai", "onnx-genai")

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
    thinking: bool = False


@dataclass(frozen=True)
class Answered:
    """``template`` is "file" when the GGUF's own chat template was used, "plain" when it has none that works."""

    prompt_tokens: int
    answer_tokens: int
    ttft_s: float
    decode_tokens_per_s: float
    finish: str  # "stop", "length", "stopped" by the person, "broken off" by a server
    template: str


@dataclass(frozen=True)
class Checked:
    """One prompt of the quick check was asked and judged."""

    verdict: Verdict
    number: int
    of: int


@dataclass(frozen=True)
class Ready:
    """Everything asked for is done; the model stays in memory and takes questions."""


@dataclass(frozen=True)
class Unanswered:
    """A question in a chat could not be answered; the model stays."""

    message: str


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
    | Checked
    | Ready
    | Unanswered
    | FileReady
    | Error
)
EVENTS: dict[str, type[Any]] = {event.__name__: event for event in typing.get_args(Event)}

State = Literal[
    "queued",
    "downloading",
    "verifying",
    "loading",
    "measuring",
    "answering",
    "checking",
    "chatting",
    "done",
    "failed",
    "cancelled",
]

# ── commands to a run whose model is kept loaded ─────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Ask:
    question: Question


@dataclass(frozen=True)
class RunChecks:
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class StopAnswer:
    """End the answer that is being written, or the quick check; the model stays."""


@dataclass(frozen=True)
class Hurry:
    """Another run waits for the memory: stay only while questions come quickly."""


Command = Ask | RunChecks | StopAnswer | Hurry
COMMANDS: dict[str, type[Any]] = {command.__name__: command for command in typing.get_args(Command)}


# ── JSON ─────────────────────────────────────────────────────────────────────────────────────────────────────


def to_json(item: Any) -> str:
    """A dataclass as one line of JSON."""
    return json.dumps(asdict(item))


def encode(message: Event | Command) -> str:
    """An event or a command as one line of JSON."""
    return json.dumps({"event": type(message).__name__, **asdict(message)})


def decode(line: str) -> Event:
    """The event in a line. Raises ``ValueError`` when the line is not one of ours."""
    event: Event = _decode(line, EVENTS)
    return event


def decode_command(line: str) -> Command:
    """The command in a line. Raises ``ValueError`` when the line is not one of ours."""
    command: Command = _decode(line, COMMANDS)
    return command


def _decode(line: str, kinds: Mapping[str, type[Any]]) -> Any:
    data = json.loads(line)
    if not isinstance(data, dict) or data.get("event") not in kinds:
        raise ValueError("not one of ours")
    return from_dict(kinds[data.pop("event")], data)


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
