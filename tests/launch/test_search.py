"""The search for hyper-parameters: what is drawn, what is trained at once, who goes on, and the command whole."""

import json
import shlex
from pathlib import Path

import in_process
import jax
import numpy as np
import pytest
from scipy import stats

import synthjax
from synthjax import data
from synthjax.errors import InputError, NonFiniteError
from synthjax.launch import config, runs, search, search_space, train
from synthjax.launch.config import Experiment
from synthjax.launch.search import Plan, Search
from synthjax.models import table_gan, table_vae, vae
from synthjax.train.checkpoint import Checkpoints

RATE = "model.learning_rate"
GAN = Experiment("table_wcgan", table_gan.PRESETS["table_wcgan"], "breast_cancer")
SMALL = (
    "--config.model.hidden=8",
    "--config.model.noise=4",
    "--config.model.batch_size=32",
    "--config.model.steps=6",
    "--config.model.ema_decay=0.5",
    "--config.model.rules.critic_warmup=0",
)


@pytest.fixture(scope="module")
def table() -> data.Dataset:
    return data.load("breast_cancer")


def searched(*given: tuple[str, str]) -> list[search_space.Searched]:
    found = [search_space.parse(GAN, field, text) for field, text in given]
    assert None not in found
    return found  # type: ignore[return-value]


def test_values_are_drawn_from_their_ranges():
    space = searched((RATE, "1e-5..1e-3:log"), ("model.temperature", "0.1..0.9"), ("model.batch_size", "2..5"),
                     ("model.rules.n_critic", "1..100:log"), ("model.hidden", "8,8|16"))  # fmt: skip
    drawn = search_space.draw(space, 400, seed=0)
    values = [config.to_dict(search_space.of(GAN, one))["model"] for one in drawn]
    rates, temperatures, sizes, critics = (
        np.array([value[name] for value in values]) for name in ("learning_rate", "temperature", "batch_size", "rules")
    )
    critics = np.array([rules["n_critic"] for rules in critics])
    assert stats.kstest(rates, stats.loguniform(1e-5, 1e-3).cdf).pvalue > 0.01
    assert stats.kstest(temperatures, stats.uniform(0.1, 0.8).cdf).pvalue > 0.01
    assert set(sizes) == {2, 3, 4, 5} and stats.chisquare(np.bincount(sizes)[2:]).pvalue > 0.01
    assert critics.dtype.kind == "i" and 7 < np.median(critics) < 14 and 1 <= critics.min() and critics.max() <= 100
    assert {value["hidden"] for value in values} == {(8, 8), (16,)}


def test_trials_differ_and_do_not_depend_on_their_number():
    space = searched((RATE, "1e-5..1e-3:log"), ("model.hidden", "8|16"))
    assert (
        search_space.draw(space, 9, seed=3)[:4]
        == search_space.draw(space, 4, seed=3)
        != search_space.draw(space, 4, seed=4)
    )
    few = search_space.draw(searched(("model.hidden", "8|16|32")), 7, seed=0)
    assert sorted(one["model.hidden"] for one in few) == ["16", "32", "8"]


@pytest.mark.parametrize(
    "field, text, complaint",
    [
        ("model.learning_rat", "1..2", "learning_rat"),
        ("model.rules.n_critics", "1|2", "no field 'n_critics'; did you mean 'n_critic'"),
        (RATE, "2..1", "the range is empty"),
        (RATE, "1..1", "the range is empty"),
        (RATE, "0..1:log", "model.learning_rate=0.0: must be a finite number above 0"),
        (RATE, "1..x", "must be of type float"),
        (RATE, "1..2:cubic", "LOW..HIGH:log"),
        ("model.batch_size", "1.5..3", "must be of type int"),
        ("model.heads", "soft..hard", "a range is for numbers"),
        ("model.heads", "soft|hard", "must be one of soft, straight_through"),
        ("model.hidden", "8|8", "nothing to search"),
        ("model.steps", "10..20", "is the length of a trial"),
        ("holdout", "0.1..0.2", "cannot be searched"),
    ],
)
def test_what_cannot_be_searched_is_one_line(field, text, complaint):
    with pytest.raises(InputError) as caught:
        search_space.parse(GAN, field, text)
    assert complaint in str(caught.value) and "\n" not in str(caught.value)


def test_fixed_and_searched_fields_are_told_apart():
    given = [("seed", "3"), (RATE, "1e-4|1e-3"), ("model.b1", "0.1")]
    fixed, space = search.split(GAN, given)
    assert fixed == [("seed", "3"), ("model.b1", "0.1")] and [one.field for one in space] == [RATE]
    with pytest.raises(InputError, match="nothing to search"):
        search.split(GAN, given[:1])
    with pytest.raises(InputError, match="is given twice"):
        search.split(GAN, [*given, (RATE, "1")])


