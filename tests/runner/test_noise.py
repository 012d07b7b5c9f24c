from __future__ import annotations

import pytest

from recommender.runner import noise

QUIET = (10.0, 10.1, 9.9)


def judge(
    load: float | None = 0.2, cpus: int = 4, steal: float | None = 0.0, others: float | None = 0.01, decode=QUIET
) -> str:
    return noise.reason(load, cpus, steal, others, decode)


def test_a_quiet_machine_is_not_noisy() -> None:
    assert judge() == ""


def test_unknown_counters_do_not_make_a_run_noisy() -> None:
    assert judge(load=None, steal=None, others=None) == ""


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ({"load": 4.1}, "load average 4.1 on 4 CPUs"),
        ({"steal": 0.03}, "3% of the CPU time went to other virtual machines"),
        ({"others": 0.25}, "other programs used 25% of the CPU"),
        ({"decode": (10.0, 12.0, 10.0)}, "the repeats differ by 20%"),
        ({"decode": (10.0, 10.0)}, "2 repeats, fewer than 3"),
    ],
)
def test_each_sign_of_noise_is_named_with_its_number(what: dict[str, object], reason: str) -> None:
    assert reason in judge(**what)


def test_several_signs_are_all_named() -> None:
    assert judge(load=9, steal=0.5).count(";") == 1


def test_the_probe_reads_this_machine() -> None:
    found = noise.NoiseProbe().finish([10.0, 10.0, 10.0])
    assert found.others_fraction is not None
    assert found.others_fraction >= 0
    assert found.noisy == bool(found.reason)
