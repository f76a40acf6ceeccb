"""The package's own jit: the same results, options only where the compiler knows them, no backend before use."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synthjax import jit as module


@pytest.fixture
def fresh():
    module.compiler_options.cache_clear()
    yield
    module.compiler_options.cache_clear()


def test_arguments_are_those_of_jax(key_reuse):
    @module.jit
    def double(x):
        return 2 * x

    power = module.jit(lambda x, n: x**n, static_argnames="n")
    assert double(jnp.arange(3)).tolist() == [0, 2, 4]
    assert power(jnp.arange(3), n=2).tolist() == [0, 1, 4]
    assert double.__name__ == "double"


def test_traces_once_a_shape():
    traced = []

    @module.jit
    def f(x):
        traced.append(x.shape)
        return x.sum()

    for length in (3, 3, 4, 3):
        f(np.zeros(length))
    assert traced == [(3,), (4,)]


def test_options_hold_for_the_whole_program(fresh):
    if jax.default_backend() != "cpu" or not module.compiler_options():
        pytest.skip("this compiler has no such rule")
    x, kernel = jnp.zeros((64, 7, 7, 96)), jnp.zeros((3, 3, 96, 96))

    def conv(x, kernel):
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    own = jax.jit(conv, compiler_options=module.compiler_options()).lower(x, kernel).compile().as_text()
    assert "ynn_fusion" not in own
    assert "ynn_fusion" in jax.jit(conv).lower(x, kernel).compile().as_text()


def test_an_option_that_the_compiler_lacks_is_left_out(fresh, monkeypatch):
    monkeypatch.setattr(module, "_CPU", {"xla_cpu_no_such_option": "1"})
    assert module.compiler_options() == {}
    monkeypatch.setattr(module, "_CPU", {"xla_cpu_experimental_ynn_fusion_type": "NO_SUCH_TYPE"})
    module.compiler_options.cache_clear()
    assert module.compiler_options() == {}


def test_making_one_starts_no_backend():
    code = (
        "import jax; from jax._src import xla_bridge; from synthjax.jit import jit; f = jit(lambda: 1); "
        "assert not xla_bridge.backends_are_initialized(); assert f() == 1"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
