"""Programs that feed every parser of foreign bytes unexpected input.

For any input a parser must return a value or raise one of our own errors, within 100 ms
of CPU. Returned values are checked too, so that no forged value passes as genuine. If
atheris is installed (PyPI; CPython up to 3.13), it chooses inputs by the branches that
they reach; otherwise inputs are seeds changed at random. Both know the formats: seeds
and a dictionary are in `parsers`, and JSON is changed as JSON.

    python -m hardening.fuzz [PARSER ...] [--inputs 1000000] [--seed 20260101]

An input that breaks the contract is printed and written to ``hardening/fuzz/found``;
the next run tries the inputs in that folder first.
"""
