"""Runs and measures models through an Ollama server: ``python -m recommender.runner.ollama_runner`` is one run.

The server does the work in processes of its own; ours only talks to it, so that Stop can end it at once: the server
stops when the connection closes. Speeds are the server's own nanosecond counters, the same that ``ollama run
--verbose`` prints. A repeat starts with a text of its own, so that no earlier prompt is reused.
"""

from __future__ import annotations

import importlib.metadata
import os
import statistics
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from recommender.errors import RecommenderError, RunError, RuntimeMissingError
from recommender.runner import protocol
from recommender.runner.channel import Channel, open_channel
from recommender.runner.noise import NoiseProbe
from recommender.runner.protocol import RunRequest
from recommender.types import Measurement

_CONNECT_S = 3.0
_LONGEST_SILENCE_S = 600.0  # a large model may take minutes to load before the first byte comes
_WORDS = ("river", "stone", "paper", "seven", "green", "house", "music", "table", "north", "water")


@dataclass(frozen=True)
class OllamaServer:
    """A server that answers. ``host`` is its address."""

    host: str
    version: str


@dataclass(frozen=True)
class InstalledModel:
    name: str  # as ``ollama list`` has it, such as "qwen3:0.6b"
    size_bytes: int
    sha256: str
    quantization: str


def find_server(host: str | None = None) -> OllamaServer:
    """The server at ``host``, else at ``OLLAMA_HOST``, else on this machine's default port.

    Raises ``RuntimeMissingError`` when none answers there.
    """
    with _client(host) as client:
        address = str(client._client.base_url).rstrip("/")
        with _explained(address):
            # The client has no call for this; its own HTTP session knows address and proxies.
            answer = client._client.get("/api/version", timeout=_CONNECT_S).json()
        version = answer.get("version") if isinstance(answer, dict) else None
        if not isinstance(version, str):
            raise RunError(f"What answers at {address} is not Ollama. Set OLLAMA_HOST to where it listens.")
        return OllamaServer(address, version)


def installed_models(server: OllamaServer) -> tuple[InstalledModel, ...]:
    """What ``ollama list`` shows."""
    with _client(server.host) as client, _explained(server.host):
        return tuple(
            InstalledModel(
                name=model.model or "",
                size_bytes=int(model.size or 0),
                sha256=(model.digest or "").removeprefix("sha256:"),
                quantization=(model.details.quantization_level if model.details else "") or "",
            )
            for model in client.list().models
        )


@dataclass(frozen=True)
class _Counters:
    prompt_tokens: int
    prompt_s: float
    gen_tokens: int
    gen_s: float
    load_s: float
    ttft_s: float  # wall clock, without the time a load took
    finish: str


