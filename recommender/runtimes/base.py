"""What a runtime is to the rest of the product, and what all runtimes have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from recommender.errors import BadInputError
from recommender.runtimes import platforms, shell, tables
from recommender.runtimes.recipe import Recipe, Step, measure_server, server_check
from recommender.types import OWN_FILE, Device, Pick, Settings


class _CatalogModel(Protocol):
    """What ``RuntimeModel.of`` reads of a model's row."""

    @property
    def model_id(self) -> str: ...
    @property
    def mlx_repo(self) -> str: ...
    @property
    def onnx_foundry_local_alias(self) -> str: ...
    @property
    def azure_catalog_id(self) -> str: ...
    @property
    def n_head(self) -> int | None: ...
    @property
    def n_head_kv(self) -> int | None: ...


class _CatalogVariant(Protocol):
    """What ``RuntimeModel.of`` reads of a variant's row."""

    @property
    def format(self) -> str: ...
    @property
    def repo(self) -> str: ...
    @property
    def file(self) -> str: ...


@dataclass(frozen=True)
class RuntimeModel:
    """The names under which one model can be fetched. Empty means the catalog knows none; none is made up.

    ``repo`` and ``file`` are where this quantization is published; with a ``file`` but no ``repo`` the file lies on
    this machine. ``base_repo`` has the original weights on Hugging Face.
    """

    model_id: str
    format: str  # gguf, mlx, onnx, safetensors, mlc, litert or managed
    repo: str = ""
    file: str = ""
    base_repo: str = ""
    mlx_repo: str = ""
    foundry_alias: str = ""
    azure_id: str = ""
    n_head: int | None = None  # attention heads; a tensor-parallel size must divide them
    n_head_kv: int | None = None

    @classmethod
    def of(cls, model: _CatalogModel, variant: _CatalogVariant) -> RuntimeModel:
        """From a row of the catalog's models and one of its variants.

        A file name with "*" stands for the pieces of a split file: then repository and quantization name it. A place
        that is no repository on the Hub (a download site) cannot be named to a runtime, so its file is left out too.
        """
        elsewhere = bool(variant.repo) and "/" not in variant.repo
        pieces = "*" in (variant.file or "")
        return cls(
            model_id=model.model_id,
            format=variant.format,
            repo="" if elsewhere else variant.repo or "",
            file="" if elsewhere or pieces else variant.file or "",
            base_repo="" if model.model_id.startswith(OWN_FILE) else model.model_id,
            mlx_repo=model.mlx_repo or "",
            foundry_alias=model.onnx_foundry_local_alias or "",
            azure_id=model.azure_catalog_id or "",
            n_head=model.n_head,
            n_head_kv=model.n_head_kv,
        )

    @property
    def local_name(self) -> str:
        """A folder name for what is made of this model here."""
        return shell.name(self.base_repo.rpartition("/")[2] or self.model_id.rpartition("/")[2])


