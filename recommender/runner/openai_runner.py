"""Runs and measures a model behind any server that speaks OpenAI's protocol.

``python -m recommender.runner.openai_runner`` is one run. All times are by this machine's clock and include the
network: decode is the tokens after the first one over the time since the first one, prefill the prompt over the time
to the first token. Token counts are those the server reports, where it does.
"""

from __future__ import annotations

import importlib.metadata
import ipaddress
import json
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import openai

from recommender.errors import RecommenderError, RunError
from recommender.runner import conversation, protocol
from recommender.runner.channel import Channel
from recommender.runner.client_process import MORE_THAN_ASKED, Silence, filler, run_client, words_for
from recommender.runner.measuring import measurement
from recommender.runner.noise import NoiseProbe
from recommender.runner.protocol import Question, RunRequest, TokenCounts
from recommender.runner.session import Answer, OnText
from recommender.types import MIB

_CONNECT_S = 5.0
_LIST_S = 10.0  # for a whole list of models
_LONGEST_LIST_BYTES = 16 * MIB
_MOST_TOKENS = 10**8  # no prompt or answer has more: a count above it is none
_WARM_UP_TOKENS = 16  # a model may begin with a few that have no text
_TO_WRITE = "Write the numbers from one to one thousand in words, one after another, and nothing else."
_IN_ONE_PIECE = "The server sent its answer in one piece, so its speed cannot be told. Turn streaming on there."
_BROKE_OFF = "The server broke off in the middle of its answer. Look at its log, then try again."
# What a request holds, tried in this order until one is not refused.
_DIALECTS = (
    ("max_tokens", "stream_options", "temperature", "seed", "ignore_eos"),  # llama-server, vLLM
    ("max_tokens", "stream_options", "temperature", "seed"),
    ("max_completion_tokens", "stream_options", "temperature", "seed"),
    ("max_completion_tokens", "stream_options"),  # OpenAI's thinking models
    ("max_tokens", "temperature"),
)


@dataclass(frozen=True)
class _Server:
    """An address and the key to it, which no sentence repeats."""

    endpoint: str
    api_key: str = field(repr=False)

    @property
    def name(self) -> str:
        """The address as it may be shown: without a password or a key that is part of it."""
        return re.sub(r"(?<=//)[^/?#]*@|[?#].*", "", self.endpoint)

    def client(self, silence_s: float) -> openai.OpenAI:
        """Raises ``RunError`` when the address or the key cannot be one."""
        key = self.api_key.strip()
        if not (key.isascii() and key.isprintable()):
            raise RunError("The key has a character that no key has. Copy it again.")
        timeout = openai.Timeout(silence_s, connect=_CONNECT_S)
        try:
            host = urlsplit(self.endpoint).hostname
            if not host:
                raise ValueError("no host")
            return openai.OpenAI(
                base_url=self.endpoint,
                api_key=key or "none",
                max_retries=0,
                timeout=timeout,
                http_client=openai.DefaultHttpxClient(
                    # A proxy of the environment does not reach a server on this machine.
                    trust_env=not _is_loopback(host),
                    # Neither prompt nor key goes to a server that the person did not name.
                    follow_redirects=False,
                    timeout=timeout,
                ),
            )
        except Exception as error:  # which one is up to the HTTP library that openai brings
            raise RunError(f"{self.name} is no address: enter one such as http://127.0.0.1:8080/v1.") from error

    @contextmanager
    def explained(self, model: str = "") -> Iterator[None]:
        """Within this block, what can go wrong with a server comes out as one of our errors."""
        try:
            yield
        except (RecommenderError, MemoryError, RecursionError):
            raise
        except openai.AuthenticationError as error:
            raise RunError(f"{self.name} refused the key. Enter the one that it expects.") from error
        except openai.NotFoundError as error:
            missing = f"no model {model}" if model else "no list of models"
            raise RunError(
                f"{self.name} has {missing}, or its interface is at another path, often ending in /v1."
            ) from error
        except openai.APIStatusError as error:
            raise RunError(f"{self.name} {self._refusal(error)}") from error
        except openai.APITimeoutError as error:
            raise RunError(
                f"{self.name} did not answer in time. Is it still loading the model? Then try again."
            ) from error
        except openai.APIConnectionError as error:
            raise RunError(f"No server answers at {self.name}. Start it, or correct the address.") from error
        except openai.APIError as error:
            raise RunError(
                f"The server broke off in the middle of its answer: {self._short(error.message)}. Look at its log, "
                "then try again."
            ) from error
        except Exception as error:  # whatever its libraries make of an address or an answer that is none
            raise RunError(
                f"What answers at {self.name} does not speak OpenAI's protocol. Check the address; it often ends in "
                "/v1."
            ) from error

    def _refusal(self, error: openai.APIStatusError) -> str:
        said = error.body.get("message") or error.body if isinstance(error.body, dict) else error.body
        if place := error.response.headers.get("location"):
            place = re.sub("/(chat/completions|models)$", "", place)
            return f"sends requests on to {self._short(place)}. Enter that address."
        advice = "Wait a while, then try again." if error.status_code in (429, 503) else "Look at its log."
        return f"refused ({error.status_code}): {self._short(str(said or error.message))}. {advice}"

    def _short(self, text: str) -> str:
        if key := self.api_key.strip():
            text = text.replace(key, "…")
        return " ".join("".join(one if one.isprintable() else " " for one in text).split())[:200].rstrip(".")


