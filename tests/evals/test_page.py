"""The page is a function of report.json: its sections, every figure, hostile names, and a real browser."""

import copy
import html.parser
import itertools
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import toy_reports
from toy_reports import NASTY

from synthjax.evals import page
from synthjax.evals.page import values
from synthjax.evals.page.terms import terms
from synthjax.evals.report import model

VOID = {"meta", "link", "br", "img", "path", "circle", "rect"}


class Parsed(html.parser.HTMLParser):
    """What a page holds: text by section, headings, tables, links, and whatever it would run or load."""

    def __init__(self, text):
        super().__init__()
        self.stack, self.unclosed, self.scripts, self.loaded = [], [], 0, []
        self.ids, self.links, self.unnamed, self.headings, self.figures = [], [], [], [], 0
        self.sections, self.tables, self.text = {}, {}, ""
        self._section, self._caption, self._row = "", None, None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag not in VOID:
            self.stack.append(tag)
        self.scripts += tag in ("script", "iframe", "object", "embed") or any(name.startswith("on") for name in given)
        self.loaded += [given[key] for key in ("src", "href", "data", "srcset", "action") if key in given]
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given["href"]] if tag == "a" else []
        self.figures += tag == "figure"
        hidden = given.get("aria-hidden") == "true"
        if (tag == "img" and not given.get("alt")) or (tag == "svg" and not given.get("aria-label") and not hidden):
            self.unnamed.append(given)
        if tag == "section":
            self._section = given["id"]
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "caption":
            self._caption = ""
        if tag == "tr" and "tbody" in self.stack:
            self._row = []
        if tag in ("td", "th") and self._row is not None:
            self._row.append("")
        if tag == "br":
            self.handle_data("|")

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        if not self.stack or self.stack.pop() != tag:
            self.unclosed.append(tag)
        if tag == "caption":
            self._caption = " ".join(self._caption.split())
            self.tables[self._caption] = []
        if tag == "tr" and self._row is not None:
            self.tables[self._caption].append([" ".join(cell.split()) for cell in self._row])
            self._row = None

    def handle_data(self, data):
        if self.stack and self.stack[-1] == "style":
            return
        if (self.stack and self.stack[-1] == "caption") or "caption" in self.stack:
            self._caption += data
        elif self._row:
            self._row[-1] += data
        self.text += data
        self.sections[self._section] = self.sections.get(self._section, "") + data

    def rows(self, caption):
        """First cell -> the others, of the table whose caption begins so."""
        (found,) = (rows for name, rows in self.tables.items() if name.startswith(caption))
        return {row[0]: row[1:] for row in found}


def drawn(report):
    # Through JSON, as it comes from the file.
    return Parsed(page.render(json.loads(json.dumps(report))))


@pytest.fixture(scope="module")
def pages():
    return {kind: drawn(getattr(toy_reports, kind)()) for kind in ("image", "table")}


KINDS = pytest.mark.parametrize("kind", ["image", "table"])


@KINDS
def test_the_reports_by_hand_are_such_as_report_json_holds(kind):
    assert model.parse(model.REPORTS[kind], getattr(toy_reports, kind)()).manifest.kind == kind


@KINDS
def test_the_page_is_well_formed_loads_nothing_and_runs_nothing(pages, kind):
    found = pages[kind]
    assert not found.unclosed and not found.stack
    assert found.scripts == 0
    assert [link for link in found.loaded if not link.startswith(("#", "data:"))] == []
    assert len(set(found.ids)) == len(found.ids)
    assert {link.removeprefix("#") for link in found.links} <= set(found.ids)  # every link leads somewhere
    assert found.unnamed == []


@KINDS
def test_names_that_a_user_gave_are_text(pages, kind):
    raw = page.render(getattr(toy_reports, kind)())
    assert "<script" not in raw and "alert('" not in raw
    assert pages[kind].text.count(NASTY) > 10
    # Twice escaped would be seen as &lt;
    assert "&lt;" not in pages[kind].text and "&amp;" not in pages[kind].text


@KINDS
def test_headings_are_in_order(pages, kind):
    headings = pages[kind].headings
    assert headings[0] == 1 and headings.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(headings))


@KINDS
def test_a_verdict_leads_with_its_answer_and_a_picture_and_folds_the_evidence(pages, kind):
    raw = page.render(getattr(toy_reports, kind)())
    for name in ("publish", "good", "lost", "checkpoint"):
        card = raw.split(f'id="verdict-{name}"')[1].split("</li>\n")[0]
        before, folded = card.split("<details>")
        assert f"Answer {name} about" in before and "<svg" in before and "Evidence of" not in before
        assert f"Evidence of {name}" in folded.split("</details>")[0]
        assert "Evidence; confidence: low</summary>" in folded
    assert pages[kind].text.index("Answer checkpoint") < pages[kind].text.index("neither they nor")


