"""The dry run of the switch: the same acts, each of which only tells what it would do. Nothing is written or probed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from medferry.cutover.acts import Act
from medferry.cutover.gates import Gates
from medferry.cutover.medplum_gate import PolicyState
from medferry.medplum.access_policy import lets_write
from medferry.source.gate.gate import UnitGate
from medferry.sync.preview import pending_keys
from medferry.sync.reverse_cycle import returning_types
from medferry.sync.wave import SyncedWave

Tell = Callable[[Act, str], None]


@dataclass(frozen=True)
class DryRun:
    """Tells of each act for some units; `freeze`, `patience`: seconds."""

    wave: SyncedWave
    gates: Gates
    units: Sequence[str]
    freeze: float
    patience: float
    tell: Tell

    def perform(self, act: Act) -> None:
        """Raises what a look at either system raises."""
        for line in _TOLD[act](self):
            self.tell(act, line)

    def close_medplum(self) -> list[str]:
        told = []
        for unit in self.units:
            found = self.gates.medplum.read(unit)
            for rule in self.gates.medplum.rules.of_unit(unit):
                entries = self.gates.medplum.entries(rule)
                number = sum(map(lets_write, entries))
                what = f"take writing out of {number} of {len(entries)} entries" if number else "leave it, it is closed"
                told.append(f"{unit}: AccessPolicy/{rule.policy}: {what}; the probe {rule.probe} must be refused")
            if found.state is PolicyState.OPEN:
                told.append(f"{unit}: its users can write in Medplum now")
        return told

    def wait_out(self) -> list[str]:
        return [f"wait until nothing new has come from Medplum for {self.gates.medplum.rules.longest_request:g} s"]

    def close_legacy(self) -> list[str]:
        self.gates.check()
        wait = f"wait {self.patience:g} s at most for those who write, open by itself after {self.freeze:g} s"
        return [
            f"{unit}: the gate is {gate.state} at epoch {gate.epoch}; close it, {wait}"
            for unit, gate in self.gates.legacy_of(self.units).items()
        ]

    def final_cut(self) -> list[str]:
        pending = pending_keys(self.wave)
        told = ", ".join(f"{entity} {number}" for entity, number in pending.items() if number) or "none now"
        return [f"bring what is pending to Medplum ({told})"]

    def reverse_start(self) -> list[str]:
        return [f"note from where changes of {', '.join(returning_types(self.wave.environment))} are read back"]

    def shut_legacy(self) -> list[str]:
        return [f"{unit}: shut for good, epoch {gate.epoch + 1}" for unit, gate in self._legacy()]

    def open_medplum(self) -> list[str]:
        return [f"{unit}: put back the entries that were closed; its probe must write" for unit in self.units]

    def reopen_legacy(self) -> list[str]:
        return [f"{unit}: open, epoch {gate.epoch + 1}" for unit, gate in self._legacy()]

    def _legacy(self) -> list[tuple[str, UnitGate]]:
        return list(self.gates.legacy_of(self.units).items())


def _always(text: str) -> Callable[[DryRun], list[str]]:
    return lambda _: [text]


_TOLD: Mapping[Act, Callable[[DryRun], list[str]]] = {
    Act.CLOSE_MEDPLUM: DryRun.close_medplum,
    Act.WAIT_OUT: DryRun.wait_out,
    Act.CLOSE_LEGACY: DryRun.close_legacy,
    Act.FENCE: _always("write a fence behind all that was committed"),
    Act.FINAL_CUT: DryRun.final_cut,
    Act.VERIFY: _always("verify the records that have changed since all of the wave was verified"),
    Act.REVERSE_START: DryRun.reverse_start,
    Act.SHUT_LEGACY: DryRun.shut_legacy,
    Act.OPEN_MEDPLUM: DryRun.open_medplum,
    Act.ROUTE: _always("publish the routing"),
    Act.REVERSE_ON: _always("read back what users write in Medplum"),
    Act.SAFETY: _always("compare allergies, medications and problems in both systems"),
    Act.PARITY: _always("ask both systems the same questions about a sample of patients"),
    Act.PROVE: _always("prove that all that was written in Medplum since the flip is in the legacy database"),
    Act.REOPEN_LEGACY: DryRun.reopen_legacy,
    Act.THAW: _always("open what is closed and not flipped: all is as before"),
}
