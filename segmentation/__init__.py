"""The domain: what Strata knows about customers, segments, costs and sync.

Pure Python and SQL. It imports no orchestrator and does no I/O at import, so that it can be called
from a notebook, another scheduler or a test.
"""
