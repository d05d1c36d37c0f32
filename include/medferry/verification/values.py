"""Values: each declared check, on each row of the sample, between the legacy database and the resource in Medplum."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from medferry.definition.checks import Check, EntityChecks, ManyCheck
from medferry.errors import MedferryError
from medferry.fhir.selection import selection
from medferry.manifest.crosswalk import find_targets
from medferry.medplum.client import MedplumClient
from medferry.verification.case import Case, Unreadable, referred_key
from medferry.verification.comparators import compare
from medferry.verification.content import binary_id
from medferry.verification.coverage import DECLARED
from medferry.verification.declared import constant_faults, list_fault
from medferry.verification.legacy import LegacyReader, condition
from medferry.verification.no_row import NoRow
from medferry.verification.ownership import SlotOwnership
from medferry.verification.pages import WrittenResource
from medferry.verification.recorder import CheckRecorder
from medferry.verification.scope import VerificationScope

Item = tuple[WrittenResource, dict[str, Any]]
"""A resource as the crosswalk knows it, and as Medplum has it."""

Places = dict[tuple[str, str, str], str]
"""(entity, slot, key) → "Type/id" by the crosswalk."""


def name_of(check: Check, slot: str) -> str:
    """The name of a check's result: ``value: <slot>/<check>``."""
    return f"{check.title}: {slot}/{check.name}"


def _constants(slot: str) -> str:
    return f"value: {slot}/constants"


def _found(case: Case) -> object:
    return case.found


class NoBytes(MedferryError):
    """An attachment's content is not in Medplum."""


