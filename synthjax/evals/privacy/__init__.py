"""How much a synthetic data set gives away about the examples its generator was trained on.

    attacks      who was in the training set? asked of the file alone; `density` has what two of them need
    shadow       the same, asked of the model, calibrated by shadow models
    attributes   a secret column, guessed from the others with the help of a synthetic table
    distances    copies, near copies, distance to closest record
    persons      the same of persons, each by all of its records
    overlap      rows that the real sets share
    roc          figures, intervals and p-values of one attack
    summary      what all attacks together amount to, and whom they hit worst
    distance_tests  tests of distances by the recipe of a published study
    protocol     all of it, on images and tables, or on any vectors

Members are a subsample of the training set, others are real examples that the generator cannot have seen.

    found = privacy.evaluate(Sets(domain, synthetic, train, test, unseen, reference), Attacker())
    found["findings"]["flagged"], found["mia"]["auc"], found["mia"]["worst_hit"]["records"]

Formal guarantees: none. These are lower bounds on what leaks; only differentially private training bounds it above.
"""

from synthjax.evals.privacy.distances import Keys
from synthjax.evals.privacy.protocol import Attacker, evaluate, judge
from synthjax.evals.privacy.records import AttackedRows, Persons, attacked_rows
from synthjax.evals.privacy.shadow import Shadows

__all__ = ["AttackedRows", "Attacker", "Keys", "Persons", "Shadows", "attacked_rows", "evaluate", "judge"]
