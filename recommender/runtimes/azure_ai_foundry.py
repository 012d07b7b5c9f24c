"""Azure AI Foundry: a managed deployment, made with the Azure CLI."""

from __future__ import annotations

from recommender.runtimes import shell
from recommender.runtimes.base import RuntimeModel, TableRuntime
from recommender.types import Pick

_ACCOUNT = '-g "$RESOURCE_GROUP" -n "$ACCOUNT"'


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

    def model_reason(self, model: RuntimeModel, quantization: str) -> str:
        if not model.azure_id:
            return f"{model.model_id} is not known to be in {self.name}'s catalog"
        return ""


RUNTIME = AzureAiFoundry()
