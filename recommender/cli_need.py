"""What a person needs, as options of the command line."""

from __future__ import annotations

import argparse
from pathlib import Path

from recommender.errors import BadInputError
from recommender.types import GIB, Need


def add_need_arguments(command: argparse.ArgumentParser) -> None:
    """One option per field of ``Need``."""
    command.add_argument("--task", default="chat", help="task (chat); `recommender catalog tasks` lists them")
    command.add_argument("--context", type=int, help="context length in tokens (the task's own)")
    command.add_argument("--priority", default="balanced", help="quality, balanced, speed or smallest (balanced)")
    command.add_argument(
        "--models", default="", help="only these: ids separated by commas, or a file with one per line"
    )
    command.add_argument("--quants", default="", help="only these quantizations, separated by commas")
    command.add_argument("--runtimes", default="", help="only these runtimes, separated by commas")
    command.add_argument("--languages", default="", help="languages as ISO codes, separated by commas")
    command.add_argument("--min-decode", type=float, metavar="TOK_S", help="least tokens per second")
    command.add_argument("--max-ttft", type=float, metavar="S", help="longest wait for the first token")
    command.add_argument("--max-answer-time", type=float, metavar="S", help="longest wait for the whole answer")
    command.add_argument("--reserve-memory-gib", type=float, default=0.0, help="memory to leave free")
    command.add_argument("--reserve-disk-gib", type=float, default=0.0, help="disk to leave free")
    command.add_argument("--commercial", action="store_true", help="the licence must allow commercial use")
    command.add_argument("--offline", action="store_true", help="must answer without a network")
    command.add_argument("--platform", help="linux, windows, macos, android or ios")
    command.add_argument("--form-factor", help="phone, tablet, laptop, desktop, mini-pc, workstation, server or sbc")
    command.add_argument("--accelerator", help="cpu, gpu or npu")
    command.add_argument("--users", type=int, default=1, help="users at once (1)")
    command.add_argument("--placement", default="device", help="device, managed or any (device)")
    command.add_argument("--enterprise", default="", help="sla, audit, rbac, support, separated by commas")
    command.add_argument("--own-conversion", action="store_true", help="convert and optimize the weights yourself")
    command.add_argument("--experimental", action="store_true", help="allow experimental set-ups")
    command.add_argument("--all-quants", action="store_true", help="every quantization of a model, not the best one")


def need_from(arguments: argparse.Namespace) -> Need:
    """The need that the options describe. Raises BadInputError when a list of models cannot be read."""
    return Need(
        task=arguments.task,
        languages=_listed(arguments.languages),
        context_tokens=arguments.context,
        min_decode_tokens_per_s=arguments.min_decode,
        max_ttft_s=arguments.max_ttft,
        max_answer_time_s=arguments.max_answer_time,
        memory_reserve_bytes=arguments.reserve_memory_gib * GIB,
        disk_reserve_bytes=arguments.reserve_disk_gib * GIB,
        commercial=arguments.commercial,
        offline=arguments.offline,
        platform=arguments.platform,
        form_factor=arguments.form_factor,
        accelerator=arguments.accelerator,
        users=arguments.users,
        placement=arguments.placement,
        enterprise=_listed(arguments.enterprise),
        own_conversion=arguments.own_conversion,
        experimental=arguments.experimental,
        priority=arguments.priority,
        models=_model_list(arguments.models),
        quantizations=_listed(arguments.quants),
        runtimes=_listed(arguments.runtimes),
        all_quantizations=arguments.all_quants,
    )


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _model_list(text: str) -> tuple[str, ...]:
    path = Path(text)
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if text and path.is_file() else None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{text} cannot be read: {error}.") from error
    if lines is None:
        return _listed(text)
    return tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))
