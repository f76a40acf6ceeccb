"""Judges a synthetic set, of images or a table: the parts of an evaluation, one after the other, and their report.

Each part of `PARTS` is a measure of `synthjax.evals` on the same `Sets`. It is kept in a file as soon as it is there
(`synthjax.launch.parts`), and its verdict is said.
"""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from synthjax import data, files
from synthjax.evals import fidelity, page, pictures, privacy, report, robustness, rules, studies, utility
from synthjax.evals.privacy import distance_tests, overlap
from synthjax.evals.report import figures, rows, verdicts
from synthjax.evals.sets import Sets
from synthjax.launch import forecast, levels, provenance, shadows
from synthjax.launch.console import remark, say, say_verdict, with_bar
from synthjax.launch.parts import Parts, identity
from synthjax.launch.subjects import Run, Subject, persons, unseen_and_reference

SCORES = "attacks.npz"
"""File beside the report with what every attack said of every record."""


@dataclass(frozen=True)
class Evaluation:
    """One evaluation, on its way."""

    subject: Subject
    sets: Sets
    effort: levels.Effort
    seed: int
    out: Path
    """Folder of the results."""
    non_members: data.Split
    """The unseen examples, as a run's model reads them."""
    found: dict[str, Any] = field(default_factory=dict)
    """The parts that are there: name -> plain values, None where it was not measured."""

    @classmethod
    def of(cls, subject: Subject, out: Path, effort: levels.Effort, seed: int) -> "Evaluation":
        """The evaluation of a subject by so much effort; reads nothing, trains nothing."""
        rows = subject.rows
        split, unseen, reference = unseen_and_reference(subject)
        sets = Sets(effort.domain(subject), rows["synthetic"], rows["train"], rows["test"], unseen, reference)
        return cls(subject, sets, effort, seed, out, split)

    @property
    def learnable(self) -> bool:
        """Whether classifiers can be trained on the synthetic set."""
        return self.sets.domain.unlearnable is None and (self.subject.table or self.sets.synthetic.y is not None)

    @property
    def comparable(self) -> bool:
        """Whether there is a space to compare in: of images, the features of a classifier."""
        return self.subject.table or self.sets.domain.unlearnable is None


class Part(NamedTuple):
    """A part of the report."""

    name: str
    measure: Callable[[Evaluation, Parts], dict[str, Any]]
    """To plain values."""
    measured: Callable[[Evaluation], bool]
    """Whether the sets allow it."""


def measure_fidelity(work: Evaluation, parts: Parts) -> dict[str, Any]:
    """Is it like the real data?"""
    return fidelity.evaluate(work.sets, limit=work.effort.compared, seed=work.seed)


def measure_utility(work: Evaluation, parts: Parts) -> dict[str, Any]:
    """Can classifiers learn from it?"""
    scores = functools.partial(utility.evaluate, work.sets, seeds=work.effort.seeds, seed=work.seed)
    return with_bar("classifiers", lambda progress: scores(progress=progress))


def measure_studies(work: Evaluation, parts: Parts) -> dict[str, Any]:
    """Learning curves, mixing with real data, filling up of rare classes and ranks of classifiers."""
    study = functools.partial(studies.evaluate, work.sets, work.effort, seeds=work.effort.varied, seed=work.seed)
    return with_bar("studies", lambda progress: study(progress=progress))


def measure_robustness(work: Evaluation, parts: Parts) -> dict[str, Any]:
    """Does the verdict on usefulness survive variations?"""
    how: dict[str, Any] = {"seeds": work.effort.varied, "networks": work.effort.network, "seed": work.seed}
    return robustness.evaluate(work.sets, work.found["utility"], **how)


def measure_rules(work: Evaluation, parts: Parts) -> dict[str, Any]:
    """Does each row make sense?"""
    table = work.subject.real.table
    return rules.evaluate(work.sets, work.subject.kinds, given=table.rules if table else (), seed=work.seed)


def measure_privacy(work: Evaluation, parts: Parts) -> dict[str, Any]:
    """Does it give its training examples away? Attacks on the model, where there is one, included."""
    return attack(work, limit=work.effort.attacked, keep=parts.arrays, save=work.out / SCORES)


def attack(
    work: Evaluation, *, limit: int, keep: shadows.Keep | None = None, save: Path | None = None
) -> dict[str, Any]:
    """The privacy part, of at most `limit` examples; without `keep` there are no shadow models."""
    run, train = work.subject.run, work.subject.real.train
    asked: dict[str, Any] = {"seed": work.seed, "limit": limit, "persons": persons(work.subject, work.non_members)}
    attacked = privacy.attacked_rows(len(train.x), len(work.non_members.x), **asked)
    scores = shadows.model_scores(run, train, work.non_members, attacked, seed=work.seed)
    shadowed = None
    if run is not None and keep is not None and work.effort.shadows:
        how: dict[str, Any] = {"models": work.effort.shadows, "seed": work.seed, "keep": keep}
        shadowed = shadows.attack(run, train, work.non_members, attacked, **how)
    attacker = privacy.Attacker(scores, shadowed, work.effort.public, **asked)
    return privacy.evaluate(work.sets, attacker, save=save)


def measure_pictures(work: Evaluation, parts: Parts) -> dict[str, Any]:
    """What the page shows of the sets beside figures."""
    sets, real, closest = work.sets, work.subject.real, work.found["privacy"]["closest"]
    if not work.subject.table:
        return pictures.of_images(real.spec, sets.synthetic, real.train, real.test, closest)
    vectors = (sets.vectors[name] for name in ("synthetic", "train", "reference"))
    distances = distance_tests.distances(*vectors, seed=work.seed, limit=work.effort.attacked)
    return pictures.of_table(work.subject.rows, work.subject.kinds, closest, distances)


