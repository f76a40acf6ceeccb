"""The sets that an evaluation is about."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from synthjax.errors import InputError
from synthjax.evals.domains import Domain, Rows


@dataclass(frozen=True)
class Sets:
    """A synthetic set, and the real ones that it is judged by; `Rows` of one domain."""

    domain: Domain
    synthetic: Rows
    """What the generator made."""
    train: Rows
    """What it was trained on, or may have been."""
    test: Rows
    """Real examples that nothing has seen: what classifiers are tested on."""
    unseen: Rows = None
    """Real examples that the generator cannot have seen: the non-members of the attacks."""
    reference: Rows = None
    """Others, which the attacker has."""

    @cached_property
    def labelled(self) -> "Sets":
        """The examples of the first three that have a target.

        Raises:
            InputError: there is no target, or one of the sets cannot be scored.
        """
        if (reason := self.domain.unlearnable) is not None:
            raise InputError(reason)
        parts = {name: getattr(self, name) for name in ("synthetic", "train", "test")}
        return replace(self, **{name: self.domain.labelled(name, rows) for name, rows in parts.items()})

    @cached_property
    def vectors(self) -> Mapping[str, np.ndarray]:
        """Every set but `test` as vectors (N, ...) whose Euclidean distance means something (`Domain.vectors`)."""
        encode = self.domain.vectors(self.train)
        return {name: encode(getattr(self, name)) for name in ("synthetic", "train", "unseen", "reference")}
