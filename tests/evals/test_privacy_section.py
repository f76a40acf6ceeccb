"""The section on privacy: figures where they belong, names escaped, nothing claimed that does not count."""

import copy
import html
import re

import numpy as np
import pytest
from customers import KINDS, customers

from synthjax.evals import privacy, privacy_section
from synthjax.evals.domains.tables import Tables
from synthjax.evals.sets import Sets
from synthjax.evals.table import from_frames

NASTY = "<script>&"


@pytest.fixture(scope="module")
def found():
    """A table whose file copies one training row in ten, one column having a nasty name; the attacker knows a few."""
    frame = customers(0, 700, gaps=0.02).rename(columns={"city": NASTY})
    kinds = {NASTY if name == "city" else name: kind for name, kind in KINDS.items()}
    table = from_frames({"all": frame}, kinds, "churned")["all"]
    train, others, test = (table.take(np.arange(*ends)) for ends in ((0, 200), (200, 400), (400, 500)))
    synthetic = table.take(np.concatenate([np.arange(500, 680), np.arange(20)]))
    scores = {"members": np.linspace(-2, 0, 200), "others": np.linspace(-1, 1, 200)}
    sets = Sets(Tables.of(train), synthetic, train, test, others, test)
    return privacy.evaluate(sets, privacy.Attacker(scores, public=10, limit=200), secrets=[NASTY, "income"])


def cells(page, caption):
    """First cell of each row -> the others as text, of the table whose caption begins so."""
    body = page[page.index(f"<caption>{caption}") :].split("</tbody>")[0].split("<tbody>")[1]
    rows = [re.split(r"</t[hd]>", row) for row in body.split("</tr>") if row]
    return {text(row[0]): [text(cell) for cell in row[1:-1]] for row in rows}


def text(cell):
    return html.unescape(re.sub(r"<[^>]*>", "", cell.replace("<br>", "|")))


def section(found):
    return privacy_section.section(found, "test", "", unit="row", columns=privacy_section.secrets(found))


def test_every_attack_has_its_figures_interval_and_corrected_p(found):
    rows, mia = cells(section(found), "Membership attacks"), found["mia"]
    assert len(rows) == len(mia["attacks"]) + len(mia["model_attacks"]["attacks"]) + 1
    assert "all of these, by who knows a few members" in rows
    ours, copies = rows["a synthetic row nearer than any by chance"], mia["attacks"]["copy"]
    low, high = copies["auc_interval"]
    assert ours[0] == f"{copies['auc']:.3f}|{low:.3f} – {high:.3f}"
    assert ours[2].startswith(f"{100 * copies['tpr_at_fpr_0p1pct']:.1f} %")
    smallest = min(p for name, p in found["findings"]["holm"].items() if name.startswith("mia.copy."))
    assert smallest < 0.05 and ours[3] in (f"{smallest:.2g}", "< 0.0001")
    assert rows["asks the model itself"][0].startswith(f"{mia['model_auc']:.3f}")
    assert "Of 20 more the attacker knew beforehand" in section(found)


def test_what_counts_is_bold_and_nothing_else(found):
    page = section(found)
    assert "<strong>&lt; 0.0001</strong>" in page and "may be first by chance" not in page
    honest = copy.deepcopy(found)
    for findings in (honest["findings"], honest["mia"]["model_attacks"]["findings"]):
        findings |= {"flagged": [], "holm": dict.fromkeys(findings["holm"], 0.9)}
    page = section(honest)
    assert page.count("<strong>") == 1 and "<strong>Passing this proves nothing:" in page
    assert "may be first by chance" in page


def test_the_worst_hit_rows_are_named_by_number_ten_at_most(found):
    page, hit = section(found), found["mia"]["worst_hit"]
    said = page[page.index("Whom it hits worst") :].split("</p>")[0]
    assert re.findall(r"<code>(\d+)</code>", said) == [str(row) for row in hit["records"][:10]]
    assert f"({100 * hit['false_alarms'][0]:.1f} %)" in said and "attacks.npz" in page


def test_duplicates_and_secrets_stand_beside_their_controls(found):
    page = section(found)
    exact = cells(page, "Real rows that have")["an equal synthetic row"]
    assert exact[:2] == ["10.0 %", "0.0 %"] and exact[2].startswith("+10.0|") and exact[3] == "< 0.0001"
    guessed = cells(page, "Right guesses")
    assert len(guessed) == 6 and NASTY not in page
    nearest = found["attributes"][NASTY]["nearest"]
    ours = guessed[f"{NASTY}|right claims by the nearest synthetic row"]
    assert ours[0] == f"{100 * nearest['members']:.1f} %" and ours[2].startswith(f"{100 * nearest['gain']:+.1f}|")
    assert guessed["income|boosting, from other real rows"][3] == "–"  # no leak of the file, so no test of it
    assert f"income ± {found['attributes']['income']['tolerance']:.4g}" in page
    assert privacy_section.secrets({**found, "attributes": {}}) == ""


def test_four_curves_at_most_are_drawn_the_surest_first(found):
    page = section(found)
    assert page.count('class="line s') == 2 * 4 and 'class="line s5"' not in page  # each in the picture and the legend
    assert "Drawn are the attacks with the smallest p" in page


def test_the_ratio_of_distances_is_said_with_its_warning(found):
    page, ratio = section(found), found["dcr"]["nndr"]
    assert f"{ratio['train']['median']:.3f} of the distance to the second nearest" in page
    assert f"{ratio['holdout']['median']:.3f} ({ratio['holdout']['q05']:.3f})" in page
