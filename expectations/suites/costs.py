"""What must be true of stage `costs` before it is published."""

from expectations.truths import Suite

SUITE = Suite("costs", ())
