"""What must be true of stage `sources` before it is published."""

from expectations.truths import Suite

SUITE = Suite("sources", ())
