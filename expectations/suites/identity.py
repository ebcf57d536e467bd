"""What must be true of stage `identity` before it is published."""

from expectations.truths import Suite

SUITE = Suite("identity", ())
