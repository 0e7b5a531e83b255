"""How far the clocks of an app's servers may be wrong."""

#: A time in a record that is more than this many seconds in the future was written
#: under a wrong clock. A smaller value would mistake the times of a machine whose clock
#: is ahead for wrong ones, and refresh its tokens at each request.
WRONG_CLOCK_SECONDS = 300
#: How far the clocks of two servers of the app may differ, in seconds. Each second also
#: lengthens the time in which a login can be finished, so it is far smaller than
#: `WRONG_CLOCK_SECONDS`.
SERVER_CLOCK_SKEW = 60
