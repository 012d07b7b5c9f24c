"""From timed repeats to a measurement, the same for every runtime."""

from __future__ import annotations

import statistics
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from recommender.runner.noise import Noise
from recommender.runner.protocol import Repeat, RunRequest, TokenCounts
from recommender.types import Measurement


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
