"""What the runtimes inside a browser share: a page of their own, a server for it, and how its speed is read."""

from __future__ import annotations

from recommender.runtimes.recipe import Step

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Chat in this browser</title>
<p><input id="prompt" size="60" value="Say hello."> <button id="ask" disabled>Ask</button></p>
<p id="state">Loading …</p>
<pre id="answer" style="white-space: pre-wrap"></pre>
<script type="module">
const [state, answer, ask] = ["state", "answer", "ask"].map((id) => document.getElementById(id));
const progress = (part) => { state.textContent = `Loading ${Math.round(100 * part)} %`; };
{load}
state.textContent = "Ready";
ask.disabled = false;
ask.onclick = async () => {
  ask.disabled = true;
  answer.textContent = "";
  const started = performance.now();
  let first = 0, last = 0, tokens = 0;
  const messages = [{ role: "user", content: document.getElementById("prompt").value }];
  for await (const chunk of await {chat}) {
    const text = chunk.choices[0]?.delta?.content;
    if (!text) continue;
    last = performance.now();
    first ||= last;
    tokens += 1;
    answer.textContent += text;
  }
  const speed = tokens > 1 ? (1000 * (tokens - 1) / (last - first)).toFixed(1) : "?";
  const ttft = ((first - started) / 1000).toFixed(2);
  state.textContent = `${speed} tokens/s, first after ${ttft} s, ${tokens} pieces of text`;
  ask.disabled = false;
};
</script>
</html>
"""

# A page may use threads only where it is isolated by these two headers.
_SERVER = """from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer


class Isolated(SimpleHTTPRequestHandler):
    def end_headers(self):
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "credentialless")
        super().end_headers()


print("http://127.0.0.1:8000/")
ThreadingHTTPServer(("127.0.0.1", 8000), Isolated).serve_forever()
"""


def page_steps(load: str, chat: str) -> tuple[Step, ...]:
    """A page and its server.

    Args:
        load: JavaScript that loads the model; it may call ``progress(0…1)``.
        chat: an expression that streams OpenAI chunks for ``messages``.
    """
    page = _PAGE.replace("{load}", load).replace("{chat}", chat)
    return (
        Step("The page", page, "html", file_name="index.html"),
        Step("Its server", _SERVER, "python", file_name="serve.py", note="With the headers that threads need."),
        Step("Run it", "python3 serve.py", note="Then open http://127.0.0.1:8000/ in the browser."),
    )


CHECK = Step("Check that it works", "Press Ask: the answer appears under the button.", "text")
MEASURE = Step(
    "Measure it",
    "Read the line under the button: tokens per second and the time to the first token.",
    "text",
    note='The page takes its own time, and History does not keep it. Try\'s "In your browser" measures a GGUF file.',
)
