"""The command line: its JSON, its exit codes, and a sentence for every bad input."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recommender import paths
from recommender.catalog.measurements import MeasurementStore
from recommender.cli import main
from recommender.runner.bindings import available_bindings

ROOT = Path(__file__).parent.parent
PRESET = ("--device", "cpu-intel-core-i7-13700h")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs one command in this process: (exit code, standard output, standard error)."""

    def call(*argv: str) -> tuple[int, str, str]:
        code = main(argv)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def ask(run: Any) -> Any:
    """The JSON that a command which succeeds prints."""

    def call(*argv: str) -> Any:
        code, out, err = run(*argv, "--json")
        assert code == 0, err
        return json.loads(out)

    return call


def _figure(value: Any) -> None:
    assert set(value) == {"value", "low", "high", "provenance"}
    assert 0 < value["low"] <= value["value"] <= value["high"]
    assert value["provenance"] in ("estimated", "measured here", "measured on the same hardware", "published")


def _process(*argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "recommender.cli", *argv],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        timeout=120,
        check=False,
    )


# ── recommend ────────────────────────────────────────────────────────────────────────────────────────────────


def test_recommend_prints_picks_and_near_misses_with_all_their_fields(ask: Any) -> None:
    answer = ask("recommend", *PRESET, "--top", "4")
    assert len(answer["picks"]) == 4
    wanted = {
        "model_id",
        "quantization",
        "runtime",
        "settings",
        "estimate",
        "score",
        "score_parts",
        "reasons",
        "command",
    }
    for pick in answer["picks"]:
        assert wanted <= set(pick)
        _figure(pick["estimate"]["decode_tokens_per_s"])
        assert pick["settings"]["context_tokens"] == answer["context_tokens"]
        assert sum(part["points"] for part in pick["score_parts"]) == pytest.approx(pick["score"])
    assert answer["near_misses"]
    for miss in answer["near_misses"]:
        assert wanted | {"rule", "short_by", "change"} <= set(miss)


def test_recommend_for_people_names_the_pick_and_its_command(run: Any) -> None:
    code, out, _ = run("recommend", *PRESET)
    assert code == 0
    assert "of memory free" in out
    assert "llama-server" in out
    assert "Also fits" in out


def test_managed_picks_have_neither_quantization_nor_memory(ask: Any) -> None:
    pick = ask("recommend", *PRESET, "--placement", "managed")["picks"][0]
    assert pick["quantization"] is None
    assert pick["estimate"]["memory"] is None
    assert pick["settings"] is None


def test_every_constraint_is_passed_on(ask: Any) -> None:
    need = ask(
        *("recommend", *PRESET, "--task", "code", "--context", "8192", "--priority", "speed"),
        *("--languages", "de,fr", "--min-decode", "3", "--max-ttft", "60", "--max-answer-time", "200"),
        *("--reserve-memory-gib", "1", "--reserve-disk-gib", "2", "--commercial", "--offline", "--accelerator", "cpu"),
        *("--users", "2", "--experimental", "--all-quants", "--runtimes", "llama.cpp", "--quants", "Q4_K_M,Q8_0"),
    )["need"]
    assert (need["task"], need["context_tokens"], need["priority"], need["languages"]) == (
        *("code", 8192, "speed"),
        ["de", "fr"],
    )
    assert (need["min_decode_tokens_per_s"], need["max_ttft_s"], need["max_answer_time_s"]) == (3, 60, 200)
    assert (need["memory_reserve_bytes"], need["disk_reserve_bytes"]) == (1024**3, 2 * 1024**3)
    assert need["commercial"]
    assert need["offline"]
    assert need["experimental"]
    assert need["all_quantizations"]
    assert (need["accelerator"], need["users"], need["runtimes"]) == ("cpu", 2, ["llama.cpp"])
    assert need["quantizations"] == ["Q4_K_M", "Q8_0"]


def test_models_come_from_a_list_or_from_a_file(ask: Any, tmp_path: Path) -> None:
    listed = tmp_path / "models.txt"
    listed.write_text("# two\nQwen/Qwen3-0.6B\n\nQwen/Qwen3-4B\n")
    from_file = ask("recommend", *PRESET, "--models", str(listed))
    named = ask("recommend", *PRESET, "--models", "Qwen/Qwen3-0.6B,Qwen/Qwen3-4B")
    assert {pick["model_id"] for pick in from_file["picks"]} == {"Qwen/Qwen3-0.6B", "Qwen/Qwen3-4B"}
    assert from_file["picks"] == named["picks"]


