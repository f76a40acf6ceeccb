"""The error of a classifier that a trained RBM or DBM starts, fine-tuned by back-propagation.

    python -m benchmarks.finetune --workdir=runs/dbm-mnist --split=holdout           while choosing
    python -m benchmarks.finetune --workdir=runs/dbm-mnist --split=test              once
    python -m benchmarks.finetune --workdir=runs/dbm-mnist --labels=100 --steps=300  few labels
    python -m benchmarks.finetune --workdir=runs/dbm-mnist --scratch                 from random weights

Pixels are grey values as probabilities. Training takes the run's own training split, or `--labels` of its examples,
each class as often as in the data, others for each seed; then the Boltzmann machine must be one that was trained
without labels (model.conditional=False), or it has seen more of them.
"""

import argparse
import dataclasses

import jax
import numpy as np

from benchmarks import boltzmann
from synthjax.errors import InputError
from synthjax.evals.subsample import stratified
from synthjax.gibbs import finetune
from synthjax.jit import jit
from synthjax.launch import cli
from synthjax.models import dbm, rbm

BLOCK = 1000


def errors(
    subject: tuple[dbm.Config | rbm.Config, finetune.Machine, finetune.Params],
    parts: dict[str, tuple[np.ndarray, np.ndarray]],
    classes: int,
    protocol: finetune.Protocol,
    *,
    seeds: int,
    labels: int | None = None,
    scratch: bool = False,
) -> list[float]:
    """Share of wrong answers on parts["judge"] after training on parts["train"], one a seed.

    Args:
      subject: Config, machine and parameters.
      parts: x (N, n_0), layer 0, and y (N,).
      classes: of y.
      protocol: of fine-tuning.
      seeds: networks.
      labels: train on so many examples alone.
      scratch: start from random weights instead.
    """
    config, machine, params = subject
    steps = getattr(config, "mean_field_steps", 1)
    see = jit(lambda x: finetune.inputs(machine, params, x, steps)[: 1 if scratch else None])

    def seen(x: np.ndarray) -> tuple[np.ndarray, ...]:
        blocks = [see(x[start : start + BLOCK]) for start in range(0, len(x), BLOCK)]
        return tuple(np.concatenate(layer) for layer in zip(*blocks, strict=True))

    x, y = parts["judge"]
    judged, found = seen(x), []
    answers = jit(finetune.logits)
    whole = None if labels else seen(parts["train"][0])
    for seed in range(seeds):
        key_new, key_train = jax.random.split(jax.random.key(seed))
        if scratch:
            network = finetune.scratch(key_new, machine, classes)
        else:
            network = finetune.unroll(key_new, machine, params, classes)
        rows = np.arange(len(parts["train"][1]))
        if labels:
            rows = stratified(np.random.default_rng(seed), parts["train"][1], labels)
        examples = whole if whole is not None else seen(parts["train"][0][rows])
        network = finetune.train(key_train, network, examples, parts["train"][1][rows], protocol)
        blocks = range(0, len(y), BLOCK)
        said = np.concatenate([answers(network, tuple(a[i : i + BLOCK] for a in judged)).argmax(-1) for i in blocks])
        found.append(float((said != y).mean()))
    return found


def main() -> None:
    """Prints the error on the split."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--split", choices=("holdout", "test"), default="holdout")
    parser.add_argument("--labels", type=int, default=None, help="train on so many examples alone")
    parser.add_argument("--scratch", action="store_true", help="the same network from random weights")
    parser.add_argument("--seeds", type=int, default=3)
    for field in dataclasses.fields(finetune.Protocol):
        parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default)
    given = parser.parse_args()
    one = boltzmann.subject(given.workdir)
    config, spec = one.config, one.spec
    if spec.n_classes < 2:
        raise InputError(f"--workdir={given.workdir}: its data has no labels to learn")
    if given.labels is not None and given.labels < spec.n_classes:
        raise InputError(f"--labels={given.labels}: must be at least {spec.n_classes}, the number of classes")
    if given.labels and one.units.classes and not given.scratch:
        raise InputError(f"--labels: {given.workdir} was trained with all labels; use one of model.conditional=False")
    protocol = finetune.Protocol(**{f.name: getattr(given, f.name) for f in dataclasses.fields(finetune.Protocol)})
    data = one.data()
    parts = {}
    for name, split in (("train", data.train), ("judge", getattr(data, given.split))):
        x = np.asarray(spec.encode(split.x)).reshape(-1, spec.dims)
        parts[name] = (x if config.visible == "gaussian" else (x + 1) / 2, split.y)
    subject = config, one.machine, one.state.ema
    found = errors(
        subject, parts, spec.n_classes, protocol, seeds=given.seeds, labels=given.labels, scratch=given.scratch
    )
    spread = f" +- {100 * np.std(found, ddof=1):.2f}" if len(found) > 1 else ""
    start = "random weights" if given.scratch else given.workdir
    print(f"{start} {given.split}: error {100 * np.mean(found):.2f}{spread} %, {len(found)} networks, {protocol}, "
          f"{given.labels or len(parts['train'][1]):,} labels, n = {len(parts['judge'][1]):,}")  # fmt: skip


if __name__ == "__main__":
    cli.run_script(main)
