"""Runs and measures a model behind any server that speaks OpenAI's protocol.

``python -m recommender.runner.openai_runner`` is one run. All times are by this machine's clock and include the
network: decode is the tokens after the first one over the time since the first one, prefill the prompt over the time
to the first token. Token counts are those the server reports, where it does.
"""

from __future__ import annotations

import importlib.metadata
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import openai

from recommender.errors import RecommenderError, RunError
from recommender.runner import conversation, protocol
from recommender.runner.channel import Channel
from recommender.runner.client_process import MORE_THAN_ASKED, Silence, filler, run_client
from recommender.runner.measuring import measurement
from recommender.runner.noise import NoiseProbe
from recommender.runner.protocol import Question, RunRequest, TokenCounts
from recommender.runner.session import Answer, OnText

_CONNECT_S = 5.0
_TO_WRITE = "Write the numbers from one to one thousand in words, one after another, and nothing else."
# What servers differ in, tried in this order until one is not refused.
_DIALECTS: tuple[dict[str, Any], ...] = (
    {"limit": "max_tokens", "stream_options": {"include_usage": True}},
    {"limit": "max_completion_tokens", "stream_options": {"include_usage": True}},
    {"limit": "max_tokens"},
)


@dataclass(frozen=True)
class _Reply:
    prompt_tokens: int | None  # as the server reports, else None
    gen_tokens: int
    counted: bool  # the server reported its tokens; else pieces of text were counted
    ttft_s: float
    gen_s: float  # since the first token
    finish: str


class _Run:
    def __init__(self, request: RunRequest, channel: Channel, silence: Silence) -> None:
        self._request, self._channel, self._silence = request, channel, silence
        self._dialects = list(_DIALECTS)
        self._client = openai.OpenAI(
            base_url=request.endpoint,
            api_key=request.api_key or "none",
            max_retries=0,
            timeout=openai.Timeout(request.longest_silence_s, connect=_CONNECT_S),
        )

    def play(self) -> None:
        request = self._request
        with _explained(request.endpoint, request.file):
            self._channel.send(protocol.Loading(request.file, 0.0, request.endpoint))
            question = request.question()
            if question and request.answer_first:
                conversation.answer(self._channel, question, self._answer)
            for counts in request.counts():
                self._measure(counts)
            if question and not request.answer_first:
                conversation.answer(self._channel, question, self._answer)
        if request.checks:
            conversation.run_checks(self._channel, request.checks, self._answer)
        if request.keep_loaded:
            conversation.converse(self._channel, request.idle_s, self._answer)

    def _measure(self, counts: TokenCounts) -> None:
        self._channel.send(protocol.WarmUp())
        words = counts.prompt_tokens
        started = time.perf_counter()
        warm_up = self._time(words, counts.gen_tokens, "warm-up")
        warm_up_s = time.perf_counter() - started
        if warm_up.prompt_tokens:
            words = max(1, round(words * counts.prompt_tokens / warm_up.prompt_tokens))
        probe = NoiseProbe()
        repeats = []
        for number in range(1, self._request.repeats + 1):
            reply = self._time(words, counts.gen_tokens, f"Repeat {number} {uuid.uuid4().hex[:8]}")
            prompt_tokens = reply.prompt_tokens or words
            repeat = protocol.Repeat(
                number=number,
                of=self._request.repeats,
                prompt_tokens=prompt_tokens,
                gen_tokens=reply.gen_tokens,
                prefill_tokens_per_s=prompt_tokens / reply.ttft_s,
                decode_tokens_per_s=(reply.gen_tokens - 1) / reply.gen_s,
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
            build=self._request.endpoint + ("" if warm_up.counted else "; tokens counted by pieces of text"),
            load_s=max(0.0, warm_up_s - repeats[0].ttft_s - repeats[0].gen_tokens / repeats[0].decode_tokens_per_s),
            memory=None,
            peak_resident_bytes=None,
        )
        self._channel.send(protocol.Result(result))

    def _time(self, words: int, gen_tokens: int, nonce: str) -> _Reply:
        messages = [{"role": "user", "content": f"{filler(words, nonce)}\n\n{_TO_WRITE}"}]
        reply = self._complete(messages, gen_tokens, 0.0, 0, None)
        if reply.gen_tokens < 2 or reply.gen_s <= 0:
            raise RunError(
                f"The server sent its answer in one piece ({reply.gen_tokens} tokens), so its speed cannot be told. "
                "Turn streaming on there."
            )
        return reply

    def _answer(self, question: Question, on_text: OnText) -> Answer:
        messages = [{"role": turn.role, "content": turn.content} for turn in question.messages]
        with _explained(self._request.endpoint, self._request.file):
            reply = self._complete(messages, question.answer_tokens, question.temperature, question.seed, on_text)
        return Answer(
            prompt_tokens=reply.prompt_tokens or 0,
            answer_tokens=reply.gen_tokens,
            ttft_s=reply.ttft_s,
            decode_tokens_per_s=(reply.gen_tokens - 1) / reply.gen_s if reply.gen_s > 0 else 0.0,
            finish=reply.finish,
            template="file",
        )

    def _complete(
        self, messages: list[Any], tokens: int, temperature: float, seed: int, on_text: OnText | None
    ) -> _Reply:
        while True:
            dialect = dict(self._dialects[0])
            options = {dialect.pop("limit"): tokens, **dialect}
            started = time.perf_counter()
            try:
                stream: Any = self._client.chat.completions.create(
                    model=self._request.file,
                    messages=messages,
                    temperature=temperature,
                    seed=seed,
                    stream=True,
                    **options,
                )
                break
            except (openai.BadRequestError, openai.UnprocessableEntityError):
                if len(self._dialects) == 1:
                    raise
                self._dialects.pop(0)
        return self._read(stream, started, tokens, on_text)

    def _read(self, stream: Any, started: float, tokens: int, on_text: OnText | None) -> _Reply:
        first_s = last_s = 0.0
        pieces, finish = 0, ""
        usage: Any = None
        with self._silence:
            for chunk in stream:
                usage = getattr(chunk, "usage", None) or usage
                for choice in getattr(chunk, "choices", None) or ():
                    finish = choice.finish_reason or finish
                    said = choice.delta
                    reasoning = getattr(said, "reasoning_content", None) or getattr(said, "reasoning", None)
                    for piece, thinking in ((reasoning, True), (getattr(said, "content", None), False)):
                        if not isinstance(piece, str) or not piece:
                            continue
                        self._silence.heard()
                        pieces += 1
                        last_s = time.perf_counter() - started
                        first_s = first_s or last_s
                        if on_text is not None and not on_text(piece, thinking):
                            stream.close()
                            return _Reply(None, pieces, False, first_s, last_s - first_s, "stopped")
                if pieces > MORE_THAN_ASKED * tokens:
                    stream.close()
                    raise RunError(f"The server does not keep to {tokens} tokens: it was cut off.")
        if not pieces:
            raise RunError("The server ended its answer without a word. Look at its log, then try again.")
        if not finish and usage is None:
            raise RunError("The server ended in the middle of its answer. Look at its log, then try again.")
        counted = getattr(usage, "completion_tokens", None)
        return _Reply(
            prompt_tokens=getattr(usage, "prompt_tokens", None) or None,
            gen_tokens=counted or pieces,
            counted=bool(counted),
            ttft_s=first_s,
            gen_s=last_s - first_s,
            finish=finish or "stop",
        )


