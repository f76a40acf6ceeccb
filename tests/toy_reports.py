"""Whole reports made by hand, of images and of a table, as report.json holds them: made-up numbers, hostile names."""

import base64
import itertools

import numpy as np

from synthjax.evals.draw import png

NASTY = "<script>alert('1')</script>&"
"""The name of a class, a column, a category, a data set and files."""
UNITS = ("example", "row")


def estimate(mean, half=0.011):
    return {"mean": mean, "std": half, "values": [mean - half, mean + half], "ci": [mean - half, mean + half]}


def loss(measure):
    """Points lost, of such a score."""
    sizes = {"n": 500, "seeds": 5, "resamples": 1000}
    return {"points": 1.4, "ci": [0.7, 2.1], "ours": 0.968, "real": 0.982, "measure": measure, "who": "A CNN", **sizes}


def two_sample(score, auc, told_by=None):
    return {"score": score, "auc": auc, "values": [score], "n": 40, "told_by": told_by}


def manifest(kind, **more):
    return {
        "dataset": NASTY,
        "kind": kind,
        "fingerprint": "f" * 64,
        "synthetic": {"file": f"{NASTY}.npz", "sha256": "a" * 64, "examples": 1234},
        "real": {"train": 1000, "holdout": 300, "test": 500},
        "model": {"workdir": f"runs/{NASTY}", "name": "ddpm", "state_sha256": "b" * 64, "guarantee": None},
        "non_members": "holdout",
        "overlap": [],
        "seeds": 5,
        "seed": 0,
        "level": "look",
        "quick": True,
        "protocol": {},
        "notes": [f"the file {NASTY} was looked at"],
        "settings_sha256": "c" * 64,
        "code_sha256": "d" * 64,
        "versions": {"synthjax": "0.1"},
        "command": f"python -m synthjax.launch.eval --synthetic='{NASTY}.npz'",
        "created": "2026-01-02T03:04:05+00:00",
        "seconds": {"privacy": 17.0},
        **more,
    }


def verdict(name, level):
    return {
        "id": name,
        "question": f"Question {name}?",
        "level": level,
        "answer": f"Answer {name} about {NASTY}.",
        "evidence": [{"topic": "mia", "text": f"Evidence of {name}: {NASTY}."}],
        "confidence": "low: too little was done.",
    }


def verdicts():
    """Those of the first page and of the parts."""
    first = {"publish": "poor", "good": "fair", "lost": "good", "checkpoint": "poor"}
    parts = {"utility": "useful", "fidelity": "alike", "rules": "consistent", "privacy": "private"}
    return {
        "verdicts": [verdict(name, level) for name, level in first.items()],
        "guidance": [
            {"topic": "columns", "text": f"Leave out {NASTY}."},
            {"topic": "judge", "text": "Judge it again."},
        ],
        "parts": {part: verdict(name, "fair") for part, name in parts.items()},
    }


def studies(names, **more):
    """`names`: of two classifiers that are ranked; `more`: what only images or tables have."""
    ranks = {"spearman": estimate(0.612), "kendall": estimate(0.534)}
    gained = {"real": estimate(0.611), "repeated": estimate(0.622), "filled": estimate(0.633), "points": 2.2}
    each = (
        {"validation": 0.71 + i, "deployed": 0.72 + i, "real": 0.73 + i, "real_validation": 0.7} for i in (0.001, 0.002)
    )
    return {
        "curve": [{"n": n, "synthetic": estimate(0.5 + n / 1e4), "real": estimate(0.6 + n / 1e4)} for n in (100, 1000)],
        "mixing": [
            {"factor": factor, "n_real": 200, "n_synthetic": round(200 * factor), "score": estimate(0.64 + factor / 50)}
            for factor in (0.0, 0.5, 2.0)
        ],
        "top_up": {
            "reason": None,
            "said": f"Filling up helps “{NASTY}”.",
            "rarest": NASTY,
            "n_real": 199,
            "n_synthetic": 77,
            "n_test": 500,
            "filled": {NASTY: {"real": 3, "added": 41, "lacking": 59}},
            "balanced_accuracy": {**gained, "ci": [1.1, 3.3]},
            "recall": {**gained, "points": -4.4, "ci": [-6.6, -2.2]},
        },
        "ranking": {
            "classifiers": dict(zip(names, each, strict=True)),
            **{key: ranks for key in ("deployed", "real", "ceiling")},
            "regret": estimate(1.7),
            "chosen": names[0],
            "best": names[1],
            "seeds": 3,
        },
        "seeds": 3,
        **more,
    }


