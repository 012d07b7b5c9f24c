"""Runs and measures a folder for ONNX Runtime GenAI, as Olive or its model builder makes them.

``python -m recommender.runner.onnx_runner`` is one run. The library loads what the folder says in this process only.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recommender.errors import BadInputError, OutOfMemoryError, RecommenderError, RunError, RuntimeMissingError
from recommender.runner import conversation, protocol
from recommender.runner.channel import Channel, open_channel
from recommender.runner.measuring import measurement
from recommender.runner.noise import NoiseProbe
from recommender.runner.protocol import Question, RunRequest, TokenCounts
from recommender.runner.session import Answer, OnText, Timing, timing_prompt
from recommender.runner.thinking import OPEN
from recommender.runner.worker import peak_resident_bytes

ADVICE = "ONNX Runtime GenAI is not installed here. Add it with `pip install onnxruntime-genai`."
_CONFIG = "genai_config.json"
_LARGEST_CONFIG_BYTES = 1 << 20
_OWN_PROGRAM = "custom_ops_library"  # a key of the session options
_PACKAGES = ("onnxruntime-genai", "onnxruntime-genai-cuda", "onnxruntime-genai-directml")


def installed() -> str:
    """The library with its version; "" where it is not installed. It is not imported."""
    if importlib.util.find_spec("onnxruntime_genai") is None:
        return ""
    for package in _PACKAGES:
        try:
            return f"{package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return "onnxruntime-genai"


@dataclass(frozen=True)
class Folder:
    """What a folder's ``genai_config.json`` says of its model."""

    vocabulary_tokens: int
    context_tokens: int | None  # the longest it was made for