@contextmanager
def _explained(endpoint: str, model: str) -> Iterator[None]:
    """Within this block, what can go wrong with a server comes out as one of our errors."""
    import httpx

    try:
        yield
    except RecommenderError:
        raise
    except openai.AuthenticationError as error:
        raise RunError(f"{endpoint} refused the key. Enter the one that it expects.") from error
    except openai.NotFoundError as error:
        raise RunError(
            f"{endpoint} has no model {model}, or its interface is at another path, often ending in /v1."
        ) from error
    except openai.APIStatusError as error:
        raise RunError(f"{endpoint} refused ({error.status_code}): {_short(error.message)}.") from error
    except openai.APITimeoutError as error:
        raise RunError(f"{endpoint} did not answer in time. Is it still loading the model? Then try again.") from error
    except openai.APIConnectionError as error:
        raise RunError(f"No server answers at {endpoint}. Start it, or correct the address.") from error
    except (openai.APIError, httpx.HTTPError) as error:
        raise RunError(f"The server broke off in the middle of its answer: {_short(str(error))}.") from error
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise RunError(
            f"What answers at {endpoint} does not speak OpenAI's protocol. Check the address; it often ends in /v1."
        ) from error


def _short(text: str) -> str:
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())[:200].rstrip(".")


def models_at(endpoint: str, api_key: str = "") -> tuple[str, ...]:
    """The names of the models that a server offers.

    Raises ``RunError`` when it cannot be asked.
    """
    client = openai.OpenAI(
        base_url=endpoint, api_key=api_key or "none", max_retries=0, timeout=openai.Timeout(_CONNECT_S)
    )
    with _explained(endpoint, ""), client:
        return tuple(model.id for model in client.models.list().data)


def _play(request: RunRequest, channel: Channel, silence: Silence) -> None:
    _Run(request, channel, silence).play()


if __name__ == "__main__":
    run_client(_play, "The server")
