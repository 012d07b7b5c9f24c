"""What a recipe is: all it takes to set a pick up on its runtime, as texts to copy or to download."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from recommender.runtimes import shell

Language = Literal["bash", "powershell", "python", "yaml", "json", "dockerfile", "html", "text"]


@dataclass(frozen=True)
class Step:
    """One text of a recipe: commands to paste, or a file when ``file_name`` is set."""

    title: str
    text: str
    language: Language = "bash"
    file_name: str = ""
    note: str = ""


@dataclass(frozen=True)
class Recipe:
    """How to set one pick up. Each text stands alone in the order given; ``optional`` ones are other ways to go.

    ``check`` shows that it works, ``measure`` measures it with this app. ``notes`` are sentences for a person.
    """

    title: str
    steps: tuple[Step, ...]
    check: Step
    measure: Step
    optional: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def every_step(self) -> tuple[Step, ...]:
        """All texts in the order they are read."""
        return (*self.steps, self.check, self.measure, *self.optional)

    @property
    def files(self) -> dict[str, str]:
        """File name → text of the texts that are files."""
        return {step.file_name: step.text for step in self.every_step if step.file_name}

    def markdown(self) -> str:
        """The whole recipe as one document."""
        parts = [f"# {self.title}"]
        parts += [_section(step) for step in (*self.steps, self.check, self.measure)]
        if self.optional:
            parts += ["## Other ways", *(_section(step, "###") for step in self.optional)]
        if self.notes:
            parts += ["## Good to know", "\n".join(f"- {note}" for note in self.notes)]
        return "\n\n".join(parts) + "\n"


def _section(step: Step, mark: str = "##") -> str:
    named = f" (`{step.file_name}`)" if step.file_name else ""
    note = f"\n\n{step.note}" if step.note else ""
    return f"{mark} {step.title}{named}{note}\n\n```{step.language}\n{step.text.rstrip()}\n```"


def server_check(base_url: str, model: str, os: str = "", key_variable: str = "") -> Step:
    """One question to a server that speaks OpenAI's protocol. ``base_url`` ends in "/v1" or what stands for it."""
    body = f'{{"model": "{model}", "messages": [{{"role": "user", "content": "Say hello."}}], "max_tokens": 200}}'
    note = 'The answer is JSON with a text under "content".'
    if os == "windows":
        key = f' -Headers @{{Authorization = "Bearer $env:{key_variable}"}}' if key_variable else ""
        text = (
            f"Invoke-RestMethod {base_url}/chat/completions -Method Post -ContentType application/json{key} `\n"
            f"  -Body '{body}' | ConvertTo-Json -Depth 9"
        )
        return Step("Check that it works", text, "powershell", note=note)
    key = f'-H "Authorization: Bearer ${key_variable}" ' if key_variable else ""
    text = f"curl -s {base_url}/chat/completions {key}-H 'Content-Type: application/json' \\\n  -d {shell.quoted(body)}"
    return Step("Check that it works", text, note=note)


def measure_server(base_url: str, model: str, model_id: str, quantization: str, key_variable: str = "") -> Step:
    """The line that measures a server with this app."""
    text = shell.join(
        f"recommender measure --endpoint {base_url}",
        f"--served {model}" if model else "",
        f"--model {shell.repository(model_id)}",
        f"--quant {shell.name(quantization)}" if quantization else "",
        f"--key-variable {key_variable}" if key_variable else "",
    )
    return Step("Measure it with Rightsize", text, note="Speed and first token are kept in History.")
