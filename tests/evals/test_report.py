"""The report: its keys, gates and verdicts, and the page in a real browser."""

import html.parser
import json
import re
import shutil
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest

from synthjax.errors import GateError
from synthjax.evals import page, plots, privacy, report
from synthjax.evals.domains.images import Images
from synthjax.evals.sets import Sets
from synthjax.model import DataSpec

NASTY = "<script>alert(1)</script>"
SPEC = DataSpec("image", (4, 4, 1), 17, ("a", NASTY), (0.5, 0.5))


def examples(seed, n):
    rng = np.random.default_rng(seed)
    y = np.arange(n, dtype=np.int32) % 2
    return SimpleNamespace(x=rng.integers(0, 17, (n, 4, 4, 1), dtype=np.uint8), y=y)


SYNTHETIC, TRAIN, HOLDOUT, TEST = (examples(seed, n) for seed, n in enumerate((80, 80, 40, 40)))


def accuracy(mean):
    return {"mean": mean, "ci": [mean - 0.01, mean + 0.01]}


def utility(tstr=0.968, trtr=0.982, floor=0.873):
    part = {"tstr": accuracy(tstr), "trtr": accuracy(trtr), "floor": accuracy(floor), "trts": accuracy(0.981)}
    confusion = [[19.5, 0.5], [1, 19]]
    n = {"synthetic": 80, "trained_on": 60}
    return {"cnn": {**part, "tstr": {**part["tstr"], "confusion": confusion}}, "svm": dict(part), "n": n}


FIDELITY = {
    **{"precision": 0.93, "recall": 0.88, "density": 1.02, "coverage": 0.9, "frechet": 1.5},
    "c2st": {"score": 0.4, "auc": 0.8, "n": 40},
    "map": {"real": [[0, 1], [1000, 0]], "synthetic": [[5, 5]], "names": {NASTY: [0, 1]}},
    "reference": {"precision": 0.95, "recall": 0.94, "density": 1.0, "coverage": 0.96, "frechet": 0.5},
    "per_class": {
        "a": {
            **{"mean_distance": 0.1, "covariance_distance": 0.2, "diversity": 0.9, "frechet": 1.25, "kernel": 0.5},
            "reference": {"frechet": 0.75, "kernel": -0.01},
        },
        NASTY: {"mean_distance": 0.1, "covariance_distance": None},
    },
}
MANIFEST = {
    "dataset": NASTY,
    "kind": "image",
    "fingerprint": "f" * 64,
    "synthetic": {"file": f"{NASTY}.npz", "sha256": "a" * 64, "examples": 80, "per_class": [40, 40]},
    "real": {"train": 80, "holdout": 40, "test": 40},
    "non_members": "holdout",
    "model": {"workdir": f"runs/{NASTY}", "name": "ddpm", "state_sha256": "b" * 64},
    "seeds": 5,
    "epochs": 12,
    "seed": 0,
    "quick": True,
    "versions": {"synthjax": "0.1"},
    "command": f"python -m synthjax.launch.eval --synthetic='{NASTY}.npz'",
    "created": "2026-01-02T03:04:05+00:00",
    "seconds": {"privacy": 1.0},
}


@pytest.fixture(scope="module")
def full():
    rng = np.random.default_rng(9)
    scores = {"members": rng.normal(size=80), "others": rng.normal(size=40)}
    found = privacy.evaluate(Sets(Images(SPEC), SYNTHETIC, TRAIN, TEST, HOLDOUT, TEST), privacy.Attacker(scores))
    return report.assemble(MANIFEST, utility=utility(), fidelity=FIDELITY, privacy=found)


@pytest.fixture(scope="module")
def written(full, tmp_path_factory):
    text = page.render(full, SPEC, SYNTHETIC, TRAIN, TEST)
    return report.write(tmp_path_factory.mktemp("eval"), full, text)


def lookup(values, key):
    for part in key.split("."):
        values = values[part]
    return values


@pytest.mark.parametrize("key", report.GATEABLE)
def test_every_gateable_number_is_in_the_file_and_documented(written, key):
    assert isinstance(lookup(json.loads(written[0].read_text()), key), int | float)
    parts = key.split(".")
    assert re.search(rf"\.{parts[-1]}\b", report.__doc__) or re.search(rf"\b{parts[-1]}\b", report.__doc__)


