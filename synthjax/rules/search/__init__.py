"""Candidates for rules, each kind in a module; `synthjax.rules.finding` confirms them."""
