"""The page of a report on images, also in a real browser."""

import html.parser
import re
import shutil
import subprocess
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
import reports

from synthjax.evals import page, plots, privacy
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


FIDELITY = {
    "c2st": {"score": 0.4, "auc": 0.8, "values": [0.4], "n": 40},
    "map": {"real": [[0, 1], [1000, 0]], "synthetic": [[5, 5]], "names": {NASTY: [0, 1]}},
}
MANIFEST = {
    "dataset": NASTY,
    "synthetic": {"file": f"{NASTY}.npz", "sha256": "a" * 64, "examples": 80, "per_class": [40, 40]},
    "non_members": "holdout",
    "model": {"workdir": f"runs/{NASTY}", "name": "ddpm", "state_sha256": "b" * 64},
    "quick": True,
    "command": f"python -m synthjax.launch.eval --synthetic='{NASTY}.npz'",
}


def of_class(frechet, real, **more):
    stored = reports.values("image")["fidelity"]["per_class"]["0"]
    return {**stored, "frechet": frechet, "reference": {"frechet": real, "kernel": -0.01}, **more}


@pytest.fixture(scope="module")
def full():
    rng = np.random.default_rng(9)
    scores = {"members": rng.normal(size=80), "others": rng.normal(size=40)}
    found = privacy.evaluate(Sets(Images(SPEC), SYNTHETIC, TRAIN, TEST, HOLDOUT, TEST), privacy.Attacker(scores))
    changes = {f"fidelity.{key}": value for key, value in FIDELITY.items()}
    changes |= {f"manifest.{key}": value for key, value in MANIFEST.items()}
    changes["fidelity.per_class"] = {"a": of_class(1.25, 0.75), NASTY: of_class(1.0, 1.0, covariance_distance=None)}
    changes["utility.cnn.tstr.confusion"] = [[19.5, 0.5], [1, 19]]
    changes |= {f"utility.cnn.{side}.recall": {"a": 0.9, NASTY: 0.9} for side in ("tstr", "trtr")}
    values = reports.values("image", changes)
    parts = {name: values[name] for name in reports.PARTS}
    return msgspec.to_builtins(reports.report.assemble(values["manifest"], **{**parts, "privacy": found}))


@pytest.fixture(scope="module")
def written(full, tmp_path_factory):
    path = tmp_path_factory.mktemp("eval") / "report.html"
    path.write_text(page.render(full, SPEC, SYNTHETIC, TRAIN, TEST))
    return path


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
    text = written.read_text()
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
    measured.write_text(written.read_text().replace("</body>", probe))
    dom, console = browse(measured, tmp_path / "profile")
    assert console == []
    assert "Who was in the training set?" in dom
    width = int(re.search(r'data-width="(\d+)"', dom).group(1))
    assert width <= 500  # nothing makes a phone scroll sideways (Chromium's windows have a least width)
