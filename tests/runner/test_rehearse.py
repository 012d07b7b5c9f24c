"""Rehearsals run real files without weights in the real runtime."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender import cli, paths
from recommender.catalog import queries
from recommender.catalog.measurements import MeasurementStore
from recommender.catalog.queries import architecture_of
from recommender.catalog.store import Catalog
from recommender.device import this_machine
from recommender.engine.estimate_rows import EstimateAnswer, EstimateRequest, estimate_one
from recommender.errors import BadInputError, RunError, UnknownNameError
from recommender.estimate.calibrate import calibration
from recommender.estimate.tensors import layout
from recommender.runner import RunManager, protocol, rehearse, weightless
from recommender.types import GIB, MIB, Device, Estimate, Figure, Memory
from tests.runner.conftest import PATIENCE_S, SETTINGS, until

QUANTIZATION = "Q4_0"


@pytest.fixture(scope="module")
def smallest(catalog: Catalog) -> str:
    """The smallest model whose shape is known exactly."""
    rows = catalog.cursor().execute(
        "SELECT model_id FROM models JOIN shapes USING (model_id) WHERE complete ORDER BY params_total LIMIT 1"
    )
    return str(rows.fetchall()[0][0])


@pytest.fixture(scope="module")
def here() -> Device:
    return this_machine()


@pytest.fixture(scope="module")
def prior(catalog: Catalog, smallest: str, here: Device) -> EstimateAnswer:
    request = EstimateRequest(
        smallest, QUANTIZATION, here, context_tokens=1024, threads=1, gpu_layers=0, prompt_tokens=32, gen_tokens=8
    )
    return estimate_one(request, catalog)


Plan = tuple[rehearse.Rehearsal, Catalog, Device]


@pytest.fixture
def plan(catalog: Catalog, smallest: str, here: Device, prior: EstimateAnswer, home: Path) -> Plan:
    wanted = rehearse.Rehearsal(
        smallest, QUANTIZATION, SETTINGS, prior.estimate, prompt_tokens=32, gen_tokens=8, repeats=1
    )
    return wanted, catalog, here


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Scratch files and measurements of one test; the catalog is everybody's."""
    monkeypatch.setattr(paths, "scratch_dir", lambda: tmp_path / "scratch")
    monkeypatch.setattr(paths, "measurements_database", lambda: tmp_path / "measurements.duckdb")
    return tmp_path


def files() -> list[Path]:
    return sorted(paths.scratch_dir().iterdir())


# ── a whole rehearsal ────────────────────────────────────────────────────────────────────────────────────────


def test_a_rehearsal_measures_what_the_real_file_would_need_and_leaves_nothing_behind(
    plan: Plan, prior: EstimateAnswer, binding: str
) -> None:
    seen: list[protocol.Event] = []
    found = rehearse.rehearse(replace(plan[0], binding=binding), *plan[1:], seen.append)

    assert found.rehearsal
    assert found.model_id == plan[0].model_id
    assert found.file_name == f"{plan[0].model_id.split('/')[1]}-{QUANTIZATION}.gguf"
    assert found.binding.startswith(binding)
    assert found.build
    assert (found.prompt_tokens, found.gen_tokens, found.repeats) == (32, 8, 1)
    assert found.decode_tokens_per_s > 0
    assert found.prefill_tokens_per_s > 0
    expected = prior.estimate.memory
    assert found.memory is not None
    assert expected is not None
    assert found.memory.kv_cache_bytes == pytest.approx(expected.kv_cache_bytes, rel=0.01)
    assert found.memory.weights_bytes - found.memory.reclaimable_bytes == pytest.approx(
        expected.weights_bytes - expected.reclaimable_bytes, rel=0.02
    )
    assert found.predicted_memory_bytes == expected.total_bytes
    assert files() == []

    kinds = [type(event).__name__ for event in seen if not isinstance(event, protocol.Queued)]
    assert kinds == ["Loading", "Loaded", "WarmUp", "Repeat", "Result"]
    assert [protocol.decode(protocol.encode(event)) for event in seen] == seen


