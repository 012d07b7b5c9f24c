"""What a browser calls a GPU, to the GPU's own name.

WebGL gives the driver's text, often wrapped by the layer that translates it: "ANGLE (NVIDIA, NVIDIA GeForce RTX 4060
Laptop GPU (0x000028E0) Direct3D11 vs_5_0 ps_5_0, D3D11)". Firefox gives the name of another GPU of the same family and
adds "or similar"; Safari says "Apple GPU" whatever it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# Renderers that compute on the processor, screens of virtual machines, and browsers that name themselves instead.
_NO_GPU = re.compile(
    r"swiftshader|llvmpipe|lavapipe|softpipe|software|basic render|svga3d|virgl|virtio|vmware|virtualbox|parallels"
    r"|paravirtual|webkit webgl|^mozilla$",
    re.IGNORECASE,
)
_VENDORS = (
    ("nvidia", r"nvidia|geforce|quadro|\brtx\b|\bgtx\b"),
    ("amd", r"\bamd\b|\bati\b|radeon"),
    ("intel", r"\bintel"),
    ("apple", r"\bapple\b"),
    ("qualcomm", r"adreno|qualcomm"),
    ("arm", r"\bmali\b|immortalis"),
)
_SIMILAR = ", or similar"
_WITHHELD = "apple gpu"


@dataclass(frozen=True)
class Renderer:
    """A GPU by its driver's name, or nothing: ``name`` is empty where a browser names none or only software."""

    name: str = ""
    vendor: str = ""  # as in ``Gpu.vendor``
    exact: bool = False  # the name is this GPU's own, not a stand-in for its family

    @property
    def text(self) -> str:
        """What reads as the same again: the name, and that it is a stand-in."""
        return self.name if self.exact or self.name.casefold() in ("", _WITHHELD) else f"{self.name}{_SIMILAR}"


def read_renderer(text: str) -> Renderer:
    """The GPU in a WebGL renderer's or a WebGPU adapter's text."""
    text = text.strip()
    if not text or _NO_GPU.search(text):
        return Renderer()
    similar = text.endswith(_SIMILAR)
    text = text.removesuffix(_SIMILAR)
    name = _named(_unwrapped(text))
    vendor = next((vendor for vendor, pattern in _VENDORS if re.search(pattern, text, re.IGNORECASE)), "")
    return Renderer(name, vendor, bool(name) and not similar and name.casefold() != _WITHHELD)


def _unwrapped(text: str) -> str:
    """The renderer in ANGLE's "(vendor, renderer, interface)"; other text as it is."""
    found = re.match(r"ANGLE \((.*)\)(?: on .*)?$", text, re.DOTALL)
    if not found:
        return text
    parts = _split(found[1])
    return parts[1] if len(parts) > 1 else parts[0]


def _split(text: str) -> list[str]:
    """Split at commas outside parentheses."""
    parts, depth = [""], 0
    for char in text:
        depth += (char == "(") - (char == ")")
        if char == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts]


def _named(text: str) -> str:
    text = re.sub(r"\((?:r|tm|c)\)", " ", text, flags=re.IGNORECASE)
    while (bare := re.sub(r"\([^()]*\)", " ", text)) != text:
        text = bare
    text = re.sub(
        r"^ANGLE Metal Renderer:|^Mesa(?: DRI)?\b|\bDirect3D\s?\d.*$|\bOpenGL Engine$|/PCIe.*$|/SSE2$", " ", text
    )
    return " ".join(text.split())