@dataclass
class Values:
    """The value checks of one entity. `rows` counts how many rows of each slot were in the sample.

    `first` has a row of each slot, for a sample that came out empty: of what there is, one is compared.
    """

    scope: VerificationScope
    client: MedplumClient
    entity: str
    checks: EntityChecks
    legacy: LegacyReader
    rows: Counter[str] = field(default_factory=Counter)
    first: dict[str, tuple[Item, dict[str, Any]]] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    """Binary → SHA-256 of the bytes that a check of the resources at hand has read."""
    no_row: dict[str, NoRow] = field(default_factory=dict)
    """Name of a check → what stands in its place in rows for which it does not hold."""

    def examine(
        self, slot: str, items: Iterable[Item], legacy: Mapping[str, dict[str, Any]], recorder: CheckRecorder
    ) -> None:
        """Judge a page's resources of one slot; `legacy` are the rows' values by SQL expression."""
        self.digests.clear()
        known = [item for item in items if item[0].key in legacy]
        if known and slot not in self.first:
            self.first[slot] = known[0], legacy[known[0][0].key]
        chosen = [item for item in known if self.scope.choice.takes(self.entity, item[0].key)]
        self.rows[slot] += len(chosen)
        self._compare(slot, chosen, legacy, recorder)

    def _compare(
        self, slot: str, chosen: Sequence[Item], legacy: Mapping[str, dict[str, Any]], recorder: CheckRecorder
    ) -> None:
        places = self._places(self.checks.checks(slot), [legacy[written.key] for written, _ in chosen])
        for check in self.checks.checks(slot):
            name = name_of(check, slot)
            for written, resource in chosen:
                if check.where and not legacy[written.key][condition(check.where)]:
                    self._pass_over(check, slot, written, resource, legacy[written.key], recorder)
                    continue
                case = self._case(check, legacy[written.key], resource, places)
                found: Callable[[], object] = (lambda: True) if check.compare == "absent" else partial(_found, case)
                self._judge(name, written, check.path, partial(compare, case), found, recorder)
        self._compare_declared(slot, chosen, recorder)

    def _pass_over(
        self,
        check: Check,
        slot: str,
        written: WrittenResource,
        resource: dict[str, Any],
        row: Mapping[str, Any],
        recorder: CheckRecorder,
    ) -> None:
        name = name_of(check, slot)
        if recorder.has_compared(name) or self.entity in self.scope.keys:
            return  # of single keys it need not hold for any
        if name not in self.no_row:
            base = self.scope.migration.plan.base
            self.no_row[name] = NoRow(check, SlotOwnership(self.checks, slot, written.system, base))
        self.no_row[name].note(written.key, resource, row)

    def _compare_declared(self, slot: str, chosen: Sequence[Item], recorder: CheckRecorder) -> None:
        """Constants and whole lists."""
        plan = self.scope.migration.plan
        if constants := self.checks.constants_of(slot):
            for written, resource in chosen:
                for path, kind in constant_faults(resource, constants, plan.base).items():
                    recorder.judge(_constants(slot), written.key, path, kind, written.place)
        for many in self.checks.many(slot):
            try:
                lists = self.legacy.lists(many, [written.key for written, _ in chosen])
            except MedferryError as error:
                keys = [written.key for written, _ in chosen]
                recorder.unchecked(name_of(many.single, slot), len(keys), error.problem, *keys)
                continue
            single, items = many.single, (item for items in lists.values() for item in items)
            places = self._places([single], [{many.sql: item} for item in items])
            for written, resource in chosen:
                held = [place[2] for place in selection(many.path)(resource, plan.base).places]
                fault = partial(self._list_fault, many, resource, places, lists.get(written.key, []), held)
                self._judge(name_of(single, slot), written, many.path, fault, partial(bool, held), recorder)

    def _list_fault(
        self, many: ManyCheck, resource: dict[str, Any], places: Places, expected: Sequence[Any], found: Sequence[Any]
    ) -> str | None:
        def same(legacy: Any, held: Any) -> bool:
            return compare(self._case(many.single, {many.sql: legacy}, resource, places, (held,))) is None

        return list_fault(many, expected, found, same)

    def _case(
        self,
        check: Check,
        columns: Mapping[str, Any],
        resource: dict[str, Any],
        places: Places,
        item: tuple[Any] | None = None,
    ) -> Case:
        return Case(
            check=check,
            columns=columns,
            resource=resource,
            source=self.scope.migration.plan.source,
            tables=self.scope.migration.checks.tables,
            base=self.scope.migration.plan.base,
            place_of=lambda entity, slot, key: places.get((entity, slot, key)),
            bytes_of=self._bytes_of,
            item=item,
        )

    def finish(self, recorder: CheckRecorder) -> None:
        """Have a result for every check, with the error bound of a sample."""
        for slot in self.checks.resources:
            if slot in self.first and not self.rows[slot]:
                item, row = self.first[slot]
                self._compare(slot, [item], {item[0].key: row}, recorder)
            names = [name_of(check, slot) for check in self.checks.checks(slot)]
            names += [name_of(many.single, slot) for many in self.checks.many(slot)]
            names += [_constants(slot)] * bool(self.checks.constants_of(slot))
            for name in names:
                recorder.expect(name, self.scope.choice.bound(self.rows[slot]))
        self._tell_bare(recorder)
        for name, passed_over in self.no_row.items():
            if not recorder.has_compared(name):
                passed_over.tell(name, recorder)

    def _tell_bare(self, recorder: CheckRecorder) -> None:
        """A slot is as good as without checks where all of its checks met nothing on either side, in every resource."""
        accepted = self.scope.migration.plan.acceptance.hashes_only.get(self.entity)
        for slot in self.first:
            singles = [*self.checks.checks(slot), *(many.single for many in self.checks.many(slot))]
            names = [name_of(check, slot) for check in singles if check.compare != "absent"]
            if not singles or any(recorder.has_value(name) for name in names):
                continue
            number = max(self.rows[slot], 1)
            if accepted is None:
                recorder.hashes_only(DECLARED, number, f"The checks of {slot} met no value on either side.")
            else:
                recorder.equal(DECLARED, number)
                recorder.expect(DECLARED, f"By hashes alone, as the plan accepts: {accepted}")

    def _judge(
        self,
        name: str,
        written: WrittenResource,
        path: str,
        fault: Callable[[], str | None],
        found: Callable[[], object],
        recorder: CheckRecorder,
    ) -> None:
        """`found` says what the resource holds: where that is nothing, and right, there was nothing to compare."""
        try:
            kind = fault()
            if kind is None and not recorder.has_value(name) and not found():
                recorder.empty(name)
                return
        except NoBytes:
            kind = "no content"
        except Unreadable as error:
            recorder.unchecked(name, 1, f"The legacy value: {error}.", written.key)
            return
        except MedferryError as error:
            recorder.unchecked(name, 1, error.problem, written.key)
            return
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            recorder.unchecked(name, 1, f"The comparison failed ({type(error).__name__}).", written.key)
            return
        recorder.judge(name, written.key, path, kind, written.place)

    def _places(self, checks: Sequence[Check], rows: Iterable[Mapping[str, Any]]) -> Places:
        """(entity, slot, key) → "Type/id" of everything that the rows' reference checks expect."""
        wanted: dict[tuple[str, str], set[str]] = defaultdict(set)
        referring = [check for check in checks if check.compare == "reference"]
        for row in rows:
            for check in referring:
                key = referred_key(check, row)
                if key is not None:
                    wanted[check.entity or "", check.slot].add(key)
        found: Places = {}
        with self.scope.environment.manifest.begin() as connection:
            for (entity, of_slot), keys in wanted.items():
                system = self.scope.migration.naming.system(entity, of_slot)
                ours = find_targets(connection, self.scope.migration.name, [(system, key) for key in keys])
                for (_, key), known in ours.items():
                    found[entity, of_slot, key] = f"{known.resource_type}/{known.medplum_id}"
        return found

    def _bytes_of(self, url: str) -> bytes:
        medplum_id = binary_id(url)
        content = None if medplum_id is None else self.client.binary(medplum_id)
        if medplum_id is None or content is None:
            raise NoBytes("An attachment has no content in Medplum.")
        self.digests[medplum_id] = hashlib.sha256(content).hexdigest()
        return content
