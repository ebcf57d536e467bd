"""Reading the catalog's files: each to a definition with its rule compiled, or to problems with their lines.

Belongs here: files, places, and what one file says against the contract and the declared purposes. Does not
belong here: what must hold between files (``catalog_checks.py``). Look next at ``catalog.py``.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from segmentation.documents import Document, Model, read_document
from segmentation.errors import CatalogProblem, CatalogProblems, did_you_mean
from segmentation.identity.purposes import PURPOSES_FILE, load_purposes
from segmentation.segments.compiled import CatalogGroup, CatalogSegment
from segmentation.segments.conditions import PURPOSES, Condition, Listed, leaves, segments_of
from segmentation.segments.definitions import Groups, ListEntry, Segment
from segmentation.segments.faults import RuleError
from segmentation.segments.kinds import Contract, Kind, kind_of
from segmentation.segments.lists import Listing, Side, inline_listing, read_list
from segmentation.segments.parser import parse_rule

SEGMENTS_FOLDER = "segments"
GROUPS_FILE = "groups.yml"
DESTINATIONS_FILE = "destinations.yml"


class CatalogReader:
    """Reads the files of one catalog folder and collects what is wrong with them."""

    def __init__(
        self,
        folder: Path,
        contract: Contract,
        accounts: Contract,
        published: Callable[[str, Side, str], list[Listing]] | None = None,
    ) -> None:
        """Read below a folder.

        Args:
            folder: The catalog folder.
            contract: Type by feature of customers.
            accounts: Type by feature of accounts.
            published: Returns the entries of a list file as they were published, by segment, side and file, where a
                definition is brought back and the file is gone.
        """
        self._folder = folder
        self._published = published
        self._contracts = {"customer": contract, "account": accounts}
        self.problems: list[CatalogProblem] = []
        self._purposes = self._load_purposes()

    def _shown(self, path: Path) -> str:
        return f"{self._folder.name}/{path.relative_to(self._folder).as_posix()}"

    def _load_purposes(self) -> dict[str, bool] | None:
        """Return purpose to whether it needs consent; ``None`` where nobody declared purposes."""
        if not (self._folder / PURPOSES_FILE).exists():
            return None
        try:
            declared = load_purposes(self._folder).by_name
        except CatalogProblems as error:
            file = self._shown(self._folder / PURPOSES_FILE)
            self.problems.extend(replace(problem, file=file) for problem in error.problems)
            return None
        return {name: purpose.basis == "consent" for name, purpose in declared.items()}

    def destinations(self) -> set[str] | None:
        """Return the keys of the destinations; ``None`` where the file is missing, it is not ours to judge."""
        path = self._folder / DESTINATIONS_FILE
        content = read_document(path).content if path.exists() else None
        declared = content.get("destinations") if isinstance(content, dict) else None
        return {str(key) for key in declared} if isinstance(declared, dict) else None

    def groups(self) -> dict[str, CatalogGroup]:
        """Read ``groups.yml``; a missing file means no groups."""
        path = self._folder / GROUPS_FILE
        if not path.exists():
            return {}
        file = self._shown(path)
        document = read_document(path, file)
        found = self._model(Groups, document)
        groups: dict[str, CatalogGroup] = {}
        for index, group in enumerate(found.groups if found else ()):
            line = document.place(("groups", index, "key")).line
            if group.key in groups:
                first = groups[group.key].line
                self.problems.append(
                    CatalogProblem(file, line, f"duplicate group {group.key}, first defined in line {first}")
                )
                continue
            groups[group.key] = CatalogGroup(group, file, line)
        return groups

    def segments(self) -> dict[str, CatalogSegment]:
        """Read every file of ``segments/``."""
        found: dict[str, CatalogSegment] = {}
        folder = self._folder / SEGMENTS_FOLDER
        for path in sorted([*folder.glob("*.yml"), *folder.glob("*.yaml")]):
            segment = self._segment(path)
            if segment is None:
                continue
            first = found.get(segment.key)
            if first:
                what = f"duplicate key {segment.key}, first defined in {first.file}:{first.line()}"
                self.problems.append(CatalogProblem(segment.file, segment.line(), what, repair="rename one of the two"))
                continue
            found[segment.key] = segment
        return found

    def _segment(self, path: Path) -> CatalogSegment | None:
        file = self._shown(path)
        document = read_document(path, file)
        definition = self._model(Segment, document)
        if definition is None:
            return None
        if definition.key != path.stem:
            self.problems.append(
                CatalogProblem(
                    file,
                    document.place(("key",)).line,
                    f"the key {definition.key} differs from the file's name",
                    expected=f"the file {definition.key}{path.suffix}",
                    repair="rename the file or the key",
                )
            )
        rule = self._condition(definition, document, file)
        of_accounts = definition.entity == "account"
        self._check_metrics(definition, document, file)
        return CatalogSegment(
            definition=definition,
            condition=None if of_accounts else rule,
            account_condition=rule if of_accounts else None,
            listings=self._listings(definition, file, lambda *place: document.place(place).line),
            required_purposes=self._required_purposes(definition, document, file),
            file=file,
            places={name: document.place((name,)).line for name in document.content},
        )

    def _model(self, model: type[Model], document: Document) -> Model | None:
        try:
            return document.parse(model)
        except CatalogProblems as error:
            self.problems.extend(error.problems)
            return None

    def _condition(self, definition: Segment, document: Document, file: str) -> Condition | None:
        if definition.rule is None:
            return None
        try:
            condition = parse_rule(definition.rule, self._contracts[definition.entity])
        except RuleError as error:
            for fault in error.faults:
                place = document.within(("rule",), fault.line, fault.column)
                self.problems.append(
                    CatalogProblem(
                        file,
                        place.line,
                        fault.what,
                        column=place.column,
                        expected=fault.expected,
                        repair=fault.repair,
                    )
                )
            return None
        self._check_asked_purposes(condition, document, file)
        if definition.entity == "account" and segments_of(condition):
            what = "a rule over accounts can't ask for in_segment, which is about customers"
            line = document.place(("rule",)).line
            self.problems.append(CatalogProblem(file, line, what, expected="features of accounts alone"))
        return condition

    def _check_asked_purposes(self, condition: Condition, document: Document, file: str) -> None:
        for leaf in leaves(condition):
            if self._purposes is None or not isinstance(leaf, Listed) or leaf.feature.name != PURPOSES:
                continue
            if self._purposes.get(leaf.value):
                continue
            what = f"unknown purpose {leaf.value}{did_you_mean(leaf.value, self._purposes)}"
            if leaf.value in self._purposes:
                what = f"the purpose {leaf.value} needs no consent, so a rule can't ask for it"
            self.problems.append(
                CatalogProblem(
                    file,
                    document.place(("rule",)).line,
                    what,
                    expected=f"a purpose of {PURPOSES_FILE} based on consent",
                )
            )

    def _check_metrics(self, definition: Segment, document: Document, file: str) -> None:
        contract = self._contracts["customer"]
        for index, metric in enumerate(definition.canary.metrics if definition.canary else ()):
            name = metric.feature
            if name not in contract:
                what = f"a metric of the canary names the unknown feature {name}{did_you_mean(name, contract)}"
            elif kind_of(contract[name]) not in {Kind.INTEGER, Kind.DOUBLE, Kind.BOOLEAN}:
                what = f"a metric of the canary has no mean: {name} is {kind_of(contract[name])}"
            else:
                continue
            line = document.place(("canary", "metrics", index, "feature")).line
            expected = "a feature that is a number, or true or false"
            self.problems.append(CatalogProblem(file, line, what, expected=expected))

    def bring_back(self, facts: dict[str, Any], file: str, line: int, purposes: Sequence[str]) -> CatalogSegment:
        """Return a definition as it was published, from its normal form; what is wrong with it is in ``problems``.

        Entries of list files are data: they are read as the files are now, or, where a file can't be read any more,
        as they were published. What purposes need consent is read as it is now, too. A rule that today's features do
        not allow is an error, or, where what was published is at hand, decides nothing: whom it had let in stays
        (``CatalogSegment.is_unreadable``).

        Args:
            facts: The normal form.
            file: The file it was written in.
            line: The line of its key.
            purposes: Purposes that members had to consent to; they still have to.
        """
        definition = Segment.model_validate(facts)
        condition, is_unreadable = None, False
        if definition.rule is not None:
            try:
                condition = parse_rule(definition.rule, self._contracts[definition.entity])
            except RuleError as error:
                # Whom accounts or a canary hold can't be told from membership alone: those are errors.
                is_unreadable = self._published is not None and (
                    definition.entity == "customer" and definition.canary is None
                )
                told = "; its members stay as they were published" if is_unreadable else ""
                self.problems += [
                    replace(problem, what=f"{problem.what}{told}", severity="warning" if is_unreadable else "error")
                    for problem in (fault.problem(file) for fault in error.faults)
                ]
        now = {name for name in definition.consent.purposes if self._purposes is None or self._purposes.get(name, True)}
        of_accounts = definition.entity == "account"
        return CatalogSegment(
            definition=definition,
            condition=None if of_accounts else condition,
            account_condition=condition if of_accounts else None,
            listings=self._listings(definition, file, lambda *_place: line, self._published),
            required_purposes=tuple(sorted({*purposes, *now})),
            file=file,
            places={"key": line},
            is_unreadable=is_unreadable,
        )

    def _listings(
        self,
        definition: Segment,
        file: str,
        line_of: Callable[..., int],
        published: Callable[[str, Side, str], list[Listing]] | None = None,
    ) -> tuple[Listing, ...]:
        found: list[Listing] = []
        sides: tuple[tuple[Side, Sequence[ListEntry]], ...] = (
            ("include", definition.include), ("exclude", definition.exclude),
        )  # fmt: skip
        for side, entries in sides:
            for index, entry in enumerate(entries):
                line = line_of(side, index)
                if entry.file is None:
                    found.append(inline_listing(definition.key, side, entry, f"{file}:{line}"))
                    continue
                path = self._folder / entry.file
                shown = f"{self._folder.name}/{entry.file}"
                rows, faults = read_list(path, shown, definition.key, side, entry.until)
                if faults and published:
                    rows = published(definition.key, side, shown)
                    what = f"the list file {shown} can't be read any more: {len(rows)} entries count as published last"
                    self.problems.append(CatalogProblem(file, line, what, severity="warning"))
                    faults = []
                found.extend(rows)
                for fault in faults:
                    problem = fault.problem(shown)
                    # A file that is not there has no line: the segment that names it has.
                    self.problems.append(replace(problem, file=file, line=line) if not path.exists() else problem)
        return tuple(found)

    def _required_purposes(self, definition: Segment, document: Document, file: str) -> tuple[str, ...]:
        purposes = dict.fromkeys(definition.consent.purposes)
        for index, name in enumerate(definition.consent.purposes):
            if self._purposes is not None and name not in self._purposes:
                line = document.place(("consent", "purposes", index)).line
                self.problems.append(
                    CatalogProblem(
                        file,
                        line,
                        f"unknown purpose {name}{did_you_mean(name, self._purposes)}",
                        expected=f"a purpose of {self._folder.name}/{PURPOSES_FILE}",
                    )
                )
        # Where nobody declared a lawful basis, every purpose needs consent.
        return tuple(sorted(name for name in purposes if self._purposes is None or self._purposes.get(name, True)))