class _Run:
    def __init__(self, request: RunRequest, channel: Channel) -> None:
        self._request, self._channel = request, channel
        self._server = find_server()
        found = {model.name: model for model in installed_models(self._server)}
        name = request.file
        if name not in found and f"{name}:latest" in found:
            name = f"{name}:latest"
        if name not in found:
            raise RunError(f"Ollama has no model {name}. Fetch it with `ollama pull {name}`, then try again.")
        self._model = found[name]

    def play(self) -> None:
        request = self._request
        size = float(self._model.size_bytes)
        self._channel.send(protocol.Loading(self._model.name, size, f"ollama {self._server.version}"))
        with _client(self._server.host) as client, _explained(self._server.host):
            was_loaded = self._in_memory(client) is not None
            try:
                if request.answer_first:
                    self._answer(client)
                if request.repeats:
                    self._channel.send(protocol.Result(self._measure(client)))
                if not request.answer_first:
                    self._answer(client)
            finally:
                if not was_loaded:
                    client.generate(self._model.name, keep_alive=0)

    def _measure(self, client: Any) -> Measurement:
        request = self._request
        self._channel.send(protocol.WarmUp())
        # The interface takes texts, not tokens: see how many tokens a word is, then ask for the right number.
        words = request.prompt_tokens
        warm_up = self._time(client, words, "warm-up")
        words = max(1, round(words * request.prompt_tokens / max(warm_up.prompt_tokens, 1)))
        probe = NoiseProbe()
        runs = []
        for number in range(1, request.repeats + 1):
            run = self._time(client, words, f"repeat {number} {uuid.uuid4().hex[:8]}")
            runs.append(run)
            self._channel.send(
                protocol.Repeat(
                    number=number,
                    of=request.repeats,
                    prompt_tokens=run.prompt_tokens,
                    gen_tokens=run.gen_tokens,
                    prefill_tokens_per_s=run.prompt_tokens / run.prompt_s,
                    decode_tokens_per_s=run.gen_tokens / run.gen_s,
                    ttft_s=run.ttft_s,
                )
            )
        prefill = [run.prompt_tokens / run.prompt_s for run in runs]
        decode = [run.gen_tokens / run.gen_s for run in runs]
        noise = probe.finish(decode, work_is_ours=False)
        model = self._model
        return Measurement(
            id=uuid.uuid4().hex,
            measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
            device_name=request.device_name,
            device_key=request.device_key,
            model_id=request.model_id,
            quantization=request.quantization or model.quantization,
            file_name=model.name,
            file_sha256=model.sha256,
            file_bytes=float(model.size_bytes),
            runtime="ollama",
            binding=f"ollama {importlib.metadata.version('ollama')}",
            build=f"Ollama {self._server.version}",
            settings=request.settings,
            prompt_tokens=round(statistics.median(run.prompt_tokens for run in runs)),
            gen_tokens=round(statistics.median(run.gen_tokens for run in runs)),
            repeats=len(runs),
            prefill_tokens_per_s=statistics.median(prefill),
            prefill_low=min(prefill),
            prefill_high=max(prefill),
            decode_tokens_per_s=statistics.median(decode),
            decode_low=min(decode),
            decode_high=max(decode),
            ttft_s=statistics.median(run.ttft_s for run in runs),
            load_s=warm_up.load_s,
            memory=None,  # the server tells the sum only, not the parts
            peak_resident_bytes=self._in_memory(client),
            load_average_before=noise.load_average_before,
            load_average_after=noise.load_average_after,
            cpu_steal_fraction=noise.steal_fraction,
            noisy=noise.noisy,
            noise_reason=noise.reason,
            predicted_decode_tokens_per_s=request.predicted_decode_tokens_per_s,
            predicted_prefill_tokens_per_s=request.predicted_prefill_tokens_per_s,
            predicted_ttft_s=request.predicted_ttft_s,
            predicted_memory_bytes=request.predicted_memory_bytes,
        )

    def _time(self, client: Any, words: int, nonce: str) -> _Counters:
        text = " ".join([nonce, *(_WORDS[number % len(_WORDS)] for number in range(words))])
        options = {**self._options(), "num_predict": self._request.gen_tokens, "temperature": 0.0}
        stream = client.generate(self._model.name, prompt=text, raw=True, stream=True, options=options)
        run = self._read(stream, lambda chunk: chunk.response)
        if run.prompt_s <= 0 or run.gen_s <= 0:
            raise RunError(
                f"Ollama {self._server.version} left out its counters, so its speed is not known. Update Ollama."
            )
        return run

    def _answer(self, client: Any) -> None:
        request = self._request
        if not request.chat():
            return
        options = {
            **self._options(),
            "num_predict": request.answer_tokens,
            "temperature": request.temperature,
            "seed": request.seed,
        }
        messages = [{"role": turn.role, "content": turn.content} for turn in request.chat()]
        stream = client.chat(self._model.name, messages=messages, stream=True, options=options)
        run = self._read(stream, lambda chunk: (chunk.message.thinking or "") + (chunk.message.content or ""), True)
        self._channel.send(
            protocol.Answered(
                prompt_tokens=run.prompt_tokens,
                answer_tokens=run.gen_tokens,
                ttft_s=run.ttft_s,
                decode_tokens_per_s=run.gen_tokens / run.gen_s if run.gen_s else 0.0,
                finish=run.finish,
                template="file",
            )
        )

    def _read(self, stream: Any, text_of: Any, show: bool = False) -> _Counters:
        started = time.perf_counter()
        first_s = 0.0
        for chunk in stream:
            piece = text_of(chunk)
            if piece and not first_s:
                first_s = time.perf_counter() - started
                if show:
                    self._channel.send(protocol.FirstToken(first_s))
            if piece and show:
                self._channel.send(protocol.Text(piece))
            if chunk.done:
                load_s = (chunk.load_duration or 0) / 1e9
                return _Counters(
                    prompt_tokens=chunk.prompt_eval_count or 0,
                    prompt_s=(chunk.prompt_eval_duration or 0) / 1e9,
                    gen_tokens=chunk.eval_count or 0,
                    gen_s=(chunk.eval_duration or 0) / 1e9,
                    load_s=load_s,
                    ttft_s=max(0.0, first_s - load_s),
                    finish=chunk.done_reason or "stop",
                )
        raise RunError("Ollama ended in the middle of its answer. Look at its log (`ollama serve`), then try again.")

    def _options(self) -> dict[str, Any]:
        """Always with the context: the server's default depends on its memory, and it cuts longer prompts silently."""
        settings = self._request.settings
        options = {
            "num_ctx": settings.context_tokens,
            "num_batch": settings.batch_tokens,
            "num_thread": settings.threads,
        }
        if settings.gpu_layers >= 0:
            options["num_gpu"] = settings.gpu_layers
        return options

    def _in_memory(self, client: Any) -> float | None:
        """What the server says the model takes, bytes; None while it is not loaded."""
        for model in client.ps().models:
            if model.model == self._model.name:
                return float(model.size or 0)
        return None


@contextmanager
def _client(host: str | None) -> Iterator[Any]:
    import httpx
    import ollama

    client: Any = ollama.Client(host, timeout=httpx.Timeout(_LONGEST_SILENCE_S, connect=_CONNECT_S))
    try:
        yield client
    finally:
        client.close()


@contextmanager
def _explained(host: str) -> Iterator[None]:
    """Within this block, what can go wrong with a server comes out as one of our errors."""
    import httpx
    import ollama

    try:
        yield
    except RecommenderError:
        raise
    except (ConnectionError, httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise RuntimeMissingError(
            f"No Ollama server answers at {host}. Install it from ollama.com/download and start it with "
            "`ollama serve`, or set OLLAMA_HOST to where it listens."
        ) from error
    except ollama.ResponseError as error:
        reason = str(error.error)[:200] or "no reason given"
        raise RunError(f"Ollama refused ({error.status_code}): {reason}. See its log for more.") from error
    except httpx.TimeoutException as error:
        raise RunError(
            f"Ollama at {host} said nothing for {_LONGEST_SILENCE_S:.0f} s. Restart it, then retry."
        ) from error
    except httpx.HTTPError as error:
        raise RunError(f"The connection to Ollama at {host} broke off. Is it still running? Then try again.") from error
    except ValueError as error:
        raise RunError(
            f"What answers at {host} does not speak like Ollama. Check OLLAMA_HOST, or update it."
        ) from error


def main() -> None:
    channel = open_channel()
    try:
        _Run(protocol.from_dict(RunRequest, channel.request), channel).play()
    except RecommenderError as error:
        channel.send(protocol.Error(type(error).__name__, str(error)))
    channel.close()
    os._exit(0)


if __name__ == "__main__":
    main()
