"""Azure AI Foundry: a managed deployment, made with the Azure CLI or with azure-ai-ml.

The account's commands and roles are those of learn.microsoft.com/azure/foundry: foundry-models/how-to
create-model-deployments and configure-entra-id; the log's categories stand in azure-monitor's reference
supported-logs/microsoft-cognitiveservices-accounts-logs. Calls as in azure-ai-ml 1.35.2 and openai 3.50.
"""

from __future__ import annotations

import re

from recommender.runtimes import shell
from recommender.runtimes.base import RuntimeModel, TableRuntime, Target
from recommender.runtimes.recipe import Step, measure_server, server_check
from recommender.types import Pick

_ACCOUNT = '-g "$RESOURCE_GROUP" -n "$ACCOUNT"'
_ID = f'ID="$(az cognitiveservices account show {_ACCOUNT} --query id -o tsv)"'
_SUBDOMAIN = f"az cognitiveservices account show {_ACCOUNT} --query properties.customSubDomainName -o tsv"
_KEY, _BASE_URL = "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_BASE_URL"
_PLACEHOLDER = "BASE_URL_OF_THE_RESOURCE"
_ENDPOINT_CHARACTERS = 32  # the most in the name of an Azure Machine Learning endpoint
_LOGS = '[{"category": "Audit", "enabled": true}, {"category": "RequestResponse", "enabled": true}]'

_CALL = """import os

from openai import OpenAI

client = OpenAI(base_url=os.environ["AZURE_OPENAI_BASE_URL"], api_key=os.environ["AZURE_OPENAI_API_KEY"])
messages = [{"role": "user", "content": "Say hello."}]
answer = client.chat.completions.create(model="{name}", messages=messages)
print(answer.choices[0].message.content)
"""
_CALL_WITHOUT_KEY = """import os

from azure.identity import DefaultAzureCredential, get_bearer_token_provider
from openai import OpenAI

token = get_bearer_token_provider(DefaultAzureCredential(), "https://cognitiveservices.azure.com/.default")
client = OpenAI(base_url=os.environ["AZURE_OPENAI_BASE_URL"], api_key=token)
messages = [{"role": "user", "content": "Say hello."}]
answer = client.chat.completions.create(model="{name}", messages=messages)
print(answer.choices[0].message.content)
"""
_SERVERLESS = """import os

from azure.ai.ml import MLClient
from azure.ai.ml.entities import ServerlessEndpoint
from azure.identity import DefaultAzureCredential

client = MLClient(
    DefaultAzureCredential(),
    os.environ["AZURE_SUBSCRIPTION_ID"],
    os.environ["RESOURCE_GROUP"],
    os.environ["WORKSPACE"],
)
registry = os.environ.get("REGISTRY", "azureml")
# A serverless endpoint takes the model without a version.
endpoint = ServerlessEndpoint(name="{endpoint}", model_id=f"azureml://registries/{registry}/models/{name}")
made = client.serverless_endpoints.begin_create_or_update(endpoint).result()
print(made.scoring_uri)
"""