def read_folder(folder: str) -> Folder:
    """Read a folder's configuration; nothing is loaded.

    Raises:
        BadInputError: it is no folder for ONNX Runtime GenAI, or one that would run a program of its own.
    """
    path = Path(folder) / _CONFIG
    try:
        if path.stat().st_size > _LARGEST_CONFIG_BYTES:
            raise ValueError("too large")
        text = path.read_text(encoding="utf-8")
        model = json.loads(text)["model"]
        vocabulary, context = model["vocab_size"], model.get("context_length")
    except OSError as error:
        raise BadInputError(f"{folder} has no {_CONFIG}: name the folder that Olive or the model builder made.") from (
            error
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadInputError(f"{path} cannot be read: make the folder again.") from error
    if not _is_count(vocabulary):
        raise BadInputError(f"{path} names no size of vocabulary: make the folder again.")
    if _OWN_PROGRAM in text:
        raise BadInputError(f"{path} asks for a program library of its own, which is not loaded here: make it anew.")
    return Folder(vocabulary, context if _is_count(context) else None)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**9


def folder_bytes(folder: str) -> float:
    """Bytes of the model's own files, tokenizer left out."""
    files = (file for ending in ("*.onnx", "*.data", "*.bin", "*.xml") for file in Path(folder).glob(ending))
    return float(sum(file.stat().st_size for file in files))


def _let_providers_in(library: Any) -> None:
    """Providers that come as packages of their own are unknown to the library until they are registered."""
    if importlib.util.find_spec("onnxruntime_qnn") is not None:
        import onnxruntime_qnn

        library.register_execution_provider_library("QNNExecutionProvider", onnxruntime_qnn.get_library_path())


class _Session:
    """A loaded folder."""

    def __init__(self, request: RunRequest) -> None:
        import onnxruntime_genai

        self._library: Any = onnxruntime_genai
        _let_providers_in(onnxruntime_genai)
        self._context_tokens = request.settings.context_tokens
        config = onnxruntime_genai.Config(request.model_path)
        threads = {"intra_op_num_threads": request.settings.threads}
        config.overlay(json.dumps({"model": {"decoder": {"session_options": threads}}}))
        self._model = onnxruntime_genai.Model(config)
        self._tokenizer = onnxruntime_genai.Tokenizer(self._model)

    def _generator(self, prompt: list[int], **options: Any) -> Any:
        params = self._library.GeneratorParams(self._model)
        params.set_search_options(**options)
        generator = self._library.Generator(self._model, params)
        generator.append_tokens(prompt)
        return generator

    def time_tokens(self, prompt: list[int], gen_tokens: int) -> Timing:
        """Prefill with an empty cache, then exactly ``gen_tokens`` decode steps; nothing stops early."""
        length = len(prompt) + gen_tokens + 1
        started = time.perf_counter()
        generator = self._generator(prompt, max_length=length, min_length=length, do_sample=False)
        generator.generate_next_token()
        generator.get_next_tokens()  # a GPU may still be at work until it is asked
        first = time.perf_counter()
        for _ in range(gen_tokens):
            generator.generate_next_token()
        generator.get_next_tokens()
        ended = time.perf_counter()
        made = int(generator.token_count()) - len(prompt) - 1
        return Timing(len(prompt), first - started, made, ended - first, first - started)

    def answer(self, question: Question, on_text: OnText) -> Answer:
        turns = [{"role": turn.role, "content": turn.content} for turn in question.messages]
        template = "file"
        try:
            text = self._tokenizer.apply_chat_template(json.dumps(turns), add_generation_prompt=True)
        except RuntimeError:  # it has none
            template, text = "plain", "\n\n".join(turn["content"] for turn in turns)
        prompt = [int(token) for token in self._tokenizer.encode(text)]
        room = self._context_tokens - len(prompt)
        if room < 1:
            raise BadInputError(f"The question takes {len(prompt)} tokens, more than the context: raise it.")
        limit = min(question.answer_tokens, room)
        if text.rstrip().endswith(OPEN):  # the template opened the thinking in the prompt
            on_text(OPEN, False)
        sampled = question.temperature > 0
        options: dict[str, Any] = {"max_length": len(prompt) + limit, "do_sample": sampled}
        if sampled:
            options |= {"temperature": question.temperature, "random_seed": question.seed}
        started = time.perf_counter()
        generator = self._generator(prompt, **options)
        stream = self._tokenizer.create_stream()
        first_s = last_s = 0.0
        tokens, finish = 0, ""
        while not generator.is_done():
            generator.generate_next_token()
            tokens += 1
            last_s = time.perf_counter() - started
            first_s = first_s or last_s
            piece = stream.decode(int(generator.get_next_tokens()[0]))
            if piece and not on_text(piece, False):
                finish = "stopped"
                break
        steps = tokens - 1
        return Answer(
            prompt_tokens=len(prompt),
            answer_tokens=tokens,
            ttft_s=first_s,
            decode_tokens_per_s=steps / (last_s - first_s) if steps > 0 and last_s > first_s else 0.0,
            finish=finish or ("length" if tokens >= limit else "stop"),
            template=template,
        )


def run(request: RunRequest, channel: Channel) -> None:
    name, folder = Path(request.model_path).name, read_folder(request.model_path)
    most, wanted = folder.context_tokens, request.settings.context_tokens
    if most is not None and wanted > most:
        raise BadInputError(f"The context of {wanted} tokens is above the {most} that {name} was made for: lower it.")
    library = installed()
    if not library:
        raise RuntimeMissingError(ADVICE)
    file_bytes = folder_bytes(request.model_path)
    channel.send(protocol.Loading(name, file_bytes, library))
    started = time.perf_counter()
    try:
        session = _Session(request)
    except ImportError as error:
        raise RuntimeMissingError(f"{library} cannot be loaded: {_short(error)}. Install it again.") from error
    except Exception as error:  # its own classes and plain RuntimeError, whatever is wrong with the folder
        cause = OutOfMemoryError if "alloc" in str(error).lower() else RunError
        raise cause(f"ONNX Runtime could not load {name}: {_short(error)}. Make the folder again.") from error
    load_s = time.perf_counter() - started
    question = request.question()
    if question and request.answer_first:
        conversation.answer(channel, question, session.answer)
    for counts in request.counts():
        _measure(session, folder.vocabulary_tokens, request, counts, channel, name, file_bytes, library, load_s)
    if question and not request.answer_first:
        conversation.answer(channel, question, session.answer)
    if request.checks:
        conversation.run_checks(channel, request.checks, session.answer)
    if request.keep_loaded:
        conversation.converse(channel, request.idle_s, session.answer)


def _measure(
    session: _Session,
    usable: int,
    request: RunRequest,
    counts: TokenCounts,
    channel: Channel,
    name: str,
    file_bytes: float,
    library: str,
    load_s: float,
) -> None:
    channel.send(protocol.WarmUp())
    session.time_tokens(timing_prompt(usable, counts.prompt_tokens, seed=0), min(counts.gen_tokens, 8))
    probe = NoiseProbe()
    repeats = []
    for number in range(1, request.repeats + 1):
        timing = session.time_tokens(timing_prompt(usable, counts.prompt_tokens, number), counts.gen_tokens)
        if timing.gen_tokens != counts.gen_tokens:
            raise RunError(f"The runtime made {timing.gen_tokens} tokens instead of {counts.gen_tokens}.")
        repeat = protocol.Repeat(
            number=number,
            of=request.repeats,
            prompt_tokens=timing.prompt_tokens,
            gen_tokens=timing.gen_tokens,
            prefill_tokens_per_s=timing.prompt_tokens / max(timing.prompt_s, 1e-9),
            decode_tokens_per_s=timing.gen_tokens / max(timing.gen_s, 1e-9),
            ttft_s=timing.ttft_s,
        )
        repeats.append(repeat)
        channel.send(repeat)
    noise = probe.finish([repeat.decode_tokens_per_s for repeat in repeats])
    result = measurement(
        request,
        counts,
        repeats,
        noise,
        file_name=name,
        file_bytes=file_bytes,
        binding=library,
        build=library,
        load_s=load_s,
        memory=None,  # the library does not tell its parts
        peak_resident_bytes=peak_resident_bytes(),
    )
    channel.send(protocol.Result(result))


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")


def main() -> None:
    channel = open_channel()
    try:
        run(protocol.from_dict(RunRequest, channel.request), channel)
    except RecommenderError as error:
        channel.send(protocol.Error(type(error).__name__, str(error)))
    except MemoryError:
        channel.send(protocol.Error("OutOfMemoryError", "Memory ran out. Choose a smaller model or a shorter context."))
    except Exception as error:  # the library's own, in the middle of a run
        channel.send(protocol.Error("RunError", f"ONNX Runtime stopped: {_short(error)}. Run it again."))
    channel.close()
    os._exit(0)


if __name__ == "__main__":
    main()