def test_the_json_has_the_promised_keys(written):
    values = json.loads(written[0].read_text())
    assert values["protocol_version"] == report.PROTOCOL_VERSION
    for key in (
        "utility.cnn.tstr.mean", "utility.cnn.trtr.mean", "utility.svm.tstr.mean", "privacy.exact_matches",
        "privacy.dcr.share_nearer_train", "privacy.mia.auc", "privacy.mia.tpr_at_fpr_1pct",
        "privacy.mia.tpr_at_fpr_0p1pct", "privacy.mia.model_auc", "manifest.fingerprint", "manifest.synthetic.sha256",
    ):  # fmt: skip
        assert lookup(values, key) is not None
    assert lookup(values, "utility.cnn.tstr_over_trtr") == pytest.approx(0.968 / 0.982)


def test_nan_is_refused_rather_than_written(full, tmp_path):
    broken = {**full, "fidelity": {**FIDELITY, "recall": float("nan")}}
    with pytest.raises(ValueError, match="not JSON compliant"):
        report.write(tmp_path, broken, "")
    assert not list(tmp_path.iterdir())


# --- gates -------------------------------------------------------------------------------------------------------


def test_gates_hold_or_pass(full):
    value = full["privacy"]["mia"]["auc"]
    report.check_gates([report.Gate.parse(f"privacy.mia.auc>{value}")], full)
    with pytest.raises(GateError, match=r"privacy\.mia\.auc is .* \(gate privacy\.mia\.auc>=") as caught:
        gates = ["utility.cnn.tstr.mean < 0.99", f"privacy.mia.auc>={value}", "utility.svm.tstr.mean<=0.1"]
        report.check_gates([report.Gate.parse(gate) for gate in gates], full)
    assert "utility.cnn.tstr.mean is 0.968 (gate utility.cnn.tstr.mean<0.99)" in str(caught.value)
    assert "svm" not in str(caught.value)


def test_a_gate_on_what_was_not_measured_fails(full):
    mia = {**full["privacy"]["mia"], "model_auc": None}
    without = {**full, "privacy": {**full["privacy"], "mia": mia}}
    with pytest.raises(GateError, match="model_auc was not measured"):
        report.check_gates([report.Gate.parse("privacy.mia.model_auc>0.6")], without)
    with pytest.raises(GateError, match=r"tstr\.mean was not measured"):
        report.check_gates([report.Gate.parse("utility.cnn.tstr.mean<0.5")], {**full, "utility": None})


@pytest.mark.parametrize(
    "text, message",
    [
        ("privacy.mia.auk>0.5", r"'privacy\.mia\.auk' is no number .* did you mean privacy\.mia\.auc\?"),
        ("privacy.mia>0.5", "is no number of the report"),
        ("privacy.mia.auc=0.5", "is not KEY>NUMBER"),
        ("privacy.mia.auc>much", "is not KEY>NUMBER"),
        ("privacy.mia.auc>1e", "is not KEY>NUMBER"),
        ("", "is not KEY>NUMBER"),
    ],
)
def test_gates_that_cannot_be_read(text, message):
    with pytest.raises(ValueError, match=message):
        report.Gate.parse(text)


# --- verdicts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "made, reference, copied",
    [
        (0, 0.0, False),
        (1, 0.0, False),  # one of 10,000 rows is no rate
        (50, 0.0, True),
        (24, 0.002, False),  # natural twins
        (500, 0.002, True),
        (9_000, 0.88, False),  # few distinct rows: surely more than by chance, and still by nature
    ],
)
def test_copies_are_told_from_natural_twins(made, reference, copied):
    privacy = {
        "n_synthetic": 10_000,
        "exact_matches": made,
        "exact_matches_reference": reference,
        "mia": {"n_others": 5_000},
    }
    assert report.copied(privacy) is copied


def test_one_chance_coincidence_is_no_copy(full):
    """For images, too: a verdict turns on a rate, not on one of many examples."""
    mia = {**full["privacy"]["mia"], "n_others": 10_000}
    privacy = {**full["privacy"], "n_synthetic": 60_000, "exact_matches_reference": 0.0, "mia": mia}
    one, many = ({**privacy, "exact_matches": n, "exact_matches_share": n / 60_000} for n in (1, 6_000))
    assert (report.private(one).level, report.private(many).level) == (report.private(full["privacy"]).level, "poor")
    assert report.private(full["privacy"]).level != "poor"


