"""Random streams: every user of randomness in an evaluation has its own, by its name.

    rng = stream(seed, "fidelity.map")
    rng = stream(seed, "utility.rows", number)      # one per number

Two users never share a name, so that none depends on how much another draws; a test holds it.
"""

import zlib

import numpy as np


def stream(seed: int, name: str, *numbers: int) -> np.random.Generator:
    """The generator of one user, by its name (PART.WHAT, in the package once) and, for several, numbers >= 0."""
    return np.random.default_rng([seed, zlib.crc32(name.encode()), *numbers])
