from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.device import memory_budget, preset, to_json
from recommender.device.renderer import read_renderer
from recommender.device.visitor import Said, matches, memory_options, propose, read_answers, read_bandwidth
from recommender.types import GIB

WINDOWS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/147.0.0.0 Safari/537.36"
)
MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Safari/605.1.15"
LINUX = "Mozilla/5.0 (X11; Linux x86_64; rv:150.0) Gecko/20100101 Firefox/150.0"
PI = "Mozilla/5.0 (X11; Linux aarch64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/147.0.0.0 Safari/537.36"
CHROMEBOOK = (
    "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/147.0.0.0 Safari/537.36"
)
ANDROID = (
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/147.0.0.0 Mobile Safari/537.36"
)
ANDROID_TABLET = (
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/147.0.0.0 Safari/537.36"
)
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148"

RTX_4060 = "ANGLE (NVIDIA, NVIDIA GeForce RTX 4060 Laptop GPU (0x000028E0) Direct3D11 vs_5_0 ps_5_0, D3D11)"
M2 = "ANGLE (Apple, ANGLE Metal Renderer: Apple M2, Unspecified Version)"
UHD = "ANGLE (Intel, Intel(R) UHD Graphics 620 (0x00005917) Direct3D11 vs_5_0 ps_5_0, D3D11)"

ANSWER = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=400) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)
NAMES = [
    *("cores", "memory_gib", "touch_points", "quota_bytes", "bytes_per_s", "mobile", "user_agent", "platform"),
    *("navigator_platform", "architecture", "bitness", "model", "webgl", "webgpu"),
]


