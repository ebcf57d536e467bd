"""What must be true of stage `features` before it is published."""

from expectations.truths import Suite

SUITE = Suite("features", ())
