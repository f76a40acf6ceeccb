"""pytest's filters: a deprecation warning is an error where a module of ours causes it, and nowhere else."""

import warnings

import pytest

DEPRECATIONS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)


def warn(module: str, category: type[Warning]) -> None:
    """A warning that Python counts as caused by `module`."""
    exec("warnings.warn('old', category)", {"__name__": module, "warnings": warnings, "category": category})


@pytest.mark.parametrize("category", DEPRECATIONS)
def test_a_deprecation_in_a_module_of_ours_is_an_error(category):
    for module in ("synthjax", "synthjax.models.vae", "benchmarks.conv", "test_contract"):
        with pytest.raises(category, match="old"):
            warn(module, category)
    with pytest.raises(category, match="old"):
        warnings.warn("old", category, stacklevel=1)


@pytest.mark.parametrize("category", DEPRECATIONS)
@pytest.mark.filterwarnings("default:old:Warning:pandas")
def test_one_in_another_package_is_none(category):
    with warnings.catch_warnings(record=True) as seen:
        warn("pandas.core", category)
    assert [warning.category for warning in seen] == [category]
