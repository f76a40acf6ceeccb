"""Experiments, one short file each: `--config=configs/mnist/vae.py`. Installed as `synthjax.configs`."""
