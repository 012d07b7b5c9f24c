"""Foundry Local: a curated catalog on one's own machine; it picks NPU, GPU or CPU itself."""

from __future__ import annotations

from recommender.runtimes import shell
from recommender.runtimes.base import RuntimeModel, TableRuntime, Target
from recommender.runtimes.recipe import Step, measure_server, server_check
from recommender.types import Pick

_ENDPOINT = "http://127.0.0.1:5273/v1"
# Calls as in foundry-local-sdk 2.2.1.
_SERVE = """from foundry_local_sdk import Configuration, FoundryLocalManager

web = Configuration.WebService(urls="http://127.0.0.1:5273")
FoundryLocalManager.initialize(Configuration(app_name="rightsize", web=web))
manager = FoundryLocalManager.instance
manager.download_and_register_eps()  # what this machine's NPU or GPU needs
model = manager.get_catalog().get_model("{alias}")
model.download(lambda percent: print(f"\\r{percent:.0f} %", end=""))
model.load()
manager.start_web_service()
with open("model-id.txt", "w") as file:  # the variant that it chose for this machine
    file.write(model.id)
print(f"\\n{model.id} at {manager.urls[0]}/v1")
input("Enter stops it.")
manager.stop_web_service()
model.unload()
"""


class FoundryLocal(TableRuntime):
    id = "foundry-local"

    def command(self, pick: Pick, model: RuntimeModel, accelerator: str = "") -> str:
        self.refuse(model, pick.quantization or "")
        return f"foundry model run {shell.name(model.foundry_alias)}"

    def run_steps(self, target: Target) -> tuple[Step, ...]:
        self.refuse(target.model, target.pick.quantization or "")
        alias = shell.name(target.model.foundry_alias)
        script = _SERVE.replace("{alias}", alias)
        return (
            target.commands("In a terminal", f"foundry model run {alias}"),
            target.commands("For programs", "pip install foundry-local-sdk"),
            Step("A server", script, "python", file_name="serve.py", note="python serve.py"),
        )

    def check_step(self, target: Target) -> Step:
        step = server_check(_ENDPOINT, "MODEL_ID", target.device.os)
        windows = target.device.os == "windows"
        # Which variant it chose is known only there, so the shell reads it.
        text = step.text.replace(
            "MODEL_ID", "'+(Get-Content model-id.txt)+'" if windows else """'"$(cat model-id.txt)"'"""
        )
        return Step(
            step.title, text.replace("-Body '", "-Body ('").replace("}' |", "}') |"), step.language, note=step.note
        )

    def measure_step(self, target: Target) -> Step:
        model, quantization = target.model, target.pick.quantization or ""
        step = measure_server(_ENDPOINT, "MODEL_ID", model.model_id, quantization)
        windows = target.device.os == "windows"
        read = "(Get-Content model-id.txt)" if windows else '"$(cat model-id.txt)"'
        return Step(
            step.title, step.text.replace("MODEL_ID", read), "powershell" if windows else "bash", note=step.note
        )

    def notes(self, target: Target) -> tuple[str, ...]:
        return ("It chooses the variant for this machine's NPU, GPU or CPU by itself",)

    def model_reason(self, model: RuntimeModel, quantization: str) -> str:
        if not model.foundry_alias:
            return f"{self.name} runs its own catalog only, and {model.model_id} is not known to be in it"
        return ""


RUNTIME = FoundryLocal()