PARTS = (
    Part("fidelity", measure_fidelity, lambda work: work.comparable),
    Part("utility", measure_utility, lambda work: work.learnable),
    Part("studies", measure_studies, lambda work: work.learnable),
    Part("robustness", measure_robustness, lambda work: work.learnable),
    Part("rules", measure_rules, lambda work: work.subject.table),
    Part("privacy", measure_privacy, lambda work: True),
    Part("pictures", measure_pictures, lambda work: True),
)


def say_part(table: bool, name: str, part: dict[str, Any], seconds: float) -> None:
    """Says what a part amounts to."""
    if name in verdicts.PARTS:
        typed = report.part("table" if table else "image", name, part)
        say_verdict(verdicts.PARTS[name](typed), seconds)
    if name == "studies":
        remark(part["top_up"]["said"])


def output_folder(file: Path, run: Run | None, out: str | None) -> Path:
    """The folder of the results, made now: a place that cannot be written to is told before the slow work."""
    if out is not None:
        folder = files.path(out)
    elif run is not None and file.parent == run.workdir:
        folder = run.workdir / "eval"
    else:
        folder = file.with_name(f"{file.stem}-eval")
    with files.named_errors(folder, "made"):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def effort_of(subject: Subject, level: str, given: dict[str, int | None]) -> levels.Effort:
    """How much is done at a level, where flags (None: not given) do not say otherwise."""
    effort: levels.Effort = (levels.TABLES if subject.table else levels.IMAGES)[level]
    set_here: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    effort = dataclasses.replace(effort, **set_here)
    attackable = subject.run is not None and subject.run.model.score is not None
    return effort if attackable else dataclasses.replace(effort, shadows=0)


def manifest(work: Evaluation, level: str) -> dict[str, Any]:
    """The manifest of the report, but for its seconds."""
    subject, effort, domain = work.subject, work.effort, work.sets.domain
    names = ("train", "holdout", "test", "synthetic")
    shared = overlap.find(**{name: domain.keys(subject.rows[name]) if name in subject.rows else [] for name in names})
    made: dict[str, Any] = {"examples": domain.size(work.sets.synthetic)}
    settings: dict[str, Any] = {
        "non_members": subject.unseen,
        "notes": [*subject.notes, *overlap.sentences(shared, domain.unit)],
        "overlap": shared,
        "protocol": dataclasses.asdict(effort),
        **{"seeds": effort.seeds, "seed": work.seed, "quick": level == "look", "level": level},
    }
    if isinstance(effort, levels.TableEffort):
        settings |= {"columns": subject.kinds, "target": subject.target}
        settings |= {"missing_columns": list(subject.missing_columns)}
        settings["limits"] = {name: getattr(effort, name) for name in ("c2st", "judges", "attacked")}
    if isinstance(effort, levels.ImageEffort):
        y = work.sets.synthetic.y
        made["per_class"] = None if y is None else np.bincount(y, minlength=len(domain.classes)).tolist()
        settings["epochs"] = effort.epochs
    return provenance.manifest(subject, made, settings)


def run(subject: Subject, out: Path, *, seed: int, level: str = "quick", **given: int | None) -> report.Report:
    """Judges, writes the files of the report into `out`, and returns the report.

    `given` are fields of the level's `levels.Effort` that flags set; None: the level's.
    """
    real, effort = subject.real, effort_of(subject, level, given)
    work = Evaluation.of(subject, out, effort, seed)
    domain = work.sets.domain
    say(
        f"judging {domain.size(work.sets.synthetic):,} synthetic {domain.unit}s in {subject.file} against "
        f"{real.name}: {len(real.train.x):,} train, {len(real.holdout.x):,} holdout, {len(real.test.x):,} test"
    )
    if level == "full":
        say(expected(work))
    about = manifest(work, level)
    for note in about["notes"]:
        say(f"note: {note}")
    parts = Parts(out, identity(about), [part.name for part in PARTS])
    for part in PARTS:
        work.found[part.name] = None
        if part.measured(work):
            work.found[part.name] = parts.part(part.name, functools.partial(part.measure, work, parts))
            say_part(subject.table, part.name, work.found[part.name], parts.seconds[part.name])
    about["seconds"] = {name: round(value, 1) for name, value in parts.seconds.items()}
    return write(work, about, parts)


def expected(work: Evaluation) -> str:
    """How long level full will take."""
    names = "judges" if work.subject.table else "classifiers"
    times = {names: forecast.of_classifiers(work.sets, work.effort) if work.learnable else 0.0}
    times["attacks"] = forecast.extrapolate(functools.partial(attack, work), work.effort.attacked)
    return forecast.forecast(times, work.subject.run, work.effort.shadows)


def write(work: Evaluation, about: dict[str, Any], parts: Parts) -> report.Report:
    """Says the verdicts, writes all files of the report, says where they are, and forgets the parts."""
    subject, out = work.subject, work.out
    found = report.assemble(about, work.found)
    say("")
    for verdict in found.verdicts:
        say(f"{verdict.question}  {verdict.answer}")
    if found.guidance:
        say("\nWhat to do next:")
    for step in found.guidance:
        remark(step.text)
    json_file, html_file = report.write(out, found), out / "report.html"
    files.write(html_file, page.render(msgspec.to_builtins(found)))
    measured = {subject.file.name: rows.measured(found)}
    files.write(out / "report.csv", figures.to_csv(measured))
    files.write(out / "report.tex", figures.to_latex(measured))
    parts.forget()
    say(f"\nwrote {json_file} (tables: report.csv, report.tex)\nwrote {html_file}: open it in a browser")
    return found
