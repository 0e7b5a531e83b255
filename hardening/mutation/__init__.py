"""Programs that change the package one step at a time, to see whether a test notices.

A mutant is one module with one change in it: a comparison turned round, a number one
larger, a statement left out, a character taken from a regular expression. Each lives
in a process of its own, forked from one where pytest has collected the tests, and meets
those that come by the changed line, the quickest first, until one fails. A mutant that
no test notices has survived: it is the same program in other words, or a test is
missing.

    python -m hardening.mutation [MODULE ...] [--jobs 2] [--every 1]

The mutation testers one can install were not used: mutmut 3 leaves decorated functions
and module constants alone, which here are the regular expressions; cosmic-ray knows no
strings, arguments or statements, and writes its changes into the checkout.
"""
