"""Programs that feed every parser of foreign bytes unexpected input.

For any input a parser must return a value or raise one of our own errors, within 100 ms
of CPU. Returned values are checked too, so that no forged value passes as genuine.
Where atheris is installed (PyPI; CPython up to 3.13) the inputs are led by the branches
they reach; where not, they are seeds changed at random. Both know the shapes: seeds and
a dictionary stand in `parsers`, and JSON is changed as JSON.

    python -m hardening.fuzz [PARSER ...] [--inputs 1000000] [--seed 20260101]

An input that breaks the contract is written to ``hardening/fuzz/found`` and printed;
what lies there is the first that the next run tries.
"""
