"""Points lost by quantization: more for fewer bits, less for bigger models."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.errors import CatalogError, UnknownNameError
from recommender.estimate.quant_loss import loss_points, read_loss_table
from recommender.paths import catalog_dir

# each loses at least as much as the one before it; K types, I types and the older ones are families of their own
LADDERS = (
    ("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q4_K_M", "Q4_K_S", "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K", "Q2_K_S"),
    ("BF16", "IQ4_XS", "IQ3_M", "IQ3_S", "IQ3_XS", "IQ3_XXS", "IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S"),
    ("F16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0"),
    ("mlx-bf16", "mlx-8bit", "mlx-4bit"),
    ("bf16", "fp8", "gptq-int4"),
)
TYPES = sorted(read_loss_table().damage)
SIZES = st.floats(min_value=1e8, max_value=1e11)


def loss(params: float, quantization: str, native: str | None = None) -> float:
    natives = None if native is None else np.array([native], dtype=object)
    return float(loss_points(np.array([params]), np.array([quantization], dtype=object), natives)[0])


@given(params=SIZES, ladder=st.sampled_from(LADDERS))
def test_fewer_bits_of_one_kind_lose_at_least_as_much(params: float, ladder: tuple[str, ...]) -> None:
    losses = [loss(params, name) for name in ladder]
    assert losses == sorted(losses)


@given(small=SIZES, factor=st.floats(min_value=1.01, max_value=100), quantization=st.sampled_from(TYPES))
def test_a_bigger_model_never_loses_more(small: float, factor: float, quantization: str) -> None:
    assert loss(small * factor, quantization) <= loss(small, quantization) + 1e-12


@given(params=SIZES, quantization=st.sampled_from(TYPES))
def test_losses_are_points_between_0_and_100(params: float, quantization: str) -> None:
    assert 0 <= loss(params, quantization) < 100


@pytest.mark.parametrize("quantization", ["F16", "BF16", "bf16", "mlx-bf16", ""])
def test_unquantized_and_managed_models_lose_nothing(quantization: str) -> None:
    assert loss(5e8, quantization) == 0


def test_eight_bits_are_nearly_free_and_two_bits_cost_small_models_dearly() -> None:
    assert loss(8e9, "Q8_0") < 0.2
    assert loss(8e9, "Q4_K_M") < 1.5
    assert loss(5e8, "Q2_K") > 10
    assert loss(5e8, "Q4_0") > 2 * loss(8e9, "Q4_0")


def test_rows_are_answered_one_by_one_in_order() -> None:
    sizes, types = np.array([1e9, 8e9, 1e9]), np.array(["Q4_0", "Q4_0", "Q8_0"], dtype=object)
    together = loss_points(sizes, types)
    assert together == pytest.approx([loss(size, name) for size, name in zip(sizes, types, strict=True)])


def test_a_model_trained_for_a_type_loses_nothing_at_it_or_above() -> None:
    assert loss(2.4e9, "TQ2_0") > 20
    assert loss(2.4e9, "TQ2_0", native="TQ2_0") == 0
    assert loss(2.4e9, "Q8_0", native="I2_S") == 0
    assert loss(2.1e10, "MXFP4_MOE", native="MXFP4_MOE") == 0
    assert loss(2.4e9, "IQ1_S", native="Q4_0") > 20
    assert loss(2.1e10, "Q4_0", native="") == loss(2.1e10, "Q4_0")


@pytest.mark.parametrize("native", ["I2_S", "TQ2_0", "TQ1_0"])
def test_a_type_that_packs_the_same_values_tighter_costs_a_model_trained_for_them_nothing(native: str) -> None:
    assert loss(2.4e9, "TQ1_0", native=native) == 0


@given(params=SIZES, quantization=st.sampled_from(TYPES), native=st.sampled_from(TYPES))
def test_native_training_never_makes_the_loss_bigger(params: float, quantization: str, native: str) -> None:
    assert 0 <= loss(params, quantization, native) <= loss(params, quantization)


def test_an_unknown_size_is_taken_as_eight_billion() -> None:
    assert loss(float("nan"), "Q4_0") == loss(8e9, "Q4_0")


def test_an_unknown_type_is_refused_with_the_nearest_ones() -> None:
    with pytest.raises(UnknownNameError, match="Q4_K_M"):
        loss(8e9, "Q4_K_MM")


def test_every_file_type_of_the_catalog_has_a_loss_or_is_known_to_have_none() -> None:
    table = read_loss_table()
    with (catalog_dir() / "quant_loss_types.csv").open(encoding="utf-8", newline="") as file:
        assert {row["quantization"] for row in csv.DictReader(file)} == set(table.damage) == set(table.bits)


def test_the_published_scores_are_met_within_a_few_points() -> None:
    table = read_loss_table()
    with (catalog_dir() / "quant_loss_evidence.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "score"]
    gaps = []
    for row in rows:
        reach = float(row["baseline"]) - float(row["chance"])
        lost = table.lost_share(np.array([float(row["params_total"])]), np.array([table.damage[row["quantization"]]]))[
            0
        ]
        gaps.append(abs(float(row["baseline"]) - float(row["value"]) - lost * reach))
    assert len(rows) > 60
    assert np.median(gaps) < 1.5
    assert np.quantile(gaps, 0.9) < 8


def test_the_shipped_table_is_what_the_script_fits(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    out = tmp_path / "quant_loss.csv"
    command = [sys.executable, str(root / "scripts" / "fit_quant_loss.py"), "--out", str(out)]
    subprocess.run(command, cwd=root, env={"PYTHONPATH": str(root)}, check=True, capture_output=True)
    fresh, kept = read_loss_table(out), read_loss_table()
    assert fresh.scale == pytest.approx(kept.scale, rel=0.01)
    for name, damage in kept.damage.items():
        assert fresh.damage[name] == pytest.approx(damage, rel=0.02)


def test_a_broken_table_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "quant_loss.csv"
    path.write_text(
        "kind,name,bits_per_weight,value,log_standard_error,rows,basis\ntype,Q4_0,x,1,,0,\n", encoding="utf-8"
    )
    with pytest.raises(CatalogError, match=r"quant_loss.csv, line 2"):
        read_loss_table(path)
