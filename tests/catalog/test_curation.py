from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from recommender import paths
from recommender.catalog import overlay
from recommender.catalog.curation import Contradiction, check_json, check_text, contradictions
from recommender.catalog.curation_rules import KEYS
from recommender.catalog.database import attach, connect
from recommender.catalog.store import Catalog

SMALL, MIDDLE, LARGE = "Qwen/Qwen3-0.6B", "Qwen/Qwen3-4B", "openai/gpt-oss-20b"
LLAMA = "meta-llama/Llama-3.2-1B-Instruct"
Check = Callable[..., tuple[Contradiction, ...]]


@pytest.fixture
def check(built: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """``check(*statements)``: what is found in the small catalog after these changes to its tables."""
    folder, database = built
    monkeypatch.setattr(paths, "catalog_dir", lambda: folder)
    monkeypatch.setenv(paths.HOME_VARIABLE, str(tmp_path / "home"))

    def changed(*statements: str) -> tuple[Contradiction, ...]:
        with duckdb.connect(str(database)) as connection:
            # The small catalog lacks the successors of its models.
            connection.execute("UPDATE models SET superseded_by = NULL")
            for statement in statements:
                connection.execute(statement)
        # As it is: open_catalog would build anew, without the change, had a file of the package changed meanwhile.
        connection = connect()
        attach(connection, database, "READ_ONLY")
        with Catalog(connection, database) as catalog:
            return contradictions(catalog)

    return changed


def model(model_id: str, **values: object) -> str:
    """SQL that changes columns of a model."""
    changes = ", ".join(f"{name} = {_sql(value)}" for name, value in values.items())
    return f"UPDATE models SET {changes} WHERE model_id = '{model_id}'"


def another_model(model_id: str, like: str = SMALL, **values: object) -> str:
    """SQL that adds a model with a changed copy of another's row, and none of its places."""
    places = dict.fromkeys(("gguf_repos", "ollama_tag", "mlx_repo", "onnx_foundry_local_alias", "azure_catalog_id"))
    changes = ", ".join(
        f"{_sql(value)} AS {name}" for name, value in ({"model_id": model_id} | places | values).items()
    )
    return f"INSERT INTO models SELECT * REPLACE ({changes}) FROM models WHERE model_id = '{like}'"


def file(**values: object) -> str:
    """SQL that adds a published file, of which nothing else is known."""
    row = {"model_id": SMALL, "catalog_model_id": SMALL, "gguf_repo": "a/b", "file": "x.gguf", "source": "test",
           "kind": "model", "bytes_kind": "exact", "bytes": 1, "recipe": "standard"} | values  # fmt: skip
    return _insert("gguf_files", row)


def sighting(**values: object) -> str:
    row = {"source": "hugging-face", "entry_id": "a/seen", "model_id": SMALL, "relation": "original", "why": "test",
           "name": "seen", "trust": "maker", "format": "safetensors", "read_at": "2026-11-01T00:00:00Z",
           "first_seen": "2026-11-01T00:00:00Z"} | values  # fmt: skip
    return _insert("sightings", row)


def score(value: float, **values: object) -> str:
    row = {"model_id": SMALL, "benchmark": "A test", "score": value, "evaluator": "somebody", "source": "test",
           "direction": "higher", "unit": "points", "scale_min": 0, "scale_max": 10} | values  # fmt: skip
    return _insert("benchmarks", row)


def _insert(table: str, row: dict[str, object]) -> str:
    return f"INSERT INTO {table} BY NAME SELECT " + ", ".join(f"{_sql(v)} AS {k}" for k, v in row.items())


def _sql(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, str) and not isinstance(value, Sql):
        return "'" + value.replace("'", "''") + "'"
    return str(value)


def size(model_id: str, quantization: str) -> str:
    """SQL for the bytes of a layout."""
    where = f"format = 'gguf' AND model_id = '{model_id}' AND quantization = '{quantization}'"
    return f"(SELECT file_bytes::BIGINT FROM variants WHERE {where})"


class Sql(str):
    """Text that goes into a statement as it is."""


def test_the_catalog_as_it_is_has_no_contradiction(check: Check) -> None:
    assert check() == ()


BASE = another_model("maker/Base-0.6B", name="Base", role="base", release_date="2025-06-01")
NEWER = another_model("Qwen/Newer-0.6B", release_date="2024-01-01", params_total=596049920)

# What is planted; the rule that finds it, how sure it is, the key of the row, and what its sentence has.
PLANTED: dict[str, tuple[tuple[str, ...], str, str, tuple[str, ...], tuple[str, ...]]] = {
    "parameters that the architecture does not add up to": (
        (model(SMALL, params_total=651_000_000),),
        "architecture-parameters", "wrong", (SMALL,), ("651,000,000", "596,049,920"),
    ),
    "a count with the table of embeddings twice": (
        (model(SMALL, params_total=751_632_384, params_text=None),),
        "architecture-parameters", "wrong", (SMALL,), ("751,632,384", "tied_embeddings"),
    ),
    "active parameters far from the experts in use": (
        (model(LARGE, params_active=9_000_000_000),),
        "active-parameters", "wrong", (LARGE,), ("9,000,000,000", "3,623,296,128"),
    ),
    "experts without a count of active parameters": (
        (model(LARGE, params_active=None),), "active-parameters", "doubtful", (LARGE,), ("32 experts", "4 of them"),
    ),
    "fewer active parameters although all experts are used": (
        (model(LARGE, n_expert_used=32),), "active-parameters", "wrong", (LARGE,), ("all of its 32", "3,600,000,000"),
    ),
    "a native context above the longest": (
        (model(SMALL, context_native=50_000),), "context", "wrong", (SMALL,), ("50,000", "40,960"),
    ),
    "a context that no model has": (
        (model(SMALL, context_max=99_000_000_000),), "context", "doubtful", (SMALL,), ("99,000,000,000",),
    ),
    "a window wider than the context": (
        (model(SMALL, sliding_window=80_000),), "context", "doubtful", (SMALL,), ("80,000", "40,960"),
    ),
    "a free licence that the row forbids to use": (
        (model(SMALL, commercial_use="no"),), "licence", "doubtful", (SMALL,), ("apache-2.0", "'yes'", "'no'"),
    ),
    "a non-commercial licence that the row allows to use": (
        (model(SMALL, license_id="cc-by-nc-4.0"),), "licence", "wrong", (SMALL,), ("cc-by-nc-4.0", "'no'", "'yes'"),
    ),
    "a licence that the row draws nothing from": (
        (model(SMALL, commercial_use=None),), "licence", "doubtful", (SMALL,), ("apache-2.0", "has none"),
    ),
    "a base that may not be sold": (
        (another_model("maker/Base-0.6B", role="base", license_id="mnpl", commercial_use="no", release_date="2024"),
         model(SMALL, base_model="maker/Base-0.6B")),
        "licence", "doubtful", (SMALL,), ("'yes'", "maker/Base-0.6B"),
    ),
    "another licence in the model's own repository": (
        (sighting(license_id="mit"),), "licence", "doubtful", (SMALL,), ("apache-2.0", "a/seen says mit"),
    ),
    "a release in the future": (
        (model(SMALL, release_date="2099-01-31"),), "dates", "wrong", (SMALL,), ("2099-01-31", "after today"),
    ),
    "a release before the base's": (
        (BASE, model(SMALL, base_model="maker/Base-0.6B")), "dates", "wrong", (SMALL,), ("2025-04-29", "2025-06-01"),
    ),
    "an older successor": (
        (NEWER, model(SMALL, superseded_by="Qwen/Newer-0.6B")),
        "dates", "wrong", (SMALL,), ("2025-04-29", "2024-01-01"),
    ),
    "something made after it was read": (
        (sighting(created="2026-12-01"),),
        "sighting-dates", "wrong", ("hugging-face", "a/seen"), ("2026-12-01", "2026-11-01"),
    ),
    "something changed before it was made": (
        (sighting(created="2026-10-02", modified="2026-10-01"),),
        "sighting-dates", "wrong", ("hugging-face", "a/seen"), ("2026-10-01", "2026-10-02"),
    ),
    "bases in a circle": (
        (model(SMALL, base_model=MIDDLE), model(MIDDLE, base_model=SMALL)),
        "links", "wrong", (SMALL,), ("back to itself", "base_model in 2 steps"),
    ),
    "a model that supersedes itself": (
        (model(SMALL, superseded_by=SMALL),), "links", "wrong", (SMALL,), ("superseded_by in 1 steps",),
    ),
    "a base that is no id": (
        (model(SMALL, base_model="some model"),), "links", "wrong", (SMALL,), ("some model", "no maker/name"),
    ),
    "a successor that nobody knows": (
        (model(SMALL, superseded_by="Qwen/Nothing"),), "links", "wrong", (SMALL,), ("Qwen/Nothing", "does not have"),
    ),
    "a base in another spelling": (
        (model(SMALL, base_model=MIDDLE.lower()),), "links", "wrong", (SMALL,), (MIDDLE.lower(), f"has it as {MIDDLE}"),
    ),
    "a successor of another size": (
        (model(SMALL, superseded_by=MIDDLE),), "links", "doubtful", (SMALL,), ("596,049,920", "much larger"),
    ),
    "a successor of another maker": (
        (another_model("maker/Newer-0.6B", release_date="2026-01-01"), model(SMALL, superseded_by="maker/Newer-0.6B")),
        "links", "doubtful", (SMALL,), ("another maker",),
    ),
    "one model under two ids": (
        (another_model("copier/qwen3_0.6b"),), "same-model", "doubtful", (SMALL,), ("copier/qwen3_0.6b", "596,049,920"),
    ),
    "one repository for two models": (
        (another_model("maker/Other-0.6B", gguf_repos="x/y-GGUF;Qwen/qwen3-0.6B-GGUF"),),
        "shared-place", "wrong", (SMALL,), ("maker/Other-0.6B", "repository"),
    ),
    "one Ollama tag for two models": (
        (model(MIDDLE, ollama_tag="qwen3:0.6b"),),
        "shared-place", "wrong", (SMALL,), (MIDDLE, "Ollama tag: qwen3:0.6b"),
    ),
    "another name that is a model's id": (
        (f"INSERT INTO model_aliases VALUES ('{SMALL.lower()}', '{MIDDLE}', 'test')",),
        "alias", "wrong", (SMALL.lower(),), (f"name of {MIDDLE}", f"id of {SMALL}"),
    ),
    "two spellings of a name for two models": (
        (f"INSERT INTO model_aliases VALUES ('a-name', '{MIDDLE}', 'test'), ('a.name', '{SMALL}', 'test')",),
        "alias", "wrong", ("a-name",), (MIDDLE, SMALL),
    ),
    "an encoder that is said to chat": (
        (model(SMALL, architecture="nomic-bert"),), "role", "wrong", (SMALL,), ("nomic-bert", "hybrid"),
    ),
    "an embedding model that is said to chat": (
        (another_model("maker/Some-Embedding-0.6B", role="instruct", thinking="no"),),
        "role", "wrong", ("maker/Some-Embedding-0.6B",), ("embedding", "instruct"),
    ),
    "a base model that is said to chat": (
        (another_model("maker/Some-0.6B-Base"),), "role", "wrong", ("maker/Some-0.6B-Base",), ("base", "hybrid"),
    ),
    "a thinking model that does not think": (
        (model(SMALL, role="thinking", thinking="no"),), "role", "wrong", (SMALL,), ("thinking is 'no'",),
    ),
    "an embedding model that calls tools": (
        (model(SMALL, role="embedding", thinking="no"),), "role", "wrong", (SMALL,), ("tool_calling is 'yes'",),
    ),
    "a model that sees by its name and takes only text": (
        (another_model("maker/Some-VL-0.6B"),), "role", "wrong", ("maker/Some-VL-0.6B",), ("sees", "only text"),
    ),
    "a tier of another size": (
        (model(SMALL, tier="Large"),), "tier", "wrong", (SMALL,), ("596,049,920", "Micro", "Large"),
    ),
    "a standard file far from its layout": (
        (file(quantization="Q4_K_M", bytes=100_000_000),),
        "file-size", "wrong", ("a/b", "x.gguf", "100000000"), ("100,000,000", "Q4_K_M take 39"),
    ),
    "a file of a recipe nobody judged far from its layout": (
        (file(quantization="Q4_K_M", bytes=420_000_000, recipe="unknown"),),
        "file-size", "doubtful", ("a/b", "x.gguf", "420000000"), ("420,000,000", "Recipe: unknown"),
    ),
    "parts that are together far from the layout": (
        tuple(file(file=f"x-0000{part}-of-00002.gguf", kind="split", split_count=2, quantization="Q4_K_M",
                   bytes=300_000_000) for part in (1, 2)),
        "file-size", "wrong", ("a/b", "x-00001-of-00002.gguf", "300000000"), ("600,000,000",),
    ),
    "bits that a quantization cannot have": (
        (f"UPDATE variants SET layout = 'rough' WHERE model_id = '{SMALL}'",
         file(quantization="Q4_K_M", bytes=100_000_000)),
        "bits-per-weight", "wrong", ("a/b", "x.gguf", "100000000"), ("1.34 bits", "596,049,920", "Q4_K_M has 4.40"),
    ),
    "a file with the table of embeddings twice": (
        (file(quantization="BF16", recipe="unknown", bytes=Sql(f"{size(SMALL, 'BF16')} + 2 * 151936 * 1024")),),
        "tied-embeddings", "wrong", ("a/b", "x.gguf", "?"), ("311,164,928 more", "share one table"),
    ),
    "one file for two models": (
        (file(sha256="e" * 64), file(sha256="e" * 64, catalog_model_id=MIDDLE, file="y.gguf")),
        "same-file", "wrong", ("a/b", "x.gguf", "1"), ("x.gguf and y.gguf", SMALL, MIDDLE),
    ),
    "one size for files of two shapes": (
        (file(quantization="I2_S", bytes=7_000), file(quantization="I2_S", bytes=7_000, catalog_model_id=MIDDLE)),
        "same-file", "doubtful", ("a/b", "x.gguf", "7000"), ("7,000 bytes", MIDDLE),
    ),
    "a count of parts that the name denies": (
        (file(file="x-00001-of-00001.gguf", split_count=3),),
        "file-parts", "wrong", ("a/b", "x-00001-of-00001.gguf", "1"), ("1 of 1", "3 parts"),
    ),
    "a part that is missing": (
        (file(file="x-00002-of-00002.gguf", split_count=2, kind="split"),),
        "file-parts", "doubtful", ("a/b", "x-00002-of-00002.gguf", "1"), ("one of 2 parts; 1 are listed",),
    ),
    "a file of a model that is not there": (
        (file(catalog_model_id="a/Nothing"),), "unknown-model", "wrong", ("a/b", "x.gguf", "1"), ("a/Nothing",),
    ),
    "something seen of a model that is not there": (
        (sighting(model_id="a/Nothing"),), "unknown-sighted", "wrong", ("hugging-face", "a/seen"), ("a/Nothing",),
    ),
    "a score outside its scale": (
        (score(11),), "benchmark", "wrong", (SMALL, "A test", "", "", "somebody", ""), ("11", "0.0 to 10.0"),
    ),
    "two scores of one run": (
        (score(4), score(5)), "benchmark", "wrong", (SMALL, "A test", "", "", "somebody", ""), ("4 and 5",),
    ),
    "a score whose better end is the other one": (
        (score(4), score(4, mode="a"), score(4, mode="b", direction="lower")),
        "benchmark", "wrong", (SMALL, "A test", "", "b", "somebody", ""), ("lower", "higher"),
    ),
    "a package too small for its model": (
        (f"UPDATE runtime_models SET file_bytes = 1000, model_id = '{LLAMA}', quantization = 'onnx-int4', name = 'p'"
         " WHERE rowid = (SELECT min(rowid) FROM runtime_models WHERE runtime = 'lemonade')",),
        "runtime-size", "doubtful", ("lemonade", "p"), ("1,000 bytes", "4.50"),
    ),
    "two sources far apart": (
        (f"INSERT INTO conflicts VALUES ('{SMALL}', 'context_max', '40960', 'A', '131072', 'B', 'test')",),
        "sources-differ", "doubtful", (SMALL, "context_max", "A", "B"), ("40960 by A", "131072 by B"),
    ),
    "two sources with licences that differ in use": (
        (f"INSERT INTO conflicts VALUES ('{SMALL}', 'license_id', 'mit', 'A', 'cc-by-nc-4.0', 'B', 'test')",),
        "sources-differ", "doubtful", (SMALL, "license_id", "A", "B"), ("mit by A", "cc-by-nc-4.0 by B"),
    ),
    "a size far from the one in the name": (
        (another_model("maker/Some-7B"),), "name-size", "wrong", ("maker/Some-7B",), ("called 7B", "596,049,920"),
    ),
    "a size not quite the one in the name": (
        (another_model("maker/Some-0.8B"),), "name-size", "doubtful", ("maker/Some-0.8B",), ("800M", "596,049,920"),
    ),
    "active parameters that only the name has": (
        (another_model("maker/Some-0.6B-A0.1B"),),
        "name-size", "doubtful", ("maker/Some-0.6B-A0.1B",), ("100M active", "has none"),
    ),
    "active parameters far from those in the name": (
        (another_model("maker/Some-20B-A1B", LARGE),),
        "name-size", "wrong", ("maker/Some-20B-A1B",), ("1B active", "3,600,000,000"),
    ),
    "a context below the one in the name": (
        (another_model("maker/Some-0.6B-128k"),),
        "name-size", "doubtful", ("maker/Some-0.6B-128k",), ("128,000", "40,960"),
    ),
    "a repository of another size": (
        (file(gguf_repo="a/Some-7B-GGUF", bytes=5),),
        "repository-size", "wrong", ("a/Some-7B-GGUF", "x.gguf", "5"), ("says 7B", SMALL, "1 files"),
    ),
    "a runtime's name of another size": (
        (f"INSERT INTO runtime_models BY NAME SELECT 'ollama' AS runtime, '{SMALL}' AS model_id, 'gguf' AS format,"
         " 'Q4_K_M' AS quantization, 'some:70b' AS name, 'test' AS source",),
        "runtime-name", "wrong", ("ollama", "some:70b"), ("says 70B", "596,049,920"),
    ),
    "a quantization that the file's name denies": (
        (file(file="Some-Q8_0.gguf", quantization="Q4_K_M", recipe="own", bytes=500_000_000),),
        "file-name", "wrong", ("a/b", "Some-Q8_0.gguf", "500000000"), ("Q8_0 in its name", "Q4_K_M"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", PLANTED)
def test_it_finds(what: str, check: Check) -> None:
    statements, rule, severity, key, phrases = PLANTED[what]
    found = [one for one in check(*statements) if one.rule == rule and _same_key(one.key, key)]
    assert [one.severity for one in found] == [severity]
    for phrase in phrases:
        assert phrase in found[0].sentence


def _same_key(key: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    return len(key) == len(wanted) and all(two in (one, "?") for one, two in zip(key, wanted, strict=True))


# What is right, though it looks odd.
FINE: dict[str, tuple[tuple[str, ...], str]] = {
    "a stricter month than the base's day": (
        (BASE, model(SMALL, base_model="maker/Base-0.6B", release_date="2025-06")), "dates",
    ),
    "a base that the catalog does not list": ((model(SMALL, base_model="maker/Elsewhere-0.6B"),), "links"),
    "another maker's licence word in somebody's copy": (
        (sighting(license_id="mit", relation="quantized", trust="quantizer"),), "licence",
    ),
    "a file of the repository's own recipe": (
        (file(quantization="Q4_K_M", bytes=450_000_000, recipe="own"),), "file-size",
    ),
    "another name of the same file type": (
        (file(file="x-Q4_K.gguf", quantization="Q4_K_M", recipe="own"),), "file-name",
    ),
    "the same scores from two lists, marked as such": ((score(4), score(5, duplicate="conflict")), "benchmark"),
    "parts of which all are there": (
        tuple(file(file=f"x-0000{n}-of-00002.gguf", split_count=2, kind="split") for n in (1, 2)), "file-parts",
    ),
    "a name that rounds": ((another_model("maker/Some-0.5B"),), "name-size"),
    "an effective size": ((another_model("maker/Some-E4B", LARGE, params_total=7_000_000_000),), "name-size"),
}  # fmt: skip


@pytest.mark.parametrize("what", FINE)
def test_it_lets_pass(what: str, check: Check) -> None:
    statements, rule = FINE[what]
    assert [one.sentence for one in check(*statements) if one.rule == rule] == []


def test_a_contradiction_names_the_line_of_its_row(check: Check, built: tuple[Path, Path]) -> None:
    with (built[0] / "models.csv").open(newline="", encoding="utf-8") as rows:
        lines = {row["model_id"]: line for line, row in enumerate(csv.DictReader(rows), 2)}
    [found] = check(model(LLAMA, tier="Large"))
    assert (found.line, found.refreshed) == (lines[LLAMA], False)
    assert f"models.csv line {lines[LLAMA]}: " in check_text([found])


def test_a_refreshed_row_is_named_as_one_and_a_row_in_no_file_by_its_key(check: Check) -> None:
    folder = overlay.new_folder()
    folder.parent.mkdir(parents=True)
    header = list(KEYS["sightings"])
    overlay.write(folder, {"sightings": [{"source": "hugging-face", "entry_id": "a/seen"}]}, {"sightings": header})
    overlay.use(folder)
    found = check(sighting(created="2026-12-01"), sighting(entry_id="a/unwritten\x1b[2J", created="2026-12-01"))
    assert [(one.line, one.refreshed) for one in found] == [(2, True), (None, False)]
    text = check_text(found)
    assert "refreshed sightings.csv line 2: " in text
    assert "sightings hugging-face a/unwritten" in text
    assert "\x1b" not in text


def test_what_is_wrong_comes_before_what_is_doubtful_and_is_counted(check: Check) -> None:
    found = check(
        model(SMALL, license_id="cc-by-nc-4.0"), model(MIDDLE, commercial_use=None), model(LLAMA, tier="Large")
    )
    assert [(one.rule, one.severity) for one in found] == [
        ("licence", "wrong"),
        ("licence", "doubtful"),
        ("tier", "wrong"),
    ]
    text = check_text(found)
    assert text.startswith("2 wrong, 1 doubtful.")
    assert "licence: a licence that does not allow what its row says (2)" in text
    data = json.loads(json.dumps(check_json(found)))
    assert (data["wrong"], data["doubtful"]) == (2, 1)
    assert data["contradictions"][2]["key"] == [LLAMA]
    assert check_text(()) == "No contradictions."


def test_the_shipped_catalog_says_nothing_wrong_of_its_models(catalog: Catalog) -> None:
    wrong = [one for one in contradictions(catalog) if one.severity == "wrong" and one.table == "models"]
    assert [one.sentence for one in wrong] == []
