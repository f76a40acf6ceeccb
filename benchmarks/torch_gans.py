"""The players of `synthjax.models.dcgan` and `cgan` and the game of `synthjax.adversarial`, in torch.

Layer for layer the same as ours, named as in `torch_models`, whose `load` copies our parameters over. Real and made
examples go through the critic joined, but for a critic with batch norm: its statistics are of each by itself.
"""

import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthjax.adversarial import Rules
from synthjax.data.feed import Feed
from synthjax.model import DataSpec
from synthjax.models import cgan, dcgan


class Generator(nn.Module):
    """See `synthjax.models.dcgan.Generator`."""

    def __init__(self, config: dcgan.Config, spec: DataSpec):
        super().__init__()
        height, width, channels = _compared(config, spec)
        factor = 2 ** len(config.channels)
        self.classes, self.deepest = spec.n_classes, (height // factor, width // factor, config.channels[-1])
        sizes = list(reversed(config.channels))
        self.dense = nn.ModuleList([nn.Linear(config.noise + self.classes, math.prod(self.deepest), bias=False)])
        self.batchnorm = nn.ModuleList(nn.BatchNorm2d(size) for size in sizes)
        self.convtranspose = nn.ModuleList(
            nn.ConvTranspose2d(a, b, 4, 2, padding=1, bias=last)
            for a, b, last in zip(sizes, [*sizes[1:], channels], [*[False] * (len(sizes) - 1), True], strict=True)
        )

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """z (B, noise), y (B,) i64 -> (B, C, H, W) in [-1, 1]."""
        h = self.dense[0](torch.cat([z, F.one_hot(y, self.classes)], dim=-1))
        h = h.reshape(-1, *self.deepest).permute(0, 3, 1, 2)
        for norm, conv in zip(self.batchnorm, self.convtranspose, strict=True):
            h = conv(F.relu(norm(h)))
        return h.tanh()


class Critic(nn.Module):
    """See `synthjax.models.dcgan.Critic`."""

    def __init__(self, config: dcgan.Config, spec: DataSpec):
        super().__init__()
        height, width, _ = _compared(config, spec)
        inner, features = config.channels[1:], height * width * config.channels[-1] // 4 ** len(config.channels)
        sizes = itertools.pairwise((spec.shape[-1], *config.channels))
        self.conv = nn.ModuleList(
            nn.Conv2d(a, b, 4, 2, padding=1, bias=depth == 0 or config.norm == "none")
            for depth, (a, b) in enumerate(sizes)
        )
        self.batchnorm = nn.ModuleList(nn.BatchNorm2d(size) for size in inner if config.norm == "batch")
        self.layernorm = nn.ModuleList(nn.GroupNorm(1, size, eps=1e-6) for size in inner if config.norm == "layer")
        self.dense = nn.ModuleList([nn.Linear(features, 1)])
        self.embed = nn.ModuleList([nn.Embedding(spec.n_classes, features)])

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x (B, C, H, W), y (B,) i64 -> logits (B,)."""
        norms = [nn.Identity(), *self.batchnorm, *self.layernorm]
        for conv, norm in itertools.zip_longest(self.conv, norms, fillvalue=norms[0]):
            x = F.leaky_relu(norm(conv(x)), 0.2)
        features = x.permute(0, 2, 3, 1).flatten(1)
        return self.dense[0](features)[:, 0] + (self.embed[0](y) * features).sum(dim=-1)


def _compared(config: dcgan.Config, spec: DataSpec) -> tuple[int, ...]:
    """The images' shape; NotImplementedError for what the torch side does not have."""
    factor = 2 ** len(config.channels)
    if not config.conditional or config.minibatch_stddev or any(side % factor for side in spec.shape[:2]):
        raise NotImplementedError("only conditional players of images that the strides divide are compared")
    return spec.shape


class DenseGenerator(nn.Module):
    """See `synthjax.models.cgan.DenseGenerator`."""

    def __init__(self, config: cgan.Config, spec: DataSpec):
        super().__init__()
        self.shape, self.classes = spec.shape, spec.n_classes
        sizes = (config.noise + self.classes, 256, 512, 1024, spec.dims)
        self.dense = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.batchnorm = nn.ModuleList(nn.BatchNorm1d(size, momentum=0.8) for size in sizes[1:-1])

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """z (B, noise), y (B,) i64 -> (B, C, H, W) in [-1, 1]."""
        h = torch.cat([z, F.one_hot(y, self.classes)], dim=-1)
        for dense, norm in zip(self.dense[:-1], self.batchnorm, strict=True):
            h = F.leaky_relu(norm(dense(h)), 0.2)
        return self.dense[-1](h).tanh().reshape(-1, *self.shape).permute(0, 3, 1, 2)


class DenseCritic(nn.Module):
    """See `synthjax.models.cgan.DenseCritic`."""

    def __init__(self, config: cgan.Config, spec: DataSpec):
        super().__init__()
        self.classes = spec.n_classes
        sizes = (spec.dims + self.classes, 1024, 512, 256, 1)
        self.dense = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.dropout = nn.Dropout(0.2)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x (B, C, H, W), y (B,) i64 -> logits (B,)."""
        h = torch.cat([x.permute(0, 2, 3, 1).flatten(1), F.one_hot(y, self.classes)], dim=-1)
        for dense in self.dense[:-1]:
            h = self.dropout(F.leaky_relu(dense(h), 0.3))
        return self.dense[-1](h)[:, 0]


class ConvolutionalGenerator(nn.Module):
    """See `synthjax.models.cgan.ConvolutionalGenerator`."""

    def __init__(self, config: cgan.Config, spec: DataSpec):
        super().__init__()
        if config.embedding != "product":
            raise NotImplementedError("only the product with the label's embedding is compared")
        self.sides = spec.shape[:2]
        self.cells = -(-self.sides[0] // 2), -(-self.sides[1] // 2)
        self.embed = nn.ModuleList([nn.Embedding(spec.n_classes, config.noise)])
        self.dense = nn.ModuleList([nn.Linear(config.noise, 128 * math.prod(self.cells))])
        self.batchnorm = nn.ModuleList([nn.BatchNorm2d(128)])
        self.convtranspose = nn.ModuleList(nn.ConvTranspose2d(a, b, 4, 2, padding=1) for a, b in ((128, 64), (64, 16)))
        self.conv = nn.ModuleList([nn.Conv2d(16, spec.shape[-1], 4, 2, padding=1)])
        self.dropout = nn.Dropout(0.4)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """z (B, noise), y (B,) i64 -> (B, C, H, W) in [-1, 1]."""
        h = self.dense[0](z * self.embed[0](y)).reshape(-1, *self.cells, 128).permute(0, 3, 1, 2)
        h = self.batchnorm[0](F.leaky_relu(h, 0.2))
        h = self.dropout(F.leaky_relu(self.convtranspose[0](h), 0.1))
        h = F.leaky_relu(self.convtranspose[1](h), 0.1)
        return self.conv[0](h).tanh()[:, :, : self.sides[0], : self.sides[1]]


class ConvolutionalCritic(nn.Module):
    """See `synthjax.models.cgan.ConvolutionalCritic`."""

    def __init__(self, config: cgan.Config, spec: DataSpec):
        super().__init__()
        self.cells, self.pools = tuple(max(-(-side // 4), 3) for side in spec.shape[:2]), config.pools
        features = 32 * math.prod(side - 2 * config.pools for side in self.cells)
        self.embed = nn.ModuleList([nn.Embedding(spec.n_classes, spec.dims)])
        self.dense = nn.ModuleList([nn.Linear(spec.dims, 128 * math.prod(self.cells)), nn.Linear(features, 1)])
        self.conv = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in ((128, 64), (64, 32)))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x (B, C, H, W), y (B,) i64 -> logits (B,)."""
        h = x.permute(0, 2, 3, 1).flatten(1) * self.embed[0](y)
        h = F.leaky_relu(self.dense[0](h), 0.2).reshape(-1, *self.cells, 128).permute(0, 3, 1, 2)
        for conv in self.conv:
            h = F.leaky_relu(conv(h), 0.1)
            h = F.max_pool2d(h, 2, stride=1) if self.pools else h
        return self.dense[1](h.permute(0, 2, 3, 1).flatten(1))[:, 0]


def players(config: Any, spec: DataSpec) -> tuple[nn.Module, nn.Module]:
    """Generator and critic of a Config of ours."""
    if isinstance(config, dcgan.Config):
        both = Generator(config, spec), Critic(config, spec)
        for parameter in itertools.chain(*(player.parameters() for player in both)):
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.02)
        return both
    if config.layers == "dense":
        return DenseGenerator(config, spec), DenseCritic(config, spec)
    return ConvolutionalGenerator(config, spec), ConvolutionalCritic(config, spec)


