"""What must be true of stage `segments` before it is published."""

from expectations.truths import Suite

SUITE = Suite("segments", ())
