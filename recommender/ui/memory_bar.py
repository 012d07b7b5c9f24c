"""What a pick takes of the memory, part by part, against what is free.

Plain HTML rather than a chart: it belongs to the answer and must be there with it, before any chart code is loaded.
"""

from __future__ import annotations

from recommender.engine.words import size
from recommender.types import Memory

# Middle tones, so that each stands out on white and on near-black alike.
_PARTS = (
    ("Weights", "weights_bytes", "#14957F"),
    ("KV cache", "kv_cache_bytes", "#D9822B"),
    ("Compute", "compute_bytes", "#4C82D8"),
    ("Overhead", "overhead_bytes", "#B458A0"),
)
_FREE = "rgba(128,140,136,.22)"
_LEGEND = "display:inline-flex;align-items:center;gap:6px;margin:0 16px 2px 0;white-space:nowrap"


def memory_bar(memory: Memory, free_bytes: float | None) -> str:
    """The bar and its legend as HTML; without a known amount of free memory, the parts alone."""
    parts = [(name, getattr(memory, field), colour) for name, field, colour in _PARTS]
    parts[0] = (parts[0][0], parts[0][1] - memory.reclaimable_bytes, parts[0][2])
    used = sum(part_bytes for _, part_bytes, _ in parts)
    whole = max(used, free_bytes or 0.0)
    if free_bytes is not None:
        left = free_bytes - used
        parts.append(("Left free" if left >= 0 else "Short by", abs(left), _FREE))
    pieces = "".join(
        f'<span title="{name} {size(part_bytes)}" style="flex:0 0 {100 * part_bytes / whole:.2f}%;background:{colour}">'
        "</span>"
        for name, part_bytes, colour in parts
        if name != "Short by"
    )
    legend = "".join(
        f'<span style="{_LEGEND}"><span style="width:10px;height:10px;border-radius:3px;background:{colour}"></span>'
        f"{name} {size(part_bytes)}</span>"
        for name, part_bytes, colour in parts
    )
    words = ", ".join(f"{name} {size(part_bytes)}" for name, part_bytes, _ in parts)
    return (
        f'<div role="img" aria-label="Memory: {words}" style="display:flex;height:14px;border-radius:7px;'
        f'overflow:hidden;background:{_FREE};gap:1px">{pieces}</div>'
        f'<div style="margin-top:8px;font-size:.8rem;opacity:.85;line-height:1.5">{legend}</div>'
    )
