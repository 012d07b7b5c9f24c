"""From timed repeats to a measurement, the same for every runtime."""

from __future__ import annotations

import statistics
import sys
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from recommender.errors import BadInputError, RunError
from recommender.runner.channel import Channel
from recommender.runner.noise import Noise, NoiseProbe
from recommender.runner.protocol import Repeat, RunRequest, TokenCounts, WarmUp
from recommender.runner.session import Timing, timing_prompt
from recommender.types import Measurement, Settings

_WARM_UP_TOKENS = 8


def time_repeats(
    time_tokens: Callable[[list[int], int], Timing],
    usable: int,
    request: RunRequest,
    counts: TokenCounts,
    channel: Channel,
    uses_gpu: bool,
) -> tuple[list[Repeat], Noise]:
    """Warm a loaded model up, then time it with fixed token counts, one event each.

    Args:
        time_tokens: prefills a prompt with an empty cache, then makes exactly so many tokens.
        usable: token ids below this may stand in a prompt.

    Raises:
        RunError: the runtime counted other tokens than were asked for.
    """
    channel.send(WarmUp())
    # Page the weights in and let clocks and caches settle; the count is the real one, so buffers reach full size.
    time_tokens(timing_prompt(usable, counts.prompt_tokens, seed=0), min(counts.gen_tokens, _WARM_UP_TOKENS))
    probe = NoiseProbe(uses_gpu=uses_gpu)
    repeats: list[Repeat] = []
    for number in range(1, request.repeats + 1):
        timing = time_tokens(timing_prompt(usable, counts.prompt_tokens, number), counts.gen_tokens)
        if (timing.prompt_tokens, timing.gen_tokens) != (counts.prompt_tokens, counts.gen_tokens):
            raise RunError(
                f"The runtime counted {timing.prompt_tokens} + {timing.gen_tokens} tokens instead of "
                f"{counts.prompt_tokens} + {counts.gen_tokens}, so its times are not used."
            )
        repeat = Repeat(
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


def check_context(settings: Settings, most: int | None, name: str) -> None:
    """Raises ``BadInputError`` when a run's context is above what its model was made for, where that is known."""
    if most is not None and settings.context_tokens > most:
        raise BadInputError(
            f"The context of {settings.context_tokens} tokens is above the {most} that {name} was made for: lower it."
        )


def measurement(
    request: RunRequest, counts: TokenCounts, repeats: Sequence[Repeat], noise: Noise, **about: Any
) -> Measurement:
    """Medians over the repeats with the conditions of the run.

    Args:
        counts: which of the request's counts were measured; the tokens written down are those the runtime counted.
        about: the other fields: which file, with what, how it was loaded. They replace the request's own.
    """
    prefill = [repeat.prefill_tokens_per_s for repeat in repeats]
    decode = [repeat.decode_tokens_per_s for repeat in repeats]
    found: dict[str, Any] = {
        "id": uuid.uuid4().hex,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "device_name": request.device_name,
        "device_key": request.device_key,
        "model_id": request.model_id,
        "quantization": request.quantization,
        "file_sha256": request.file_sha256,
        "runtime": request.runtime,
        "settings": request.settings,
        "prompt_tokens": round(statistics.median(repeat.prompt_tokens for repeat in repeats)),
        "gen_tokens": round(statistics.median(repeat.gen_tokens for repeat in repeats)),
        "repeats": len(repeats),
        "prefill_tokens_per_s": statistics.median(prefill),
        "prefill_low": min(prefill),
        "prefill_high": max(prefill),
        "decode_tokens_per_s": statistics.median(decode),
        "decode_low": min(decode),
        "decode_high": max(decode),
        "ttft_s": statistics.median(repeat.ttft_s for repeat in repeats),
        "load_average_before": noise.load_average_before,
        "load_average_after": noise.load_average_after,
        "cpu_steal_fraction": noise.steal_fraction,
        "noisy": noise.noisy,
        "noise_reason": noise.reason,
        "rehearsal": request.rehearsal,
        "predicted_memory_bytes": request.predicted_memory_bytes,
        **request.predicted_speeds(counts),
    }
    return Measurement(**{**found, **about})


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