class AzureAiFoundry(TableRuntime):
    """The account and its resource group are the person's own, so they stay variables of the shell."""

    id = "azure-ai-foundry"

    def command(self, pick: Pick, model: RuntimeModel, accelerator: str = "") -> str:
        self.refuse(model, pick.quantization or "")
        wanted = shell.name(model.azure_id)
        # Which versions there are, and under which format, differs by region: the account is asked.
        listed = (
            f"az cognitiveservices account list-models {_ACCOUNT} --query \"[?name=='{wanted}'] | [-1].{{}}\" -o tsv"
        )
        return shell.steps(
            f'VERSION="$({listed.format("version")})"',
            f'FORMAT="$({listed.format("format")})"',
            shell.join(
                f"az cognitiveservices account deployment create {_ACCOUNT}",
                f"--deployment-name {wanted} --model-name {wanted}",
                '--model-version "$VERSION" --model-format "$FORMAT"',
                "--sku-name GlobalStandard --sku-capacity 1",
            ),
        )

    def run_steps(self, target: Target) -> tuple[Step, ...]:
        command = self.command(target.pick, target.model, target.accelerator)
        key = f'export {_KEY}="$(az cognitiveservices account keys list {_ACCOUNT} --query key1 -o tsv)"'
        address = f'export {_BASE_URL}="https://$({_SUBDOMAIN}).services.ai.azure.com/openai/v1"'
        return (
            _commands(
                target,
                "Say which resource",
                'RESOURCE_GROUP="my-group"\nACCOUNT="my-foundry-resource"\naz login',
                "The names of your own Foundry resource and of its group.",
            ),
            _commands(target, "Deploy", command, "Needs the role Cognitive Services Contributor on the resource."),
            _commands(target, "Address and key", f"{address}\n{key}"),
            _script("Call it", _CALL, target, "call.py", "pip install openai, then python call.py"),
        )

    def check_step(self, target: Target) -> Step:
        step = server_check(_PLACEHOLDER, shell.name(target.model.azure_id), target.device.os, _KEY)
        address = f'"$env:{_BASE_URL}' if target.device.os == "windows" else f'"${_BASE_URL}'
        path = "/chat/completions"
        text = step.text.replace(f"{_PLACEHOLDER}{path}", f'{address}{path}"')
        return Step(step.title, text, step.language, note=step.note)

    def measure_step(self, target: Target) -> Step:
        name = shell.name(target.model.azure_id)
        step = measure_server(_PLACEHOLDER, name, target.model.model_id, "", _KEY)
        windows = target.device.os == "windows"
        address = f'"$env:{_BASE_URL}"' if windows else f'"${_BASE_URL}"'
        text = step.text.replace(_PLACEHOLDER, address)
        return Step(step.title, text, "powershell" if windows else "bash", note=step.note)

    def optional_steps(self, target: Target) -> tuple[Step, ...]:
        script = _SERVERLESS.replace("{endpoint}", _endpoint_name(target.model))
        logs = _LOGS.replace('"', r"\"") if target.device.os == "windows" else _LOGS
        return (
            _script("With azure-ai-ml", script, target, "deploy.py", _SERVERLESS_NOTE),
            _commands(
                target,
                "Who may use it",
                f'{_ID}\naz role assignment create --assignee "$WHO" --role "Cognitive Services User" --scope "$ID"',
                "Role-based access control: with this role WHO (a person, group or application) may call deployments; "
                "Cognitive Services Contributor may make and change them.",
            ),
            _script("Call it without a key", _CALL_WITHOUT_KEY, target, "call_as_me.py", _WITHOUT_KEY_NOTE),
            _commands(
                target,
                "Keep a log of calls",
                f'{_ID}\naz monitor diagnostic-settings create --name audit --resource "$ID" '
                f"--workspace \"$LOG_ANALYTICS_WORKSPACE\" --logs '{logs}'",
                "Audit: who read keys, and each call with its time and caller, go to a Log Analytics workspace.",
            ),
            _commands(
                target,
                "What was changed",
                f'{_ID}\naz monitor activity-log list --resource-id "$ID" --offset 7d -o table',
                "Audit: deployments made, changed and deleted, and by whom; Azure keeps this log by itself.",
            ),
        )

    def notes(self, target: Target) -> tuple[str, ...]:
        return (
            "Azure's service-level agreement and Microsoft's support cover models sold by Azure; models of partners "
            "and the community come with their makers' terms (learn.microsoft.com/azure/foundry/foundry-models)",
            "A key opens every deployment of the resource, whoever holds it; roles count for calls without a key",
            "Prompts and answers leave your machine. GlobalStandard may compute in any region; DataZoneStandard and "
            "Standard stay in a zone or a region, where the model is offered so",
        )

    def model_reason(self, model: RuntimeModel, quantization: str) -> str:
        if not model.azure_id:
            return f"{model.model_id} is not known to be in {self.name}'s catalog"
        return ""


_SERVERLESS_NOTE = (
    "A serverless endpoint in a workspace, paid by the token; which models may be deployed so differs by region. Set "
    "AZURE_SUBSCRIPTION_ID, RESOURCE_GROUP and WORKSPACE, and REGISTRY where the model's page names another registry "
    "than azureml; pip install azure-ai-ml azure-identity, then python deploy.py. az ml serverless-endpoint "
    "get-credentials shows its key."
)
_WITHOUT_KEY_NOTE = "As the person who ran az login: pip install openai azure-identity, then python call_as_me.py"


def _script(title: str, text: str, target: Target, file_name: str, note: str) -> Step:
    filled = text.replace("{name}", shell.name(target.model.azure_id))
    return Step(title, filled, "python", file_name=file_name, note=note)


def _endpoint_name(model: RuntimeModel) -> str:
    """The model's name in the letters, digits and dashes that an endpoint's name may have."""
    words = re.sub("[^a-z0-9]+", "-", shell.name(model.azure_id).lower())
    return words[:_ENDPOINT_CHARACTERS].strip("-")


def _commands(target: Target, title: str, text: str, note: str = "") -> Step:
    if target.device.os != "windows":
        return Step(title, text, note=note)
    lines = text.replace(" &&\n", "\n").split("\n")
    return Step(title, "\n".join(_in_powershell(line) for line in lines), "powershell", note=note)


def _in_powershell(line: str) -> str:
    """``NAME="…"`` and ``export NAME="…"`` as PowerShell sets them; it substitutes within quotes as Bash does."""
    found = re.fullmatch(r'(export )?([A-Z_]+)="(.*)"', line)
    return f'${"env:" if found[1] else ""}{found[2]} = "{found[3]}"' if found else line


RUNTIME = AzureAiFoundry()
