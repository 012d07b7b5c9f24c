"""The log of a run's own process."""

import subprocess
import sys
import tempfile

READS_WHILE_OTHERS_WRITE = """
import os, subprocess, sys
from recommender.runner.session import read_log

os.write(2, b"the first line\\n")
write = "import os\\nfor _ in range(50_000): os.write(2, b'and one more\\\\n')"
others = [subprocess.Popen([sys.executable, "-c", write]) for _ in range(2)]
beginnings = set()
while any(other.poll() is None for other in others):
    beginnings.add(read_log()[:14])
print(sorted(beginnings))
"""


def test_a_log_is_read_from_its_start_while_others_write_to_it() -> None:
    with tempfile.TemporaryFile("a+b") as log:
        done = subprocess.run(
            [sys.executable, "-c", READS_WHILE_OTHERS_WRITE],
            stdout=subprocess.PIPE,
            stderr=log,
            check=True,
            text=True,
            timeout=60,
        )
    assert done.stdout.strip() == "['the first line']"
