"""The experiments of three published studies, as functions of a `synthjax.launch.lab.Lab` and a Config.

Each module has a Config and TABLES: what `--table` knows -> function (lab, config) -> the tables it stands for.
"""