def test_overrides_change_the_machine(ask: Any) -> None:
    small = ask("recommend", *PRESET, "--ram-gib", "8", "--free-ram-gib", "3", "--bandwidth-gb-s", "30")
    assert small["memory_budget_bytes"] == 3 * 1024**3
    assert small["device"]["bandwidth_bytes_per_s"] == 30e9
    card = ask("recommend", "--device", "rtx-4060", "--vram-gib", "4")
    assert card["gpu_budget_bytes"] == 4 * 1024**3


# ── estimate ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_estimate_prints_bytes_memory_by_part_and_ranged_speeds(ask: Any) -> None:
    answer = ask("estimate", *PRESET, "--model", "Qwen/Qwen3-4B", "--quant", "Q4_K_M", "--context", "8192")
    assert answer["file_bytes"] == pytest.approx(2.5e9, rel=0.05)
    memory = answer["memory"]
    parts = ("weights_bytes", "kv_cache_bytes", "compute_bytes", "overhead_bytes")
    assert sum(memory[part] for part in parts) == pytest.approx(memory["total_bytes"])
    for name in ("prefill_tokens_per_s", "decode_tokens_per_s", "ttft_s", "answer_time_s"):
        _figure(answer[name])
    assert answer["settings"]["context_tokens"] == 8192


def test_every_option_of_estimate_is_taken(ask: Any) -> None:
    settings = ask(
        *(
            "estimate",
            "--device",
            "rtx-4060",
            "--model",
            "Qwen/Qwen3-4B",
            "--quant",
            "Q4_K_M",
            "--runtime",
            "llama.cpp",
        ),
        *("--context", "4096", "--depth", "1000", "--kv-type", "q8_0", "--batch", "1024", "--ubatch", "256"),
        *("--parallel", "2", "--threads", "3", "--gpu-layers", "5", "--flash-attn", "off", "--devices", "1"),
        *("--prompt-tokens", "100", "--gen-tokens", "50", "--model-bytes", "3e9"),
    )
    assert settings["settings"] == {
        "context_tokens": 4096,
        "kv_type": "q8_0",
        "batch_tokens": 1024,
        "ubatch_tokens": 256,
        "parallel": 2,
        "threads": 3,
        "gpu_layers": 5,
        "flash_attn": False,
    }
    assert settings["file_bytes"] == pytest.approx(3e9)


def test_a_bad_row_yields_an_error_and_the_others_their_answers(ask: Any, tmp_path: Path) -> None:
    rows = [
        {"model": "Qwen/Qwen3-4B", "quant": "Q4_K_M", "context": "4096", "device": ""},
        {"model": "Qwen/Qwen3-4C", "quant": "Q4_K_M", "context": "4096", "device": ""},
        {"model": "Qwen/Qwen3-4B", "quant": "Q9", "context": "4096", "device": ""},
        {"model": "Qwen/Qwen3-4B", "quant": "Q4_K_M", "context": "many", "device": ""},
        {"model": "Qwen/Qwen3-4B", "quant": "Q4_K_M", "context": "0", "device": ""},
        {"model": "", "quant": "Q4_K_M", "context": "", "device": ""},
        {"model": "Qwen/Qwen3-4B", "quant": "Q4_K_M", "context": "", "device": "rtx-9999"},
        {"model": "Qwen/Qwen3-0.6B", "quant": "Q8_0", "context": "", "device": "rtx-4060"},
    ]
    path = tmp_path / "rows.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    answers = ask("estimate", *PRESET, "--rows", str(path))
    assert len(answers) == len(rows)
    assert [("error" in answer) for answer in answers] == [False, True, True, True, True, True, True, False]
    assert "Qwen/Qwen3-4B" in answers[1]["error"]
    assert "line 5" in answers[3]["error"]
    assert answers[7]["settings"]["gpu_layers"] > 0