@dataclass(frozen=True)
class _Reply:
    prompt_tokens: int | None  # as the server reports, else None
    gen_tokens: int
    counted: bool  # the server reported its tokens; else pieces of text were counted
    pieces: int
    ttft_s: float
    gen_s: float  # since the first token
    finish: str

    @property
    def decode_tokens_per_s(self) -> float:
        """0 when it cannot be told, as from an answer in one piece."""
        steps = self.gen_tokens - 1
        return steps / self.gen_s if self.pieces > 1 and steps > 0 and self.gen_s > 0 else 0.0


class _Run:
    def __init__(self, request: RunRequest, channel: Channel, silence: Silence) -> None:
        self._request, self._channel, self._silence = request, channel, silence
        self._server = _Server(request.endpoint, request.api_key)
        self._dialect: int | None = None  # the one that it understood
        self._client = self._server.client(request.longest_silence_s)

    def play(self) -> None:
        self._channel.send(protocol.Loading(self._request.file, 0.0, self._server.name))
        conversation.play(self._request, self._channel, self._answer, self._measure)

    def _measure(self, counts: TokenCounts) -> None:
        self._channel.send(protocol.WarmUp())
        warm_ups: list[_Reply] = []

        def count(words: int) -> int | None:
            warm_ups.append(self._write(words, min(counts.gen_tokens, _WARM_UP_TOKENS)))
            return warm_ups[-1].prompt_tokens

        words = words_for(counts.prompt_tokens, count)
        count(words)
        probe = NoiseProbe()
        repeats = []
        for number in range(1, self._request.repeats + 1):
            reply = self._time(words, counts.gen_tokens)
            prompt_tokens = reply.prompt_tokens or words
            repeat = protocol.Repeat(
                number=number,
                of=self._request.repeats,
                prompt_tokens=prompt_tokens,
                gen_tokens=reply.gen_tokens,
                prefill_tokens_per_s=prompt_tokens / reply.ttft_s,
                decode_tokens_per_s=reply.decode_tokens_per_s,
                ttft_s=reply.ttft_s,
            )
            repeats.append(repeat)
            self._channel.send(repeat)
        noise = probe.finish([repeat.decode_tokens_per_s for repeat in repeats], work_is_ours=False)
        result = measurement(
            self._request,
            counts,
            repeats,
            noise,
            device_key="",  # another machine may have done the work: it corrects nothing here
            file_name=self._request.file,
            file_bytes=0.0,
            binding=f"openai {importlib.metadata.version('openai')}",
            build=self._server.name + ("" if warm_ups[0].counted else "; tokens counted by pieces of text"),
            load_s=max(0.0, warm_ups[0].ttft_s - warm_ups[1].ttft_s),
            memory=None,
            peak_resident_bytes=None,
        )
        self._channel.send(protocol.Result(result))

    def _write(self, words: int, gen_tokens: int) -> _Reply:
        """An answer to a prompt that begins like no other, so that nothing of it is in a cache."""
        prompt = f"{filler(words, uuid.uuid4().hex[:8])}\n\n{_TO_WRITE}"
        return self._complete([{"role": "user", "content": prompt}], gen_tokens, 0.0, 0, None)

    def _time(self, words: int, gen_tokens: int) -> _Reply:
        reply = self._write(words, gen_tokens)
        if reply.counted and reply.gen_tokens < 2:
            raise RunError("The model ended its answer after one token, so its speed cannot be told. Choose another.")
        if not reply.decode_tokens_per_s:
            raise RunError(_IN_ONE_PIECE)
        return reply

    def _answer(self, question: Question, on_text: OnText) -> Answer:
        messages = [{"role": turn.role, "content": turn.content} for turn in question.messages]
        reply = self._complete(messages, question.answer_tokens, question.temperature, question.seed, on_text)
        return Answer(
            prompt_tokens=reply.prompt_tokens or 0,
            answer_tokens=reply.gen_tokens,
            ttft_s=reply.ttft_s,
            decode_tokens_per_s=reply.decode_tokens_per_s,
            finish=reply.finish,
            template="file",
        )

    def _complete(
        self, messages: list[Any], tokens: int, temperature: float, seed: int, on_text: OnText | None
    ) -> _Reply:
        """Without ``on_text`` the answer goes on until its limit, where the server can be told so."""
        options = {
            "max_tokens": tokens,
            "max_completion_tokens": tokens,
            "stream_options": {"include_usage": True},
            "temperature": temperature,
            "seed": seed,
            **({"ignore_eos": True} if on_text is None else {}),
        }
        with self._server.explained(self._request.file), self._silence:
            started, stream = self._begin(messages, options)
            return self._read(stream, started, tokens, on_text)

    def _begin(self, messages: list[Any], options: dict[str, Any]) -> tuple[float, Any]:
        """When it was asked, and the stream of its answer."""
        refusals = []
        for number in range(self._dialect or 0, len(_DIALECTS)):
            started = time.perf_counter()
            try:
                stream = self._client.chat.completions.create(
                    model=self._request.file,
                    messages=messages,
                    stream=True,
                    extra_body={name: options[name] for name in _DIALECTS[number] if name in options},
                )
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                refusals.append(error)
                self._silence.heard()
            else:
                self._dialect = number
                return started, stream
        raise refusals[0 if self._dialect is not None else -1]

    def _read(self, stream: Any, started: float, tokens: int, on_text: OnText | None) -> _Reply:
        first_s = last_s = ended_s = 0.0
        pieces, thought, finish = 0, False, ""
        chunk: Any = None
        usage: Any = None
        for chunk in _unbroken(stream):
            usage = getattr(chunk, "usage", None) or usage
            for choice in getattr(chunk, "choices", None) or ():
                said = getattr(choice, "delta", None)
                reasoning = getattr(said, "reasoning_content", None) or getattr(said, "reasoning", None)
                for piece, thinking in ((reasoning, True), (getattr(said, "content", None), False)):
                    if not isinstance(piece, str) or not piece:
                        continue
                    self._silence.heard()
                    pieces += 1
                    thought = thought or thinking
                    last_s = time.perf_counter() - started
                    first_s = first_s or last_s
                    if on_text is not None and not on_text(piece, thinking):
                        stream.close()
                        return _Reply(None, pieces, False, pieces, first_s, last_s - first_s, "stopped")
                if isinstance(reason := getattr(choice, "finish_reason", None), str) and reason:
                    finish, ended_s = reason, time.perf_counter() - started
            if pieces > MORE_THAN_ASKED * tokens:
                stream.close()
                raise RunError(f"The server does not keep to {tokens} tokens: its answer was cut off.")
        if chunk is None and "json" in stream.response.headers.get("content-type", ""):
            raise RunError(_IN_ONE_PIECE)
        if chunk is None:
            raise ValueError("no chunk")
        if not pieces and finish == "length":
            raise RunError(
                f"The model used up {tokens} tokens without a word, perhaps for thinking that is not shown. Allow it "
                "more tokens, or choose another."
            )
        if not pieces:
            raise RunError("The server ended its answer without a word. Look at its log, then try again.")
        if not finish and usage is None:
            raise RunError(_BROKE_OFF)
        counted = _count(getattr(usage, "completion_tokens", None))
        details = getattr(usage, "completion_tokens_details", None)
        hidden = 0 if thought else _count(getattr(details, "reasoning_tokens", None)) or 0
        if hidden and on_text is None:
            raise RunError(f"The model thinks where it cannot be seen ({hidden} tokens), so its speed cannot be told.")
        return _Reply(
            prompt_tokens=_count(getattr(usage, "prompt_tokens", None)),
            gen_tokens=max(1, counted - hidden) if counted else pieces,
            counted=bool(counted),
            pieces=pieces,
            ttft_s=first_s,
            # The last tokens that the server counts may have no text.
            gen_s=max(last_s, ended_s if counted else 0.0) - first_s,
            finish=finish or "stop",
        )


