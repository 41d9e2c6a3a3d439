"""The ledger row of a batch, from what was planned and counted."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from wordtide.config import Stream
from wordtide.core.model import Batch, Counted, Founding, Status
from wordtide.table.fingerprint import fingerprint
from wordtide.table.record import LedgerRow
from wordtide.table.schema import STEPS
from wordtide.table.splits import record_of_founding, record_of_parked, records_of_proofs, records_of_quarantined

_REASONS = 3
"""How many reasons a row names; each split has its own."""


def batch_row(batch: Batch, counted: Counted | None, run_id: str, committed_at: datetime) -> LedgerRow:
    """Return the ledger row of a batch."""
    proofs = counted.proofs if counted else ()
    reasons = sorted({parked.reason for parked in batch.parked})
    more = f" (and {len(reasons) - _REASONS} more)" if len(reasons) > _REASONS else ""
    spent = counted.seconds if counted else {}
    return LedgerRow(
        batch=batch.number,
        attempt=batch.attempt,
        status=batch.status,
        reason="; ".join(reasons[:_REASONS]) + more or None,
        decision=batch.decision.verdict.value if batch.decision else None,
        who=batch.decision.who if batch.decision else None,
        why=(batch.decision.why or None) if batch.decision else None,
        replaces=batch.replaces,
        engine=counted.engine if counted else None,
        run_id=run_id,
        records=sum(proof.records for proof in proofs),
        lines=sum(proof.lines for proof in proofs),
        gaps=sum(proof.gaps for proof in proofs),
        bytes=sum(proof.bytes for proof in proofs),
        words=counted.words if counted else 0,
        distinct=counted.distinct if counted else 0,
        invalid=counted.invalid if counted else 0,
        clamped=sum(proof.clamped for proof in proofs),
        planned_at=batch.planned_at,
        committed_at=committed_at,
        seconds={step: spent[step] for step in STEPS if step in spent},
        identity=batch.identity,
        splits=(*records_of_proofs(proofs), *map(record_of_parked, batch.parked)),
        quarantined=tuple(records_of_quarantined(aside for proof in proofs for aside in proof.aside)),
    )


def founding_row(stream: Stream, founding: Founding, attempt: str, run_id: str, now: datetime) -> LedgerRow:
    """Return the ledger row of batch 0."""
    identity, decision = founding.identity, founding.decision
    batch = Batch(stream.name, 0, attempt, now, -1, (), (), status=Status.FOUNDED, decision=decision, identity=identity)
    return replace(
        batch_row(batch, None, run_id, now),
        fingerprint=fingerprint(stream, identity),
        splits=tuple(map(record_of_founding, founding.splits)),
    )
