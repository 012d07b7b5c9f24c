"""Runs and measures models through an Ollama server: ``python -m recommender.runner.ollama_runner`` is one run.

The server does the work in processes of its own; ours only talks to it, so that Stop can end it at once: the server
stops when the connection closes. Speeds are the server's own nanosecond counters, the same that ``ollama run
--verbose`` prints. A repeat starts with a text of its own, so that no earlier prompt is reused.
"""

from __future__ import annotations

import importlib.metadata
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ollama

from recommender.errors import BadInputError, RunError
from recommender.runner import conversation, protocol
from recommender.runner.channel import Channel
from recommender.runner.client_process import MORE_THAN_ASKED, Silence, filler, run_client, words_for
from recommender.runner.gguf_header import model_files, read_header
from recommender.runner.measuring import measurement
from recommender.runner.noise import Noise, NoiseProbe
from recommender.runner.ollama_server import (
    InstalledModel,
    OllamaServer,
    connected,
    copy_file,
    explained,
    find_server,
    installed_models,
    loaded_bytes,
    longest_context,
    reason,
    same_name,
)
from recommender.runner.protocol import Question, RunRequest, TokenCounts
from recommender.runner.session import Answer, OnText

_PROGRESS_EVERY_S = 0.2
_MOST_STEPS = 10_000  # different ones of a pull; a model whose tensors are layers has some hundreds
_WARM_UP_TOKENS = 8


@dataclass(frozen=True)
class Counters:
    """What an answer took, by the server's own counters."""

    prompt_tokens: int
    prompt_s: float
    gen_tokens: int
    decode_tokens_per_s: float  # 0.0 where it cannot be told
    load_s: float
    ttft_s: float  # wall clock, without the time a load took
    finish: str


def counters(last: Any, first_s: float) -> Counters:
    """From the last chunk of an answer, whose times are in ns.

    Args:
        first_s: wall clock from the request to the first piece of text.
    """
    gen_tokens, gen_s, load_s = last.eval_count or 0, (last.eval_duration or 0) / 1e9, (last.load_duration or 0) / 1e9
    return Counters(
        prompt_tokens=last.prompt_eval_count or 0,
        prompt_s=(last.prompt_eval_duration or 0) / 1e9,
        gen_tokens=gen_tokens,
        decode_tokens_per_s=gen_tokens / gen_s if gen_s > 0 else 0.0,
        load_s=load_s,
        ttft_s=max(0.0, first_s - load_s),
        finish=last.done_reason or "stop",
    )


