"""Programs that change the package one step at a time, to see whether a test notices.

A mutant is one module with one change in it: a comparison turned round, a number one
larger, a statement left out, a character taken from a regular expression. Each lives
in a process of its own, forked from one where pytest has collected the tests, and meets
those that come by the changed line, the quickest first, until one fails. A mutant that
no test notices has survived: it is the same program in other words, or a test is
missing.

    python -m hardening.mutation [MODULE ...] [--jobs 2] [--every 1]

Two mutation testers were tried on the module of return addresses (then 78 mutants here,
41 of them in its constants and regular expressions), with the same 1,583 tests, on two
cores with a load of 3 to 7. This program takes 50 s for them and 30 s to begin.

- mutmut 3.8.1 makes 51 mutants and takes 64 s, with 15 lines of configuration. It
  changes nothing outside of functions, so none of the regular expressions that decide
  what an address is, and nothing in decorated functions; it leaves out no statement, no
  `raise` and no part of an `and` or `or`. It selects tests by function, not by line.
  It gives pytest the ids of tests, several times in one process, in which pytest 9.2
  escapes an id with a backslash once more each time: pytest then finds no such test,
  and the mutant counts as killed. With the ids of this suite all 51 did, among them one
  that changes nothing a test could see; with ids of letters 45 did. With
  ``process_isolation = "forkserver"`` all 51 were timeouts. Of four
  modules it makes 2,304 mutants, this program 1,599.
- cosmic-ray 8.7 makes 66 mutants, of operators and numbers only: no strings, arguments,
  statements or regular expressions. Each is a pytest of its own with all tests, one
  after the other: 34 took 240 s. It writes its changes into the checkout.

So neither replaces the 700 lines here. mutmut would, if it changed module constants.
"""
