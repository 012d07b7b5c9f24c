"""``recommender …``: the same answers as the page, for scripts. Every command takes ``--json``."""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from recommender import paths
from recommender.cli_catalog import LIVE, add_catalog_arguments, live_catalog_command
from recommender.cli_community import add_community_arguments
from recommender.cli_need import add_need_arguments, need_from
from recommender.cli_plan import add_compare_arguments, add_plan_arguments
from recommender.cli_shared import (
    calibration_of,
    catalog_with_notes,
    chosen_device,
    device_arguments,
    device_by_name,
    print_answer,
)
from recommender.errors import BadInputError, RecommenderError
from recommender.plain import plain
from recommender.settings import Settings, load, option


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0, 1 for a failure, 2 for input that makes no sense."""
    arguments = parser().parse_args(argv)
    try:
        result: int = arguments.run(arguments) or 0
        sys.stdout.flush()
    except RecommenderError as error:
        if getattr(arguments, "json", False):
            print(json.dumps({"error": str(error)}))
        print(f"recommender: {plain(str(error))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("recommender: stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still to be written has nowhere to go
        print("recommender: the disk is full: free some space and run the command again.", file=sys.stderr)
        return 1
    return result


def parser() -> argparse.ArgumentParser:
    """Every command and option."""
    top = argparse.ArgumentParser(
        prog="recommender",
        description="Names the small language model, quantization and runtime for a machine and a need.",
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Any, help_text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help_text, description=help_text)
        command.add_argument("--json", action="store_true", help="print JSON")
        command.set_defaults(run=run)
        return command

    command = add("recommend", _recommend, "rank what fits a device and a need")
    device_arguments(command)
    add_need_arguments(command)
    command.add_argument("--top", type=int, default=10, metavar="N", help="picks to print (10)")

    command = add(
        "recipe", _recipe, "all it takes to set a pick up on its runtime: commands, files, check, measurement"
    )
    device_arguments(command)
    command.add_argument("--model", help="model id or name (the best for the question)")
    command.add_argument("--quant", help="quantization, such as Q4_K_M (the best)")
    command.add_argument("--runtime", help="runtime (the best)")
    command.add_argument("--write", type=Path, metavar="FOLDER", help="write the recipe and its files there")
    add_need_arguments(command)

    command = add("runtimes", _runtimes, "one model on every runtime: what each would run it with, or why it does not")
    device_arguments(command)
    command.add_argument("--model", help="model id or name")
    command.add_argument("--quant", help="only this quantization, such as Q4_K_M (each runtime's best)")
    add_need_arguments(command)

    command = add("compare", _compare, "two to four picks side by side, every number")
    device_arguments(command)
    add_compare_arguments(command)
    add_need_arguments(command)

    command = add("plan", _plan, "the least class of device that runs a model as fast as needed, and the next steps")
    add_plan_arguments(command)
    add_need_arguments(command)

    command = add("estimate", _estimate, "bytes, memory and speed of one model, or of every row of a CSV file")
    device_arguments(command)
    command.add_argument("--model", help="model id or name")
    command.add_argument("--quant", help="quantization, such as Q4_K_M")
    for flag, kind, text in _ESTIMATE_FLAGS:
        command.add_argument(flag, type=kind, help=text)
    command.add_argument("--rows", type=Path, metavar="FILE.csv", help="a CSV file with these options as columns")

    command = add("explain-memory", _explain_memory, "memory by part, with the numbers that go into each")
    device_arguments(command)
    command.add_argument("--model", required=True, help="model id or name")
    command.add_argument("--quant", required=True, help="quantization, such as Q4_K_M")
    for flag, kind, text in _ESTIMATE_FLAGS:
        command.add_argument(flag, type=kind, help=text)

    command = add("device", _device, "what this machine, a preset or a JSON file is")
    device_arguments(command)
    command.add_argument(
        "--probe", action="store_true", help="measure memory and a small model (about ten seconds), and keep both"
    )

    command = add("devices", _devices, "presets")
    command.add_argument("search", nargs="?", default="", help="words in the name")

    command = add("catalog", _catalog, "the catalog: what it has, what live sources add to it, and what contradicts")
    add_catalog_arguments(command)

    command = add("measure", _measure, "run a GGUF file, or ask a server, and measure it")
    device_arguments(command)
    command.add_argument("--file", type=Path, help="a GGUF file on this machine")
    command.add_argument("--model", help="a model of the catalog; its file is downloaded when it is not here yet")
    command.add_argument("--onnx", type=Path, metavar="FOLDER", help="a folder for ONNX Runtime GenAI, made by Olive")
    command.add_argument("--endpoint", metavar="URL", help="a server that speaks OpenAI's protocol, instead of a file")
    command.add_argument("--served", metavar="NAME", help="what the server calls the model (its only one)")
    command.add_argument("--key-variable", metavar="VARIABLE", help="environment variable with the server's key")
    _run_arguments(command)
    command.add_argument("--prompt-tokens", type=int, default=512, help="tokens of the measured prompt (512)")
    command.add_argument("--gen-tokens", type=int, default=128, help="tokens generated per repeat (128)")
    command.add_argument("--check", metavar="TASK", help="afterwards ask the quick check's prompts for this task")

    command = add("rehearse", _rehearse, "measure a model of the catalog here without downloading it")
    command.add_argument("--model", help="model id or name")
    command.add_argument("--runtime", default="llama.cpp", help="llama.cpp, or ollama: its server copies the file")
    command.add_argument("--top", type=int, help="instead of one model: the first so many picks, then ranked again")
    command.add_argument("--task", default="chat", help="task of the picks (chat)")
    command.add_argument("--priority", default="balanced", help="of the picks (balanced)")
    _run_arguments(command)
    command.add_argument("--prompt-tokens", type=int, help="tokens of the measured prompt (512, or fewer for 20 s)")
    command.add_argument("--gen-tokens", type=int, help="tokens generated per repeat (128, or fewer for 20 s)")

    command = add("evaluate", _evaluate, "how right every estimate is, against the catalog's truth or your own files")
    for name, truth in _TRUTHS.items():
        command.add_argument(f"--{name}", type=Path, metavar="FILE.csv", help=f"judge against this, like {truth}")

    command = add(
        "community", _community, "measurements that people share: what would be shared, sharing it, all of it"
    )
    add_community_arguments(command)

    command = add("serve", _serve, "start the app")
    for setting in fields(Settings):
        name, about = option(setting.name), setting.metadata["about"]
        if isinstance(setting.default, bool):
            command.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, help=about)
        else:
            usual = "" if setting.default == "" else f" ({setting.default})"
            command.add_argument(f"--{name}", type=type(setting.default), metavar=name.upper(), help=about + usual)

    add("browser-assets", _browser_assets, "fetch what running a model in the visitor's browser needs (wllama, 29 MB)")
    add("paths", _paths, "where databases and downloads live")
    return top


_ESTIMATE_FLAGS: tuple[tuple[str, Any, str], ...] = (
    ("--runtime", str, "runtime (llama.cpp)"),
    ("--context", int, "context length in tokens (4096)"),
    ("--depth", int, "tokens already in the context while decoding (the middle of the answer)"),
    ("--kv-type", str, "type of the KV cache (f16)"),
    ("--batch", int, "logical batch in tokens (2048)"),
    ("--ubatch", int, "physical batch in tokens (512)"),
    ("--parallel", int, "sequences at once (1)"),
    ("--threads", int, "threads (the physical cores this process may use)"),
    ("--gpu-layers", int, "layers on the GPU (-1: as many as fit)"),
    ("--flash-attn", str, "flash attention, on or off (on)"),
    ("--devices", int, "GPUs of the same kind (1)"),
    ("--prompt-tokens", int, "tokens of the prompt (512)"),
    ("--gen-tokens", int, "tokens generated (128)"),
    ("--binding", str, "how llama.cpp is called: xllamacpp, or llama-cpp-python for its Llama class (xllamacpp)"),
    ("--model-bytes", float, "size of the model's file, when the catalog's is not the one meant"),
)


_TRUTHS = {
    "files": "gguf_files.csv",
    "measurements": "measurements.csv",
    "benchmarks": "benchmarks.csv",
    "memory": "load_log_grid.csv or a table of published load logs",
}


def _run_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--quant", help="quantization, such as Q4_K_M")
    command.add_argument("--context", type=int, default=4096, help="context length in tokens (4096)")
    command.add_argument("--threads", type=int, help="threads (the physical cores this process may use)")
    command.add_argument("--gpu-layers", type=int, default=-1, help="layers on the GPU (-1: as many as fit)")
    command.add_argument("--repeats", type=int, default=3, help="repeats (3)")
    command.add_argument("--binding", choices=("llama-cpp-python", "xllamacpp"), help="binding of llama.cpp")


# ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────


def _recommend(arguments: argparse.Namespace) -> None:
    from recommender.engine.recommend import recommend
    from recommender.present import recommendation_json, recommendation_text

    if arguments.top < 1:
        raise BadInputError(f"--top must be at least 1, not {arguments.top}.")
    device = chosen_device(arguments)
    with catalog_with_notes() as catalog:
        answer = recommend(
            device,
            need_from(arguments),
            catalog,
            calibration=calibration_of(device, catalog),
            top=arguments.top,
        )
    print_answer(arguments, recommendation_json(answer), recommendation_text(answer))


def _runtimes(arguments: argparse.Namespace) -> None:
    from recommender.cli_runtimes import runtimes_command

    print_answer(arguments, *runtimes_command(arguments, chosen_device(arguments)))


def _compare(arguments: argparse.Namespace) -> None:
    from recommender.cli_plan import compare_command

    value, text = compare_command(arguments, chosen_device(arguments))
    print_answer(arguments, value, text)


def _plan(arguments: argparse.Namespace) -> None:
    from recommender.cli_plan import plan_command

    value, text = plan_command(arguments)
    print_answer(arguments, value, text)


def _estimate(arguments: argparse.Namespace) -> int:
    from recommender.cli_rows import request_from, requests_from_csv, values_of
    from recommender.engine.estimate_rows import estimate_one, estimate_rows
    from recommender.present import answer_json, answer_text

    device = chosen_device(arguments)
    with catalog_with_notes() as catalog:
        calibration = calibration_of(device, catalog)
        if arguments.rows is None:
            if not arguments.model or not arguments.quant:
                raise BadInputError("Say which model and quantization: --model and --quant, or --rows FILE.csv.")
            answer = estimate_one(request_from(values_of(arguments), device), catalog, calibration)
            print_answer(arguments, answer_json(answer), answer_text(answer))
            return 0
        requests = requests_from_csv(arguments.rows, device, device_by_name)
        good = [request for request in requests if not isinstance(request, RecommenderError)]
        answered = iter(estimate_rows(good, catalog, calibration))
        rows = [request if isinstance(request, RecommenderError) else next(answered) for request in requests]
    values = [{"error": str(row)} if isinstance(row, RecommenderError) else answer_json(row) for row in rows]
    texts = [f"error: {row}" if isinstance(row, RecommenderError) else answer_text(row) for row in rows]
    print_answer(arguments, values, "\n".join(texts))
    return 0


def _explain_memory(arguments: argparse.Namespace) -> None:
    from recommender.cli_rows import request_from, values_of
    from recommender.engine.explain_memory import explain_memory, explanation_text
    from recommender.present import answer_json, jsonable

    with catalog_with_notes() as catalog:
        answer, parts = explain_memory(request_from(values_of(arguments), chosen_device(arguments)), catalog)
    print_answer(arguments, {**answer_json(answer), "parts": jsonable(parts)}, explanation_text(answer, parts))


def _device(arguments: argparse.Namespace) -> None:
    from recommender.device import memory_budget, to_json
    from recommender.engine.words import size

    device = chosen_device(arguments)
    probe: dict[str, Any] | None = None
    probe_lines: list[str] = []
    if arguments.probe:
        from recommender.cli_rehearse import probe_command

        if arguments.device != "auto":
            raise BadInputError("--probe measures this machine; leave --device out.")
        device, probe, probe_lines = probe_command(device, arguments.json)
    budget = memory_budget(device)
    lines = [f"{device.name} ({device.os}, {device.arch})"]
    for name in ("cpu_model", "physical_cores", "usable_threads", "isa", "npu_name"):
        if value := getattr(device, name):
            lines.append(f"  {name.replace('_', ' ')}: {', '.join(value) if isinstance(value, tuple) else value}")
    for name in ("ram_bytes", "ram_free_bytes", "disk_free_bytes"):
        value = getattr(device, name)
        lines.append(f"  {name.replace('_', ' ').replace(' bytes', '')}: {'unknown' if value is None else size(value)}")
    bandwidth = device.bandwidth_bytes_per_s
    lines.append(f"  memory bandwidth: {'unknown' if bandwidth is None else f'{bandwidth / 1e9:.0f} GB/s'}")
    lines += [f"  GPU: {gpu.name}, {size(gpu.memory_bytes or 0)}" for gpu in device.gpus]
    lines += [f"  {reason}" for reason in budget.reasons]
    value = json.loads(to_json(device))
    print_answer(arguments, {**value, "probe": probe} if probe else value, "\n".join(lines + probe_lines))


def _devices(arguments: argparse.Namespace) -> None:
    from recommender.device import presets, search

    found = search(arguments.search) if arguments.search else presets()
    rows = [{"id": preset.id, "name": preset.name, "kind": preset.kind} for preset in found]
    print_answer(
        arguments, rows, "\n".join(f"{row['id']:36s} {row['name']}" for row in rows) or "No preset has these words."
    )


def _catalog(arguments: argparse.Namespace) -> int:
    if arguments.action in LIVE:
        value, live_text, code = live_catalog_command(arguments)
        print_answer(arguments, value, live_text)
        return code
    if arguments.action == "build":
        from recommender.catalog import overlay
        from recommender.catalog.build import build
        from recommender.present import jsonable

        report = build(paths.catalog_dir(), paths.catalog_database(), overlay.current())
        print_answer(arguments, jsonable(report), str(report))
        return 0
    from recommender.catalog.queries import runtimes

    with catalog_with_notes() as catalog:
        if arguments.action == "info":
            counts = {
                name: catalog.count(name) for name in ("models", "variants", "candidates", "benchmarks", "devices")
            }
            rows: Any = {"date": catalog.date, "path": str(catalog.path or "in memory"), **counts}
            text = "\n".join(f"{name}: {value}" for name, value in rows.items())
        elif arguments.action == "models":
            rows = [{"id": row.model_id, "name": row.name, "tier": row.tier} for row in catalog.models()]
            text = "\n".join(row["id"] for row in rows)
        elif arguments.action == "tasks":
            rows = [{"id": task.id, "name": task.name} for task in catalog.tasks()]
            text = "\n".join(f"{row['id']:16s} {row['name']}" for row in rows)
        elif arguments.action == "runtimes":
            rows = [{"id": row.id, "name": row.name} for row in runtimes(catalog)]
            text = "\n".join(f"{row['id']:20s} {row['name']}" for row in rows)
        else:
            rows = list(catalog.quantizations())
            text = "\n".join(rows)
    print_answer(arguments, rows, text)
    return 0


def _measure(arguments: argparse.Namespace) -> None:
    from recommender.cli_measure import measure_command

    device = chosen_device(arguments)
    value, text = measure_command(arguments, device)
    print_answer(arguments, value, text)


def _recipe(arguments: argparse.Namespace) -> None:
    from recommender.cli_recipe import recipe_command

    value, text = recipe_command(arguments, chosen_device(arguments))
    print_answer(arguments, value, text)


def _rehearse(arguments: argparse.Namespace) -> None:
    from recommender.cli_rehearse import rehearse_command

    value, text = rehearse_command(arguments)
    print_answer(arguments, value, text)


def _evaluate(arguments: argparse.Namespace) -> None:
    from recommender.evaluate import evaluate, evaluation_json
    from recommender.evaluate_text import evaluation_text

    with catalog_with_notes() as catalog:
        found = evaluate(catalog, **{name: getattr(arguments, name) for name in _TRUTHS})
    print_answer(arguments, evaluation_json(found), evaluation_text(found))


def _community(arguments: argparse.Namespace) -> None:
    from recommender.cli_community import community_command

    print_answer(arguments, *community_command(arguments))


def _serve(arguments: argparse.Namespace) -> None:
    from recommender.server import check_address, serve

    settings = load({setting.name: getattr(arguments, setting.name) for setting in fields(Settings)})
    check_address(settings.host, settings.port)
    if settings.community:
        from recommender.community.stores import open_store

        open_store(settings.community)  # a place that makes no sense is said now
    print(f"Rightsize: http://{settings.host}:{settings.port} (Ctrl-C stops it)", flush=True)
    serve(settings)


def _browser_assets(arguments: argparse.Namespace) -> None:
    from recommender import browser_assets

    print_answer(arguments, *browser_assets.command(arguments.json))


def _paths(arguments: argparse.Namespace) -> None:
    places = {name: str(path) for name, path in paths.all_paths().items()}
    text = "\n".join(f"{name:22s} {path}" for name, path in places.items())
    print_answer(arguments, places, f"{text}\n{paths.HOME_VARIABLE} moves everything but the first.")


if __name__ == "__main__":
    sys.exit(main())
