"""The process of one run: ``python -m recommender.runner.worker``, request on stdin, events on stdout.

Standard error must be a file open for reading and appending: the runtime logs there, and the load log is read back
from it. The process ends when the run is over, when its stdin is closed, or with its parent.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from pathlib import Path

import psutil

from recommender.errors import BadInputError, OutOfMemoryError, RecommenderError, RunError
from recommender.runner import conversation, load_log, protocol
from recommender.runner.bindings import choose_binding
from recommender.runner.channel import Channel, open_channel
from recommender.runner.gguf_header import GgufHeader, model_files, read_header
from recommender.runner.measuring import measurement
from recommender.runner.noise import Noise, NoiseProbe
from recommender.runner.protocol import RunRequest, TokenCounts
from recommender.runner.session import Session, make_session, read_log, timing_prompt


def main() -> None:
    channel = open_channel()
    try:
        run(protocol.from_dict(RunRequest, channel.request), channel)
    except RecommenderError as error:
        channel.send(protocol.Error(type(error).__name__, str(error)))
    except MemoryError:
        channel.send(protocol.Error("OutOfMemoryError", "Memory ran out. Choose a smaller model or a shorter context."))
    channel.close()
    # Not sys.exit: a runtime's destructors may hang or crash, and the system takes the memory back anyway.
    os._exit(0)


def run(request: RunRequest, channel: Channel) -> None:
    header = read_header(request.model_path)
    files = model_files(header)
    _check_context(request, header)
    binding = choose_binding(request.binding)
    file_bytes = float(sum(part.stat().st_size for part in files))
    channel.send(protocol.Loading(header.path.name, file_bytes, binding.name))

    session = make_session(binding.id)
    overhead = _own_memory_bytes()
    tensor_bytes = float(
        header.tensor_bytes + sum(read_header(part).tensor_bytes for part in files if part != header.path)
    )
    started = time.perf_counter()
    log_start = _load(session, request, header)
    load_s = time.perf_counter() - started
    log = read_log(lambda text: load_log.is_complete(text[log_start:]))
    memory = load_log.memory_from_log(log[log_start:], overhead, tensor_bytes)
    channel.send(protocol.Loaded(memory, load_s, session.build))

    question = request.question()
    if question and request.answer_first:
        conversation.answer(channel, question, session.answer)
    sha256 = request.file_sha256
    for counts in request.counts():
        repeats, noise = _time(session, header, request, counts, channel)
        if not sha256 and not request.rehearsal:
            # Only now: reading the whole file before it is loaded would make its load time another one.
            channel.send(protocol.Verifying(header.path.name))
            with header.path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        result = measurement(
            request,
            counts,
            repeats,
            noise,
            file_name=header.path.name,
            file_sha256=sha256,
            file_bytes=file_bytes,
            binding=binding.name,
            build=session.build,
            load_s=load_s,
            memory=memory,
            peak_resident_bytes=peak_resident_bytes(),
        )
        channel.send(protocol.Result(result))
    if question and not request.answer_first:
        conversation.answer(channel, question, session.answer)
    if request.checks:
        conversation.run_checks(channel, request.checks, session.answer)
    if request.keep_loaded:
        conversation.converse(channel, request.idle_s, session.answer)


def _check_context(request: RunRequest, header: GgufHeader) -> None:
    most, wanted = header.context_tokens, request.settings.context_tokens
    if most is not None and wanted > most:
        raise BadInputError(
            f"The context of {wanted} tokens is above the {most} that {header.path.name} was made for: lower it."
        )


def _load(session: Session, request: RunRequest, header: GgufHeader) -> int:
    """Load the model; returns where in the log the load that worked begins."""
    free = float(psutil.virtual_memory().available)
    log_start = 0
    for use_template in (True, False) if header.has_chat_template else (False,):
        try:
            session.load(request.model_path, request.settings, use_template)
            return log_start
        except (RuntimeError, ValueError) as error:
            log = read_log(lambda text: bool(load_log.complaint(text)))
            if not (use_template and load_log.refused_template(log)):
                cause = OutOfMemoryError if load_log.ran_out_of_memory(log) else RunError
                raise cause(load_log.load_failure(log, header.path.name, free, request.rehearsal)) from error
            log_start = len(log)
    raise RunError(f"llama.cpp could not load {header.path.name}, with or without its chat template.")


def _time(
    session: Session, header: GgufHeader, request: RunRequest, counts: TokenCounts, channel: Channel
) -> tuple[list[protocol.Repeat], Noise]:
    if not header.n_vocab:
        raise RunError(f"{header.path.name} has no vocabulary, so there is nothing to time it with.")
    usable = header.n_vocab
    if request.rehearsal:
        from recommender.runner.weightless import RANDOM_TOKENS

        usable = min(usable, RANDOM_TOKENS)  # the others' embeddings are zeros
    channel.send(protocol.WarmUp())
    # Page the weights in and let clocks and caches settle; the count is the real one, so buffers reach full size.
    session.time_tokens(timing_prompt(usable, counts.prompt_tokens, seed=0), min(counts.gen_tokens, 8))
    probe = NoiseProbe(uses_gpu=request.settings.gpu_layers != 0)
    repeats: list[protocol.Repeat] = []
    for number in range(1, request.repeats + 1):
        timing = session.time_tokens(timing_prompt(usable, counts.prompt_tokens, number), counts.gen_tokens)
        if (timing.prompt_tokens, timing.gen_tokens) != (counts.prompt_tokens, counts.gen_tokens):
            raise RunError(
                f"The runtime counted {timing.prompt_tokens} + {timing.gen_tokens} tokens instead of "
                f"{counts.prompt_tokens} + {counts.gen_tokens}, so its times are not used."
            )
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
    return repeats, probe.finish([repeat.decode_tokens_per_s for repeat in repeats])


def _own_memory_bytes() -> float:
    """What this process takes before the model is loaded; pages shared with other processes count by their share."""
    full = psutil.Process().memory_full_info()
    return float(getattr(full, "pss", full.uss))


def peak_resident_bytes() -> float | None:
    """The most memory this process had resident, as the operating system counted it."""
    if sys.platform == "win32":
        return float(psutil.Process().memory_info().peak_wset)
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return float(line.split()[1]) * 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


if __name__ == "__main__":
    main()
