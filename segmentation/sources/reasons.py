"""Why rows go to quarantine, as codes: what programs count and filter by, where people read words.

Belongs here: the codes, and how several causes of one row are joined. Does not belong here: when a cause holds and how
it is worded (`projection.py`, `rows.py`). A code is its kind, with the column or the mapping's own reason after a
colon where the kind has one: ``wrong_type:ordered_at``. It never holds a value of a row, so it may stand where
personal data may not. Codes are kept for good: a kind is added, never renamed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from segmentation.warehouse import literal

#: A required value is missing; with the column.
MISSING = "missing_value"
#: A value is not of its column's type; with the column.
WRONG_TYPE = "wrong_type"
#: An expression of the mapping failed on the row; with the column.
NOT_COMPUTED = "not_computed"
#: The mapping rejects the row; with the mapping's reason.
REJECTED = "rejected"
#: A reject rule of the mapping failed on the row; with the mapping's reason.
UNDECIDED = "reject_not_computed"
#: The line is no JSON object.
NO_OBJECT = "not_an_object"
#: The engine could not take the line for a row, in a way that has no code of its own.
UNREADABLE = "unreadable_row"
#: Rows that were refused before reasons had codes.
UNKNOWN = "unknown"

#: What the engine says of a line that is no row: our code, and our words.
MALFORMED: dict[str, tuple[str, str]] = {
    "MISSING COLUMNS": ("too_few_columns", "the row has too few columns"),
    "TOO MANY COLUMNS": ("too_many_columns", "the row has too many columns"),
    "UNQUOTED VALUE": ("broken_quote", "the row has a broken quote"),
    "INVALID ENCODING": ("wrong_encoding", "the row holds bytes that are not of the file's encoding"),
    "LINE SIZE OVER MAXIMUM": ("row_too_long", "the row is longer than {longest_row} bytes"),
}

#: All kinds of codes.
KINDS: tuple[str, ...] = (
    MISSING,
    WRONG_TYPE,
    NOT_COMPUTED,
    REJECTED,
    UNDECIDED,
    NO_OBJECT,
    *(code for code, _ in MALFORMED.values()),
    UNREADABLE,
    UNKNOWN,
)

#: Between the causes of one row, in words as in codes.
BETWEEN = "; "


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing that can be wrong with a row.

    Attributes:
        condition: SQL: it is so.
        code: Its code.
        words: SQL for its wording, which may show a value.
    """

    condition: str
    code: str
    words: str


def code_of(kind: str, subject: str) -> str:
    """Return a code with its subject; semicolons separate codes, so the subject loses its own."""
    return f"{kind}:{subject.replace(';', ',')}"


def words_sql(causes: Sequence[Sequence[Cause]]) -> str:
    """Return SQL for the words of a row's causes: of each group the first that holds."""
    return _joined_sql([[(cause.condition, cause.words) for cause in group] for group in causes])


def codes_sql(causes: Sequence[Sequence[Cause]]) -> str:
    """Return SQL for the codes of a row's causes: of each group the first that holds."""
    return _joined_sql([[(cause.condition, literal(cause.code)) for cause in group] for group in causes])


def _joined_sql(groups: Sequence[Sequence[tuple[str, str]]]) -> str:
    cases = (" ".join(f"when {condition} then {text}" for condition, text in group) for group in groups)
    return f"concat_ws({literal(BETWEEN)}, {', '.join(f'case {case} end' for case in cases)})"


def has_code_sql(column: str, wanted: str) -> str:
    """Return SQL: one of the codes in ``column`` is ``wanted``, or of that kind."""
    return (
        f"len(list_filter(string_split({column}, {literal(BETWEEN)}), lambda code: "
        f"code = {literal(wanted)} or starts_with(code, {literal(wanted + ':')}))) > 0"
    )
