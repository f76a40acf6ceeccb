"""A pod of two processes with eight devices each: what cannot be faked there."""

import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from commands import finish
from pod import trained

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def pods(tmp_path_factory) -> dict[int, dict]:
    """What pods of 8 and 16 devices, in two processes, found: number of devices -> `pod.trained`."""
    found = {}
    for each in (4, 8):
        out = tmp_path_factory.mktemp("pod") / "found.json"
        devices = f"XLA_FLAGS=--xla_force_host_platform_device_count={each}"
        line = ["env", devices, f"PJRT_NPROC={2 * each}", sys.executable, str(HERE.parent / "launch" / "local.py")]
        line += ["--processes=2", "--", sys.executable, str(HERE / "pod.py"), f"--out={out}"]
        code, text, err = finish(line)
        assert code == 0, text + err
        found[2 * each] = json.loads(out.read_text())
        assert found[2 * each]["devices"] == 2 * each
    return found


def test_twice_the_devices_halve_the_work_of_each(pods):
    one = trained(jax.devices()[:1])
    for devices, found in pods.items():
        # The optimiser's part is done by all.
        assert found["flops"] < one["flops"] * (1 / devices + 0.06), devices
    assert pods[16]["flops"] < 0.7 * pods[8]["flops"]


def test_gradients_are_summed_and_no_batch_is_gathered(pods):
    assert all(found["moved"] == ["all-reduce"] for found in pods.values())


def test_the_losses_are_those_of_one_device(pods):
    one = trained(jax.devices()[:1])["loss"]
    assert len(set(one)) == len(one)
    for found in pods.values():
        np.testing.assert_allclose(found["loss"], one, rtol=1e-4)
