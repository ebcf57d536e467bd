"""How steps run: all in one process by default, or each in its own.

One process is the default because the engine already uses every core and starting a process costs seconds.
Either way one step at a time writes the warehouse.
"""

import dagster as dg

from orchestration.resources import WAREHOUSE_OP_TAGS
from orchestration.settings import Settings


def build_executor(settings: Settings) -> dg.ExecutorDefinition:
    """Return the executor that the settings name."""
    if settings.executor == "in_process":
        return dg.in_process_executor
    limits = [{"key": key, "value": value, "limit": 1} for key, value in WAREHOUSE_OP_TAGS.items()]
    return dg.multiprocess_executor.configured({"max_concurrent": 4, "tag_concurrency_limits": limits})
