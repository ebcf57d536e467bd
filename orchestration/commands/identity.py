"""`strata identity …`: questions to stewards' data, and their decisions.

Belongs here: the group, and which module has each of its commands. Does not belong here: any command
(`identity_<topic>.py`).
"""

import typer

from orchestration.commands import (
    identity_evaluation,
    identity_plan,
    identity_questions,
    identity_steward,
)

group = typer.Typer(
    name="identity",
    help="Who is who: look at customers, decide about them, score what was resolved.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

identity_questions.register(group)
identity_steward.register(group)
identity_plan.register(group)
identity_evaluation.register(group)
