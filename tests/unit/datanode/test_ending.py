"""A signal ends the process whenever it comes."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

SIGNALS = """
import os, random, signal, threading
from esdfs.datanode.ending import Ending

ending, waiting = Ending(), threading.Event()
ending.catch(signal.SIGUSR1)

def other():
    draw = random.Random(1)
    while True:
        waiting.wait()
        waiting.clear()
        for _ in range(draw.randrange(400)):
            pass
        os.kill(os.getpid(), signal.SIGUSR1)

threading.Thread(target=other, daemon=True).start()
for _ in range(20_000):
    waiting.set()
    ending.wait()
"""

RINGS = """
import signal, threading
from esdfs.datanode.ending import Ending

ending = Ending()
ending.catch(signal.SIGTERM)
for _ in range(100_000):
    ending.ring()
ending.wait()
threading.Thread(target=ending.ring).start()
ending.wait()
"""


def _ends(script: str) -> None:
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=60, check=True)


def test_a_signal_is_noticed_at_whatever_moment_it_comes() -> None:
    _ends(SIGNALS)


def test_it_may_be_rung_by_any_thread_and_far_too_often() -> None:
    _ends(RINGS)
