"""Random streams: every user of randomness in an evaluation has its own, by its name.

    rng = stream(seed, "fidelity.map")
    rng = stream(seed, "utility.rows", number)      # one per number

Two users never share a name, so that none depends on how much another draws; a test holds it.
"""

import zlib

import numpy as np


def stream(seed: int, name: str, *numbers: int) -> np.random.Generator:
    """The generator of one user.

    Args:
        seed: of the evaluation, >= 0.
        name: of the user, within the package once: PART.WHAT.
        numbers: >= 0, such as those of a seed or a class, where the user needs several.
    """
    return np.random.default_rng([seed, zlib.crc32(name.encode()), *numbers])