def _attack(auc):
    ends = {"auc": auc, "tpr_at_fpr_1pct": auc / 20, "tpr_at_fpr_0p1pct": auc / 200}
    intervals = {f"{key}_interval": [value * 0.9, value * 1.1] for key, value in ends.items()}
    roc = {"fpr": [0.0, 0.01, 0.1, 1.0], "tpr": [0.0, auc / 20, auc / 3, 1.0]}
    return {**ends, **intervals, "roc": roc, "bootstrap": {key: [0.1, 0.2] for key in ends}}


def _gain(members, others):
    gain = members - others
    sizes = {"n_members": 1000, "n_others": 300, "p": 0.02}
    return {"members": members, "others": others, "gain": gain, "interval": [gain - 0.013, gain + 0.013], **sizes}


FIGURES = ("auc", "tpr_at_fpr_1pct", "tpr_at_fpr_0p1pct")


def _attacks(attacks, best, p):
    """What attacks on the file, and attacks on the model, have in common; `p`: the smallest p-value."""
    chance = {"auc": (0.521, 0.543), "tpr_at_fpr_1pct": (0.0123, 0.0234), "tpr_at_fpr_0p1pct": (0.0012, 0.0034)}
    tests = itertools.product(attacks, FIGURES)
    return {
        **{key: attacks[best][key] for key in (*FIGURES, "auc_interval")},
        "p_value": dict.fromkeys(FIGURES, 0.01),
        "chance": {key: {"mean": mean, "q95": q95} for key, (mean, q95) in chance.items()},
        "best": dict.fromkeys(FIGURES, best),
        "surest": {"attack": best, "auc": attacks[best]["auc"], "auc_interval": attacks[best]["auc_interval"]},
        "p": {f"{name}.{key}": p * (i + 1) for i, (name, key) in enumerate(tests)},
        "worst_hit": {"attack": best, "records": list(range(40, 60)), "false_alarms": [0.0133] * 20},
        "attacks": attacks,
        "n_members": 1000,
        "n_others": 300,
    }


def privacy(**more):
    """`more`: what only tables have."""
    names = ("distance", "monte_carlo", "calibrated", "copy", "domias_kernel")
    on_file = _attacks({name: _attack(0.55 + i / 100) for i, name in enumerate(names)}, "distance", 0.001)
    on_model = _attacks({"score": _attack(0.777)}, "score", 1e-5)
    holm = {f"mia.{name}": min(1.0, 17 * value) for name, value in on_file["p"].items()} | {"duplicates.exact": 0.031}
    holm |= {"duplicates.near": 0.82}
    findings = {"holm": {f"score.{key}": 0.0002 for key in FIGURES}, "flagged": ["score.auc"], "level": 0.05}
    return {
        "n_synthetic": 1234,
        "exact_matches": 21,
        "exact_matches_share": 0.0171,
        "exact_matches_reference": 0.0023,
        "near_matches": {"share": 0.037, "reference": 0.012, "threshold": 1.375, "quantile": 0.01, "examined": 1234},
        "closest": [{"synthetic": i, "train": 2 * i, "distance": 0.25 + i} for i in range(5)],
        "duplicates": {
            "exact": {**_gain(0.023, 0.004), "records": [4, 8]},
            "near": {**_gain(0.043, 0.017), "threshold": 1.875},
        },
        "dcr": {
            "share_nearer_train": 0.6187,
            "interval": [0.5812, 0.6555],
            "reference": 0.5,
            "effective_n": 612.0,
            "n_synthetic": 1234,
            "n_real": 299,
            "median_train": 2.125,
            "median_holdout": 2.375,
            "nndr": {"train": {"median": 0.811, "q05": 0.312}, "holdout": {"median": 0.822, "q05": 0.323}},
            "histogram": {"edges": [0.0, 1.0, 2.0, 4.0], "train": [9, 30, 2], "holdout": [4, 33, 4]},
        },
        "mia": {
            **on_file,
            "control_auc": 0.507,
            "isolated": {
                **{"attack": "ensemble", "auc": 0.613, "auc_interval": [0.567, 0.659], "p": 0.00321},
                **{"n_members": 97, "n_others": 33},
            },
            "n_public": 30,
            "model_auc": 0.777,
            "model": on_model["attacks"]["score"],
            "model_attacks": {**on_model, "findings": findings},
        },
        "findings": {"holm": holm, "flagged": ["duplicates.exact"], "level": 0.05},
        **more,
    }


def _square(seed):
    x = np.random.default_rng(seed).integers(0, 256, (2, 2, 8, 8, 1), np.uint8)
    return base64.b64encode(png.encode(png.canvas(x))).decode("ascii")


