"""Programs that feed every parser of foreign bytes unexpected input.

The contract of each parser: a value or one of our own errors, whatever comes in, within
100 ms of CPU; and what it gives is judged, so that nothing which is not ours passes for
ours. Where atheris is installed (PyPI; CPython up to 3.13) the inputs are led by the
branches they reach; where not, they are seeds changed at random. Both know the shapes:
seeds and a dictionary stand in `parsers`, and JSON is changed as JSON.

    python -m hardening.fuzz [PARSER ...] [--inputs 1000000] [--seed 20260101]

An input that breaks the contract is written to ``hardening/fuzz/found`` and printed;
what lies there is the first that the next run tries.
"""
