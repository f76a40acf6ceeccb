"""A Bernoulli RBM in eager torch, in as few operations as it takes: no autograd, no momentum, no decay.

That is what scikit-learn's BernoulliRBM does, too, so that ours, which does more in a step, is compared with the least.
"""

import torch
from torch import Tensor


class Rbm:
    """Couplings (n_0, n_1), biases of pixels (n_0,) and of hidden units (n_1,)."""

    def __init__(self, w: Tensor, b: Tensor, c: Tensor):
        self.w, self.b, self.c = w, b, c

    def hidden(self, v: Tensor) -> Tensor:
        """p(h = 1 | v) of v (B, n_0): (B, n_1)."""
        return torch.sigmoid(torch.addmm(self.c, v, self.w))

    def visible(self, h: Tensor) -> Tensor:
        """p(v = 1 | h) of h (B, n_1): (B, n_0)."""
        return torch.sigmoid(torch.addmm(self.b, h, self.w.T))

    def gibbs(self, v: Tensor) -> Tensor:
        """v (B, n_0) one sweep on."""
        return torch.bernoulli(self.visible(torch.bernoulli(self.hidden(v))))

    def learn(self, p: Tensor, rate: float) -> None:
        """One step of CD-1 on grey values p (B, n_0) in [0, 1], drawn black or white first."""
        v = torch.bernoulli(p)
        h = self.hidden(v)
        v_after = torch.bernoulli(self.visible(torch.bernoulli(h)))
        h_after = self.hidden(v_after)
        rate = rate / len(p)
        self.w.addmm_(v.T, h, alpha=rate).addmm_(v_after.T, h_after, alpha=-rate)
        self.b.add_((v - v_after).sum(dim=0), alpha=rate)
        self.c.add_((h - h_after).sum(dim=0), alpha=rate)