def test_the_command_prints_figures_with_their_estimates_and_keeps_the_measurement(
    home: Path, smallest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--prompt-tokens", "32", "--gen-tokens", "8", "--repeats", "1", "--threads", "1", "--context", "512"]
    code = cli.main(["rehearse", "--model", smallest, "--quant", QUANTIZATION, *asked, "--json"])
    found = json.loads(capsys.readouterr().out)

    assert code == 0
    for name in ("decode_tokens_per_s", "prefill_tokens_per_s"):
        assert found[name]["low"] <= found[name]["median"] <= found[name]["high"]
        assert set(found[name]["estimate"]) == {"value", "low", "high", "provenance"}
        assert found[name]["estimate"] == found["estimate"][name]
    parts = set(Memory.__dataclass_fields__)
    assert set(found["memory"]) == parts | {"estimate"}
    assert set(found["memory"]["estimate"]) == parts
    assert found["memory"]["provenance"] == "measured here"
    assert found["load_s"] > 0
    assert found["noisy"] is True
    assert found["build"]
    assert found["rehearsal"] is True
    assert any("disk" in note for note in found["notes"])
    assert "fewer than 3" in found["noise_reason"]
    [kept] = MeasurementStore().all()
    assert not calibration([kept], kept.device_key).applies
    assert kept.id == found["id"]
    assert kept.rehearsal
    assert kept.settings.context_tokens == 512
    assert files() == []


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["--quant", "Q4_0"], "--model and --quant"),
        (["--model", "no-such-model", "--quant", "Q4_0"], "no model called"),
        (["--model", "Qwen/Qwen3-0.6B", "--quant", "Q9"], "no quantization"),
        (["--model", "Qwen/Qwen3-0.6B", "--quant", "Q4_0", "--runtime", "vllm"], "only llama.cpp and ollama"),
        (["--model", "Qwen/Qwen3-0.6B", "--quant", "Q4_0", "--repeats", "0"], "at least 1"),
        (["--model", "Qwen/Qwen3-0.6B", "--quant", "Q4_0", "--prompt-tokens", "0"], "at least 1"),
    ],
)
def test_the_command_refuses_nonsense_in_a_sentence(
    asked: list[str], words: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["rehearse", *asked, "--json"]) == 2
    assert words in json.loads(capsys.readouterr().out)["error"]


# ── the file ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_file_has_the_models_size_and_takes_a_few_mb_of_disk(plan: Plan, catalog: Catalog) -> None:
    [model_id] = catalog.cursor().execute(
        "SELECT model_id FROM models JOIN shapes USING (model_id) WHERE complete AND n_expert IS NULL "
        "AND params_total BETWEEN 6e9 AND 9e9 ORDER BY params_total, model_id LIMIT 1"
    ).fetchall()[0]  # fmt: skip
    request = rehearse.prepare(replace(plan[0], model_id=model_id, estimate=None), *plan[1:])
    status = Path(request.model_path).stat()
    expected = layout(architecture_of(catalog, model_id), QUANTIZATION).file_bytes

    assert status.st_size == pytest.approx(expected, rel=0.01)
    assert status.st_size > 3 * GIB
    assert status.st_blocks * 512 < 30 * MIB


def test_a_rehearsal_that_is_stopped_while_it_runs_takes_its_file_along(plan: Plan, manager: RunManager) -> None:
    request = rehearse.prepare(replace(plan[0], repeats=500), *plan[1:])
    assert Path(request.model_path).exists()
    job = rehearse.submit(manager, request)
    until(lambda: job.last(protocol.WarmUp))
    job.cancel()
    until(lambda: not Path(request.model_path).exists())
    assert job.state == "cancelled"


def test_a_rehearsal_whose_process_is_killed_fails_in_a_sentence_and_takes_its_file_along(
    plan: Plan, manager: RunManager
) -> None:
    request = rehearse.prepare(replace(plan[0], repeats=500), *plan[1:])
    job = rehearse.submit(manager, request)
    until(lambda: job.last(protocol.WarmUp))
    assert job.pid is not None
    os.kill(job.pid, signal.SIGKILL)
    assert job.wait(PATIENCE_S)
    until(lambda: not Path(request.model_path).exists())
    assert "killed from outside" in job.error


def test_a_shape_that_the_runtime_refuses_fails_in_a_sentence_about_the_model(plan: Plan) -> None:
    request = rehearse.prepare(*plan)
    path = Path(request.model_path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"blk.0.attn_q.weight", b"blk.0.attn_q.weighs"))
    with pytest.raises(RunError, match=r"llama\.cpp could not load .*-Q4_0\.gguf: .*attn_q.*does not take this shape"):
        rehearse.measure(request)


def test_a_queue_that_is_closed_keeps_no_file(plan: Plan) -> None:
    manager = RunManager()
    manager.close()
    request = rehearse.prepare(*plan)
    with pytest.raises(RunError, match="shutting down"):
        rehearse.submit(manager, request)
    assert files() == []


_SLEEPER = """
import sys, time
from pathlib import Path
from recommender import paths
from recommender.estimate.architecture import architecture_from_row
from recommender.runner import rehearse
from tests.estimate.shapes import DENSE
paths.scratch_dir = lambda: Path(sys.argv[1])
print(rehearse._write(architecture_from_row(DENSE), "Q4_0"), flush=True)
time.sleep(600)
"""


def test_files_of_a_killed_program_are_removed_at_the_next_start_and_those_of_a_living_one_stay(
    plan: Plan,
) -> None:
    def program() -> tuple[subprocess.Popen[str], Path]:
        root = str(Path(__file__).parents[2])
        started = subprocess.Popen(
            [sys.executable, "-c", _SLEEPER, str(paths.scratch_dir())],
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
            env={**os.environ, "PYTHONPATH": root},
        )
        assert started.stdout is not None
        return started, Path(started.stdout.readline().strip())

    (killed, its_file), (alive, other_file) = program(), program()
    try:
        killed.kill()
        killed.wait()
        assert its_file.exists()
        mine = Path(rehearse.prepare(*plan).model_path)
        assert files() == sorted([other_file.parent, mine.parent])
    finally:
        alive.kill()
        alive.wait()


