from __future__ import annotations

import csv

from recommender.estimate.architecture import complete
from recommender.estimate.quantizers import made_with_imatrix
from recommender.estimate.tensors import layout
from recommender.paths import catalog_dir
from tests.estimate.shapes import catalog_architecture, catalog_rows

EXACT = 0.0005  # of the file: its own metadata


def test_an_owner_that_is_not_listed_is_taken_to_use_an_importance_matrix() -> None:
    assert made_with_imatrix("somebody/Some-Model-GGUF")
    assert not made_with_imatrix("Qwen/Qwen2.5-14B-Instruct-GGUF")
    assert made_with_imatrix("Qwen/Qwen2-1.5B-Instruct-GGUF")


def test_sizes_of_published_files_agree_with_what_is_said_of_their_owner() -> None:
    with open(catalog_dir() / "gguf_files.csv", newline="", encoding="utf-8") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if row["bytes_kind"] == "exact"
            and row["recipe"] == "standard"
            and row["quantization"] in ("Q4_0", "IQ4_XS")
        ]
    judged = 0
    for row in rows:
        model_id = row["catalog_model_id"] or row["model_id"]
        if not complete(catalog_rows().get(model_id, {})):
            continue
        arch = catalog_architecture(model_id)
        right, wrong = (
            abs(layout(arch, row["quantization"], imatrix).file_bytes / float(row["bytes"]) - 1)
            for imatrix in (made_with_imatrix(row["gguf_repo"]), not made_with_imatrix(row["gguf_repo"]))
        )
        if min(right, wrong) > EXACT:
            continue  # neither explains it: something else in its mix is the repository's own
        judged += 1
        assert right <= wrong, row["file"]
    assert judged > 40