def figures(value, path=""):
    """Every number of a report by its path."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        yield from figures(part, f"{path}.{key}" if path else str(key))
    if isinstance(value, float):
        yield path, value


# Not on the page: values per seed, curves and maps (drawn), p-values before correction, and what others sum up.
ABSENT = (
    r"\.(std|values|roc|bootstrap|histogram|statistic|p|map|effective_n|p_value|best|q95)\b|chance|^privacy\.mia\.(p|auc|tpr)"
    r"|surest|mia\.model\b|^pictures|correlation\.(real|synthetic|difference)|c2st\.(auc|values)|mutual_information\.mean"
    r"|recall\.(a|<)|^privacy\.dcr\.reference|privacy\.exact_matches$|loss\.|real_validation"
    r"|holm|false_alarms\.1\d|floor\.correlation|(mean|judges\.\w+)\.(\w+)\.(accuracy|macro_f1|roc_auc|pr_auc)|\.kept$"
    r"|pairs\.\d+\.score$|top_up.*\.n_|level$|interval\.|_interval|\.ci\."
)


@KINDS
def test_every_figure_is_on_the_page(pages, kind):
    """Each number stands there in one of the ways that numbers are written."""
    report, text = getattr(toy_reports, kind)(), pages[kind].text.replace("\N{NO-BREAK SPACE}", " ")
    lacking = []
    for path, value in figures(report):
        ways = [f"{value:.3f}", f"{value:z.3f}", f"{100 * value:.1f} %", f"{100 * value:.2f} %"]
        ways += [f"{100 * value:.1f} points"]
        ways += [f"{value if abs(value) >= 1 else 100 * value:+.1f}".replace("-", "−")]
        ways += [f"{value:.4g}"] if abs(value) >= 1 else [f"{value:.3g}"]
        ways += [f"{value:.1f} points", f"by {100 * value:.1f}."]
        if not re.search(ABSENT, path) and not any(way in text for way in ways):
            lacking.append((path, value))
    assert lacking == []


def test_intervals_stand_below_their_figure(pages):
    cell = pages["image"].rows("Accuracy, trained on")["synthetic → real"][0]
    assert cell == "96.8 %|95.7 – 97.9 %"
    ceiling = pages["table"].rows("Gradient boosting on all rows")["real → real: the ceiling"][3]
    assert ceiling == "0.883|0.872 – 0.894"


def test_images_show_grids_pairs_and_the_features_network(pages):
    found, raw = pages["image"], page.render(toy_reports.image())
    assert raw.count('src="data:image/png;base64,') == 2 + 1 + 2 * 5
    likeness = " ".join(found.sections["likeness"].split())
    assert "trained on 900 real training examples; it recognises 97.7 %" in likeness
    rows = found.rows("Compared in the features")
    assert rows["two-sample test|1: gradient boosting cannot tell them from real ones; 0: always"] == ["0.404", "0.963"]
    per_class = found.rows("Distance of synthetic from real pixels")
    assert per_class["a"] == ["0.101", "0.202", "0.909", "1.254|real data 0.756", "0.505|real data -0.017"]
    assert per_class[NASTY] == ["0.111", "–", "–", "–", "–"]
    assert "“" + NASTY + "”" in found.sections["usefulness"]  # a class that is missing


def test_rare_classes_that_were_filled_up_are_listed(pages):
    found = pages["image"]
    rows = found.rows("199 real examples, alone and with 77 synthetic ones")
    gained = ["0.611|0.600 – 0.622", "0.622|0.611 – 0.633", "0.633|0.622 – 0.644"]
    assert rows["balanced accuracy"] == [*gained, "+2.2|+1.1 – +3.3"]
    assert rows[f"recall of “{NASTY}”"] == [*gained, "−4.4|−6.6 – −2.2"]
    assert found.rows("Rare classes")[NASTY] == ["3", "41", "59"]
    report = toy_reports.table()
    report["studies"]["top_up"] |= {"reason": "a number", "said": "It was not tried."}
    assert "It was not tried." in drawn(report).text and "Rare classes" not in drawn(report).text


def test_attacks_have_their_corrected_p_and_only_what_counts_is_bold():
    report = toy_reports.table()
    raw, found = page.render(report), drawn(report)
    rows = found.rows("Membership attacks")
    assert len(rows) == 5 + 1 + 1
    assert rows["nearest synthetic row"][0] == "0.550|0.495 – 0.605"
    assert rows["nearest synthetic row"][3] == "0.017"  # the smallest of three, as corrected
    assert raw.count("<strong>0.017</strong>") == 1 and "<strong>0.82</strong>" not in raw
    doubles = found.rows("Real rows that have a synthetic double")
    assert doubles["an equal synthetic row"] == ["2.3 %", "0.4 %", "+1.9|+0.6 – +3.2", "0.031"]
    guessed = found.rows("Right guesses")
    assert guessed[f"{NASTY}|boosting, from the synthetic rows"][3] == "0.0071"
    assert guessed["age|boosting, from other real rows"][3] == "–"  # no leak of the file, so no test of it
    assert "age ± 1.25" in found.text
    assert "may be first by chance" in found.text


def test_four_curves_at_most_are_drawn_those_with_the_smallest_p_first(pages):
    raw = page.render(toy_reports.table())
    assert raw.count('class="line s4"') == 2 and 'class="line s5"' not in raw  # in the picture and the legend
    assert "Drawn are the attacks with the smallest p" in pages["table"].text


def test_rules_stand_worst_first_and_the_rows_that_break_them_are_folded(pages):
    raw, found = page.render(toy_reports.table()), pages["table"]
    assert found.rows("Rows that break at least one of the exact rules (2)") == {
        "rows that break a rule": ["46.9 %|45.8 – 48.0 %", "0.09 %|-1.0 – 1.2 %", "+46.8|+44.0 – +49.0"]
    }
    rows = found.rows("Share of rows that keep each rule")
    names = [name.split("|")[0] for name in rows]
    assert names == [f"age == '{NASTY}' => 0 < age", "seen(age)", "age <= 99"]
    assert [name.split("|")[1].split(";")[0] for name in rows] == ["exact", "handed in", "near"]
    assert list(rows.values())[1] == ["–", "99.9 %|98.8 – 101.0 %", ""]
    folded = raw.split("<summary>Synthetic rows that break them</summary>")[1].split("</details>")[0]
    assert folded.count("<table") == 1 and "<td>–</td>" in folded
    report = toy_reports.table()
    report["rules"] |= {"each": {}, "reason": "No rule was found.", "broken": None, "broken_real": None, "near": None}
    text = " ".join(drawn(report).sections["rules"].split())
    assert "No rule was found." in text and "Share of rows" not in text and "%" not in text


def test_a_report_without_the_part_has_no_section_of_it():
    report = toy_reports.table()
    del report["rules"], report["parts"]["rules"]
    assert "rules" not in drawn(report).sections and "Does each row make sense" not in drawn(report).text


def test_closest_rows_mark_cells_that_agree(pages):
    raw = page.render(toy_reports.table())
    assert raw.count('<span class="match">42</span>') == 5 and raw.count('class="match"') == 5
    table = pages["table"].tables["Each synthetic row above the training row it comes nearest to"]
    assert table[0] == ["synthetic 1", "42", NASTY]
    assert table[1][0] == "training, 0.25 away"


def test_every_term_that_is_linked_is_explained_and_no_other(pages):
    used = set()
    for found in pages.values():
        linked = {link.removeprefix("#term-") for link in found.links if link.startswith("#term-")}
        explained = {name.removeprefix("term-") for name in found.ids if name.startswith("term-")}
        assert linked == explained
        used |= linked
    # A number, and what is measured of a model trained with differential privacy or of a file without a target.
    assert set(terms()) - used == {"r2", "rmse"}


@KINDS
def test_a_page_of_what_was_not_measured(kind):
    report = getattr(toy_reports, kind)()
    report |= {"utility": None, "studies": None, "robustness": None}
    report["privacy"]["mia"] |= {"model_auc": None, "model": None, "model_attacks": None}
    report["manifest"] |= {"model": None, "target": None, "notes": [], "quick": False}
    if kind == "image":
        report |= {"fidelity": None}
        report["pictures"] |= {"neighbours": None}
    else:
        report["fidelity"] |= {"each_column": None}
    found = drawn(report)
    assert "How much is it worth?" not in found.text and "Does the verdict hold?" not in found.text
    assert "none: the file alone was judged" in found.text and "No model was attacked" in found.text
    assert not found.unclosed and "Who was in the training set?" in found.text
    assert ("no column was named" in found.text) == (kind == "table")


def test_a_guarantee_is_drawn_instead_of_an_attack():
    report = toy_reports.table()
    report["manifest"]["model"]["guarantee"] = {"epsilon": 3.25, "delta": 1e-5}
    raw = page.render(report)
    card = raw.split('id="verdict-checkpoint"')[1].split("<details>")[0]
    assert "strong: ε = 1" in card and ">3.25<" in card and "δ = 1e-05" in card


def test_a_wide_table_stays_small():
    """300 numeric columns: the columns that differ most are drawn, the others counted."""
    report = toy_reports.table()
    names = [f"column {i}" for i in range(300)]
    fidelity, rng = report["fidelity"], np.random.default_rng(0)
    difference = rng.uniform(0, 0.1, (300, 300))
    difference[7, 9] = difference[9, 7] = 0.9
    for side in ("synthetic", "ceiling", "floor"):
        part = fidelity[side] = copy.deepcopy(fidelity[side])
        part["shapes"]["columns"] = {name: 0.9 + i / 1e4 for i, name in enumerate(names)}
        part["missing"]["columns"] = {name: [0.0, 0.0] for name in names}
        matrices = {key: difference.tolist() for key in ("real", "synthetic", "difference")}
        part["correlation"] |= {"columns": names, **matrices}
    report["manifest"]["columns"] = dict.fromkeys(names, "continuous")
    raw = page.render(report)
    assert len(raw) < 5_000_000 and raw.count("<rect") == 3 * values.CORRELATED**2
    assert "288 more columns" in raw and ">column 7<" in raw and "30 columns that differ most" in raw


# --- comparisons -------------------------------------------------------------------------------------------------


def comparison():
    row = {"part": "utility", "key": "utility.cnn.tstr_over_trtr", "name": "kept", "better": "high", "floor": None}
    row |= {"reference": 1.0, "values": {NASTY: 0.91, "b": None, "c": 0.95}, "best": ["c"]}
    row |= {"intervals": {NASTY: [0.9, 0.92], "b": None, "c": None}}
    leak = {**row, "part": "privacy", "key": "privacy.mia.auc", "values": {NASTY: 0.6, "b": 0.5, "c": 0.7}, "best": []}
    about = {"file": f"{NASTY}.npz", "sha256": "a" * 64, "examples": 1234, "model": None}
    verdict = {"id": "publish", "question": "May I?", "level": "fair", "answer": NASTY, "confidence": ""}
    return {
        "protocol_version": 5,
        "kind": "image",
        "dataset": NASTY,
        "notes": [f"seeds differ ({NASTY})"],
        "sets": {name: {**about, "verdicts": [verdict] if name != "b" else []} for name in (NASTY, "b", "c")},
        "figures": [row, leak],
    }


def test_a_comparison_puts_sets_side_by_side():
    raw = page.compare(comparison())
    found = Parsed(raw)
    assert not found.unclosed and found.scripts == 0 and "<script" not in raw and found.unnamed == []
    assert found.rows("Answers")["May I?"][1] == "–"
    assert raw.count("<strong>0.950</strong>") == 1 and raw.count("The best in bold") == 2 * 2
    assert raw.count('class="dot') == 2  # one set has no figure of what it is worth
    linked = {link.removeprefix("#term-") for link in found.links if link.startswith("#term-")}
    assert linked == {"utility.cnn.tstr_over_trtr", "privacy.mia.auc", "floor"} and linked < {
        name.removeprefix("term-") for name in found.ids
    }
    single = comparison()
    single["figures"] = single["figures"][1:]
    assert "Worth against leak" not in page.compare(single)


# --- a real browser ----------------------------------------------------------------------------------------------

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
def test_pages_in_chromium(tmp_path):
    control = tmp_path / "control.html"
    control.write_text("<p>x</p><script>undefinedFunction()</script>")
    assert browse(control, tmp_path / "profile")[1], "an error on a page must be seen, or this test sees nothing"
    # Nothing makes a phone scroll sideways; Chromium's windows have a least width, a frame has not.
    probe = "<script>parent.postMessage(document.documentElement.scrollWidth, '*')</script></body>"
    texts = {kind: page.render(getattr(toy_reports, kind)()) for kind in ("image", "table")}
    for name, text in {**texts, "compare": page.compare(comparison())}.items():
        (tmp_path / f"{name}.html").write_text(text.replace("</body>", probe))
        frame = tmp_path / f"frame_{name}.html"
        frame.write_text(
            "<script>onmessage = event => document.body.dataset.width = event.data</script><body>"
            f'<iframe src="{name}.html" width="360" height="2000"></iframe>'
        )
        dom, console = browse(frame, tmp_path / "profile")
        assert console == []
        assert int(re.search(r'data-width="(\d+)"', dom).group(1)) <= 360, name
