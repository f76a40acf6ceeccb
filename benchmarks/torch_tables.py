"""The players of `synthjax.models.table_gan` in torch; the game is that of `torch_gans`.

Layer for layer the same as ours, named as in `torch_models`, whose `load` copies our parameters over. The rows are laid
out for the networks once, before training, where ours does so at every step: torch has less to do.
"""

import dataclasses
import itertools

import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import torch_gans
from synthjax.data.feed import Feed
from synthjax.model import DataSpec
from synthjax.models import table_gan
from synthjax.nets.columns import Columns


def gumbel(like: Tensor) -> Tensor:
    """Standard Gumbel noise of that shape."""
    return -torch.empty_like(like).exponential_().log()


class Generator(nn.Module):
    """See `synthjax.models.table_gan.Generator`, in training."""

    def __init__(self, config: table_gan.Config, columns: Columns, classes: int):
        super().__init__()
        self.columns, self.classes, self.temperature = columns, classes, config.temperature
        sizes = ((config.noise or columns.width) + classes, *config.hidden, columns.width)
        self.dense = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """z (B, noise), y (B,) i64 -> (B, width), choices relaxed."""
        h = torch.cat([z, F.one_hot(y, self.classes)], dim=-1)
        for dense in self.dense[:-1]:
            h = F.relu(dense(h))
        raw = self.dense[-1](h)
        parts = []
        for choice in self.columns.choices:
            logits = raw[:, choice.start : choice.stop].reshape(len(raw), choice.number, choice.size)
            parts.append(F.softmax((logits + gumbel(logits)) / self.temperature, dim=-1))
        reals, pairs = raw[:, : len(self.columns.reals)], self.columns.pairs
        if pairs:
            reals = torch.cat([reals[:, :pairs] * parts[0][..., 0], reals[:, pairs:]], dim=-1)
        return torch.cat([reals, *(part.flatten(1) for part in parts)], dim=-1)


class Critic(nn.Module):
    """See `synthjax.models.table_gan.Critic`."""

    def __init__(self, config: table_gan.Config, columns: Columns, classes: int):
        super().__init__()
        self.classes = classes
        sizes = (columns.width + classes, *config.hidden, 1)
        self.dense = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))

    def forward(self, v: Tensor, y: Tensor) -> Tensor:
        """v (B, width), y (B,) i64 -> logits (B,)."""
        h = torch.cat([v, F.one_hot(y, self.classes)], dim=-1)
        for dense in self.dense[:-1]:
            h = F.relu(dense(h))
        return self.dense[-1](h)[:, 0]


class Trainer(torch_gans.Trainer):
    """As there, for a table's rows."""

    def __init__(self, config: table_gan.Config, spec: DataSpec, feed: Feed, compiled: bool = False):
        if not config.conditional or config.embedding or config.heads != "soft":
            raise NotImplementedError("only conditional players with relaxed choices and no embeddings are compared")
        self.columns = Columns(spec, config.conditional)
        v = np.array(self.columns.encode(jnp.asarray(feed.x)))
        super().__init__(config, spec, dataclasses.replace(feed, x=v))
        self.noise = config.noise or self.columns.width

    def players(self) -> tuple[nn.Module, nn.Module]:
        """Generator and critic."""
        classes = self.spec.n_classes
        return Generator(self.config, self.columns, classes), Critic(self.config, self.columns, classes)

    def examples(self, x: np.ndarray) -> Tensor:
        """(..., width) to (n_critic, B, width)."""
        return torch.from_numpy(x.reshape(-1, self.feed.batch_size, self.columns.width))