@runtime_checkable
class Runtime(Protocol):
    """A program or service that runs models.

    A runtime is one object, made once and registered with ``recommender.runtimes.register``; the built-in ones are
    registered the same way. It holds no state about a device or a model, so every method may be called from several
    threads. ``id`` is a key of ``catalog/runtimes.csv``; where it runs and what it takes stands in
    ``catalog/runtime_platforms.csv``, ``runtime_formats.csv`` and ``runtime_architectures.csv``.

    Reasons are sentences for a person, with the numbers in them and without a full stop; "" means "nothing against
    it". What is unknown about a device never counts against a runtime; what is unknown about a runtime does.
    """

    @property
    def id(self) -> str: ...

    @property
    def name(self) -> str: ...

    def device_reason(self, device: Device, experimental: bool = False) -> str:
        """Why it does not run on this machine, or "". Experimental ports count only when ``experimental`` is set."""
        ...

    def accelerators_for(self, device: Device, experimental: bool = False) -> tuple[str, ...]:
        """What it can compute on there, best first: cpu, cuda, rocm, metal, vulkan, npu, webgpu or managed."""
        ...

    def accelerator_for(self, device: Device, experimental: bool = False) -> str:
        """What it would compute on there; "" where it does not run."""
        ...

    def quantization_reason(self, format: str, quantization: str, device: Device | None = None) -> str:
        """Why it does not take this quantization (on this machine), or ""."""
        ...

    def architecture_reason(self, architecture: str) -> str:
        """Why it cannot load models of this architecture, or ""."""
        ...

    def model_reason(self, model: RuntimeModel, quantization: str) -> str:
        """Why it cannot get this model, or "": a runtime with a catalog of its own has no other models."""
        ...

    def command(self, pick: Pick, model: RuntimeModel, accelerator: str = "") -> str:
        """The short POSIX shell command that runs a pick with its own numbers.

        Every name in it is one the catalog has a source for. ``accelerator`` is one of ``accelerators_for``; without
        it the command goes by the pick's GPU layers.

        Raises:
            BadInputError: a name has characters that a command must not carry, or the model cannot be had for
                this runtime (``model_reason`` says so beforehand).
        """
        ...

    def recipe(self, pick: Pick, model: RuntimeModel, device: Device, accelerator: str = "") -> Recipe:
        """All it takes to set the pick up on this device with its own numbers, its check and its measurement.

        Raises:
            BadInputError: as ``command``.
        """
        ...

    def install_hint(self, os: str) -> str:
        """How to install it on "linux", "windows", "macos", "android" or "ios"; "" where it cannot be."""
        ...

    def can_try_here(self) -> bool:
        """Whether this product could run a model with it on this machine now. Cheap; opens no connection."""
        ...


@dataclass(frozen=True)
class Target:
    """What a recipe is for."""

    pick: Pick
    model: RuntimeModel
    device: Device
    accelerator: str = ""  # of the runtime's ``accelerators_for`` this device; "" goes by the pick's GPU layers

    @property
    def settings(self) -> Settings:
        """Raises BadInputError for a managed pick, which has none."""
        return settings_of(self.pick)

    @property
    def quantization(self) -> str:
        """As a command may name it. Raises BadInputError when it has none or odd characters."""
        return quantization_of(self.pick)

    @property
    def on_gpu(self) -> str:
        """The GPU accelerator to use, "" where the CPU computes."""
        if self.accelerator in ("cpu", "npu", "managed"):
            return ""
        backend = next((gpu.backend for gpu in self.device.gpus if gpu.backend), "")
        return self.accelerator or (backend if self.settings.gpu_layers else "")

    def commands(self, title: str, text: str, note: str = "") -> Step:
        """Commands for this device's shell."""
        if self.device.os == "windows":
            return Step(title, shell.powershell(text), "powershell", note=note)
        return Step(title, text, note=note)