def _image_fidelity():
    found = {
        "precision": 0.931,
        "recall": 0.882,
        "density": 1.022,
        "coverage": 0.903,
        "frechet": 1.514,
        "kernel": 0.013,
    }
    reference = {name: value - 0.007 for name, value in found.items()}
    sizes = {"n_synthetic": 40, "n_real": 30, "n_compared": 30}
    unknown = dict.fromkeys(("mean_distance", "covariance_distance", "diversity", "frechet", "kernel", "reference"))
    classes = {
        "a": {
            **{"mean_distance": 0.101, "covariance_distance": 0.202, "diversity": 0.909, **sizes},
            **{"frechet": 1.254, "kernel": 0.505, "reference": {"frechet": 0.756, "kernel": -0.017}},
        },
        NASTY: {**unknown, "mean_distance": 0.111, **sizes},
    }
    sides = {"real": [[0, 1], [1000, 0]], "synthetic": [[5, 5], [7, 8]]}
    return {
        **found,
        "c2st": two_sample(0.404, 0.798),
        "map": {**sides, "names": {NASTY: [0, 1]}},
        "reference": {**reference, "c2st": two_sample(0.963, 0.512)},
        "network": {"accuracy": 0.977, "sha256": "e" * 64, "examples": 900, "epochs": 12},
        "per_class": classes,
        "collapsed": [],
        "k": 5,
        "n_synthetic": 40,
        "n_real": 30,
    }


def image():
    """A report on images of two classes."""
    means = {"tstr": 0.968, "trtr": 0.982, "floor": 0.873, "trts": 0.981}
    svm = {name: {**estimate(mean - 0.02), "n": 5} for name, mean in means.items()}
    cnn = {name: {**estimate(mean), "n": 5} for name, mean in means.items()}
    cnn["tstr"] |= {"confusion": [[19.0, 1.0], [0.0, 20.0]], "recall": {"a": 0.95, NASTY: 1.0}}
    cnn["trtr"] |= {"recall": {"a": 0.95, NASTY: 1.0}}
    counts = {"synthetic": 1234, "trained_on": 600, "ceiling": 600, "test": 500}
    check = {"name": f"another {NASTY}", "level": "fair", "ours": 0.911, "real": 0.922}
    grid = {"names": ["a", NASTY], "png": _square(0)}
    return {
        "protocol_version": 5,
        "manifest": manifest("image", epochs=12),
        **verdicts(),
        "utility": {
            "cnn": {**cnn, "tstr_over_trtr": 0.986},
            "svm": {**svm, "tstr_over_trtr": 0.972},
            "loss": loss("accuracy"),
            "calibration": {"tstr": 0.034, "trtr": 0.012},
            "n": {**counts, "synthetic_per_class": [1234, 0], "missing_classes": [NASTY], "ceiling_is_all_real": True},
            "protocol": {"choices": "none on test data"},
        },
        "studies": studies(("logistic", "bayes"), steps=50),
        "robustness": {"level": "good", "checks": [check, {**check, "level": "good"}]},
        "fidelity": _image_fidelity(),
        "privacy": privacy(),
        "pictures": {
            "classes": ["a", NASTY],
            "synthetic": grid,
            "real": {**grid, "png": _square(1)},
            "neighbours": {**grid, "png": _square(2)},
            "closest": [{"synthetic": _square(3), "train": _square(4)}] * 5,
        },
    }


def _compared(shift):
    columns = {"age": 0.942 - shift, NASTY: 0.961 - shift}
    pair = {"columns": ["age", NASTY], "score": 0.87 - shift, "score_real_edges": 0.877 - shift}
    return {
        "shapes": {"score": 0.955 - shift, "columns": columns},
        "trends": {"score": 0.893 - shift, "score_real_edges": 0.936 - shift, "pairs": [pair]},
        "missing": {"columns": {"age": [0.0, 0.0], NASTY: [0.047, 0.042]}, "largest_difference": 0.005 + shift},
        "correlation": {
            "columns": ["age", NASTY],
            "real": [[1.0, 0.41], [0.41, 1.0]],
            "synthetic": [[1.0, 0.52], [0.52, None]],
            "difference": [[0.0, 0.11], [0.11, None]],
            "mean": 0.043 + shift,
            "max": 0.084 + shift,
        },
        "mutual_information": {"weighted": 0.012 + shift, "mean": 0.007},
        "c2st": two_sample(0.813 - shift, 0.61 + shift, None if shift else {NASTY: 0.071, "age": 0.003}),
        "neighbours": {
            **{"precision": 0.977 - shift, "recall": 0.987 - shift, "density": 0.991 - shift},
            **{"coverage": 0.962 - shift, "k": 5, "n": 900},
        },
    }


def _scores(shift):
    """Of a classifier, in each of four sets."""
    names = ("accuracy", "balanced_accuracy", "macro_f1", "roc_auc", "pr_auc")
    sets = {"tstr": 0.8, "trtr": 0.86, "floor": 0.51, "trts": 0.83}
    return {
        key: {name: estimate(mean + shift + place / 1000) for place, name in enumerate(names)}
        for key, mean in sets.items()
    }


