"""Programs that compare the cost of the middleware with that of other packages.

One module for each group of figures. Ours, the bare app and the peers are asked in the
same process, in blocks of some milliseconds, in random order within a round; figures
are medians over the rounds, of the CPU time of the thread. "Added" is what a middleware
costs above the bare app. Each peer does the same work: the handler reads an access
token and scopes. Before anything is timed, the program checks that who claims to be
signed in is, and that a forged cookie is not.

    python -m benchmarks.speed [GROUP ...] [--rounds 11] [--write docs]

Microseconds belong to the machine, ratios less so: compare those.
"""
