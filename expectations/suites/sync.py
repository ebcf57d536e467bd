"""What must be true of stage `sync` before it is published."""

from expectations.truths import Suite

SUITE = Suite("sync", ())
