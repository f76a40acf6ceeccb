"""The machine against brute-force enumeration, and Gaussian units against closed forms."""

import functools

import brute
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from brute import DBM, DEEP, IDS, LABELLED, MACHINES, RBM, B, G, Mixture, S
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from synthjax.errors import InputError
from synthjax.gibbs.machine import Machine, Temper


def started(machine: Machine, params, count: int):
    """States of the machine without couplings and biases."""
    return jax.jit(machine.start, static_argnums=3)(jax.random.key(0), params, machine.zero_biases(), count)


def test_energy_against_the_definition():
    for machine in MACHINES:
        params, layers = brute.params(machine), brute.states(machine)
        found = jax.jit(machine.energy)(params, layers)
        np.testing.assert_allclose(found, brute.energy(params, layers), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kept", [0, 1])
@pytest.mark.parametrize("machine", MACHINES, ids=IDS)
def test_free_energy_sums_out_the_other_half(machine, kept):
    params, layers = brute.params(machine), brute.states(machine)
    minus = -brute.energy(params, layers)
    halves = [np.concatenate([layers[j] for j in machine.parity(p)], axis=1) for p in (0, 1)]
    found = np.asarray(jax.jit(machine.free_energy, static_argnums=2)(params, layers, kept))
    for row in np.unique(halves[kept], axis=0):
        same = (halves[kept] == row).all(axis=1)
        expected = -scipy.special.logsumexp(minus[same])
        np.testing.assert_allclose(found[same], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("machine", MACHINES, ids=IDS)
def test_gibbs_sampling_reaches_the_joint_distribution(machine):
    """Total variation over all states; marginals and pair moments beside it."""
    params = brute.params(machine, seed=1)
    start = started(machine, params, 80_000)
    layers = jax.jit(machine.chain, static_argnums=3)(jax.random.key(1), params, start, 20)
    expected = brute.probabilities(machine, params)
    assert brute.total_variation(machine, start, expected) > 0.2
    assert brute.total_variation(machine, layers, expected) < 0.02
    drawn, exact = np.concatenate(layers, axis=1), np.concatenate(brute.states(machine), axis=1)
    np.testing.assert_allclose(drawn.mean(axis=0), expected @ exact, atol=0.01)
    np.testing.assert_allclose(drawn.T @ drawn / len(drawn), (exact.T * expected) @ exact, atol=0.01)


def test_chains_on_four_devices_have_the_statistics_of_one():
    """Chains are the rows that devices share; each draws as it does on one device, but where sums round otherwise."""
    if jax.device_count() < 4:
        pytest.skip("needs four devices")
    params, sweeps = brute.params(DBM, seed=1), jax.jit(DBM.chain, static_argnums=3)
    start = started(DBM, params, 80_000)
    mesh = jax.make_mesh((4,), ("chains",), axis_types=(AxisType.Auto,))
    apart = jax.device_put(start, NamedSharding(mesh, PartitionSpec("chains")))
    one, four = (sweeps(jax.random.key(1), params, layers, 20) for layers in (start, apart))
    assert {len(x.sharding.device_set) for x in four} == {4} and {len(x.sharding.device_set) for x in one} == {1}
    assert brute.total_variation(DBM, four, brute.probabilities(DBM, params)) < 0.02
    assert np.mean(brute.code(DBM, one) == brute.code(DBM, four)) > 0.99


@pytest.mark.parametrize("machine", [LABELLED, DBM], ids=["rbm", "dbm"])
def test_clamped_labels_and_pixels_give_the_conditional_distribution(machine):
    params, count = brute.params(machine, seed=2), 40_000
    layers = list(started(machine, params, count))
    label = np.tile(np.eye(machine.sizes[-1], dtype=np.float32)[1], (count, 1))
    pixels = np.tile(np.float32([1, 0, 0]), (count, 1))
    mask = np.array([True, True, False])
    layers[-1], layers[0] = label, np.where(mask, pixels, layers[0])
    clamped = {0: (mask, pixels), len(layers) - 1: (None, label)}
    chain = jax.jit(functools.partial(machine.chain, clamped=clamped), static_argnums=3)
    drawn = chain(jax.random.key(1), params, tuple(layers), 25)
    states, expected = brute.states(machine), brute.probabilities(machine, params)
    fits = (states[-1][:, 1] == 1) & (states[0][:, 0] == 1) & (states[0][:, 1] == 0)
    expected = np.where(fits, expected, 0.0)
    assert brute.total_variation(machine, drawn, expected / expected.sum()) < 0.02


def test_a_mean_field_sweep_sets_each_layer_to_its_mean():
    params = brute.params(RBM)
    v = jnp.array([[0.2, 0.9, 0.0, 1.0]])
    v_new, h = RBM.sweep(None, params, (v, jnp.full((1, 3), jnp.nan)))
    expected = scipy.special.expit(params.biases[1] + v @ params.weights[0])
    np.testing.assert_allclose(h, expected, rtol=1e-5)
    np.testing.assert_allclose(v_new, scipy.special.expit(params.biases[0] + h @ params.weights[0].T), rtol=1e-5)


@pytest.mark.parametrize("machine", [LABELLED, DBM, DEEP], ids=["rbm", "dbm_labelled", "dbm"])
def test_inference_is_exact_with_one_hidden_layer_and_a_bound_with_more(machine):
    params = brute.params(machine, seed=3)
    states, energy = brute.states(machine), brute.energy(params, brute.states(machine))
    labelled = machine.units[-1] == S
    known = np.concatenate([states[0], states[-1]], axis=1) if labelled else states[0]
    rows = np.unique(known, axis=0)
    free = np.array([-scipy.special.logsumexp(-energy[(known == row).all(axis=1)]) for row in rows])
    v, label = jnp.asarray(rows[:, : machine.sizes[0]]), jnp.asarray(rows[:, machine.sizes[0] :])
    infer = jax.jit(machine.infer, static_argnums=3)
    q, again = (infer(params, v, label if labelled else None, steps) for steps in (40, 41))
    for a, b in zip(q, again, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)
    bound = np.asarray(jax.jit(machine.variational_free_energy, static_argnums=2)(params, q, labelled))
    if machine is LABELLED:
        np.testing.assert_allclose(bound, free, atol=1e-3)
    else:
        assert (bound > free).all() and (bound < free + 1).all()


@pytest.mark.parametrize("machine", MACHINES, ids=IDS)
def test_inference_is_clamped_mean_field_sweeps(machine):
    """Also with the labels to be found; layer 0's share of the fields is computed once."""
    params, x = brute.params(machine, seed=4), jnp.float32(np.random.default_rng(0).random((5, machine.sizes[0])))
    layers = machine.ascend(params, x)
    expected = machine.chain(None, params, layers, 3, {0: (None, x)})
    if len(machine.sizes) == 2:
        expected = layers
    for a, b in zip(machine.infer(params, x, None, 3), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_half_precision_rounds_couplings_to_eight_bits():
    exact, half = DEEP, Machine(DEEP.sizes, DEEP.units, half=True)
    params = brute.params(DEEP, seed=5)
    layers = tuple(jnp.float32(a) for a in brute.states(DEEP))
    rounded = params._replace(weights=tuple(w.astype(jnp.bfloat16).astype(jnp.float32) for w in params.weights))
    got = half.update(None, params, layers, 1)
    for a, b in zip(got, exact.update(None, rounded, layers, 1), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert (got[1] != exact.update(None, params, layers, 1)[1]).any()
    expected, found = (
        jax.grad(lambda p, machine=machine: machine.free_energy(p, got).mean())(p)
        for machine, p in ((exact, rounded), (half, params))
    )
    for a, b in zip(found.weights, expected.weights, strict=True):
        np.testing.assert_allclose(a, b, atol=4e-3)  # gradients of fields are rounded too
        assert (a != b).any()


def test_half_precision_draws_with_sixteen_bits():
    """Of an odd number of units; against the binomial distribution, each unit and each pair of neighbours."""
    half, n = Machine((5, 5), (B, B), half=True), 100_000
    p = np.linspace(0.1, 0.9, 5)
    field = jnp.broadcast_to(jnp.float32(scipy.special.logit(p)), (n, 5))
    x = np.asarray(half.draw(jax.random.key(1), 1, field, jnp.zeros(())))
    assert set(np.unique(x)) == {0.0, 1.0}
    np.testing.assert_allclose(x.mean(0), p, atol=5 * 0.5 / np.sqrt(n))
    np.testing.assert_allclose(np.corrcoef(x.T), np.eye(5), atol=5 / np.sqrt(n))
    never, always = half.draw(jax.random.key(2), 1, jnp.array([[-20.0, 20.0]] * n), jnp.zeros(())).T
    assert not never.any() and always.all()


def test_temper_leads_from_base_to_the_whole_machine():
    params, layers = brute.params(DBM), tuple(map(jnp.asarray, brute.states(DBM)))
    base = tuple(b + 0.5 for b in params.biases)
    without = sum(-np.asarray(x) @ np.asarray(b) for x, b in zip(layers, base, strict=True))
    whole = brute.energy(params, layers)
    for t in (0.0, 0.3, 1.0):
        found = DBM.energy(params, layers, Temper(jnp.float32(t), base))
        np.testing.assert_allclose(found, (1 - t) * without + t * whole, rtol=1e-4, atol=1e-4)
    rows = jnp.linspace(0, 1, len(whole))[:, None]
    found = DBM.energy(params, layers, Temper(rows, base))
    np.testing.assert_allclose(found, (1 - rows[:, 0]) * without + rows[:, 0] * whole, rtol=1e-4, atol=1e-4)


# --- Gaussian units ----------------------------------------------------------------------------------------------


def test_gaussian_units_are_a_mixture_of_gaussians():
    machine = Machine((3, 2), (G, B))
    params = brute.params(machine, seed=3, scale=0.7)
    mixture = Mixture(machine, params)
    v = np.random.default_rng(0).normal(size=(5, 3)) * 2
    free_energy = jax.jit(machine.free_energy, static_argnums=2)
    found = -np.asarray(free_energy(params, (np.float32(v), np.zeros((5, 2), np.float32)), 0))
    np.testing.assert_allclose(found, mixture.log_p(v) + mixture.log_z, rtol=1e-4)
    by_hidden = -np.asarray(free_energy(params, (np.zeros((4, 3), np.float32), np.float32(mixture.h)), 1))
    np.testing.assert_allclose(np.exp(by_hidden - mixture.log_z), mixture.shares, rtol=1e-3)
    start = started(machine, params, 80_000)
    drawn, _ = map(np.asarray, jax.jit(machine.chain, static_argnums=3)(jax.random.key(1), params, start, 20))
    mean = mixture.shares @ mixture.means
    spread = mixture.means - mean
    covariance = np.diag(mixture.variance) + (spread.T * mixture.shares) @ spread
    np.testing.assert_allclose(drawn.mean(axis=0), mean, atol=0.05)
    np.testing.assert_allclose(np.cov(drawn.T), covariance, rtol=0.05, atol=0.05)


# --- form --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "units", "message"),
    [
        ((3,), (B,), "at least one hidden layer"),
        ((3, 0), (B, B), "layer 1 of a Boltzmann machine has 0 units"),
        ((3, 2), (B, G), "only layer 0"),
    ],
)
def test_a_bad_form_is_named(sizes, units, message):
    with pytest.raises(InputError, match=message):
        Machine(sizes, units)
