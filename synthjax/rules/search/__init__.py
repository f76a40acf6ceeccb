"""Search for candidate rules, one module for each kind; `synthjax.rules.finding` tests the candidates."""
