from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender import paths
from recommender.catalog.identity import Identified, Known, identify
from recommender.catalog.merge import NEEDED, known_of
from recommender.catalog.rows import read_csv
from recommender.catalog.sources.base import RELATIONS, Entry
from tests.catalog.entries_made import PARAMS, SHAPE, entry, gguf, kept

QWEN = "Qwen/Qwen3-0.6B"


@pytest.fixture(scope="module")
def known() -> Known:
    shipped = {name: read_csv(paths.catalog_dir() / f"{name}.csv") for name in NEEDED}
    models = {row["model_id"]: row for row in shipped["models"].records()}
    return known_of(shipped, models, {row["model_id"]: row for row in shipped["architectures"].records()})


def one(known: Known, *entries: Entry) -> Identified:
    """What the last of the entries is."""
    return identify(kept(*entries), known)[-1]


def test_a_catalog_id_is_its_model(known: Known) -> None:
    found = one(known, entry(QWEN.upper()))
    assert (found.model_id, found.trust) == (QWEN, "maker")


def test_a_quantized_repository_is_the_model_it_links_to(known: Known) -> None:
    found = one(known, gguf("unsloth/Some-Other-Name-GGUF", QWEN, params_total=596_049_920))
    assert (found.model_id, found.relation, found.trust) == (QWEN, "quantized", "quantizer")
    assert QWEN in found.why


def test_links_are_followed_over_a_copy_to_the_original(known: Known) -> None:
    copy = entry("unsloth/Qwen3-0.6B", relation="finetune", bases=(QWEN,))
    found = one(known, copy, gguf("nobody/Qwen3-0.6B-GGUF", copy.entry_id, params_total=596_049_920))
    assert (found.model_id, found.relation, found.trust) == (QWEN, "quantized", "other")


def test_a_fine_tune_by_somebody_else_is_attached_to_its_base(known: Known) -> None:
    tune = entry("somebody/Storyteller-0.6B", relation="finetune", bases=(QWEN,))
    files = gguf("bartowski/Storyteller-0.6B-GGUF", tune.entry_id, params_total=596_049_920)
    assert one(known, tune).model_id == QWEN
    assert (one(known, tune, files).model_id, one(known, tune, files).relation) == (QWEN, "finetune")


def test_a_tune_by_a_maker_of_catalog_models_is_a_model_of_its_own(known: Known) -> None:
    found = one(known, entry("Qwen/Qwen9-1.8B", relation="finetune", bases=("Qwen/Qwen9-1.8B-Base",)))
    assert (found.model_id, found.relation) == ("Qwen/Qwen9-1.8B", "original")


def test_an_entry_whose_shape_is_not_its_base_s_is_not_recognised_and_says_both_figures(known: Known) -> None:
    found = one(known, gguf("nobody/Qwen3-0.6B-GGUF", QWEN, params_total=7_000_000_000))
    assert found.model_id == ""
    assert "7,000,000,000" in found.why
    assert "596,049,920" in found.why
    layers = one(known, gguf("nobody/Qwen3-0.6B-GGUF", QWEN, params_total=None, architecture=SHAPE))
    assert layers.model_id == ""
    assert "30 layers where that has 28" in layers.why


def test_a_like_name_alone_makes_nothing_the_same_model(known: Known) -> None:
    assert one(known, gguf("nobody/Qwen3-0.6B-GGUF", "", params_total=None)).model_id == ""
    assert one(known, gguf("nobody/Qwen3-0.6b-v2-GGUF", "", params_total=596_049_920)).model_id == ""


def test_the_same_name_with_the_same_shape_is_the_same_model(known: Known) -> None:
    shape = {**SHAPE, "n_layer": "28", "n_embd": "1024"}
    found = one(known, gguf("nobody/Qwen3-0.6B-GGUF", "", params_total=596_049_920, architecture=shape))
    assert found.model_id == QWEN


def test_an_unnamed_clone_of_a_shape_is_attached_to_the_oldest_model_of_it(known: Known) -> None:
    shape = dict(known.shapes[QWEN])
    clone = entry("clones/Brand-New-Model", architecture=shape, params_total=596_049_920)
    found = one(known, gguf("bartowski/Brand-New-Model-GGUF", clone.entry_id, params_total=596_049_920), clone)
    assert found.relation == "finetune"
    twins = [name for name in known.shapes if all(known.shapes[name].get(key) == shape.get(key) for key in
             ("architecture", "n_layer", "n_embd", "vocab_size"))]  # fmt: skip
    assert found.model_id == min(twins, key=lambda name: (known.released[name], name))


def test_a_new_maker_counts_when_somebody_known_quantized_its_model(known: Known) -> None:
    original = entry("newlab/Nova-1.8B", params_total=PARAMS)
    assert one(known, original).model_id == ""
    files = gguf("bartowski/Nova-1.8B-GGUF", original.entry_id)
    assert one(known, files, original).model_id == original.entry_id
    assert one(known, original, files).model_id == original.entry_id


def test_links_that_go_round_in_a_circle_end(known: Known) -> None:
    first = gguf("nobody/A-GGUF", "nobody/B")
    second = entry("nobody/B", relation="finetune", bases=("nobody/C",))
    third = entry("nobody/C", relation="finetune", bases=("nobody/B",))
    found = one(known, second, third, first)
    assert found.model_id == ""
    assert "circle" in found.why


def test_a_file_of_the_person_is_a_model_whatever_it_is(known: Known) -> None:
    found = one(known, gguf("local/thing", "", source="gguf", publisher=""))
    assert (found.model_id, found.trust) == ("local/thing", "local")


def test_a_service_s_model_is_known_by_every_part_of_its_name(known: Known) -> None:
    service = {"source": "azure-ai-foundry", "format": "managed", "relation": "service", "publisher": "Microsoft"}
    found = one(known, entry("azureml://x/Phi-4-mini-instruct/1", name="Phi-4-mini-instruct", **service))
    assert (found.model_id, found.relation) == ("microsoft/Phi-4-mini-instruct", "service")
    assert one(known, entry("azureml://x/Phi-4-giant/1", name="Phi-4-giant-instruct", **service)).model_id == ""


names = st.text("abcQwen3-0.6B/GGUF", min_size=1, max_size=20)
made = st.builds(
    lambda owner, name, bases, relation, kind, params: entry(
        f"{owner}/{name}", bases=tuple(bases), relation=relation, format=kind, params_total=params
    ),
    st.sampled_from(["Qwen", "unsloth", "nobody"]),
    names,
    st.lists(st.one_of(st.just(QWEN), st.builds("{}/{}".format, st.sampled_from(["nobody", "Qwen"]), names)),
             max_size=2),
    st.sampled_from(["", *RELATIONS]),
    st.sampled_from(["gguf", "safetensors"]),
    st.one_of(st.none(), st.integers(1, 10**12)),
)  # fmt: skip


@given(st.lists(made, max_size=6))
def test_whatever_entries_say_each_gets_an_answer_with_a_reason(known: Known, entries: list[Entry]) -> None:
    found = identify(kept(*entries), known)
    assert [one.entry for one in found] == entries
    for identified in found:
        assert identified.why
        assert identified.trust in ("maker", "quantizer", "other", "local")
        assert identified.model_id == "" or "/" in identified.model_id