def _unbroken(stream: Any) -> Iterator[Any]:
    """The chunks of a stream. Raises ``RunError`` when the connection is lost before its end."""
    try:
        yield from stream
    except openai.APITimeoutError:
        raise
    except openai.APIConnectionError as error:
        raise RunError(_BROKE_OFF) from error


def _count(value: object) -> int | None:
    """A number of tokens as a server reports it; ``None`` when it is none."""
    return value if isinstance(value, int) and value is not True and 0 < value < _MOST_TOKENS else None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def models_at(endpoint: str, api_key: str = "") -> tuple[str, ...]:
    """The names of the models that a server offers.

    Raises ``RunError`` when it cannot be asked.
    """
    server = _Server(endpoint, api_key)
    ends = time.monotonic() + _LIST_S
    with (
        server.client(_CONNECT_S) as client,
        server.explained(),
        client.models.with_streaming_response.list() as response,
    ):
        body = bytearray()
        for part in response.iter_bytes():
            body += part
            if len(body) > _LONGEST_LIST_BYTES or time.monotonic() > ends:
                raise RunError(f"The list of models at {server.name} does not end. Check the address.")
        names = [model["id"] for model in json.loads(body)["data"]]
    return tuple(name for name in names if isinstance(name, str))


def _play(request: RunRequest, channel: Channel, silence: Silence) -> None:
    _Run(request, channel, silence).play()


if __name__ == "__main__":
    run_client(_play, "The server")
