from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.device import detect, from_dict, from_json, preset, presets, read_device, to_dict, to_json
from recommender.errors import BadInputError
from recommender.types import GIB, Device, Gpu

texts = st.text(max_size=20)
amounts = st.none() | st.floats(1, 1e15)
counts = st.none() | st.integers(1, 512)


@st.composite
def gpus(draw: st.DrawFn) -> Gpu:
    total = draw(amounts)
    return Gpu(
        name=draw(st.text(min_size=1, max_size=20)),
        vendor=draw(texts),
        backend=draw(st.sampled_from(["", "cuda", "metal", "rocm", "vulkan"])),
        memory_bytes=total,
        memory_free_bytes=draw(st.none() | st.floats(0, total if total is not None else 1e15)),
        bandwidth_bytes_per_s=draw(amounts),
        fp16_flops=draw(amounts),
        compute_capability=draw(texts),
        unified=draw(st.booleans()),
    )


@st.composite
def devices(draw: st.DrawFn) -> Device:
    total = draw(amounts)
    return Device(
        id=draw(texts),
        name=draw(texts),
        kind=draw(st.sampled_from(["phone", "tablet", "laptop", "desktop", "mini-pc", "workstation", "server", "sbc"])),
        os=draw(st.sampled_from(["linux", "windows", "macos", "android", "ios"])),
        arch=draw(texts),
        cpu_model=draw(texts),
        physical_cores=draw(counts),
        performance_cores=draw(counts),
        usable_threads=draw(counts),
        isa=tuple(draw(st.lists(texts, max_size=4))),
        ram_bytes=total,
        ram_free_bytes=draw(st.none() | st.floats(0, total if total is not None else 1e15)),
        bandwidth_bytes_per_s=draw(amounts),
        gpus=tuple(draw(st.lists(gpus(), max_size=3))),
        npu_name=draw(texts),
        npu_tops=draw(amounts),
        unified_memory=draw(st.booleans()),
        gpu_memory_fraction=draw(st.none() | st.floats(0, 1)),
        disk_free_bytes=draw(amounts),
        tdp_w=draw(amounts),
        source=draw(texts),
        sources=draw(st.dictionaries(texts, texts, max_size=3)),
    )


@given(devices())
def test_a_device_written_and_read_is_the_same_device(device: Device) -> None:
    assert from_json(to_json(device)) == device


def test_this_machine_and_every_preset_survive_the_file(tmp_path: Path) -> None:
    path = tmp_path / "laptop.json"
    for device in [detect(), *(preset(entry.id) for entry in presets())]:
        path.write_text(to_json(device), encoding="utf-8")
        assert read_device(path) == device


def test_the_file_shows_the_budget_and_the_key_but_does_not_trust_them() -> None:
    plain = to_dict(preset("rtx-4060"))
    assert plain["budget"]["gpu_bytes"] == 7 * GIB
    plain["budget"] = {"gpu_bytes": 1e12}
    plain["device_key"] = "made up"
    assert from_dict(plain) == preset("rtx-4060")


def test_a_short_file_by_hand_is_enough() -> None:
    device = from_json('{"os": "linux", "ram_bytes": 17179869184}')
    assert (device.ram_bytes, device.kind, device.gpus) == (16 * GIB, "desktop", ())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ram_gib": 16}, "ram_bytes"),
        ({"ram_byte": 16}, "Did you mean ram_bytes"),
        ({"ram_bytes": -1}, "more than 0"),
        ({"ram_bytes": 0}, "more than 0"),
        ({"ram_bytes": "16"}, "must be a number"),
        ({"ram_bytes": True}, "must be a number"),
        ({"ram_bytes": 1e30}, "more than any machine has"),
        ({"ram_bytes": 8e9, "ram_free_bytes": 9e9}, "is more than ram_bytes"),
        ({"physical_cores": 2.5}, "whole number"),
        ({"physical_cores": 0}, "whole number"),
        ({"os": "beos"}, "one of linux"),
        ({"kind": "toaster"}, "one of phone"),
        ({"unified_memory": "yes"}, "true or false"),
        ({"gpus": {"name": "x"}}, "must be a list"),
        ({"gpus": ["x"]}, "JSON object"),
        ({"gpus": [{}]}, "GPU 1 has no name"),
        ({"gpus": [{"name": "x", "vram": 1}]}, "GPU 1 has no field called 'vram'"),
        ({"gpus": [{"name": "x", "backend": "opengl"}]}, "backend must be one of"),
        ({"isa": "avx2"}, "must be a list"),
        ({"isa": [1]}, "list of texts"),
        ({"sources": {"ram_bytes": 1}}, "sources"),
        ({"gpu_memory_fraction": 75}, "between 0 and 1"),
        ({"name": 5}, "must be text"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_sentence(change: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInputError) as caught:
        from_dict({"os": "linux", "ram_bytes": 16 * GIB} | change)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "3",
        '{"os": "linux", "ram_bytes": NaN}',
        '{"os": "linux", "ram_bytes": 1e999}',
        "[" * 100_000,
    ],
)
def test_a_file_that_is_not_a_device_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(BadInputError):
        from_json(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | texts,
        lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
        max_leaves=8,
    )
)
def test_any_json_is_read_or_refused_never_a_crash(plain: Any) -> None:
    try:
        from_dict(plain)
    except BadInputError:
        return


@given(
    st.sampled_from([field.name for field in fields(Device)]),
    st.none() | st.booleans() | st.floats() | st.integers() | texts | st.lists(texts, max_size=2),
)
def test_any_value_in_any_field_is_read_or_refused(field: str, value: Any) -> None:
    try:
        device = from_dict({"os": "linux"} | {field: value})
    except BadInputError:
        return
    json.dumps(to_dict(device))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"nothing\.json"):
        read_device(tmp_path / "nothing.json")
    (tmp_path / "bad.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInputError, match=r"bad\.json"):
        read_device(tmp_path / "bad.json")
