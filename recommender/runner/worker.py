"""The process of one run: ``python -m recommender.runner.worker``, request on stdin, events on stdout.

Standard error must be a file open for reading and appending: the runtime logs there, and the load log is read back
from it. The process ends when the run is over, when its stdin is closed, or with its parent.
"""

from __future__ import annotations

import hashlib
import os
import time

import psutil

from recommender.errors import OutOfMemoryError, RecommenderError, RunError
from recommender.runner import conversation, load_log, protocol
from recommender.runner.bindings import choose_binding
from recommender.runner.channel import Channel, open_channel
from recommender.runner.gguf_header import GgufHeader, model_files, read_header
from recommender.runner.measuring import check_context, measurement, peak_resident_bytes, time_repeats
from recommender.runner.protocol import RunRequest, TokenCounts
from recommender.runner.session import Session, make_session, read_log


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
    check_context(request.settings, header.context_tokens, header.path.name)
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

    sha256 = request.file_sha256

    def measure(counts: TokenCounts) -> None:
        nonlocal sha256
        usable, on_gpu = _usable_tokens(header, request), request.settings.gpu_layers != 0
        repeats, noise = time_repeats(session.time_tokens, usable, request, counts, channel, on_gpu)
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

    conversation.play(request, channel, session.answer, measure)


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


def _usable_tokens(header: GgufHeader, request: RunRequest) -> int:
    """Token ids below this may stand in a timed prompt. Raises ``RunError`` when the file has none."""
    if not header.n_vocab:
        raise RunError(f"{header.path.name} has no vocabulary, so there is nothing to time it with.")
    if request.rehearsal:
        from recommender.runner.weightless import RANDOM_TOKENS

        return min(header.n_vocab, RANDOM_TOKENS)  # the others' embeddings are zeros
    return header.n_vocab


def _own_memory_bytes() -> float:
    """What this process takes before the model is loaded; pages shared with other processes count by their share."""
    full = psutil.Process().memory_full_info()
    return float(getattr(full, "pss", full.uss))


if __name__ == "__main__":
    main()
