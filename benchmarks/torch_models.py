"""The networks of `synthjax.models` and their training step, in torch, as one would write them there.

Layer for layer the same: same parameters, same result (tests copy ours over and compare). Arrays are NCHW, as torch has
them. Modules bear the names that flax gives ours, in lower case, with numbered ones in a list ("ResidualBlock_3" is
`residualblock[3]`), so that parameters can be copied by their path.
"""

import itertools
import math
import re
from collections.abc import Callable
from typing import Any

import flax
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthjax.data.feed import Feed
from synthjax.model import DataSpec
from synthjax.models import ddpm, vae
from synthjax.nets import diffusion


def fold(x: Tensor, factor: int) -> Tensor:
    """(B, C, H, W) -> (B, factor^2 C, H/factor, W/factor), channels in the order of `synthjax.nets.unet.fold`."""
    batch, channels, height, width = x.shape
    x = x.reshape(batch, channels, height // factor, factor, width // factor, factor).permute(0, 3, 5, 1, 2, 4)
    return x.reshape(batch, factor**2 * channels, height // factor, width // factor)


def unfold(x: Tensor, factor: int) -> Tensor:
    """The inverse of `fold`."""
    batch, channels, height, width = x.shape
    x = x.reshape(batch, factor, factor, channels // factor**2, height, width).permute(0, 3, 4, 1, 5, 2)
    return x.reshape(batch, channels // factor**2, height * factor, width * factor)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(channels // 16, channels, eps=1e-6)


class ResidualBlock(nn.Module):
    """See `synthjax.nets.unet.ResidualBlock`."""

    def __init__(self, channels: int, size: int, dropout: float):
        super().__init__()
        self.groupnorm = nn.ModuleList([_norm(channels), _norm(channels)])
        self.conv = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.dense = nn.ModuleList([nn.Linear(size, 2 * channels)])
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.conv[1].weight)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x (B, channels, H, W), condition (B, size)."""
        h = self.conv[0](F.silu(self.groupnorm[0](x)))
        scale, shift = self.dense[0](condition)[:, :, None, None].chunk(2, dim=1)
        h = F.silu(self.groupnorm[1](h) * (1 + scale) + shift)
        return x + self.conv[1](self.dropout(h))


class AttentionBlock(nn.Module):
    """See `synthjax.nets.unet.AttentionBlock`."""

    def __init__(self, channels: int, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.groupnorm = nn.ModuleList([_norm(channels)])
        self.dense = nn.ModuleList([nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)])
        nn.init.zeros_(self.dense[1].weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        batch, channels, height, width = x.shape
        tokens = self.groupnorm[0](x).flatten(2).transpose(1, 2)
        split = self.dense[0](tokens).reshape(batch, height * width, 3, self.heads, -1)
        q, k, v = split.permute(2, 0, 3, 1, 4)
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, height * width, channels)
        return x + self.dense[1](h).transpose(1, 2).reshape(x.shape)


class TimeLabel(nn.Module):
    """See `synthjax.nets.embeddings.TimeLabel`."""

    def __init__(self, size: int, n_labels: int):
        super().__init__()
        self.dense = nn.ModuleList([nn.Linear(size, size), nn.Linear(size, size)])
        self.embed = nn.ModuleList([nn.Embedding(n_labels, size)] if n_labels else [])
        frequencies = torch.exp(-math.log(1e4) * torch.arange(size // 2) / (size // 2))
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, t: Tensor, label: Tensor) -> Tensor:
        """t (B,) in [0, 1], label (B,) i64 -> (B, size)."""
        angles = 1000.0 * t[:, None] * self.frequencies
        h = self.dense[0](torch.cat([angles.cos(), angles.sin()], dim=-1))
        for embed in self.embed:
            h = h + embed(label)
        return F.silu(self.dense[1](F.silu(h)))


class UNet(nn.Module):
    """The network of `synthjax.models.ddpm`, see `synthjax.nets.unet.UNet`."""

    def __init__(self, config: ddpm.Config, spec: DataSpec):
        super().__init__()
        self.widths = tuple(config.width * multiplier for multiplier in config.multipliers)
        self.blocks, self.folding = config.blocks, config.folding
        cell, size = spec.shape[-1] * config.folding**2, 4 * config.width
        self.timelabel = nn.ModuleList([TimeLabel(size, spec.n_classes and spec.n_classes + 1)])
        self.conv = nn.ModuleList(
            [nn.Conv2d(cell, self.widths[0], 3, padding=1), nn.Conv2d(self.widths[0], cell, 3, padding=1)]
        )
        nn.init.zeros_(self.conv[1].weight)
        steps = list(zip(self.widths, self.widths[1:], strict=False))
        down = [nn.Conv2d(4 * fine, coarse, 1) for fine, coarse in steps]
        up = [nn.Conv2d(coarse, 4 * fine, 1) for fine, coarse in reversed(steps)]
        self.dense = nn.ModuleList([*down, *up])
        levels = list(zip(self.widths, self.blocks, strict=True))
        channels = [width for width, count in [*levels, *reversed(levels)] for _ in range(count)]
        self.residualblock = nn.ModuleList(ResidualBlock(width, size, config.dropout) for width in channels)
        self.attentionblock = nn.ModuleList([AttentionBlock(self.widths[-1])])
        self.groupnorm = nn.ModuleList([_norm(self.widths[0])])

    def forward(self, x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        """x (B, C, H, W), t (B,) in [0, 1], label (B,) i64 -> (B, C, H, W)."""
        height, width = x.shape[2:]
        multiple = self.folding * 2 ** (len(self.widths) - 1)
        condition = self.timelabel[0](t, label)
        residual, dense = iter(self.residualblock), iter(self.dense)
        h = self.conv[0](fold(F.pad(x, (0, -width % multiple, 0, -height % multiple)), self.folding))
        skips = []
        for level, count in enumerate(self.blocks):
            if level:
                h = next(dense)(fold(h, 2))
            for _ in range(count):
                h = next(residual)(h, condition)
            skips.append(h)
        h = self.attentionblock[0](h)
        for level, count in reversed(list(enumerate(self.blocks))):
            if level < len(self.widths) - 1:
                h = unfold(next(dense)(h), 2) + skips[level]
            for _ in range(count):
                h = next(residual)(h, condition)
        h = self.conv[1](F.silu(self.groupnorm[0](h)))
        return unfold(h, self.folding)[:, :, :height, :width]


class Encoder(nn.Module):
    """See `synthjax.models.vae.Encoder`."""

    def __init__(self, config: vae.Config, spec: DataSpec, classes: int):
        super().__init__()
        sizes = (spec.shape[-1], *config.channels)
        self.conv = nn.ModuleList(nn.Conv2d(a, b, 4, 2, padding=1) for a, b in itertools.pairwise(sizes))
        flat = math.prod(_deepest(config, spec)) + classes
        widths = (flat, *config.hidden, 2 * config.latents)
        self.dense = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))

    def forward(self, x: Tensor, onehot: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, C, H, W), onehot (B, classes) -> mean and log-variance, each (B, latents)."""
        for conv in self.conv:
            x = F.gelu(conv(x), approximate="tanh")
        h = torch.cat([x.permute(0, 2, 3, 1).flatten(1), onehot], dim=-1)
        for dense in self.dense[:-1]:
            h = F.gelu(dense(h), approximate="tanh")
        mean, log_var = self.dense[-1](h).chunk(2, dim=-1)
        return mean, log_var.clamp(-15.0, 10.0)


class Decoder(nn.Module):
    """See `synthjax.models.vae.Decoder`."""

    def __init__(self, config: vae.Config, spec: DataSpec, classes: int):
        super().__init__()
        self.deepest = _deepest(config, spec)
        widths = (config.latents + classes, *reversed(config.hidden), math.prod(self.deepest))
        self.dense = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        sizes = (*reversed(config.channels), spec.shape[-1])
        self.convtranspose = nn.ModuleList(
            nn.ConvTranspose2d(a, b, 4, 2, padding=1) for a, b in itertools.pairwise(sizes)
        )

    def forward(self, z: Tensor, onehot: Tensor) -> Tensor:
        """z (B, latents), onehot (B, classes) -> (B, C, H, W)."""
        h = torch.cat([z, onehot], dim=-1)
        for dense in self.dense:
            h = F.gelu(dense(h), approximate="tanh")
        h = h.reshape(-1, *self.deepest).permute(0, 3, 1, 2)
        for conv in self.convtranspose[:-1]:
            h = F.gelu(conv(h), approximate="tanh")
        return self.convtranspose[-1](h)


def _deepest(config: vae.Config, spec: DataSpec) -> tuple[int, int, int]:
    """(H, W, C) where the decoder turns from dense layers to convolutions."""
    factor = 2 ** len(config.channels)
    if not config.channels or any(side % factor for side in spec.shape[:2]):
        raise NotImplementedError(f"images of {spec.shape} under {len(config.channels)} convolutions: not compared")
    return spec.shape[0] // factor, spec.shape[1] // factor, config.channels[-1]


class Vae(nn.Module):
    """The networks of `synthjax.models.vae`."""

    def __init__(self, config: vae.Config, spec: DataSpec):
        super().__init__()
        self.classes = spec.n_classes if config.conditional else 0
        self.encoder, self.decoder = Encoder(config, spec, self.classes), Decoder(config, spec, self.classes)
        self.log_scale = nn.Parameter(torch.full((spec.shape[-1],), -2.0))

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, C, H, W), y (B,) i64 -> logits (B, C, H, W) of one draw of z, and the moments of q(z | x, y)."""
        onehot = F.one_hot(y, self.classes).to(x.dtype) if self.classes else x.new_zeros(len(x), 0)
        mean, log_var = self.encoder(x, onehot)
        return self.decoder(mean + torch.exp(log_var / 2) * torch.randn_like(mean), onehot), mean, log_var


def ddpm_loss(config: ddpm.Config, spec: DataSpec) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    """(net, x, y) -> the loss of `synthjax.models.ddpm`, mean over the batch."""
    signal, deviation = (torch.from_numpy(a) for a in diffusion.levels(config.schedule, config.timesteps))

    def loss(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        count = len(x)
        u = (torch.rand(()) + torch.arange(count) / count) % 1.0
        t = 1 + (u * config.timesteps).long().clamp(max=config.timesteps - 1)
        y = torch.where(torch.rand(count) < config.label_dropout, spec.n_classes, y)
        a, s = signal[t].reshape(-1, 1, 1, 1), deviation[t].reshape(-1, 1, 1, 1)
        noise = torch.randn_like(x)
        target = a * noise - s * x if config.prediction == "v" else noise
        return ((target - net(a * x + s * noise, t / config.timesteps, y)) ** 2).mean()

    return loss


def vae_loss(config: vae.Config, spec: DataSpec) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    """(net, x, y) -> the loss of `synthjax.models.vae`, Bernoulli, one draw of z; mean over the batch."""
    if config.likelihood != "bernoulli" or config.importance_samples != 1:
        raise NotImplementedError("only the Bernoulli ELBO with one draw of z is compared")

    def loss(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        x = 2 * torch.bernoulli((x + 1) / 2) - 1 if config.binarise else x
        logits, mean, log_var = net(x, y)
        reconstruction = F.binary_cross_entropy_with_logits(logits, (x + 1) / 2, reduction="sum")
        divergence = 0.5 * (torch.exp(log_var) + mean**2 - 1 - log_var).sum()
        return (reconstruction + divergence) / len(x)

    return loss


FAMILIES: dict[type, tuple[Callable[..., nn.Module], Callable[..., Any], float]] = {
    ddpm.Config: (UNet, ddpm_loss, 0.99),
    vae.Config: (Vae, vae_loss, 0.999),
}
"""Config of ours -> network, loss, Adam's b2."""


class Trainer:
    """What `synthjax.train.loop.Trainer` is to us, with the same parts: feed, loss, clipping, Adam, moving average."""

    def __init__(self, config: Any, spec: DataSpec, feed: Feed, compiled: bool = False):
        network, loss, b2 = FAMILIES[type(config)]
        self.config, self.spec, self.feed = config, spec, feed
        self.net = network(config, spec)
        self.ema = [parameter.detach().clone() for parameter in self.net.parameters()]
        self._loss = loss(config, spec)
        self._forward = torch.compile(self.net) if compiled else self.net
        # The fused form is torch's fastest on CPU; the default loops over the parameters.
        self._adam = torch.optim.Adam(self.net.parameters(), config.learning_rate, betas=(0.9, b2), fused=True)

    def run(self, start: int, stop: int) -> float:
        """Steps start ... stop - 1; returns the last loss."""
        for step in range(start, stop):
            batch = self.feed.batch(step)
            x = torch.from_numpy(batch.x).permute(0, 3, 1, 2).to(torch.float32)
            x = x * (2 / (self.spec.levels - 1)) - 1
            self._adam.zero_grad()
            loss = self._loss(self._forward, x.contiguous(), torch.from_numpy(batch.y).long())
            loss.backward()
            self.update(step)
        return loss.item()

    def update(self, step: int) -> None:
        """Clips the gradients, and moves the parameters and their average."""
        parameters = list(self.net.parameters())
        torch.nn.utils.clip_grad_norm_(parameters, self.config.clip)
        self._adam.param_groups[0]["lr"] = learning_rate(self.config, step)
        self._adam.step()
        decay = min(self.config.ema_decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.ema, [parameter.detach() for parameter in parameters], 1 - decay)


def learning_rate(config: Any, step: int) -> float:
    """Linear warm-up, then cosine to 0: `synthjax.train.optim.schedule` as the models call it."""
    warmup = min(config.warmup, max(config.steps // 10, 1)) if config.warmup else 0
    if step < warmup:
        return config.learning_rate * (step + 1) / (warmup + 1)
    share = min((step - warmup) / max(config.steps - warmup, 1), 1.0)
    return config.learning_rate * (1 + math.cos(math.pi * share)) / 2


@torch.no_grad()
def load(net: nn.Module, params: Any) -> None:
    """Copies our parameters into the torch network; every one must find its place.

    Args:
      net: a `UNet` or a `Vae`.
      params: the `params` of our state: a tree of arrays, kernels as flax has them.

    Raises:
      ValueError: some parameter of `net` got no value.
    """
    missing = set(dict(net.named_parameters()))
    for path, leaf in flax.traverse_util.flatten_dict(params, sep=".").items():
        path = re.sub(r"_(\d+)", r".\1", path.replace("params.", "")).lower()
        path = re.sub(r"(kernel|scale|embedding)$", "weight", path) if path != "log_scale" else path
        owner, parameter = net.get_submodule(path.rpartition(".")[0]), net.get_parameter(path)
        value = np.asarray(leaf)
        if isinstance(owner, nn.ConvTranspose2d) and value.ndim == 4:  # torch flips the kernel
            value = value[::-1, ::-1].transpose(2, 3, 0, 1)
        elif value.ndim == 4:
            value = value.transpose(3, 2, 0, 1)
        elif path.endswith("weight") and not isinstance(owner, nn.Embedding):
            value = value.T
        parameter.copy_(torch.from_numpy(value.copy()).reshape(parameter.shape))
        missing.remove(path)
    if missing:
        raise ValueError(f"parameters without a value: {sorted(missing)}")
