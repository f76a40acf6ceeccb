"""Random streams: one name, one user; the same numbers whoever else draws."""

import ast
from pathlib import Path

import numpy as np

import synthjax
from synthjax.evals.streams import stream

SOURCES = sorted((Path(synthjax.__file__).parent / "evals").rglob("*.py"))


def calls(name):
    """(File, call) of a function or method of this name."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and name in (getattr(node.func, "id", ""), getattr(node.func, "attr", "")):
                yield path.name, node


def test_no_two_users_share_a_stream():
    names = [call.args[1].value for _, call in calls("stream")]
    assert len(names) > 20 and len(set(names)) == len(names), sorted(names)
    assert all(isinstance(name, str) for name in names)


def test_measures_draw_from_streams_alone():
    elsewhere = {file for file, _ in calls("default_rng")}
    assert elsewhere <= {"streams.py"}


def test_a_stream_depends_on_seed_name_and_numbers():
    first = stream(0, "a", 1).random(4)
    np.testing.assert_array_equal(first, stream(0, "a", 1).random(4))
    for other in (stream(1, "a", 1), stream(0, "b", 1), stream(0, "a", 2), stream(0, "a")):
        assert not np.allclose(first, other.random(4))
