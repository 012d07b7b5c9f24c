"""Foundry Local: a curated catalog on one's own machine, with a variant of a model for each kind of processor.

Calls as in foundry-local-sdk 2.2.1, whose server takes a variant's id and not the alias. Commands as in
learn.microsoft.com/azure/foundry-local/reference/reference-cli.
"""

from __future__ import annotations

from recommender.runtimes import platforms, shell, tables
from recommender.runtimes.base import RuntimeModel, TableRuntime, Target
from recommender.runtimes.recipe import Step, measure_server, server_check
from recommender.types import Pick

_ADDRESS = "http://127.0.0.1:5273"
_ENDPOINT = f"{_ADDRESS}/v1"
_PLACEHOLDER = "ID_OF_THE_VARIANT"
_ID_FILE = "model-id.txt"
_DEVICE_TYPES = {"npu": "NPU", "cpu": "CPU"}  # any other accelerator is a GPU's

_LOAD = """manager = FoundryLocalManager.instance
manager.download_and_register_eps()  # what this machine's NPU or GPU needs
model = manager.get_catalog().get_model("{alias}")
if model is None:
    sys.exit("Foundry Local has no {alias} for this machine, or its catalog cannot be reached.")
fitting = [one for one in model.variants if one.info.runtime and one.info.runtime.device_type == "{device}"]
if fitting:
    model.select_variant(fitting[0])
else:
    print("No variant for the {device}, so it takes another.")
model.download(lambda percent: print(f"\\r{percent:.0f} %", end=""))
model.load()
"""
_SERVE = f"""import sys

from foundry_local_sdk import Configuration, FoundryLocalManager

web = Configuration.WebService(urls="{_ADDRESS}")
FoundryLocalManager.initialize(Configuration(app_name="rightsize", web=web))
{_LOAD}manager.start_web_service()
with open("{_ID_FILE}", "w") as file:
    file.write(model.id)
print(f"\\n{{model.id}} at {_ENDPOINT}")
input("Enter stops it.")
manager.stop_web_service()
model.unload()
"""
_CHAT = f"""import sys

from foundry_local_sdk import ChatSession, Configuration, FoundryLocalManager, MessageItem, Request
from foundry_local_sdk import RequestOptions, SearchOptions, TextItem

FoundryLocalManager.initialize(Configuration(app_name="rightsize"))
{_LOAD}print()
with ChatSession(model) as session:
    session.set_options(RequestOptions(search=SearchOptions(max_output_tokens=200)))
    session.set_streaming(True)
    with Request().add_item(MessageItem.user("Say hello.")) as request:
        for item in session.process_streaming_request(request):
            if isinstance(item, TextItem):
                print(item.text, end="", flush=True)
print()
model.unload()
"""


class FoundryLocal(TableRuntime):
    id = "foundry-local"

    def command(self, pick: Pick, model: RuntimeModel, accelerator: str = "") -> str:
        self.refuse(model, pick.quantization or "")
        return f"foundry model run {shell.name(model.foundry_alias)}"

    def run_steps(self, target: Target) -> tuple[Step, ...]:
        command = self.command(target.pick, target.model, target.accelerator)
        note = f"In the CLI's 0.10 preview it is foundry run {shell.name(target.model.foundry_alias)}."
        return (
            target.commands("In a terminal", command, note),
            target.commands("For programs", "pip install 'foundry-local-sdk>=2.2.1,<3'"),
            Step("A server", _filled(_SERVE, target), "python", file_name="serve.py", note="python serve.py"),
        )

    def check_step(self, target: Target) -> Step:
        step = server_check(_ENDPOINT, _PLACEHOLDER, target.device.os)
        if target.device.os == "windows":
            text = step.text.replace("-Body '", "-Body ('").replace("}' |", "}') |")
            text = text.replace(_PLACEHOLDER, f"' + (Get-Content {_ID_FILE}) + '")
        else:
            text = step.text.replace(_PLACEHOLDER, f"""'"$(cat {_ID_FILE})"'""")
        return Step(step.title, text, step.language, note="While python serve.py runs. " + step.note)

    def measure_step(self, target: Target) -> Step:
        model, quantization = target.model, target.pick.quantization or ""
        step = measure_server(_ENDPOINT, _PLACEHOLDER, model.model_id, quantization)
        windows = target.device.os == "windows"
        read = f"(Get-Content {_ID_FILE})" if windows else f'"$(cat {_ID_FILE})"'
        text = step.text.replace(_PLACEHOLDER, read)
        note = "While python serve.py runs. " + step.note
        return Step(step.title, text, "powershell" if windows else "bash", note=note)

    def optional_steps(self, target: Target) -> tuple[Step, ...]:
        alias = shell.name(target.model.foundry_alias)
        return (
            Step(
                "In a program, without a server",
                _filled(_CHAT, target),
                "python",
                file_name="chat.py",
                note="python chat.py",
            ),
            target.commands(
                "The CLI's own server",
                shell.steps(f"foundry model load {alias}", "foundry service status"),
                "It says at which address and port it listens; /v1 comes after that, and recommender measure "
                "--endpoint measures it as well. In the 0.10 preview it is foundry server status.",
            ),
        )

    def notes(self, target: Target) -> tuple[str, ...]:
        return (*_device_notes(target), _OFFLINE)

    def model_reason(self, model: RuntimeModel, quantization: str) -> str:
        if not model.foundry_alias:
            return f"{self.name} runs its own catalog only, and {model.model_id} is not known to be in it"
        return ""


_OFFLINE = (
    "After the first download it runs offline. It has no access roles and no audit log of its own: those come from how "
    "your machines are managed"
)


def _device_notes(target: Target) -> tuple[str, ...]:
    """Which variant will run, as far as the catalog knows."""
    device = _device_type(target)
    if device != "NPU":
        return (f"serve.py takes the variant for the {device}; {_ID_FILE} names the one that runs",)
    rows = tables.npu_models(FoundryLocal.id).get(target.model.model_id, ())
    row = next((row for row in rows if row.npu in platforms.npu_makers(target.device)), None)
    if row is None:
        return (
            f"No variant of {target.model.model_id} for this NPU is in the catalog. serve.py looks for one all the "
            f"same; without one it says so and takes Foundry Local's choice for the GPU or CPU. {_ID_FILE} names it",
        )
    wanted, most = target.settings.context_tokens, row.context_tokens
    found = f"On this NPU it is {shell.name(row.name)}"
    if most is None or wanted <= most:
        return (found,)
    return (f"{found}, which was compiled for a context of {most} tokens, not for {wanted}",)


def _device_type(target: Target) -> str:
    return _DEVICE_TYPES.get(target.accelerator or target.on_gpu or "cpu", "GPU")


def _filled(script: str, target: Target) -> str:
    return script.replace("{alias}", shell.name(target.model.foundry_alias)).replace("{device}", _device_type(target))


RUNTIME = FoundryLocal()
