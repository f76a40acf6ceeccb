"""The experiments of published studies, installed as synthjax.studies, which `synthjax.launch.reproduce` alone imports.

Each module named after a study has a Config and TABLES: a name that `--table` takes -> function (workspace, config) ->
list of tables. `workspace` is the folder that a study works in; `s0_*`, `s1_*` and `s2_*` are parts of those studies.
"""
