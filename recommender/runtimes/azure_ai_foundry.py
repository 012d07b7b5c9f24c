"""Azure AI Foundry: a managed deployment, made with the Azure CLI."""

from __future__ import annotations

from recommender.runtimes import shell
from recommender.runtimes.base import RuntimeModel, TableRuntime, Target
from recommender.runtimes.recipe import Step, measure_server, server_check
from recommender.types import Pick

_ACCOUNT = '-g "$RESOURCE_GROUP" -n "$ACCOUNT"'


_AUDITED = '[{"categoryGroup": "audit", "enabled": true}]'
_KEY, _BASE_VARIABLE = "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_BASE_URL"
_CALL = """import os

from openai import OpenAI

client = OpenAI(base_url=os.environ["AZURE_OPENAI_BASE_URL"], api_key=os.environ["AZURE_OPENAI_API_KEY"])
answer = client.chat.completions.create(model="{name}", messages=[{"role": "user", "content": "Say hello."}])
print(answer.choices[0].message.content)
"""
# Calls as in azure-ai-ml 1.35.2.
_SERVERLESS = """import os

from azure.ai.ml import MLClient
from azure.ai.ml.entities import ServerlessEndpoint
from azure.identity import DefaultAzureCredential

registry = MLClient(DefaultAzureCredential(), registry_name="azureml")
model = registry.models.get("{name}", label="latest")
client = MLClient(
    DefaultAzureCredential(),
    os.environ["AZURE_SUBSCRIPTION_ID"],
    os.environ["RESOURCE_GROUP"],
    os.environ["WORKSPACE"],
)
# A serverless endpoint takes the model without its version.
endpoint = ServerlessEndpoint(name="{name}".lower()[:32], model_id=model.id.rpartition("/versions/")[0])
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
        name = shell.name(target.model.azure_id)
        variables = "RESOURCE_GROUP=my-group\nACCOUNT=my-foundry-resource\naz login"
        key = f'export {_KEY}="$(az cognitiveservices account keys list {_ACCOUNT} --query key1 -o tsv)"'
        endpoint = f"az cognitiveservices account show {_ACCOUNT} --query properties.endpoint -o tsv"
        return (
            Step("Say which resource", variables, note="Your own names. The texts below are for bash or Cloud Shell."),
            Step("Deploy", command),
            Step("Address and key", f'export {_BASE_VARIABLE}="$({endpoint})openai/v1"\n{key}'),
            Step(
                "Call it",
                _CALL.replace("{name}", name),
                "python",
                file_name="call.py",
                note="pip install openai, then python call.py",
            ),
        )

    def check_step(self, target: Target) -> Step:
        step = server_check("BASE_URL", shell.name(target.model.azure_id), key_variable=_KEY)
        return Step(step.title, step.text.replace("BASE_URL", f'"${_BASE_VARIABLE}"'), note=step.note)

    def measure_step(self, target: Target) -> Step:
        name = shell.name(target.model.azure_id)
        return measure_server(f'"${_BASE_VARIABLE}"', name, target.model.model_id, "", _KEY)

    def optional_steps(self, target: Target) -> tuple[Step, ...]:
        script = _SERVERLESS.replace("{name}", shell.name(target.model.azure_id))
        return (
            Step(
                "With azure-ai-ml",
                script,
                "python",
                file_name="deploy.py",
                note="A serverless endpoint in a workspace, paid by the token. Which models may be deployed so differs "
                "by region: pip install azure-ai-ml azure-identity, then python deploy.py",
            ),
            Step(
                "Who may use it",
                f'az role assignment create --assignee "$WHO" --role "Cognitive Services OpenAI User" \\\n'
                f'  --scope "$(az cognitiveservices account show {_ACCOUNT} --query id -o tsv)"',
                note="Role-based access: this role may call deployments and nothing else; Cognitive Services "
                "Contributor may also make them.",
            ),
            Step(
                "What was done",
                "az monitor diagnostic-settings create --name audit \\\n"
                f'  --resource "$(az cognitiveservices account show {_ACCOUNT} --query id -o tsv)" \\\n'
                f'  --workspace "$LOG_ANALYTICS_WORKSPACE" --logs {shell.quoted(_AUDITED)}',
                note="Audit: every call's caller and time go to a Log Analytics workspace.",
            ),
        )

    def notes(self, target: Target) -> tuple[str, ...]:
        return (
            "The service-level agreement covers models sold by Azure; models of partners come with the partners' terms",
            "Prompts and answers leave your machine; private networking and regions keep them where you decide",
        )

    def model_reason(self, model: RuntimeModel, quantization: str) -> str:
        if not model.azure_id:
            return f"{model.model_id} is not known to be in {self.name}'s catalog"
        return ""


RUNTIME = AzureAiFoundry()