def plan(**changes) -> Plan:
    return Plan(**{"trials": 4, "rungs": 1, "halving": 2, "together": 2, "score": "tstr", "rows": 20, "epochs": 1,
                   **changes})  # fmt: skip


def test_scores_that_do_not_fit_the_data_are_refused(table):
    digits = data.load("digits")
    for found, score, complaint in [
        (table, "accuracy", "is not for a table"),
        (digits, "c2st", "is not for a image"),
        (table._replace(holdout=table.holdout._replace(x=table.holdout.x[:0])), "tstr", "holdout"),
    ]:
        with pytest.raises(InputError, match=complaint):
            search.judge(found, plan(score=score), 0)


def test_scores_rank_real_rows_above_noise(table):
    x, y, _ = table.train
    noise = np.random.default_rng(0).normal(size=x.shape).astype(np.float32)
    for score, seeds in (("tstr", 1), ("c2st", 5)):  # of the 46 held-out rows one two-sample test says little
        judges = [search.judge(table, plan(score=score), seed) for seed in range(seeds)]
        real, other = (np.mean([judge(rows, y) for judge in judges]) for rows in (x, noise))
        assert 0.85 < real <= 1 and other < real - 0.1


def test_python_looks_at_some_fields_and_not_at_others(table):
    for field in (RATE, "model.b1", "model.temperature"):
        assert search_space.traceable(GAN, field, table.spec)
    for field in ("model.rules.gradient_penalty", "model.noise", "model.heads"):
        assert not search_space.traceable(GAN, field, table.spec)


def test_trials_at_once_are_the_trials_one_by_one(table):
    """Of a model with a schedule: metrics, states and samples after three steps."""
    chosen = Experiment("table_vae", table_vae.Config(hidden=(8,), latents=2, batch_size=16, steps=5), "breast_cancer")
    rates = np.array([1e-3, 3e-2])
    both = search_space.together(chosen, {RATE: rates}, 2, table.spec)
    key, keys = jax.random.key(1), jax.random.split(jax.random.key(2), 3)
    feed = train.trainer(chosen, both, table).feed
    batches = [feed.batch(i) for i in range(3)]

    def after(model):
        state = jax.jit(model.init)(key)
        step = jax.jit(model.step)
        for i, batch in enumerate(batches):
            state, metrics = step(keys[i], i, state, batch)
        return state, metrics, model.sample(key, state, np.zeros(4, np.int32))

    state, metrics, x = after(both)
    assert x.shape == (4, 2, table.spec.dims)
    for place, rate in enumerate(rates):
        alone = after(runs.build(search_space.put(chosen, RATE, float(rate)), table.spec))
        mine = (*jax.tree.map(lambda a, place=place: a[place], (state, metrics)), x[:, place])
        for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


class Known(Search):
    """A search whose trials are not trained: their scores are known, some diverge."""

    diverge: tuple[int, ...] = ()
    trained: list[tuple[list[int], int]]

    def train(self, group, before, steps):
        self.trained.append((group, steps))
        if set(group) & set(self.diverge):
            raise NonFiniteError("metric 'loss' is not finite")
        assert not before or all(trial in self.states for trial in group)
        return None, np.array(group)

    def measure(self, group, steps, model, state, seconds):
        for trial in group:
            if not self.line(trial, steps):
                self.note(trial, steps, known_score(trial, steps), 0.0)


def known_score(trial: int, steps: int) -> float:
    return float(np.random.default_rng([trial, steps]).random())


def known_search(folder: Path, table, **changes) -> Known:
    chosen = Experiment("table_wcgan", table_gan.Config(steps=90), "breast_cancer")
    given = ((RATE, "1e-4..1e-2:log"), ("model.rules.gradient_penalty", "1|10"))
    made = Known(folder, chosen, searched(*given), table, plan(trials=9, rungs=3, halving=3, **changes))
    made.trained = []
    return made


def test_the_better_third_goes_on(tmp_path, table):
    made = known_search(tmp_path, table)
    assert made.at_once == [RATE] and made.rungs() == [(10, 9), (30, 3), (90, 1)]
    last = made.run()
    second = sorted(range(9), key=lambda trial: -known_score(trial, 10))[:3]
    assert [line["trial"] for line in last] == [max(second, key=lambda trial: known_score(trial, 30))]
    assert len(made.lines) == 13 and {line["trial"] for line in made.lines if line["steps"] == 30} == set(second)
    for group, _ in made.trained:  # at most two at once, all with one penalty
        assert len(group) <= 2 and len({made.trials[trial]["model.rules.gradient_penalty"] for trial in group}) == 1
    assert [row[1] for row in made.table().rows] == ["90"] + ["30"] * 2 + ["10"] * 6


