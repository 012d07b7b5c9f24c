"""Runs and measures a folder for ONNX Runtime GenAI, as Olive or its model builder makes them.

``python -m recommender.runner.onnx_runner`` is one run. The library loads what the folder says in this process only.
"""

from __future__ import annotations

import importlib.util
import json
import os
import time
from pathlib import Path
from typing import Any

from recommender.errors import BadInputError, OutOfMemoryError, RecommenderError, RunError, RuntimeMissingError
from recommender.runner import conversation, protocol
from recommender.runner.channel import Channel, open_channel
from recommender.runner.measuring import check_context, measurement, peak_resident_bytes, time_repeats
from recommender.runner.onnx_folder import ADVICE, folder_bytes, installed, read_folder
from recommender.runner.protocol import Question, RunRequest, TokenCounts
from recommender.runner.session import Answer, OnText, Timing
from recommender.runner.thinking import OPEN


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
    check_context(request.settings, folder.context_tokens, name)
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

    def measure(counts: TokenCounts) -> None:
        usable = folder.vocabulary_tokens
        repeats, noise = time_repeats(session.time_tokens, usable, request, counts, channel, uses_gpu=False)
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

    conversation.play(request, channel, session.answer, measure)


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
