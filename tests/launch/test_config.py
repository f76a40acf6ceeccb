"""Experiments: overrides are typed, mistakes are named, records read back, and every file in configs/ can be built."""

import dataclasses
import json
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from synthjax.errors import InputError
from synthjax.launch import config, runs
from synthjax.launch.config import Experiment
from synthjax.model import DataSpec
from synthjax.models import ddpm, vae

EXPERIMENT = Experiment("ddpm", ddpm.Config())
CONFIGS = sorted(path for path in Path(__file__).parents[2].glob("configs/*/*.py") if path.parent.name != "studies")


def images(shape, levels=256) -> DataSpec:
    """Of a data set of such images, in ten classes."""
    x = np.random.default_rng(0).integers(0, levels, (20, *shape))
    return DataSpec("image", shape, levels, tuple("0123456789"), (0.1,) * 10).measured(x)


SPECS = {
    "digits": images((8, 8, 1), 17),
    "mnist": images((28, 28, 1)),
    "fashion_mnist": images((28, 28, 1)),
    "cifar10": images((32, 32, 3)),
    "breast_cancer": DataSpec.from_arrays(np.zeros((2, 30)), np.arange(2)),
    "creditcard": DataSpec.from_arrays(np.zeros((2, 30)), np.arange(2)),
}


@dataclass(frozen=True)
class Everything:
    """One field of each kind that a Config may have."""

    whole: int = 1
    real: float = 1.0
    text: str = "a"
    switch: bool = True
    choice: Literal["one", "two"] = "one"
    size: Literal[1, 2] = 1
    maybe: float | None = None
    maybe_words: tuple[str, ...] | None = ("a",)
    numbers: tuple[int, ...] = (1, 2)
    reals: tuple[float, ...] = ()
    pair: tuple[float, float] = (0.0, 1.0)


