"""Whole machines, played from files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import recommender
from recommender.device import detect, memory_budget
from recommender.device.detect import with_runtime_devices
from recommender.types import GIB, MIB, Gpu
from tests.device.machines import answers, cpuinfo, drm_card, linux, mac, meminfo, write

SMI_4060 = "NVIDIA GeForce RTX 4060, 8188, 7421, 8.9\n"
NVIDIA_DRIVER: dict[str, str | bytes] = {"proc/driver/nvidia/version": "NVRM version: 550"}
APU_780M = drm_card(
    1,
    "0x1002",
    "0x15bf",
    revision="0xc7",
    mem_info_vram_total=str(512 * MIB),
    mem_info_vram_used=str(100 * MIB),
    mem_info_gtt_total=str(16 * GIB),
    mem_info_gtt_used="0",
)
AMDGPU_IDS: dict[str, str | bytes] = {
    "usr/share/libdrm/amdgpu.ids": "1.0.0\n15BF,\tC7,\tAMD Radeon 780M\n744C,\tC8,\tAMD Radeon RX 7900 XTX\n"
    "1586,\tC1,\tAMD Radeon 8060S Graphics\n"
}


def test_this_machine_is_detected_with_an_origin_for_every_field_that_is_known() -> None:
    device = detect()
    assert device.id == "this-machine"
    assert device.ram_bytes
    assert device.os in ("linux", "windows", "macos")
    for field in ("ram_bytes", "cpu_model", "bandwidth_bytes_per_s", "gpus", "physical_cores"):
        assert (field in device.sources) == bool(getattr(device, field)), field


def test_detection_imports_nothing_heavy() -> None:
    heavy = "{'streamlit', 'duckdb', 'xllamacpp', 'cpuinfo', 'pandas'}"
    code = f"import sys, recommender.device as d; d.detect(); print(sorted({heavy} & set(sys.modules)))"
    root = Path(recommender.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "[]"


def test_a_gaming_desktop_is_understood(tmp_path: Path) -> None:
    host = linux(
        tmp_path,
        {
            "proc/cpuinfo": cpuinfo("AMD Ryzen 7 5800X 8-Core Processor", 8),
            "proc/meminfo": meminfo(31.3, 26.0),
            "sys/class/dmi/id/chassis_type": "3",
            **NVIDIA_DRIVER,
        },
        {"nvidia-smi": SMI_4060},
    )
    device = detect(host=host)
    assert (device.kind, device.os, device.arch) == ("desktop", "linux", "x86-64")
    assert (device.physical_cores, device.usable_threads) == (8, 16)
    assert device.isa == ("avx", "avx2", "fma", "f16c")
    (gpu,) = device.gpus
    assert (gpu.name, gpu.backend, gpu.compute_capability, gpu.unified) == (
        "NVIDIA GeForce RTX 4060",
        "cuda",
        "8.9",
        False,
    )
    assert gpu.memory_free_bytes == 7421 * MIB
    assert gpu.bandwidth_bytes_per_s == pytest.approx(272e9)
    assert device.bandwidth_bytes_per_s == pytest.approx(51.2e9)
    assert device.sources["bandwidth_bytes_per_s"] == "assumed"  # the sockets may hold slower memory
    assert not device.unified_memory


def test_a_full_card_has_no_room_whatever_its_total(tmp_path: Path) -> None:
    host = linux(
        tmp_path, {"proc/meminfo": meminfo(32, 20), **NVIDIA_DRIVER}, {"nvidia-smi": "NVIDIA L4, 23034, 500, 8.9\n"}
    )
    assert memory_budget(detect(host=host)).gpu_bytes == 500 * MIB


def test_two_cards_keep_their_own_memory_and_the_freer_one_leads(tmp_path: Path) -> None:
    smi = "Tesla P100-SXM2-16GB, 16276, 900, 6.0\nTesla P100-SXM2-16GB, 16276, 16000, 6.0\n"
    host = linux(tmp_path, {"proc/meminfo": meminfo(64, 60), **NVIDIA_DRIVER}, {"nvidia-smi": smi})
    device = detect(host=host)
    assert [gpu.memory_free_bytes for gpu in device.gpus] == [16000 * MIB, 900 * MIB]
    assert memory_budget(device).gpu_bytes == 16900 * MIB


def test_a_card_comes_before_the_processors_gpu_and_is_not_added_to_it(tmp_path: Path) -> None:
    big = drm_card(
        0, "0x1002", "0x744c", revision="0xc8", mem_info_vram_total=str(24 * GIB), mem_info_vram_used=str(2 * GIB)
    )
    host = linux(
        tmp_path,
        {"proc/cpuinfo": cpuinfo("AMD Ryzen 7 7840HS w/ Radeon 780M Graphics", 8), "proc/meminfo": meminfo(60, 50)}
        | APU_780M
        | AMDGPU_IDS
        | big,
    )
    device = detect(host=host)
    assert [gpu.name for gpu in device.gpus] == ["AMD Radeon RX 7900 XTX", "AMD Radeon 780M"]
    assert [gpu.unified for gpu in device.gpus] == [False, True]
    assert memory_budget(device).gpu_bytes == 22 * GIB
    assert not device.unified_memory


def test_a_processors_gpu_does_not_become_a_card_because_memory_was_carved_out_beside_a_real_card(
    tmp_path: Path,
) -> None:
    carved = drm_card(
        1,
        "0x1002",
        "0x164e",
        mem_info_vram_total=str(16 * GIB),
        mem_info_vram_used="0",
        mem_info_gtt_total=str(8 * GIB),
    )
    card = drm_card(0, "0x1002", "0x744c", revision="0xc8", mem_info_vram_total=str(12 * GIB), mem_info_vram_used="0")
    device = detect(host=linux(tmp_path, {"proc/meminfo": meminfo(16, 12)} | carved | card | AMDGPU_IDS))
    assert device.gpus[0].name == "AMD Radeon RX 7900 XTX"
    assert device.gpus[1].unified
    assert memory_budget(device).gpu_bytes == 12 * GIB


def test_an_apus_memory_is_counted_once(tmp_path: Path) -> None:
    host = linux(
        tmp_path,
        {"proc/cpuinfo": cpuinfo("AMD Ryzen 7 7840HS w/ Radeon 780M Graphics", 8), "proc/meminfo": meminfo(31, 12)}
        | APU_780M
        | AMDGPU_IDS,
    )
    device = detect(host=host)
    budget = memory_budget(device)
    assert device.unified_memory
    assert budget.unified
    assert budget.ram_bytes == 12 * GIB
    assert budget.gpu_bytes == 12 * GIB  # 16 may be mapped, 12 are free
    assert device.gpus[0].bandwidth_bytes_per_s == device.bandwidth_bytes_per_s


def test_memory_carved_out_for_a_large_apu_is_that_gpus_own(tmp_path: Path) -> None:
    strix_halo = drm_card(
        0,
        "0x1002",
        "0x1586",
        revision="0xc1",
        mem_info_vram_total=str(96 * GIB),
        mem_info_vram_used=str(1 * GIB),
        mem_info_gtt_total=str(15 * GIB),
    )
    device = detect(host=linux(tmp_path, {"proc/meminfo": meminfo(31, 27)} | strix_halo | AMDGPU_IDS))
    budget = memory_budget(device)
    assert (budget.ram_bytes, budget.gpu_bytes, budget.unified) == (27 * GIB, 95 * GIB, False)
    assert device.gpus[0].bandwidth_bytes_per_s == pytest.approx(256e9)


def test_a_jetson_shares_its_memory(tmp_path: Path) -> None:
    host = linux(
        tmp_path,
        {
            "proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\x00",
            "proc/cpuinfo": "processor\t: 0\nFeatures\t: asimd asimddp\nCPU implementer\t: 0x41\nCPU part\t: 0xd42\n",
            "proc/meminfo": meminfo(61.4, 55),
            "proc/driver/nvidia/version": "x",
        },
        {"nvidia-smi": "Orin (nvgpu), [N/A], [N/A], 8.7\n"},
        machine="aarch64",
    )
    device = detect(host=host)
    assert (device.kind, device.arch, device.cpu_model) == ("sbc", "arm64", "Cortex-A78AE")
    assert device.gpus[0].unified
    assert device.bandwidth_bytes_per_s == pytest.approx(204.8e9)
    assert memory_budget(device).gpu_bytes == 55 * GIB


def test_a_raspberry_pi_names_itself_and_its_memory(tmp_path: Path) -> None:
    host = linux(
        tmp_path,
        {
            "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\x00",
            "proc/cpuinfo": "\n\n".join(
                f"processor\t: {n}\nFeatures\t: fp asimd asimddp\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b"
                for n in range(4)
            ),
            "proc/meminfo": meminfo(7.9, 7.0),
        },
        machine="aarch64",
    )
    device = detect(host=host)
    assert (device.name, device.cpu_model, device.isa) == (
        "Raspberry Pi 5 Model B Rev 1.0",
        "Cortex-A76",
        ("neon", "dotprod"),
    )
    assert device.bandwidth_bytes_per_s == pytest.approx(17e9)
    assert device.usable_threads == 4


SYSCTL_M3_MAX = """machdep.cpu.brand_string: Apple M3 Max
hw.physicalcpu: 16
hw.logicalcpu: 16
hw.perflevel0.physicalcpu: 12
hw.memsize: 68719476736
hw.model: Mac15,9
hw.optional.arm.FEAT_DotProd: 1
hw.optional.arm.FEAT_I8MM: 1
iogpu.wired_limit_mb: 0
"""


def test_a_mac_has_unified_memory_of_which_the_gpu_may_hold_three_quarters(tmp_path: Path) -> None:
    device = detect(host=mac(tmp_path, {"sysctl": SYSCTL_M3_MAX, "ioreg": '"gpu-core-count" = 40'}))
    assert (device.cpu_model, device.physical_cores, device.performance_cores) == ("Apple M3 Max", 16, 12)
    assert device.unified_memory
    assert device.gpus[0].name == "Apple M3 Max (40-core GPU)"
    assert device.gpus[0].bandwidth_bytes_per_s == pytest.approx(400e9)
    assert device.gpu_memory_fraction == pytest.approx(0.75)
    assert device.isa == ("neon", "dotprod", "i8mm")


@pytest.mark.parametrize(("battery", "kind"), [('"BatteryInstalled" = Yes', "laptop"), ("", "desktop")])
def test_a_mac_with_a_battery_is_a_laptop(tmp_path: Path, battery: str, kind: str) -> None:
    assert detect(host=mac(tmp_path, {"sysctl": SYSCTL_M3_MAX, "ioreg": battery})).kind == kind


def test_the_smaller_m3_max_is_not_taken_for_the_larger_one(tmp_path: Path) -> None:
    device = detect(host=mac(tmp_path, {"sysctl": SYSCTL_M3_MAX, "ioreg": '"gpu-core-count" = 30'}))
    assert device.bandwidth_bytes_per_s == pytest.approx(300e9)
    unknown = detect(host=mac(tmp_path, {"sysctl": SYSCTL_M3_MAX}))
    assert unknown.bandwidth_bytes_per_s == pytest.approx(300e9)  # 300 or 400: the lower, and it says so
    assert unknown.sources["bandwidth_bytes_per_s"] == "assumed"


def test_a_raised_gpu_limit_of_a_mac_counts(tmp_path: Path) -> None:
    raised = SYSCTL_M3_MAX.replace("wired_limit_mb: 0", "wired_limit_mb: 57344")
    device = detect(host=mac(tmp_path, {"sysctl": raised, "ioreg": '"gpu-core-count" = 40'}))
    assert device.gpus[0].memory_bytes == 56 * GIB
    assert device.gpu_memory_fraction == pytest.approx(0.875)


def test_a_virtual_machines_share_of_its_hosts_bandwidth_stays_unknown(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "proc/cpuinfo": cpuinfo("Intel(R) Xeon(R) Platinum 8259CL CPU @ 2.50GHz", 2, flags="avx2 avx512f hypervisor"),
        "proc/meminfo": meminfo(16, 15),
        "sys/class/dmi/id/sys_vendor": "Amazon EC2",
    }
    device = detect(host=linux(tmp_path, files))
    assert device.kind == "server"
    assert device.bandwidth_bytes_per_s is None
    assert "bandwidth_bytes_per_s" not in device.sources


def test_an_intel_gpu_in_the_processor_shares_the_ram_and_a_card_does_not(tmp_path: Path) -> None:
    inside = drm_card(0, "0x8086", "0x9a49", uevent="DRIVER=i915\nPCI_SLOT_NAME=0000:00:02.0\n")
    names: dict[str, str | bytes] = {
        "usr/share/misc/pci.ids": "1002  AMD\n\t9a49  Wrong\n8086  Intel Corporation\n\t56a0  DG2 [Arc A770]\n"
        "\t9a49  TigerLake-LP GT2 [Iris Xe Graphics]\n"
    }
    laptop = detect(host=linux(tmp_path / "a", {"proc/meminfo": meminfo(16, 9)} | inside | names))
    assert laptop.gpus[0].name == "Intel Iris Xe Graphics"
    assert laptop.gpus[0].unified
    assert memory_budget(laptop).gpu_bytes == 8 * GIB
    card = drm_card(
        0, "0x8086", "0x56a0", uevent="PCI_SLOT_NAME=0000:03:00.0\n", tile0__physical_vram_size_bytes=str(16 * GIB)
    )
    desktop = detect(host=linux(tmp_path / "b", {"proc/meminfo": meminfo(16, 9)} | card | names))
    assert desktop.gpus[0].name == "Intel Arc A770"
    assert not desktop.gpus[0].unified
    assert desktop.gpus[0].bandwidth_bytes_per_s == pytest.approx(512e9)


def test_an_nvidia_card_without_its_driver_is_named_but_not_counted_on(tmp_path: Path) -> None:
    device = detect(host=linux(tmp_path, {"proc/meminfo": meminfo(16, 9)} | drm_card(0, "0x10de", "0x2882")))
    assert device.gpus[0].backend == ""
    assert memory_budget(device).gpu_bytes == 0


def test_an_empty_machine_is_unknown_and_not_an_error(tmp_path: Path) -> None:
    for system in ("Linux", "Darwin", "Windows", "Plan9"):
        host = linux(tmp_path, {})
        host = type(host)(system=system, machine="", root=tmp_path, run=answers({}), real=False)
        device = detect(host=host)
        assert device.ram_bytes is None
        assert device.physical_cores is None
        assert memory_budget(device).ram_bytes is None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(st.binary(max_size=400), st.text(max_size=300).map(lambda text: text.encode())),
        min_size=9,
        max_size=9,
    )
)
def test_garbage_in_every_file_and_command_never_makes_detection_fail(tmp_path: Path, junk: list[bytes]) -> None:
    places = (
        "proc/cpuinfo",
        "proc/meminfo",
        "proc/self/cgroup",
        "sys/firmware/dmi/tables/DMI",
        "sys/class/drm/card0/device/mem_info_vram_total",
        "sys/devices/cpu_core/cpus",
        "sys/fs/cgroup/memory.max",
        "proc/device-tree/model",
    )
    write(tmp_path, dict(zip(places, junk, strict=False)))
    write(tmp_path, {"sys/class/drm/card0/device/vendor": "0x1002", **NVIDIA_DRIVER})
    text = junk[-1].decode("utf-8", "replace")
    commands = {"nvidia-smi": text, "sysctl": text, "ioreg": text, "system_profiler": text}
    for system, machine in (("Linux", "x86_64"), ("Darwin", "arm64"), ("Darwin", "x86_64")):
        host = type(linux(tmp_path, {}))(
            system=system, machine=machine, root=tmp_path, run=answers(commands), real=False
        )
        memory_budget(detect(host=host))


def test_llama_cpps_own_figures_go_before_the_systems(tmp_path: Path) -> None:
    found = (Gpu("AMD Radeon RX 7900 XTX", "amd", "rocm", 24.0 * GIB, None),)
    reported: list[dict[str, Any]] = [
        {"name": "CPU", "description": "AMD Ryzen", "memory_free": 1, "memory_total": 2, "type": "CPU"},
        {
            "name": "Vulkan0",
            "description": "AMD Radeon RX 7900 XTX (RADV NAVI31)",
            "memory_free": 20 * GIB,
            "memory_total": 24 * GIB,
            "type": "GPU",
        },
    ]
    (gpu,) = with_runtime_devices(found, reported)
    assert (gpu.backend, gpu.memory_free_bytes) == ("vulkan", 20 * GIB)


def test_a_gpu_that_only_llama_cpp_sees_is_added() -> None:
    (gpu,) = with_runtime_devices(
        (), [{"name": "Vulkan0", "description": "Adreno X1-85", "memory_free": 8, "memory_total": 9, "type": "IGPU"}]
    )
    assert gpu.unified
    assert gpu.memory_bytes == 9