def _rules():
    """A rule that half of the synthetic rows break, one that says nothing of them, and a near one."""
    kept = {"exact": True, "given": False, "columns": ["age", NASTY], "real": estimate(0.9991), "as_real": False}
    kept |= {"rows": {"train": 1000, "real": 250, "synthetic": 1234}, "synthetic": estimate(0.5313)}
    examples = [{"row": 16, "values": {"age": "", NASTY: NASTY}}]
    broken = {"broken": estimate(0.4687), "broken_real": estimate(0.0009), "difference": 0.4678}
    return {
        **broken,
        "difference_interval": [0.44, 0.49],
        **{"near": 0.987, "n_exact": 2, "n_near": 1, "reason": None, "left_out": {"key": "id"}},
        "each": {
            f"age == '{NASTY}' => 0 < age": {**kept, "examples": examples},
            "seen(age)": {**kept, "given": True, "synthetic": None, "as_real": None, "examples": []},
            "age <= 99": {**kept, "exact": False, "as_real": True, "synthetic": estimate(0.9973), "examples": []},
        },
        "n": {"train": 1000, "confirm": 251, "real": 250, "synthetic": 1234},
    }


def _table_fidelity():
    return {
        "synthetic": _compared(0.0),
        "ceiling": _compared(0.004),
        "floor": _compared(0.2),
        "each_column": {
            **{"score": 0.412, "real": 0.547},
            "columns": {NASTY: {"synthetic": 0.412, "real": 0.547}},
        },
        "map": {"real": [[0, 1], [1000, 0]], "synthetic": [[5, 5], [7, 8]], "names": {}},
        "n": {"real": 900, "synthetic": 900, "ceiling": 500, "floor": 900},
        "protocol": {"c2st": f"told of {NASTY}", "neighbours": "five"},
    }


def table():
    """A report on a table with a target of two classes."""
    judges = ("linear", "svm", "neighbours", "forest", "boosting", "perceptron")
    told = dict.fromkeys(("boosting", "judges", "ceiling", "floor", "choices"), f"told of {NASTY}")
    guess = {"boosting": _gain(0.62, 0.58), "nearest": _gain(0.031, 0.009), "without": _gain(0.6, 0.59)}
    tests = {
        **{name: {"statistic": 1.0, "p": p} for name, p in (("mann_whitney", 0.0414), ("kruskal_wallis", 0.0437))},
        "wilcoxon": {"statistic": 1.0, "p": 0.0212},
        **{"pearson": {"r": 0.582, "p": 0.0325}, "n": 250, "median_train": 0.117, "median_test": 0.125},
    }
    reference = {**tests, "pearson": None, "median_train": 0.119, "median_test": 0.121}
    attributes = {NASTY: {**guess, "tolerance": None}, "age": {**guess, "tolerance": 1.25}}
    found = privacy(attributes=attributes, tests={**tests, "reference": reference})
    found["findings"]["holm"] |= {f"attributes.{NASTY}.boosting": 0.0071, f"attributes.{NASTY}.nearest": 0.9}
    shares = {"synthetic": [0.25, 0.75], "real": [0.5, 0.5]}
    check = {"name": f"another {NASTY}", "level": "fair", "kept": 0.871}
    return {
        "protocol_version": 5,
        "manifest": manifest(
            "table",
            columns={"age": "integer", NASTY: "categorical"},
            target=NASTY,
            missing_columns=[],
            limits={"c2st": 5000, "judges": 1000, "attacked": 2000},
        ),
        **verdicts(),
        "utility": {
            "boosting": {**_scores(0.02), "kept": 0.888},
            "mean": {**_scores(0.03), "kept": 0.877},
            "judges": {name: _scores(0.04 + place / 100) for place, name in enumerate(judges)},
            "loss": loss("ROC AUC"),
            "calibration": {"tstr": 0.065, "trtr": 0.078},
            "task": "classification",
            "positive": NASTY,
            "n": {"synthetic": 900, "ceiling": 900, "test": 500, "missing_classes": []},
            "protocol": {**told, "seeds": 2},
        },
        "studies": studies(("linear", "forest"), measure="roc_auc"),
        "robustness": {"level": "good", "checks": [check, {**check, "kept": None}]},
        "fidelity": _table_fidelity(),
        "rules": _rules(),
        "privacy": found,
        "pictures": {
            "columns": [
                {"name": "age", "edges": [18.0, 40.0, 69.0], "ends": ["18", "69"], **shares},
                {"name": NASTY, "categories": [NASTY, "b"], **shares},
            ],
            "closest": {
                "columns": ["age", NASTY],
                "pairs": [{"synthetic": ["42", NASTY], "train": ["42", "b"]}] * 5,
            },
            "distances": {"edges": [0.0, 1.0, 2.0], "train": [3, 1], "test": [2, 2], "points": [[0.5, 0.25], [1, 2]]},
        },
    }
