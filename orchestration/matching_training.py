"""The job that trains a model of matching; no schedule starts it, and no run of the chain waits for it.

Belongs here: training as Dagster sees it. Does not belong here: learning (`segmentation/identity/matching`), or the
command that does the same (`commands/matching.py`).
"""

import dagster as dg

from orchestration.resources import WAREHOUSE_OP_TAGS, WAREHOUSE_POOL, StrataResource
from orchestration.settings import now
from segmentation.identity.catalog import load_identifier_rules
from segmentation.identity.matching.catalog import MATCHING_FILE, require_matching
from segmentation.identity.matching.workshop import train_version


@dg.op(pool=WAREHOUSE_POOL, tags=WAREHOUSE_OP_TAGS)
def train_matching_model(context: dg.OpExecutionContext, strata: StrataResource) -> None:
    """Learn from the records as of what is published, and write the next version of the model."""
    settings = strata.settings
    definition, rules = require_matching(settings.catalog), load_identifier_rules(settings.catalog)
    with strata.warehouse().write() as con:
        path, model = train_version(con, rules, definition, settings.matching_models_folder, at=now())
    context.log.info(f"model {model.version} is in {path}; runs use it once catalog/{MATCHING_FILE} names it")
    context.add_output_metadata({"version": model.version, "file": dg.MetadataValue.path(path), **model.summary})


@dg.job(description="Learns a model of matching from the published records; runs go on with the one the catalog names.")
def train_matching() -> None:
    """Train one version."""
    train_matching_model()
