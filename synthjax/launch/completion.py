"""In-painting: incomplete images of a file, each completed by a trained model; what is known of an image stays.

FILE.npz holds `x`, images (N, H, W) or (N, H, W, C) with the grey values of the training data; `known`, True where a
pixel is known: of the shape of x, (N, H, W), or (H, W) for all images alike; and for a model that draws by class `y`,
labels (N,). Values of x where `known` is False do not matter.
"""

import dataclasses
import hashlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from synthjax import sampling
from synthjax.data.files import read_array
from synthjax.data.requests import Request
from synthjax.errors import InputError
from synthjax.launch.synthetic_images import read_synthetic
from synthjax.model import DataSpec, Model, State

ABLE = ("ddpm", "flow", "meanflow", "rbm", "dbm")
"""Models whose samplers complete images."""


class Incomplete(NamedTuple):
    """Images to be completed."""

    x: np.ndarray
    """(N, *spec.shape) uint8 grey values."""
    known: np.ndarray
    """(N, *spec.shape) bool."""
    y: np.ndarray
    """(N,) i32 labels; zeros where the model draws by no class."""

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of what is known, and of the labels."""
        digest = hashlib.sha256()
        for array in (np.where(self.known, self.x, 0), self.known, self.y):
            digest.update(array.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class Completion(Request):
    """A request for one completion of each image, in the order of the file."""

    incomplete: Incomplete

    def labels(self, b: int) -> np.ndarray:
        """Labels of block `b`, (n,) i32."""
        return self.incomplete.y[b * self.block : (b + 1) * self.block]

    def record(self) -> dict[str, Any]:
        """As of any request; a sha256 stands for the images."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(Request)}
        return {**Request(**plain).record(), "completes": self.incomplete.sha256}


def of(request: Request, incomplete: Incomplete) -> Completion:
    """The request, for completions of those images."""
    plain = {field.name: getattr(request, field.name) for field in dataclasses.fields(Request)}
    return Completion(**plain, incomplete=incomplete)


class Completer:
    """Draws blocks of a request for completions, one after the other; called as a `sampling.Sampler` is."""

    together = 1

    def __init__(self, model: Model, state: State, request: Completion):
        """Makes a completer."""
        self._model, self._state, self._request = model, state, request

    def __call__(self, key: jax.Array, labels: Mapping[int, np.ndarray]) -> Iterator[np.ndarray]:
        """Blocks (n, *spec.shape) f32 of the request, by number; `key` is that of the whole request."""
        request, incomplete = self._request, self._request.incomplete
        x = np.zeros((request.block, *request.spec.shape), np.float32)
        known = np.zeros(x.shape, bool)
        for b, of_block in labels.items():
            rows = slice(b * request.block, b * request.block + len(of_block))
            x[: len(of_block)] = request.spec.encode(incomplete.x[rows])
            known[:] = False
            known[: len(of_block)] = incomplete.known[rows]
            given = {**request.options, "given": (known, x)}
            sampler = sampling.Sampler(self._model, self._state, request.block, 1, **given)
            yield from sampler(key, {b: of_block})


def counts(incomplete: Incomplete, model: Model, spec: DataSpec) -> tuple[int, ...]:
    """Number of images of each class; a single number for a model that draws by none."""
    if not (model.conditional and spec.n_classes):
        return (len(incomplete.x),)
    return tuple(np.bincount(incomplete.y, minlength=spec.n_classes).tolist())


def read(path: Path, model: Model, spec: DataSpec) -> Incomplete:
    """Reads images to be completed by a model of images.

    Raises:
      InputError: the model completes none; or the file cannot be read, has no `known` or no `y` where that is needed,
        their shapes do not fit, or there is nothing to complete, or nothing to complete it from.
    """
    if spec.kind != "image" or "given" not in inspect.signature(model.sample).parameters:
        raise InputError(f"--given={path}: this run's model completes nothing; {', '.join(ABLE)} complete images")
    found = read_synthetic(path, spec, labelled=False)
    known = _mask(path, found.x.shape)
    if known.all() or not known.any():
        what = "True everywhere: there is nothing to complete"
        raise InputError(
            f"{path}: known is {what if known.any() else 'False everywhere: leave --given out to draw whole images'}"
        )
    if not (model.conditional and spec.n_classes):
        return Incomplete(found.x, known, np.zeros(len(found.x), np.int32))
    if found.y is None:
        raise InputError(f"{path}: y is missing: this model draws by class; give labels 0 ... {spec.n_classes - 1}")
    if (empty := np.isin(found.y, model.empty_classes)).any():
        row = int(empty.argmax())
        raise InputError(f"{path}: y row {row} holds label {found.y[row]}, a class without training images")
    return Incomplete(found.x, known, found.y)


def _mask(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """`known` of the file, in the shape (N, H, W, C) of its images."""
    if path.suffix.lower() != ".npz" or (known := read_array(path, "known")) is None:
        raise InputError(
            f"{path}: known is missing; --given takes an .npz file with x and known, True where x is known"
        )
    if known.dtype.kind not in "bui" or not np.isin(known, (0, 1)).all():
        raise InputError(f"{path}: known holds {known.dtype} values; True and False, or 1 and 0, are needed")
    shapes = {shape: known, shape[:3]: known[..., None], shape[1:3]: known[None, ..., None]}
    if known.shape not in shapes:
        raise InputError(f"{path}: known has shape {known.shape}; {shape}, {shape[:3]} or {shape[1:3]} is needed")
    return np.broadcast_to(shapes[known.shape].astype(bool), shape)
