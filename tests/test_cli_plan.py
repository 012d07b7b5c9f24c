"""``recommender compare`` and ``recommender plan``."""

from __future__ import annotations

import json

import pytest

from recommender.cli import main

PRESET = ("--device", "rtx-4060")
FOUR_B, SMALL = "Qwen/Qwen3-4B Q4_K_M llama.cpp", "Qwen/Qwen3-0.6B Q8_0 llama.cpp"


def test_compare_prints_every_pick_with_its_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *PRESET, "--pick", FOUR_B, "--pick", f"{SMALL} @ pixel-8", "--task", "code", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["task"] == "code"
    assert [one["choice"] for one in answer["picks"]] == [FOUR_B, f"{SMALL} @ pixel-8"]
    assert all(one["verdict"] for one in answer["picks"])
    assert answer["picks"][1]["device"]["id"] == "pixel-8"


def test_compare_and_recommend_give_the_same_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recommend", *PRESET, "--top", "2", "--json"]) == 0
    picks = json.loads(capsys.readouterr().out)["picks"]
    chosen = [f"{one['model_id']} {one['quantization']} {one['runtime']}" for one in picks]
    assert main(["compare", *PRESET, "--pick", chosen[0], "--pick", chosen[1], "--json"]) == 0
    compared = [one["pick"] for one in json.loads(capsys.readouterr().out)["picks"]]
    for pick, other in zip(picks, compared, strict=True):
        assert {**pick, "reasons": None} == {**other, "reasons": None}


def test_compare_for_people_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *PRESET, "--pick", FOUR_B, "--pick", SMALL]) == 0
    out = capsys.readouterr().out
    assert out.startswith("# ")
    assert "| ≠ | Speed: Decode |" in out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["compare", *PRESET, "--pick", FOUR_B], "Compare 2 to 4"),
        (["compare", *PRESET], "Compare 2 to 4"),
        (["compare", *PRESET, "--pick", "nonsense", "--pick", FOUR_B], "is not a pick"),
        (["plan"], "Name a model"),
        (["plan", "--model", "Qwen/Qwen3-4"], "Qwen/Qwen3-4B"),
        (["plan", "--min-quality", "120"], "0 to 100"),
        (["plan", "--model", "Qwen/Qwen3-32B", "--min-decode", "20", "--steps-from", "pixel-8"], "does not meet"),
    ],
)
def test_bad_input_ends_in_a_sentence_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], argv: list[str], words: str
) -> None:
    assert main(argv) == 2
    assert words in capsys.readouterr().err


def test_plan_names_the_class_its_machines_and_the_steps(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["plan", "--model", "Qwen/Qwen3-8B", "--task", "chat", "--min-decode", "20", "--users", "2"]
    assert main([*argv, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["class"]["rank"] >= 1
    assert answer["machines"][0]["pick"]["estimate"]["decode_tokens_per_s"]["value"] >= 20
    assert answer["need"]["users"] == 2
    assert answer["steps"][0]["what"] == "As it is"
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert answer["class"]["name"] in out
    assert "What one more step buys" in out


def test_plan_shows_the_steps_of_a_device_in_mind(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["plan", "--model", "Qwen/Qwen3-4B", "--quant", "Q4_K_M", "--steps-from", "rtx-4060", "--json"]
    assert main(argv) == 0
    steps = json.loads(capsys.readouterr().out)["steps"]
    assert any(step["what"].startswith("GPU memory 8.0 GiB") for step in steps)
