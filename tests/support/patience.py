"""How long a test waits for something that must happen, on any machine.

No test asserts a duration: a machine that is busy with twenty other jobs is slow, not
wrong. A thing that must end counts as hanging only after this time.
"""

from __future__ import annotations

#: Seconds. A call that hangs takes for ever, or the 600 s of a stand-in's delay.
HANGS = 120