# --- overrides ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("whole", "-3", -3),
        ("real", "1e-3", 1e-3),
        ("real", "2", 2.0),
        ("text", "b,c", "b,c"),
        ("switch", "false", False),
        ("switch", "True", True),
        ("switch", "0", False),
        ("choice", "two", "two"),
        ("size", "2", 2),
        ("maybe", "0.5", 0.5),
        ("maybe", "None", None),
        ("maybe", "none", None),
        ("maybe_words", "b,c", ("b", "c")),
        ("maybe_words", "none", None),
        ("numbers", "3", (3,)),
        ("numbers", "3,4,5", (3, 4, 5)),
        ("numbers", "(3, 4)", (3, 4)),
        ("numbers", "(3,)", (3,)),
        ("numbers", "[3, 4]", (3, 4)),
        ("numbers", "()", ()),
        ("numbers", "", ()),
        ("reals", "1,2.5", (1.0, 2.5)),
        ("pair", "0.5,2", (0.5, 2.0)),
    ],
)
def test_text_becomes_a_value_of_the_field_s_type(name, text, value):
    found = getattr(config.override(Everything(), name, text, "--f"), name)
    assert found == value and type(found) is type(value)
    if isinstance(value, tuple):
        assert [type(item) for item in found] == [type(item) for item in value]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("whole", "1.5", "--f=1.5: must be of type int"),
        ("whole", "many", "--f=many: must be of type int"),
        ("whole", "", "--f=: must be of type int"),
        ("real", "fast", "--f=fast: must be of type float"),
        ("real", "nan", "--f=nan: must be a finite number"),
        ("real", "inf", "--f=inf: must be a finite number"),
        ("reals", "1,nan", "--f=nan: must be a finite number"),
        ("switch", "yes", "--f=yes: must be true or false"),
        ("choice", "tow", "--f=tow: must be one of one, two; did you mean 'two'?"),
        ("size", "3", "--f=3: must be one of 1, 2"),
        ("maybe", "fast", "--f=fast: must be of type float"),
        ("numbers", "1,b", "--f=b: must be of type int"),
        ("numbers", "1,,2", "--f=: must be of type int"),
        ("pair", "0.5", "--f=0.5: must be 2 values, with a comma between them"),
        ("wohle", "1", "has no field 'wohle'; did you mean 'whole'?"),
        ("zzz", "1", "has no field 'zzz'"),
        ("whole.part", "1", "--f: whole has no fields of its own"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(name, text, message):
    with pytest.raises(InputError) as caught:
        config.override(Everything(), name, text, "--f")
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert ("did you mean" in message) == ("did you mean" in str(caught.value))


def test_the_classes_of_an_experiment_are_set_by_text():
    changed = config.override(EXPERIMENT, "class_weights", "1,1,0.5", "--config.class_weights")
    changed = config.override(changed, "rare_class", "0", "--config.rare_class")
    changed = config.override(changed, "rare_factor", "100", "--config.rare_factor")
    assert (changed.class_weights, changed.rare_class, changed.rare_factor) == ((1.0, 1.0, 0.5), "0", 100.0)
    with pytest.raises(InputError, match="--config.class_weights=one: must be of type float"):
        config.override(EXPERIMENT, "class_weights", "1,one", "--config.class_weights")


def test_fields_of_the_model_are_reached_through_it():
    changed = config.override(EXPERIMENT, "model.width", "48", "--config.model.width")
    assert changed.model == dataclasses.replace(EXPERIMENT.model, width=48)
    assert changed == dataclasses.replace(EXPERIMENT, model=changed.model)
    assert EXPERIMENT.model.width == 32
    with pytest.raises(InputError, match="models.ddpm.Config has no field 'widht'; did you mean 'width'"):
        config.override(EXPERIMENT, "model.widht", "48", "--config.model.widht")
    with pytest.raises(InputError, match="launch.config.Experiment has no field 'modle'; did you mean 'model'"):
        config.override(EXPERIMENT, "modle.width", "48", "--config.modle.width")
    with pytest.raises(InputError, match="model is not one value; set model.FIELD"):
        config.override(EXPERIMENT, "model", "vae", "--config.model")


@pytest.mark.parametrize("name", sorted(config.presets()))
def test_every_field_of_every_preset_can_be_set(name):
    """From the text that its own value prints as."""
    _, preset = config.presets()[name]
    for owner in (preset, Experiment(name, preset)):
        for field in dataclasses.fields(owner):
            value = getattr(owner, field.name)
            if not dataclasses.is_dataclass(value):
                assert getattr(config.override(owner, field.name, str(value), "--f"), field.name) == value


# --- where an experiment comes from ------------------------------------------------------------------------------


def test_presets_are_found_in_the_files_of_models():
    found = config.presets()
    assert found["ddpm"] == ("ddpm", ddpm.Config()) and found["vae"] == ("vae", vae.Config())
    assert config.family("vae") is vae


def test_an_unknown_model_is_answered_with_the_nearest():
    with pytest.raises(InputError, match="--model=dppm: unknown; did you mean 'ddpm'"):
        config.family("dppm")
    with pytest.raises(InputError, match=r"--model=zzz: unknown; known: .*ddpm.*vae"):
        config.experiment(None, "zzz", None)


def test_the_default_is_the_tuned_ddpm_on_digits():
    chosen = config.experiment(None, None, None)
    assert (chosen.name, chosen.dataset) == ("ddpm", "digits")
    assert chosen == config.experiment("configs/digits/ddpm.py", None, None)
    assert chosen == config.experiment("digits/ddpm.py", None, None)
    assert chosen.model != ddpm.Config()


def test_without_a_tuned_file_the_preset_is_used():
    assert config.experiment(None, "ddpm", "some/folder/data.npz") == Experiment(
        "ddpm", ddpm.Config(), "some/folder/data.npz"
    )


def test_flags_and_file_go_together_or_are_refused(tmp_path):
    assert config.experiment("configs/digits/ddpm.py", "ddpm", "mnist").dataset == "mnist"
    with pytest.raises(InputError, match="--model=vae and --config=configs/digits/ddpm.py, which is for ddpm"):
        config.experiment("configs/digits/ddpm.py", "vae", None)
    with pytest.raises(InputError, match="--config=nowhere.py: no such file"):
        config.experiment("nowhere.py", None, None)
    (tmp_path / "mine.py").write_text("CONFIG = {'steps': 3}")
    with pytest.raises(InputError, match=r"mine.py: must set CONFIG = Experiment\(...\)"):
        config.experiment(str(tmp_path / "mine.py"), None, None)


def test_a_file_of_one_s_own(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from synthjax.launch.config import Experiment\nfrom synthjax.models import vae\n"
        "CONFIG = Experiment('vae', vae.Config(latents=3), seed=5)\n"
    )
    assert config.experiment(str(path), None, None) == Experiment("vae", vae.Config(latents=3), seed=5)


def test_there_are_configs():
    assert {path.parent.name for path in CONFIGS} >= {"digits", "mnist"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_config_loads_and_builds_for_its_data(path):
    chosen = config.experiment(str(path), None, None)
    assert chosen.name in config.presets() and chosen.dataset == path.parent.name
    assert path.stem == chosen.name or path.stem.startswith(f"{chosen.name}_")
    spec = SPECS[chosen.dataset]
    model = runs.build(chosen, spec)
    runs.abstract_state(chosen, model)
    assert config.from_dict(config.to_dict(chosen)) == chosen


# --- records -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(config.presets()))
def test_an_experiment_survives_json(name):
    _, preset = config.presets()[name]
    original = Experiment(name, preset, "mnist", data_dir="/data", seeds=3, class_weights=(1.0, 0.5), rare_class="0")
    read = config.from_dict(json.loads(json.dumps(config.to_dict(original))))
    assert read == original and type(read.model) is type(original.model)
    assert isinstance(read.class_weights, tuple)
    for field in dataclasses.fields(preset):
        kind = typing.get_type_hints(type(preset))[field.name]
        if typing.get_origin(kind) is tuple:
            assert isinstance(getattr(read.model, field.name), tuple)


def test_a_record_of_another_version_is_refused():
    values = config.to_dict(EXPERIMENT)
    with pytest.raises(InputError, match="config.json: is no experiment of this version"):
        config.from_dict({**values, "model": {**values["model"], "colour": 1}})
    with pytest.raises(InputError, match="config.json: is no experiment of this version"):
        config.from_dict({**values, "colour": 1})
    with pytest.raises(InputError, match="unknown"):
        config.from_dict({**values, "name": "nothing"})


def test_a_record_from_before_a_field_was_there_has_its_default():
    values = config.to_dict(EXPERIMENT)
    for name in ("class_weights", "rare_class", "rare_factor"):
        del values[name]
    assert config.from_dict(values) == EXPERIMENT


def test_differences_are_named_by_field():
    old = config.to_dict(EXPERIMENT)
    model = dataclasses.replace(EXPERIMENT.model, width=48, blocks=(1, 1))
    new = config.to_dict(dataclasses.replace(EXPERIMENT, model=model, seed=4))
    assert config.differences(old, new) == ["model.blocks: (1, 2) -> (1, 1)", "model.width: 32 -> 48", "seed: 0 -> 4"]
    assert config.differences(old, json.loads(json.dumps(old))) == []


def test_housekeeping_may_change():
    other = dataclasses.replace(EXPERIMENT, data_dir="/elsewhere", log_every=1, checkpoint_every=2, keep=9)
    assert config.differences(config.to_dict(EXPERIMENT), config.to_dict(other)) == []
    assert set(config.HOUSEKEEPING) < {field.name for field in dataclasses.fields(Experiment)}
