"""Runtimes of exported networks, in a process of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TWO_NETWORKS = """
import faulthandler, gc, os, signal, sys, time
from pathlib import Path
import numpy as np
import openvino
from openvino import opset13

faulthandler.enable()
signal.signal(signal.SIGUSR1, lambda *_: print("signal"))
place = opset13.parameter([1, 8], np.float32, name="x")
product = opset13.matmul(place, opset13.constant(np.eye(8, dtype=np.float32)), False, False)
product.output(0).set_names({"y"})
path = Path(sys.argv[1]) / "network.xml"
openvino.save_model(openvino.Model([product], [place]), path)

from praxiscope.deploy.runtimes import open_network

first, second = (open_network(path, "y", "openvino") for _ in range(2))
for network in (first, second):
    print(network({"x": np.full((1, 8), 3, np.float32)}).tolist())
del network, first
gc.collect()
del second
gc.collect()
os.kill(os.getpid(), signal.SIGUSR1)
time.sleep(0.1)
print("goes on")
"""


@pytest.mark.slow
def test_a_signal_after_two_openvino_networks_are_deleted_does_not_crash(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    done = subprocess.run(
        [sys.executable, "-c", TWO_NETWORKS, str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [*(["[[" + ", ".join(["3.0"] * 8) + "]]"] * 2), "signal", "goes on"]


MANY_THREADS = """
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from praxiscope.deploy import runtimes

start = Barrier(4)

def open_one(_):
    start.wait()
    try:
        runtimes.RUNTIMES["openvino"](runtimes.Path("none.xml"), ["y"], 1)
    except Exception:
        return "no such file"

with ThreadPoolExecutor(4) as pool:
    print(*set(pool.map(open_one, range(4))))
print(runtimes._core.cache_info().misses)
"""


@pytest.mark.slow
def test_threads_load_openvino_once() -> None:
    pytest.importorskip("openvino")
    done = subprocess.run([sys.executable, "-c", MANY_THREADS], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["no such file", "1"]
