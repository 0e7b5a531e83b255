"""How long a test waits for something that must happen, on any machine.

No test asserts a duration: a machine that is busy with twenty other jobs is slow, not
wrong. What must end is given this long before it counts as hanging.
"""

from __future__ import annotations

#: Seconds. What hangs does so for ever or for the 600 seconds of a stand-in's delay.
HANGS = 120
