"""The experiments of published studies, as functions of a `synthjax.launch.lab.Lab` and a Config.

Each module named after a study has a Config and TABLES: what `--table` knows -> function (lab, config) -> the tables
it stands for. `s2_*` are parts of S2.
"""
