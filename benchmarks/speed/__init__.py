"""Programs that compare the cost of the middleware with that of other packages.

Each group of figures has a module. The middleware, the bare app and the peers are
called in the same process, in blocks of a few milliseconds, in random order within a
round; figures are medians over the rounds, of the CPU time of the thread. "Added" is a
middleware's cost above the bare app. Each peer does the same work: the handler reads an
access token and scopes. Before measuring, the program checks that signed-in requests
are authenticated, and that a forged cookie is not.

    python -m benchmarks.speed [GROUP ...] [--rounds 11] [--write docs]

Microseconds depend on the machine, and ratios much less: compare ratios.
"""