def test_a_trial_that_diverges_stops_no_other(tmp_path, table):
    best = max(range(9), key=lambda trial: known_score(trial, 10))
    made = known_search(tmp_path, table, together=9)
    made.diverge = (best,)
    last = made.run()
    assert last[0]["trial"] != best and made.score(best, 10) is None
    assert len([line for line in made.lines if line["steps"] == 10]) == 9
    assert made.table().rows[-1][:3] == (str(best), "10", "diverged")

    again = known_search(tmp_path, table, together=9)
    again.diverge = (best,)
    assert again.run() == last and all(best not in group for group, _ in again.trained)

    everyone = known_search(tmp_path / "all", table)
    everyone.diverge = tuple(range(9))
    with pytest.raises(NonFiniteError, match="every trial diverged"):
        everyone.run()


def test_a_folder_belongs_to_one_search(tmp_path, table):
    known_search(tmp_path, table)
    with pytest.raises(InputError, match="belongs to another search"):
        known_search(tmp_path, table, rows=21)


def test_the_command_goes_on_and_names_the_best(tmp_path):
    """Twice, the second time with the last rung's figures lost; then what `train` makes of the printed command."""
    line = ("search", "--model=table_wcgan", "--dataset=breast_cancer", "--trials=3", "--rungs=2", "--halving=2",
                   "--rows=40", "--score=c2st", "--workdir=w", *SMALL, f"--config.{RATE}=1e-4..1e-2:log")  # fmt: skip
    code, out, errors = in_process.run(*line, folder=tmp_path)
    assert code == 0, errors
    folder = tmp_path / "w"
    lines = [json.loads(text) for text in (folder / "trials.jsonl").read_text().splitlines()]
    assert [one["steps"] for one in lines] == [3, 3, 3, 6, 6]
    first = sorted(lines[:3], key=lambda one: (-one["score"], one["trial"]))
    assert {one["trial"] for one in lines[3:]} == {one["trial"] for one in first[:2]}

    (folder / "trials.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines[:4]))
    code, again, errors = in_process.run(*line, folder=tmp_path)
    assert code == 0, errors
    found = [json.loads(text) for text in (folder / "trials.jsonl").read_text().splitlines()]
    assert [one["score"] for one in found] == [one["score"] for one in lines]
    assert out.splitlines()[-1] == again.splitlines()[-1] and again.count("after 3 steps") == 0

    words = shlex.split(out.splitlines()[-1])
    assert words[:3] == ["python", "-m", "synthjax.launch.train"]
    rest, given = train.overrides(words[3:])
    assert rest == ["--model=table_wcgan", "--dataset=breast_cancer"]
    chosen = search_space.of(GAN, dict(given))
    train.run(chosen, runs.data(chosen), tmp_path / "best")
    state = synthjax.load(tmp_path / "best").state
    (group,) = (folder / "groups/6").iterdir()
    order = [int(trial) for trial in group.name.split("-")]
    both = Checkpoints(group).restore(6, jax.tree.map(lambda a: np.zeros((2, *a.shape), a.dtype), state))
    best = max(lines[3:], key=lambda one: one["score"])["trial"]
    apart = {}
    for place, trial in enumerate(order):
        ours = jax.tree.map(lambda a, place=place: a[place], both.ema)
        pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(state.ema), strict=True)
        apart[trial] = max(float(np.abs(a - b).max()) for a, b in pairs)
    assert apart[best] < 3e-4 < 1e-3 < max(apart.values())


def test_images_are_judged_by_a_cnn(tmp_path):
    """Two trials of a small VAE on digits, one of which never learns."""
    chosen = Experiment("vae", vae.Config(latents=2, channels=(), hidden=(16,), batch_size=64, steps=3), "digits")
    found = data.load("digits")
    space = [search_space.parse(chosen, RATE, "1e-9|1e-2")]
    made = Search(tmp_path, chosen, space, found, plan(trials=2, score="accuracy", rows=60))  # type: ignore[arg-type]
    last = made.run()
    assert len(last) == 2 and all(0 <= one["score"] <= 1 for one in last)
    judge = search.judge(found, plan(score="accuracy", epochs=2), 0)
    x = np.asarray(found.spec.encode(found.train.x))
    assert judge(x, found.train.y) > 0.5