def optimiser(config: Any, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Of one player, in torch's fastest form on CPU."""
    if getattr(config, "optimiser", "adam") == "rmsprop":
        return torch.optim.RMSprop(parameters, config.learning_rate, weight_decay=config.weight_decay, foreach=True)
    betas, decay = (getattr(config, "b1", 0.9), getattr(config, "b2", 0.999)), getattr(config, "weight_decay", 0.0)
    return torch.optim.Adam(parameters, config.learning_rate, betas, weight_decay=decay, fused=True)


class Trainer:
    """What `synthjax.train.loop.Trainer` is to our GANs: feed, `n_critic` critic updates, one of the generator, EMA."""

    def __init__(self, config: Any, spec: DataSpec, feed: Feed, compiled: bool = False):
        rules = config.rules
        if rules.loss not in ("bce", "wasserstein") or rules != Rules(
            rules.loss, rules.n_critic, rules.critic_warmup, gradient_penalty=rules.gradient_penalty, r1=rules.r1
        ):
            raise NotImplementedError("only cross-entropy and Wasserstein, with gradient penalty or R1, are compared")
        self.config, self.spec, self.feed, self.rules = config, spec, feed, rules
        self.generator, self.critic = self.players()
        self.noise = config.noise
        self.net = nn.ModuleList([self.generator, self.critic])
        wrap: Callable[[nn.Module], Any] = torch.compile if compiled else lambda net: net
        self._generate, self._judge = wrap(self.generator), wrap(self.critic)
        self.frequencies = torch.tensor(spec.frequencies, dtype=torch.float64)
        self._norms = [m for m in self.generator.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
        self._joined = not any(isinstance(module, nn.BatchNorm2d) for module in self.critic.modules())
        self._opt_generator = optimiser(config, self.generator.parameters())
        self._opt_critic = optimiser(config, self.critic.parameters())
        self.ema = [value.clone() for value in self.averaged()]

    def players(self) -> tuple[nn.Module, nn.Module]:
        """Generator and critic."""
        return players(self.config, self.spec)

    def examples(self, x: np.ndarray) -> Tensor:
        """What the feed gives for a step, (..., *spec.shape), as the critic takes it: (n_critic, B, ...) f32."""
        images = torch.from_numpy(x.reshape(-1, self.feed.batch_size, *self.spec.shape))
        return images.permute(0, 1, 4, 2, 3).to(torch.float32).contiguous() * (2 / (self.spec.levels - 1)) - 1

    def run(self, start: int, stop: int) -> float:
        """Steps start ... stop - 1; returns the critic's last loss."""
        for step in range(start, stop):
            batch = self.feed.batch(step)
            labels = torch.from_numpy(batch.y).long().reshape(-1, self.feed.batch_size)
            y_drawn = torch.multinomial(self.frequencies, self.feed.batch_size, replacement=True)
            trained = step >= min(self.rules.critic_warmup, self.config.steps // 10)
            if self.shared:
                with torch.set_grad_enabled(trained):
                    made = self.make(y_drawn, trained)
            for x, y in zip(self.examples(batch.x), labels, strict=True):
                y_made = y_drawn if self.shared else y
                if not self.shared:
                    with torch.no_grad():
                        made = self.make(y, False)
                self._opt_critic.zero_grad()
                loss = self.critic_loss(x, y, made.detach(), y_made)
                loss.backward()
                self._opt_critic.step()
            if trained:
                self.update_generator(made if self.shared else self.make(y_drawn, True), y_drawn)
                self.average(step)
        return loss.item()

    @property
    def shared(self) -> bool:
        """Whether both players learn from the same generated examples; a gradient penalty needs pairs of one label."""
        return self.rules.n_critic == 1 and not self.rules.gradient_penalty

    def make(self, y: Tensor, track: bool) -> Tensor:
        """New examples with labels y (B,): (B, C, H, W), or (B, width) of a table.

        Only those that the generator is trained on move its running statistics: `track`.
        """
        for norm in self._norms:
            norm.track_running_stats = track
        made: Tensor = self._generate(torch.randn(len(y), self.noise), y)
        return made

    def critic_loss(self, x: Tensor, y: Tensor, made: Tensor, y_made: Tensor) -> Tensor:
        """Mean over the batch; x and made are as `make` has them, y and y_made their labels."""
        if self._joined:
            real, fake = self._judge(torch.cat([x, made]), torch.cat([y, y_made])).chunk(2)
        else:
            real, fake = self._judge(x, y), self._judge(made, y_made)
        losses = F.softplus(-real) + F.softplus(fake) if self.rules.loss == "bce" else fake - real
        if self.rules.gradient_penalty:
            between = torch.lerp(made, x, torch.rand(len(x), *[1] * (x.ndim - 1)))
            losses = losses + self.rules.gradient_penalty * (self.slopes(between, y) - 1) ** 2
        if self.rules.r1:
            losses = losses + self.rules.r1 / 2 * self.slopes(x, y) ** 2
        return losses.mean()

    def slopes(self, x: Tensor, y: Tensor) -> Tensor:
        """|grad_x D(x, y)| of each example: (B,)."""
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(self._judge(x, y).sum(), x, create_graph=True)
        return gradient.flatten(1).norm(dim=1)

    def update_generator(self, made: Tensor, y: Tensor) -> None:
        """One update through the critic, whose own gradients are not computed."""
        self.critic.requires_grad_(False)
        values = self._judge(made, y)
        loss = (F.softplus(-values) if self.rules.loss == "bce" else -values).mean()
        self._opt_generator.zero_grad()
        loss.backward()
        self._opt_generator.step()
        self.critic.requires_grad_(True)

    def averaged(self) -> list[Tensor]:
        """What the moving average is of: the generator's parameters and running statistics; nothing without a decay."""
        values = [*self.generator.parameters(), *self.generator.buffers()] if self.config.ema_decay else []
        return [value.detach() for value in values if value.is_floating_point()]

    def average(self, step: int) -> None:
        """Moves the average."""
        if self.ema:
            decay = min(self.config.ema_decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(self.ema, self.averaged(), 1 - decay)