class TableRuntime:
    """A runtime whose facts are the catalog's tables; the modules beside this one add the command."""

    id: str
    #: It runs only what its makers publish, so a model without a row in ``runtime_models.csv`` cannot be had.
    published_only = False

    @property
    def _cells(self) -> tables.Cells:
        return tables.runtime_rows()[self.id]

    @property
    def name(self) -> str:
        return self._cells["runtime"]

    @property
    def managed(self) -> bool:
        return self._cells["managed"] == "yes"

    def device_reason(self, device: Device, experimental: bool = False) -> str:
        return platforms.reason(self.name, tables.platforms(self.id), device, experimental)

    def accelerators_for(self, device: Device, experimental: bool = False) -> tuple[str, ...]:
        found = platforms.accelerators(tables.platforms(self.id), device, experimental)
        return ("managed",) if found and self.managed else found

    def accelerator_for(self, device: Device, experimental: bool = False) -> str:
        found = self.accelerators_for(device, experimental)
        return found[0] if found else ""

    def quantization_reason(self, format: str, quantization: str, device: Device | None = None) -> str:
        row = tables.format_row(self.id, format, quantization)
        what = quantization or format
        if row is None:
            known = ", ".join(tables.formats(self.id))
            return f"{self.name} is not known to take {what} in {format}; it takes {known}"
        if row.support == "no":
            return f"{self.name} does not take {what}: {row.note}"
        if device is None:
            return ""
        if row.accelerators and not set(row.accelerators) & set(self.accelerators_for(device, experimental=True)):
            on = [place for place in tables.platforms(self.id) if place.accelerator in row.accelerators]
            return f"{platforms.reason(self.name, on, device, experimental=True)}, for {what}"
        return platforms.capability_reason(f"{self.name} with {what}", row.min_compute_capability, device)

    def architecture_reason(self, architecture: str) -> str:
        support, note = tables.architecture_support(self.id, architecture)
        if support == "no":
            return f"{self.name} cannot load the architecture {architecture}: {note}"
        if not support:
            return f"{self.name} is not known to load the architecture {architecture or 'of this model'}"
        return ""

    def model_reason(self, model: RuntimeModel, quantization: str) -> str:
        if self.published_only and not tables.published(self.id, model.model_id, model.format, quantization):
            return f"{self.name} has no published build of {model.model_id} in {quantization}"
        return ""

    def command(self, pick: Pick, model: RuntimeModel, accelerator: str = "") -> str:
        raise NotImplementedError

    def recipe(self, pick: Pick, model: RuntimeModel, device: Device, accelerator: str = "") -> Recipe:
        target = Target(pick, model, device, accelerator)
        return Recipe(
            title=" ".join(f"{pick.name} {pick.quantization or ''} with {self.name}".split()),
            steps=(*self.install_steps(target), *self.run_steps(target)),
            check=self.check_step(target),
            measure=self.measure_step(target),
            optional=self.optional_steps(target),
            notes=self.notes(target),
        )

    # What a recipe is made of; a runtime says what is different with it.

    def install_steps(self, target: Target) -> tuple[Step, ...]:
        """How to install it there; none where it cannot be installed."""
        hint = self.install_hint(target.device.os)
        if not hint:
            return ()
        by_hand = hint.startswith("install ")
        return (Step("Install", hint, "text") if by_hand else target.commands("Install", hint),)

    def run_steps(self, target: Target) -> tuple[Step, ...]:
        command = self.command(target.pick, target.model, target.accelerator)
        return (target.commands("Run it", command),)

    def optional_steps(self, target: Target) -> tuple[Step, ...]:
        return ()

    def notes(self, target: Target) -> tuple[str, ...]:
        return ()

    def served(self, target: Target) -> str:
        """What its server calls the model."""
        return shell.tag(target.model.model_id)

    @property
    def endpoint(self) -> str:
        """Where its server listens unless told otherwise; "" when it has none."""
        return self._cells["endpoint"]

    def check_step(self, target: Target) -> Step:
        return server_check(self.endpoint, self.served(target), target.device.os)

    def measure_step(self, target: Target) -> Step:
        return measure_server(self.endpoint, self.served(target), target.model.model_id, target.pick.quantization or "")

    def install_hint(self, os: str) -> str:
        return self._cells.get(f"install_{os}", "")

    def can_try_here(self) -> bool:
        return False

    def refuse(self, model: RuntimeModel, quantization: str) -> None:
        """Raise BadInputError when the model cannot be had for this runtime."""
        reason = self.model_reason(model, quantization)
        if reason:
            raise BadInputError(f"{reason}: choose another runtime or quantization.")


def settings_of(pick: Pick) -> Settings:
    """The settings of a pick that runs on a device.

    Raises:
        BadInputError: the pick is managed and has none.
    """
    if pick.settings is None:
        raise BadInputError(f"{pick.name} on {pick.runtime} has no settings: it is a managed service.")
    return pick.settings


def quantization_of(pick: Pick) -> str:
    """A pick's quantization as a command may name it.

    Raises:
        BadInputError: it has none, or it has characters that a command must not carry.
    """
    return shell.name(pick.quantization or "")