def test_verdicts_name_figures_beside_their_references(full):
    useful, alike, private = report.verdicts(full)
    assert useful.level == "good" and "96.8 %" in useful.evidence[0] and "98.2 %" in useful.evidence[0]
    assert "on this data alone, 60 of its examples, scores 96.8 %" in useful.evidence[0]
    assert "ratio 0.986" in useful.evidence[0] and "87.3 %" in useful.evidence[1]
    assert "93.0 %" in alike.evidence[0] and "95.0 %" in alike.evidence[0] and alike.level == "fair"
    assert "90.0 %" in alike.evidence[1] and "96.0 %" in alike.evidence[1]
    assert "AUC of 0.800 (0.5: it cannot)" in alike.evidence[2]
    beside = {**FIDELITY, "reference": {**FIDELITY["reference"], "c2st": {"score": 0.98, "auc": 0.51, "n": 40}}}
    assert "0.800 (0.5: it cannot; real data: 0.510)" in report.alike(beside).evidence[2]
    collapsed = report.alike({**FIDELITY, "collapsed": ["a"]})
    assert collapsed.level == "poor" and "Collapsed: a;" in collapsed.evidence[-1]
    assert private.level == "good" and "no proof" in private.answer


@pytest.mark.parametrize("tstr, floor, level", [(0.95, 0.5, "fair"), (0.8, 0.5, "poor"), (0.97, 0.975, "poor")])
def test_usefulness_is_measured_by_ceiling_and_floor(tstr, floor, level):
    assert report.useful(utility(tstr=tstr, floor=floor)).level == level


def test_copies_are_a_leak(full):
    copied = privacy.evaluate(Sets(Images(SPEC), TRAIN, TRAIN, TEST, HOLDOUT, TEST), privacy.Attacker())
    verdict = report.private(copied)
    assert verdict.level == "poor"
    assert any("80 of 80 synthetic examples are exact copies" in sentence for sentence in verdict.evidence)


# --- the page ----------------------------------------------------------------------------------------------------


class Audit(html.parser.HTMLParser):
    """Collects what a page would run or load, and images without a description."""

    def __init__(self):
        super().__init__()
        self.scripts, self.loaded, self.silent, self.open = 0, [], 0, []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.scripts += tag in ("script", "iframe", "object") or any(name.startswith("on") for name in given)
        self.loaded += [given[k] for k in ("src", "href") if k in given and not given[k].startswith(("data:", "#"))]
        self.silent += tag == "img" and not given.get("alt")
        self.silent += tag == "svg" and not (given.get("aria-label") or given.get("aria-hidden"))
        if tag not in ("meta", "link", "img", "br", "path", "circle"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("path", "circle"):
            assert self.open.pop() == tag


def test_the_page_is_self_contained_escaped_and_described(written):
    text = written[1].read_text()
    audit = Audit()
    audit.feed(text)
    assert (audit.scripts, audit.loaded, audit.silent, audit.open) == (0, [], 0, [])
    assert NASTY not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "url(" not in text and "@import" not in text
    assert "prefers-color-scheme: dark" in text and 'name="viewport"' in text
    assert "A quick look" in text and "is no proof" in text
    assert "two-sample test" in text and 'class="map"' in text
    assert "1.250<br><small>real data 0.750</small>" in text


def test_pairs_of_a_grid_are_set_apart_between_images():
    x = np.zeros((1, 8, 5, 7, 1), np.uint8)  # black
    wide = page._apart(plots.grid(x), 4)
    black = (wide[0, :, 0] == 0).astype(int)
    starts, ends = (np.flatnonzero(np.diff(black, prepend=0, append=0) == step) for step in (1, -1))
    assert (ends - starts == 7).all() and len(starts) == 8  # no image is cut
    gaps = starts[1:] - ends[:-1]
    assert set(gaps[::2]) == {2} and set(gaps[1::2]) == {5}


def test_unlabelled_data_has_a_page_without_usefulness(full):
    spec = DataSpec("image", (4, 4, 1), 17)
    parts = [SimpleNamespace(x=part.x, y=None) for part in (SYNTHETIC, TRAIN, TEST)]
    text = page.render({**full, "utility": None, "fidelity": None}, spec, *parts)
    assert "Can a classifier" not in text and "Who was in the training set?" in text


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--enable-logging=stderr"),
    *("--window-size=390,2400", "--dump-dom"),
]


def browse(path, profile):
    """The page's DOM and what its console said, on a phone's window."""
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_page_in_chromium(written, tmp_path):
    control = tmp_path / "control.html"
    control.write_text("<p>x</p><script>undefinedFunction()</script>")
    assert browse(control, tmp_path / "profile")[1], "an error on a page must be seen, or this test sees nothing"
    measured = tmp_path / "report.html"
    probe = "<script>document.body.dataset.width = document.documentElement.scrollWidth</script></body>"
    measured.write_text(written[1].read_text().replace("</body>", probe))
    dom, console = browse(measured, tmp_path / "profile")
    assert console == []
    assert "Who was in the training set?" in dom
    width = int(re.search(r'data-width="(\d+)"', dom).group(1))
    assert width <= 500  # nothing makes a phone scroll sideways (Chromium's windows have a least width)
