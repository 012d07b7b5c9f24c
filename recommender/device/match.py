"""Free text to machines: what a person types, what a driver calls a GPU, what an operating system calls a CPU."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from recommender.device import presets as _presets
from recommender.device import tables
from recommender.device.presets import Preset
from recommender.device.tables import Row


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words that vendors and drivers add and that tell no two machines apart.
_NOISE = _words(
    "nvidia amd intel apple geforce radeon graphics r tm gpu cpu core cores processor with the of a an and gen "
    "only no used generation series corporation inc gb gib g ram memory vram laptop notebook desktop computer pc phone"
)
# Words that make another product of the same number: they must agree on both sides.
_VARIANTS = _words(
    "ti super xt xtx gre d mobile laptop max pro ultra plus air mini studio nano nx agx thor ada blackwell "
    "sff xl fold se e lite 3d"
)
# Words that name a board's slot, memory or brand line; two different slots are two different boards.
_SLOTS = _words("pcie sxm sxm2 sxm4 sxm5 nvl")
_FORM = _SLOTS | _words("tesla quadro rtx hbm2 hbm3 hbm2e instinct edition workstation server")
# Words of an integrated GPU's name that one driver says and another leaves out.
_UNSAID = re.compile(r"\d+(?:eu|sp)|g\d|mc\d+|mp\d+|iris|mali|immortalis|qualcomm|samsung|arm")
_SYNONYMS = {
    "notebook": "laptop",
    "mobile": "laptop",
    "m": "laptop",
    "rpi": "raspberry-pi",
    "mbp": "macbook-pro",
    "mba": "macbook-air",
}


def tokens(text: str) -> tuple[str, ...]:
    """Lower-case words and numbers of ``text``: "RTX4060Ti 16GB" → rtx, 4060, ti, 16gb."""
    text = re.sub(r"\((?:r|tm|c)\)", " ", text.casefold())
    text = re.sub(r"@\s*[\d.]+\s*ghz", " ", text)
    text = re.sub(r"(\d)\s+(gb|gib)\b", r"\1\2", text)
    text = re.sub(r"\b(rtx|gtx|rx|arc|tesla|ultra|ryzen|iphone|pixel|pi)(\d)", r"\1 \2", text)
    text = re.sub(r"(\d{3,4})(ti|super|xtx|xt)\b", r"\1 \2", text)
    words: list[str] = []
    for word in re.findall(r"[a-z0-9.+]+", text):
        words.extend(_SYNONYMS.get(word, word).split("-"))
    return tuple(word for word in words if word.strip(".+"))


@dataclass(frozen=True)
class _Entry:
    preset: Preset
    words: frozenset[str]
    text: str


@cache
def _entries() -> tuple[_Entry, ...]:
    entries = []
    rows = tables.device_rows()
    for preset in _presets.presets():
        row = rows[preset.id]
        described = " ".join((preset.name, preset.id, preset.brand, row["cpu_model"], row["gpu_name"], *preset.aliases))
        entries.append(_Entry(preset, frozenset(tokens(described)), " ".join(tokens(preset.name))))
    return tuple(entries)


def search(text: str, count: int | None = None) -> tuple[Preset, ...]:
    """Machines that ``text`` may mean, likeliest first: every word must occur, the last one may be unfinished.

    "rtx 4090", "M3 Max 40-core", "Ryzen 7 7840HS" and "pi 5" all work. Words in a machine's name weigh more than
    words in its parts, and among equals the shortest name wins. Empty text gives every machine in catalog order.
    """
    wanted = tokens(text)
    if not wanted:
        found = [entry.preset for entry in _entries()]
        return tuple(found[:count])
    ranked: list[tuple[float, int, Preset]] = []
    for position, entry in enumerate(_entries()):
        score = _search_score(wanted, entry)
        if score is not None:
            ranked.append((-score, position, entry.preset))
    ranked.sort(key=lambda item: item[:2])
    return tuple(preset for _, _, preset in ranked[:count])


def _search_score(wanted: tuple[str, ...], entry: _Entry) -> float | None:
    named = entry.text.split()
    score = 0.0
    for place, word in enumerate(wanted):
        if word in named:
            score += 3.0
        elif word in entry.words:
            score += 1.5
        elif place == len(wanted) - 1 and any(known.startswith(word) for known in entry.words):
            score += 1.0
        elif word in _NOISE:
            continue
        else:
            return None
    extra = [word for word in named if word not in wanted and word not in _NOISE]
    unasked = sum(word in _VARIANTS for word in extra)
    return score - 0.1 * len(extra) - 0.5 * unasked + (0.5 if " ".join(wanted) in entry.text else 0.0)


def essence(text: str) -> frozenset[str]:
    """The words that make a product: without brands and memory sizes, with "laptop" where it is one."""
    words = tokens(text)
    kept = {word for word in words if word not in _NOISE and not re.fullmatch(r"\d+gi?b", word)}
    return frozenset(kept | ({"laptop"} & set(words)))


@cache
def _gpu_names() -> tuple[tuple[frozenset[str], float | None, Row], ...]:
    named: list[tuple[frozenset[str], float | None, Row]] = []
    for row in tables.device_rows().values():
        if not row["gpu_name"] or row["role"] == "anchor" or (row["gpu_count"] or "1") != "1":
            continue
        vram = float(row["gpu_vram_gb"]) if row["gpu_vram_gb"] not in ("", "shared") else None
        other_names = row["aliases"].split("|") if row["role"] == "card" and row["aliases"] else []
        named.extend((essence(name), vram, row) for name in (row["gpu_name"], *other_names))
    # Cards before machines: the card's own row is the one with the vendor's figures.
    return tuple(sorted(named, key=lambda item: item[2]["role"] != "card"))


def match_gpu(name: str, memory_gib: float | None = None) -> Row | None:
    """The catalog row whose GPU is the one a driver calls ``name``, or ``None`` rather than a near relative.

    A laptop's chip is never taken for the desktop card of the same number, and where one name covers boards with
    different memory the size decides.
    """
    words = essence(name)
    if not any(re.search(r"\d", word) for word in words):
        return None
    fitting: list[tuple[float, Row]] = []
    for known, vram, row in _gpu_names():
        if known != words and not _same_but_form(known, words):
            continue
        gap = abs(vram - memory_gib) if vram is not None and memory_gib else 0.0
        if gap <= 0.2 * (memory_gib or 0.0) + 0.5:
            fitting.append((gap + (0.0 if known == words else 0.5), row))
    if not fitting:
        return None
    closest = min(penalty for penalty, _ in fitting)
    equal = [row for penalty, row in fitting if penalty == closest]
    # Boards of one name and different speed (PCIe and SXM, say): unknown is better than the wrong one.
    return equal[0] if len({row["gpu_mem_bw_gbs"] for row in equal if row["role"] == "card"}) <= 1 else None


def match_gpus(name: str, vendor: str) -> tuple[Row, ...]:
    """Every catalog row that may have the GPU which a driver calls ``name``, cards before machines.

    A name without a number ("Iris Xe Graphics") fits every machine with such a GPU of this ``vendor``; several
    machines and memory sizes may share one name.
    """
    words, said_gib = essence(name), re.search(r"\b(\d+)\s?GB\b", name)
    found: dict[str, Row] = {}
    for known, vram, row in _gpu_names():
        shared = vram is None and row["unified_memory"] == "y"
        same = _said(known) == _said(words) if shared else known == words or _same_but_form(known, words)
        if same and row["gpu_vendor"] == vendor and not (vram and said_gib and float(said_gib[1]) != vram):
            found[row["id"]] = row
    return tuple(found.values())


def _said(words: frozenset[str]) -> frozenset[str]:
    return frozenset(word for word in words if not _UNSAID.fullmatch(word) and word != "laptop")


def _same_but_form(known: frozenset[str], seen: frozenset[str]) -> bool:
    """Equal but for the words that name a board's slot, memory or brand line ("A100-SXM4-80GB", "Tesla T4")."""
    left, right = known - _FORM, seen - _FORM
    if not left or left != right:
        return False
    slots = known & _SLOTS, seen & _SLOTS
    return not (slots[0] and slots[1] and slots[0] != slots[1])


@cache
def _cpu_names() -> tuple[tuple[frozenset[str], Row], ...]:
    named = []
    for row in tables.device_rows().values():
        if row["cpu_model"] and row["role"] != "anchor":
            named.append((essence(row["cpu_model"]), row))
    return tuple(sorted(named, key=lambda item: item[1]["role"] != "chip"))


def match_cpu(model: str) -> tuple[Row, ...]:
    """Catalog rows whose processor is ``model`` as the operating system names it; several machines may share one."""
    words = essence(re.sub(r"\b\d+-core\b|w/ .*|with radeon.*", "", model, flags=re.IGNORECASE))
    words = frozenset(word for word in words if not re.fullmatch(r"\d+th|\d+st|\d+nd|\d+rd", word))
    if not any(re.search(r"\d", word) for word in words):
        return ()
    return tuple(row for known, row in _cpu_names() if known == words)
