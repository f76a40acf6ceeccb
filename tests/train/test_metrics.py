"""metrics.jsonl: what is written is read back, and a resumed run leaves each step once."""

import json

import numpy as np

from synthjax.train import metrics


def write(folder, steps, resume=0, value=0.5):
    writer = metrics.MetricsWriter(folder, resume)
    for step in steps:
        writer.write(step, {"loss": np.float32(value), "by_seed": np.array([1.0, 2.0])})
    writer.close()


def test_rows_are_read_back(tmp_path):
    write(tmp_path, [10, 20])
    assert list(metrics.read(tmp_path)) == [
        {"step": 10, "loss": 0.5, "by_seed": [1.0, 2.0]},
        {"step": 20, "loss": 0.5, "by_seed": [1.0, 2.0]},
    ]
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [10, 20]


def test_rows_without_a_metric_are_left_out_on_demand(tmp_path):
    writer = metrics.MetricsWriter(tmp_path)
    writer.write(10, {"loss": np.float32(1)})
    writer.write(10, {"diversity": np.float32(0.5)})
    writer.close()
    assert list(metrics.read(tmp_path, "loss")) == [{"step": 10, "loss": 1.0}]
    assert [set(row) for row in metrics.read(tmp_path)] == [{"step", "loss"}, {"step", "diversity"}]


def test_each_line_is_on_disk_at_once(tmp_path):
    writer = metrics.MetricsWriter(tmp_path)
    writer.write(1, {"loss": np.float32(1)})
    assert [row["step"] for row in metrics.read(tmp_path)] == [1]
    writer.close()


def test_resuming_drops_what_comes_after(tmp_path):
    write(tmp_path, [10, 20, 30])
    write(tmp_path, [30, 40], resume=20, value=0.25)
    assert [(row["step"], row["loss"]) for row in metrics.read(tmp_path)] == [
        (10, 0.5),
        (20, 0.5),
        (30, 0.25),
        (40, 0.25),
    ]


def test_an_unfinished_line_is_left_out(tmp_path):
    write(tmp_path, [10, 20])
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 30, "lo')
    assert [row["step"] for row in metrics.read(tmp_path)] == [10, 20]
    write(tmp_path, [30], resume=20)
    assert [row["step"] for row in metrics.read(tmp_path)] == [10, 20, 30]


def test_no_file_has_no_rows(tmp_path):
    assert list(metrics.read(tmp_path)) == []