class _Run:
    def __init__(self, request: RunRequest, channel: Channel, silence: Silence) -> None:
        self._request, self._channel, self._silence = request, channel, silence
        self._server: OllamaServer = find_server()
        self._client: Any = None
        self._name = request.file

    def play(self) -> None:
        request = self._request
        with connected(self._server.host, request.longest_silence_s) as self._client:
            if request.model_path:
                model = self._created(Path(request.model_path))
            else:
                model = self._installed() or self._pulled()
            self._name = model.name
            self._check_context()
            self._channel.send(protocol.Loading(model.name, float(model.size_bytes), f"ollama {self._server.version}"))
            conversation.play(request, self._channel, self._answer, lambda counts: self._measure(model, counts))

    def _installed(self) -> InstalledModel | None:
        return next((model for model in installed_models(self._server) if same_name(model.name, self._name)), None)

    def _pulled(self) -> InstalledModel:
        """Fetch the model into the server, with its progress layer by layer."""
        progress = _Progress(self._channel)
        try:
            for step in self._steps(self._client.pull(self._name, stream=True)):
                if step.digest and step.total:
                    progress.tell(f"layer {step.digest.removeprefix('sha256:')[:12]}", step.completed or 0, step.total)
                elif (step.status or "").startswith("verifying"):
                    self._channel.send(protocol.Verifying(self._name))
        except ollama.ResponseError as error:
            raise RunError(
                f"Ollama could not fetch {self._name}: {reason(error)}. Check its name at ollama.com/library, and the "
                "server's connection."
            ) from error
        model = self._installed()
        if model is None:
            raise RunError(f"Ollama ended the pull of {self._name} without the model. Try it again.")
        return model

    def _created(self, path: Path) -> InstalledModel:
        """Copy a GGUF file into the server, under the name that was asked for."""
        header = read_header(path)
        if len(model_files(header)) > 1:
            raise RunError(f"{path.name} is in several files, which Ollama does not take. Run it with llama.cpp.")
        progress = _Progress(self._channel)
        known = self._request.file_sha256
        if not known:
            self._channel.send(protocol.Verifying(path.name))
        try:
            digest = copy_file(self._client, path, known, lambda done, total: progress.tell(path.name, done, total))
            for _ in self._steps(self._client.create(self._name, files={path.name: digest}, stream=True)):
                pass
        except ollama.ResponseError as error:
            raise RunError(
                f"Ollama {self._server.version} did not take {path.name}: {reason(error)}. Update Ollama, or run the "
                "file with llama.cpp."
            ) from error
        model = self._installed()
        if model is None:
            raise RunError(f"Ollama took {path.name} but has no model of it. Update Ollama, then try again.")
        return replace(model, sha256=digest.removeprefix("sha256:"))

    def _steps(self, stream: Any) -> Iterator[Any]:
        """The steps of a pull or a copy that bring something new; only they count as words of the server."""
        far: dict[str, int] = {}
        with self._silence:
            for step in stream:
                part, done = step.digest or step.status or "", min(step.completed or 0, step.total or 0)
                if done != far.get(part) and len(far) < _MOST_STEPS:
                    far[part] = done
                    self._silence.heard()
                    yield step

    def _check_context(self) -> None:
        """The server would quietly lower a context that is above the model's own."""
        most, wanted = longest_context(self._client, self._name), self._request.settings.context_tokens
        if most is not None and wanted > most:
            raise BadInputError(
                f"The context of {wanted} tokens is above the {most} that {self._name} was made for: lower it."
            )

    def _measure(self, model: InstalledModel, counts: TokenCounts) -> None:
        request = self._request
        self._channel.send(protocol.WarmUp())
        loads_s: list[float] = []

        def count(words: int) -> int | None:
            run = self._generate(words, 1)
            loads_s.append(run.load_s)
            return run.prompt_tokens or None

        words = words_for(counts.prompt_tokens, count)
        self._generate(words, min(counts.gen_tokens, _WARM_UP_TOKENS))
        probe = NoiseProbe()
        repeats = []
        for number in range(1, request.repeats + 1):
            run = self._time(words, counts.gen_tokens)
            repeat = protocol.Repeat(
                number=number,
                of=request.repeats,
                prompt_tokens=run.prompt_tokens,
                gen_tokens=run.gen_tokens,
                prefill_tokens_per_s=run.prompt_tokens / run.prompt_s,
                decode_tokens_per_s=run.decode_tokens_per_s,
                ttft_s=run.ttft_s,
            )
            repeats.append(repeat)
            self._channel.send(repeat)
        noise: Noise = probe.finish([repeat.decode_tokens_per_s for repeat in repeats], work_is_ours=False)
        result = measurement(
            request,
            counts,
            repeats,
            noise,
            quantization=request.quantization or model.quantization,
            file_name=model.name,
            file_sha256=model.sha256,
            file_bytes=float(model.size_bytes),
            binding=f"ollama {importlib.metadata.version('ollama')}",
            build=f"Ollama {self._server.version}",
            load_s=loads_s[0],
            memory=None,  # the server tells the sum only, not the parts
            peak_resident_bytes=loaded_bytes(self._client, model.name),
        )
        self._channel.send(protocol.Result(result))

    def _time(self, words: int, gen_tokens: int) -> Counters:
        run = self._generate(words, gen_tokens)
        if run.prompt_s <= 0 or not run.gen_tokens:
            raise RunError(
                f"Ollama {self._server.version} left out its counters, so its speed is not known. Update Ollama."
            )
        if run.decode_tokens_per_s <= 0:
            raise RunError(
                f"{self._name} wrote a single token, so its speed is not known. Ask for more, or run it again."
            )
        return run

    def _generate(self, words: int, gen_tokens: int) -> Counters:
        # Not greedy: after 30 equal tokens in a row the server breaks off, without its counters (llm/server.go).
        options = {**self._options(), "num_predict": gen_tokens, "temperature": 1.0, "seed": 0}
        stream = self._client.generate(
            self._name,
            prompt=filler(words, _nonce()),
            raw=True,
            stream=True,
            options=options,
            keep_alive=self._request.idle_s,
        )
        return self._read(stream, gen_tokens, lambda chunk: ((chunk.response, False),))

    def _answer(self, question: Question, on_text: OnText) -> Answer:
        options = {
            **self._options(),
            "num_predict": question.answer_tokens,
            "temperature": question.temperature,
            "seed": question.seed,
        }
        messages = [{"role": turn.role, "content": turn.content} for turn in question.messages]
        stream = self._client.chat(
            self._name,
            messages=messages,
            stream=True,
            options=options,
            keep_alive=self._request.idle_s,
        )
        with explained(self._server.host):  # here, so that a chat outlives a question that went wrong
            run = self._read(
                stream,
                question.answer_tokens,
                lambda chunk: ((chunk.message.thinking, True), (chunk.message.content, False)),
                on_text,
            )
        return Answer(
            prompt_tokens=run.prompt_tokens,
            answer_tokens=run.gen_tokens,
            ttft_s=run.ttft_s,
            decode_tokens_per_s=run.decode_tokens_per_s,
            finish=run.finish,
            template="file",
        )

    def _read(self, stream: Any, most_tokens: int, texts_of: Any, on_text: OnText | None = None) -> Counters:
        started = time.perf_counter()
        first_s = last_s = 0.0
        pieces = 0

        def cut(finish: str) -> Counters:
            took = last_s - first_s
            return Counters(0, 0.0, pieces, (pieces - 1) / took if took > 0 else 0.0, 0.0, first_s, finish)

        with self._silence:
            for chunk in stream:
                for piece, thinking in texts_of(chunk):
                    if not piece:
                        continue
                    self._silence.heard()
                    pieces += 1
                    last_s = time.perf_counter() - started
                    first_s = first_s or last_s
                    if on_text is not None and not on_text(piece, thinking):
                        stream.close()  # the server stops when the connection closes
                        return cut("stopped")
                if pieces > MORE_THAN_ASKED * most_tokens:
                    stream.close()
                    raise RunError(f"Ollama writes more than was asked for, {most_tokens} tokens: it was cut off.")
                if chunk.done:
                    return counters(chunk, first_s)
        if on_text is not None and pieces:  # a server that dies breaks the connection instead
            return cut("broken off")
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


class _Progress:
    """Sends how far a transfer is, at most a few times a second for each part."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._part = ""
        self._started = self._sent = 0.0
        self._from = 0

    def tell(self, part: str, done_bytes: int, total_bytes: int) -> None:
        now = time.monotonic()
        if part != self._part:
            self._part, self._started, self._sent, self._from = part, now, 0.0, done_bytes
        if now - self._sent < _PROGRESS_EVERY_S and done_bytes < total_bytes:
            return
        self._sent = now
        took = now - self._started
        pace = (done_bytes - self._from) / took if took > _PROGRESS_EVERY_S else None
        self._channel.send(protocol.Downloading(part, float(done_bytes), float(total_bytes), pace))


def _nonce() -> str:
    """The beginning of a prompt that is like no other: what a server kept of an earlier one is of no use."""
    return uuid.uuid4().hex[:8]


def _play(request: RunRequest, channel: Channel, silence: Silence) -> None:
    _Run(request, channel, silence).play()


if __name__ == "__main__":
    run_client(_play, "Ollama")