@pytest.mark.parametrize(
    ("text", "words"),
    [("model,quant,contxt\na,b,1\n", "context"), ("context\n1\n", "model"), ("\xff\xfe\x00", "CSV"), ("", "model")],
)
def test_a_file_of_rows_that_is_none_is_refused(run: Any, tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(text.encode("latin-1"))
    code, _, err = run("estimate", *PRESET, "--rows", str(path))
    assert code == 2
    assert words in err


# ── devices and lists ────────────────────────────────────────────────────────────────────────────────────────


def test_a_device_file_is_taken_where_a_preset_is(ask: Any, tmp_path: Path) -> None:
    device = ask("device", "--device", "macbook-air-m3", "--ram-gib", "16")
    path = tmp_path / "mac.json"
    path.write_text(json.dumps(device))
    assert ask("device", "--device", str(path)) == device
    first = ask("recommend", "--device", str(path))["picks"]
    again = ask("recommend", "--device", "macbook-air-m3", "--ram-gib", "16")["picks"]
    assert first == again


def test_this_machine_can_be_described_and_taken_elsewhere(ask: Any, tmp_path: Path) -> None:
    device = ask("device")
    path = tmp_path / "here.json"
    path.write_text(json.dumps(device))
    assert ask("device", "--device", str(path))["ram_bytes"] == device["ram_bytes"]


def test_the_probe_measures_memory_and_the_real_runtime_and_keeps_both(
    ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not available_bindings():
        pytest.skip("no llama.cpp is installed")
    monkeypatch.setenv(paths.HOME_VARIABLE, str(tmp_path))
    device = ask("device", "--probe")
    probe = device["probe"]
    assert device["bandwidth_bytes_per_s"] == probe["bandwidth_bytes_per_s"] > 0
    assert probe["problem"] is None
    assert probe["rehearsal"]["decode_tokens_per_s"]["median"] > 0
    [kept] = MeasurementStore().all()
    assert kept.model_id == probe["rehearsal"]["model_id"]
    path = tmp_path / "here.json"
    path.write_text(json.dumps(device))
    assert ask("device", "--device", str(path))["bandwidth_bytes_per_s"] == device["bandwidth_bytes_per_s"]


def test_without_llama_cpp_the_probe_measures_memory_alone_and_says_why(
    ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(paths.HOME_VARIABLE, str(tmp_path))
    monkeypatch.setattr("recommender.runner.bindings._MODULES", {})
    probe = ask("device", "--probe")["probe"]
    assert probe["bandwidth_bytes_per_s"] > 0
    assert probe["rehearsal"] is None
    assert "No llama.cpp is installed" in probe["problem"]


def test_presets_are_found_by_words(ask: Any) -> None:
    assert len(ask("devices")) >= 250
    found = ask("devices", "macbook air m3")
    assert any(row["id"] == "macbook-air-m3" for row in found)
    assert set(found[0]) == {"id", "name", "kind"}


@pytest.mark.parametrize("action", ["models", "tasks", "runtimes", "quantizations", "info"])
def test_the_catalog_lists_what_it_has(ask: Any, action: str) -> None:
    assert ask("catalog", action)


def test_paths_are_where_the_variable_says(ask: Any) -> None:
    found = ask("paths")
    assert found["data"] == os.environ[paths.HOME_VARIABLE]
    assert set(found) == set(paths.all_paths())


# ── bad input ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("recommend", *PRESET, "--task", "chta"), "chat"),
        (("recommend", *PRESET, "--models", "Qwen/Qwen3-4C"), "Qwen/Qwen3-4B"),
        (("recommend", *PRESET, "--quants", "Q4_K_L"), "Q4_K_M"),
        (("recommend", *PRESET, "--runtimes", "llamacpp"), "llama.cpp"),
        (("recommend", "--device", "rtx-40600"), "rtx-4060"),
        (("recommend", *PRESET, "--priority", "fast"), "quality"),
        (("recommend", *PRESET, "--context", "0"), "Context"),
        (("recommend", *PRESET, "--context", "-5"), "Context"),
        (("recommend", *PRESET, "--ram-gib", "-1"), "RAM"),
        (("recommend", *PRESET, "--ram-gib", "nan"), "RAM"),
        (("recommend", *PRESET, "--users", "0"), "Users"),
        (("recommend", *PRESET, "--top", "0"), "--top"),
        (("recommend", *PRESET, "--min-decode", "-1"), "decode"),
        (("recommend", *PRESET, "--languages", "German"), "ISO"),
        (("recommend", *PRESET, "--accelerator", "tpu"), "npu"),
        (("recommend", "--device", "nowhere.json"), "nowhere.json"),
        (("estimate", *PRESET), "--model"),
        (("estimate", *PRESET, "--model", "Qwen/Qwen3-4C", "--quant", "Q4_0"), "Qwen/Qwen3-4B"),
        (("estimate", *PRESET, "--model", "Qwen/Qwen3-4B", "--quant", "Q4"), "Q4_K_M"),
        (("estimate", *PRESET, "--model", "Qwen/Qwen3-4B", "--quant", "Q4_0", "--context", "0"), "Context"),
        (("estimate", *PRESET, "--model", "Qwen/Qwen3-0.6B", "--quant", "Q4_0", "--context", "99999999"), "at most"),
        (("estimate", *PRESET, "--model", "Qwen/Qwen3-4B", "--quant", "Q4_0", "--kv-type", "q9"), "q8_0"),
        (("estimate", *PRESET, "--model", "Qwen/Qwen3-4B", "--quant", "Q4_0", "--flash-attn", "maybe"), "on or off"),
        (("estimate", *PRESET, "--model", "Qwen/Qwen3-4B", "--quant", "Q4_0", "--runtime", "vlm"), "vllm"),
        (("serve", "--port", "0"), "port cannot be 0"),
        (("measure",), "--file"),
    ],
)
def test_bad_input_gets_a_sentence_and_exit_code_2(run: Any, argv: tuple[str, ...], words: str) -> None:
    code, out, err = run(*argv)
    assert code == 2
    assert out == ""
    assert err.startswith("recommender: ")
    assert words in err
    assert "Traceback" not in err


def test_with_json_an_error_is_json_too(run: Any) -> None:
    code, out, err = run("recommend", *PRESET, "--task", "chta", "--json")
    assert code == 2
    assert "chat" in json.loads(out)["error"]
    assert err


def test_an_unknown_option_exits_with_2(run: Any) -> None:
    with pytest.raises(SystemExit) as caught:
        run("recommend", "--fastest")
    assert caught.value.code == 2


def test_a_device_file_with_nonsense_is_refused(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "device.json"
    for text in ("{", "[]", '{"name": "x", "os": "beos"}', '{"ram_bytes": -1}', '{"ram_byte": 1}'):
        path.write_text(text)
        code, _, err = run("recommend", "--device", str(path))
        assert code == 2, text
        assert "Traceback" not in err


# ── a process of its own ─────────────────────────────────────────────────────────────────────────────────────


def test_recommend_loads_no_streamlit_and_no_plotly() -> None:
    code = (
        "import sys; from recommender.cli import main; code = main(['recommend', '--device', 'rtx-4060', '--json']);"
        "print(code, sorted({name.partition('.')[0] for name in sys.modules}"
        " & {'streamlit', 'plotly', 'pandas', 'huggingface_hub', 'xllamacpp', 'llama_cpp'}), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=120,
        check=True,
    )
    assert done.stderr.strip().endswith("0 []"), done.stderr


def test_a_fresh_process_answers_in_json_and_fails_with_2() -> None:
    good = _process("recommend", *PRESET, "--top", "1", "--json")
    assert good.returncode == 0, good.stderr
    assert json.loads(good.stdout)["picks"]
    bad = _process("recommend", "--device", "rtx-40600")
    assert bad.returncode == 2
    assert "Traceback" not in bad.stderr


def test_a_home_that_cannot_be_written_still_recommends_from_memory(tmp_path: Path) -> None:
    """The folder's parent is a file, which no user, not even root, can write into."""
    blocked = tmp_path / "a file"
    blocked.write_text("")
    done = _process("recommend", *PRESET, "--top", "1", "--json", RIGHTSIZE_HOME=str(blocked / "home"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["picks"]
    assert "in memory" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_a_full_disk_behind_the_output_ends_without_a_traceback() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "recommender.cli", "catalog", "models"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            timeout=120,
            check=False,
        )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