def test_a_process_that_got_the_id_of_a_dead_one_does_not_keep_its_files(home: Path) -> None:
    folder = paths.scratch_dir()
    old = folder / f"rehearsal-{os.getpid()}-0123abcd"
    old.mkdir(parents=True)
    (old / "model.gguf").touch()
    trial, other = folder / ".sparse-trial-4194303", folder / "a-file-of-somebody.gguf"
    for path in (trial, other):
        path.touch()
    long_ago = time.time() - 10 * 365 * 24 * 3600
    os.utime(old, (long_ago, long_ago))

    assert rehearse.remove_leftovers() == 2
    assert files() == [other]


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_memory_would_not_hold_is_refused_with_the_numbers(plan: Plan, here: Device) -> None:
    tight = replace(here, ram_free_bytes=100.0 * MIB)
    with pytest.raises(RunError, match=r"needs 0\.\d GiB of memory, 0\.1 GiB are free: short by"):
        rehearse.rehearse(*plan[:2], tight)
    assert not paths.scratch_dir().exists()


def test_pages_that_the_system_can_take_back_need_no_room(plan: Plan, here: Device, prior: EstimateAnswer) -> None:
    memory = prior.estimate.memory
    assert memory is not None
    roomy = replace(
        memory, total_bytes=memory.total_bytes + 10 * MIB, reclaimable_bytes=memory.reclaimable_bytes + 10 * MIB
    )
    just = replace(here, ram_free_bytes=memory.total_bytes - memory.reclaimable_bytes + 1)
    rehearse._check_memory("m", "q", roomy, just)
    with pytest.raises(RunError):
        rehearse._check_memory("m", "q", replace(roomy, reclaimable_bytes=0.0), just)


def test_memory_of_a_card_is_checked_apart(workstation: Device) -> None:
    memory = Memory(50 * GIB, 0.0, 0.0, 0.0, 50 * GIB, gpu_bytes=30 * GIB)
    with pytest.raises(RunError, match=r"30\.0 GiB of GPU memory, 23\.0 GiB are free: short by 7\.0 GiB"):
        rehearse._check_memory("m", "q", memory, workstation)
    rehearse._check_memory("m", "q", replace(memory, gpu_bytes=20 * GIB), workstation)


def test_a_model_without_an_exact_shape_is_refused(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = queries._texts
    monkeypatch.setattr(queries, "_texts", lambda *args: whole(*args) | {"n_layer": ""})
    with pytest.raises(BadInputError, match=r"cannot be rehearsed, because its exact shape is not known.*n_layer"):
        rehearse.prepare(*plan)


def test_an_unknown_model_is_refused_with_the_nearest_names(plan: Plan) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean"):
        rehearse.prepare(replace(plan[0], model_id=plan[0].model_id[:-2] + "xx"), *plan[1:])


def test_a_full_disk_is_refused_before_anything_is_written(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1.0 * MIB))
    with pytest.raises(RunError, match=r"needs up to 0\.1 GiB in .*, where 0\.0 GiB are free"):
        rehearse.prepare(*plan)
    assert files() == []


def test_a_disk_without_sparse_files_refuses_large_models_and_takes_small_ones(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (rehearse, weightless):
        monkeypatch.setattr(module, "supports_sparse_files", lambda _: False)
    with pytest.raises(RunError, match="does not keep sparse files"):
        rehearse.prepare(replace(plan[0], model_id="Qwen/Qwen3-4B", estimate=None), *plan[1:])
    assert files() == []
    assert Path(rehearse.prepare(*plan).model_path).exists()


# ── how long it takes ────────────────────────────────────────────────────────────────────────────────────────


def _estimate(prefill: float, decode: float) -> Estimate:
    def figure(value: float) -> Figure:
        return Figure(value, value, value, "estimated")

    return Estimate(None, "", None, figure(prefill), figure(decode), None, None)


@given(st.floats(0.1, 1e5), st.floats(0.01, 1e4), st.integers(82, 100_000), st.integers(1, 5))
def test_the_usual_counts_take_at_most_20_s_where_the_machine_can(
    prefill: float, decode: float, context: int, repeats: int
) -> None:
    estimate = _estimate(prefill, decode)
    prompt, gen = rehearse.usual_counts(estimate, context, repeats)
    assert prompt + gen < context
    if rehearse.expected_s(estimate, 64, 16, repeats) <= rehearse.USUAL_S:
        assert rehearse.expected_s(estimate, prompt, gen, repeats) <= rehearse.USUAL_S
    else:
        assert (prompt, gen) == (64, 16)


def test_the_usual_counts_are_the_protocols_own_on_a_fast_machine() -> None:
    assert rehearse.usual_counts(_estimate(1000.0, 100.0), 4096) == (512, 128)


def test_an_unknown_speed_means_the_shortest_rehearsal() -> None:
    assert rehearse.usual_counts(None, 4096) == rehearse.COUNTS[-1]
    assert math.isnan(rehearse.expected_s(None, 512, 128))