def _rows() -> list[dict[str, str]]:
    with (Path(__file__).parent / "renderers.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("row", _rows(), ids=lambda row: row["renderer"][:60])
def test_a_gpu_is_known_by_what_browsers_and_drivers_call_it(row: dict[str, str]) -> None:
    seen = read_renderer(row["renderer"])
    assert (seen.name, seen.vendor, seen.exact) == (row["name"], row["vendor"], row["exact"] == "y")
    found = matches(Said(os=row["os"], gpu=row["renderer"]))
    assert row["preset"] in found if row["preset"] else not found
    assert read_renderer(seen.text) == seen, "what goes into the address says as much as the driver's text"


@pytest.mark.parametrize(
    ("answers", "os", "kind", "arch"),
    [
        ({"user_agent": WINDOWS, "platform": "Windows", "architecture": "x86"}, "windows", "", "x86-64"),
        ({"user_agent": WINDOWS, "platform": "Windows", "architecture": "arm"}, "windows", "", "arm64"),
        ({"user_agent": WINDOWS, "webgl": "Qualcomm(R) Adreno(TM) X1-85 GPU"}, "windows", "", "arm64"),
        ({"user_agent": MAC, "webgl": "Apple GPU"}, "macos", "", "arm64"),
        ({"user_agent": MAC, "webgl": "Intel(R) Iris(TM) Plus Graphics 655"}, "macos", "", "x86-64"),
        ({"user_agent": MAC, "touch_points": 5}, "ios", "tablet", "arm64"),
        ({"user_agent": IPHONE, "touch_points": 5}, "ios", "phone", "arm64"),
        ({"user_agent": ANDROID}, "android", "phone", "arm64"),
        ({"user_agent": ANDROID_TABLET}, "android", "tablet", "arm64"),
        ({"user_agent": LINUX}, "linux", "", "x86-64"),
        ({"user_agent": PI, "navigator_platform": "Linux aarch64"}, "linux", "", "arm64"),
        ({"user_agent": CHROMEBOOK, "platform": "Chrome OS"}, "linux", "", "x86-64"),
        ({"user_agent": "curl/8"}, "", "", ""),
        ({}, "", "", ""),
    ],
)
def test_system_form_and_processor_are_read_from_what_a_browser_says(
    answers: dict[str, Any], os: str, kind: str, arch: str
) -> None:
    said = read_answers(answers)
    assert (said.os, said.kind, said.arch) == (os, kind, arch)


def test_webgpu_tells_the_family_where_webgl_tells_nothing() -> None:
    mac = read_answers({"user_agent": MAC, "webgl": "Google SwiftShader", "webgpu": "apple metal-3"})
    assert "macbook-air-m2" in matches(mac)
    windows = read_answers({"user_agent": WINDOWS, "webgpu": "nvidia ada"})
    assert matches(windows) == ()
    assert read_renderer(windows.gpu).vendor == "nvidia"
    assert read_answers({"webgl": M2, "webgpu": "apple metal-3"}).gpu == M2


def test_a_laptop_with_a_card_is_answered_for_with_the_cards_own_figures() -> None:
    answers = {"user_agent": WINDOWS, "cores": 16, "memory_gib": 16, "webgl": RTX_4060}
    device, card = propose(read_answers(answers)), preset("rtx-4060-laptop")
    assert device is not None
    assert device.gpus == card.gpus
    assert (device.os, device.kind, device.ram_bytes, device.usable_threads) == ("windows", "laptop", 16 * GIB, 16)
    assert device.sources["ram_bytes"] == "lower bound"
    assert device.sources["gpus"] == device.sources["os"] == "browser"
    assert device.sources["bandwidth_bytes_per_s"] == "assumed"


def test_of_several_machines_with_one_chip_the_least_is_answered_for() -> None:
    said = read_answers({"user_agent": MAC, "cores": 8, "memory_gib": 8, "webgl": M2})
    device = propose(said)
    assert device is not None
    assert {"macbook-air-m2", "mac-mini-m2"} <= set(matches(said))
    assert device.cpu_model == "Apple M2"
    assert device.sources["bandwidth_bytes_per_s"] == "preset"
    assert device.gpus[0].fp16_flops == min(preset(one).gpus[0].fp16_flops or 1e15 for one in matches(said))
    assert (device.name, device.gpus[0].name) == ("a Mac", "Apple GPU")


def test_a_machine_that_only_shares_its_gpu_is_not_named_as_the_visitors() -> None:
    device = propose(read_answers({"user_agent": WINDOWS, "cores": 8, "webgl": UHD.replace("620", "630")}))
    assert device is not None
    assert device.name == "a Windows computer"
    assert device.cpu_model == ""
    assert device.sources["bandwidth_bytes_per_s"] == "assumed"


@pytest.mark.parametrize(
    ("model", "named"), [("Pixel 8", "pixel-8"), ("Pixel 8 Pro", "pixel-8-pro"), ("SM-S918B", "galaxy-s23-ultra")]
)
def test_a_phone_is_known_by_its_model(model: str, named: str) -> None:
    said = read_answers({"user_agent": ANDROID, "platform": "Android", "model": model, "memory_gib": 8})
    device = propose(said)
    assert matches(said) == (named,)
    assert device is not None
    assert (device.kind, device.name) == ("phone", preset(named).name)


def test_an_iphone_says_nothing_but_that_so_the_least_one_is_assumed() -> None:
    said = read_answers({"user_agent": IPHONE, "cores": 4, "webgl": "Apple GPU"})
    device = propose(said)
    assert device is not None
    assert (device.name, device.sources["ram_bytes"]) == ("an iPhone", "assumed")
    assert device.ram_bytes == min(preset(one).ram_bytes or 0 for one in matches(said))
    assert all(preset(one).kind == "phone" and preset(one).os == "ios" for one in matches(said))


def test_what_is_not_said_is_assumed_and_marked_so() -> None:
    device = propose(read_answers({"user_agent": LINUX}))
    assert device is not None
    assert device.gpus == ()
    assert device.sources["ram_bytes"] == device.sources["bandwidth_bytes_per_s"] == "assumed"
    assert memory_budget(device).ram_bytes


def test_software_that_draws_is_no_gpu_and_a_gpu_of_unknown_size_is_not_counted_on() -> None:
    software = propose(Said(os="linux", gpu="Google SwiftShader"))
    unknown = propose(Said(os="windows", gpu="NVIDIA GeForce GTX 960"))
    assert software is not None
    assert unknown is not None
    assert software.gpus == ()
    assert unknown.gpus[0].memory_bytes is None
    assert not memory_budget(unknown).gpu_bytes


def test_a_bandwidth_read_in_the_browser_counts_only_where_nothing_better_is_known() -> None:
    unknown = propose(Said(os="linux", arch="x86-64", bandwidth_bytes_per_s=20e9))
    known = propose(Said(os="macos", gpu=M2, bandwidth_bytes_per_s=20e9))
    assert unknown is not None
    assert known is not None
    assert (unknown.bandwidth_bytes_per_s, unknown.sources["bandwidth_bytes_per_s"]) == (20e9, "lower bound")
    assert known.bandwidth_bytes_per_s == preset("apple-m2-8gpu").bandwidth_bytes_per_s


def test_memory_options_begin_at_what_the_browser_said() -> None:
    assert memory_options(Said(os="macos", memory_gib=16), "macbook-air-m2") == (16, 24)
    assert memory_options(Said(os="windows", memory_gib=32))[0] == 32
    assert memory_options(Said(os="windows"))


@settings(max_examples=150, deadline=None)
@given(ANSWER | st.dictionaries(st.sampled_from(NAMES), ANSWER | st.sampled_from([WINDOWS, MAC, ANDROID, M2, UHD])))
def test_no_answer_does_harm(answers: Any) -> None:
    said = read_answers(answers)
    assert said.cores is None or 1 <= said.cores <= 1024
    assert said.memory_gib is None or 0.1 < said.memory_gib <= 4096
    assert all(len(text) <= 300 and text.isprintable() for text in (said.gpu, said.model))
    measured = read_bandwidth(answers)
    assert measured is None or 1e8 <= measured <= 1e13
    device = propose(said)
    assert (device is None) == (not said.os)
    if device is not None:
        assert device.ram_bytes
        to_json(device)
        memory_budget(device)


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="()ANGLE ,/0x9RTMesaXorsimlAp", max_size=60) | st.text(max_size=60))
def test_any_text_may_be_a_renderer(text: str) -> None:
    seen = read_renderer(text)
    assert seen.name or not seen.exact
