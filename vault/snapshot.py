"""A payment as everybody outside may see it: the stored row, and on top of it what the cell told so far.

Pure. Folds the cell's facts (`vault/progress.py`) into one line per field; counts, brand and last 4 are all
there is.
"""

from dataclasses import dataclass, replace

from vault.door import (
    Attempt,
    Field,
    FieldProblem,
    FieldProgress,
    FieldState,
    Payment,
    PaymentState,
    Step,
    Why,
)
from vault.payment import ATTEMPTS_MAX, decline_of
from vault.progress import (
    Cleared,
    Complete,
    Confirmed,
    Fact,
    HelpAsked,
    Keyed,
    NoInput,
    Opened,
    Problem,
    Ready,
    TimeWarning,
)
from vault.store import AttemptRow, PaymentRow, StepRow

CARD_FIELDS = (Field.PAN, Field.EXPIRY, Field.CVV)

WHY_OF_FACT: dict[type, Why] = {
    Opened: Why.FIELD_OPENED,
    Keyed: Why.KEY,
    Cleared: Why.FIELD_CLEARED,
    Complete: Why.FIELD_COMPLETE,
    Problem: Why.FIELD_PROBLEM,
    NoInput: Why.NO_INPUT,
    HelpAsked: Why.HELP_ASKED,
    TimeWarning: Why.TIME_WARNING,
}
"""The cell's facts that are told on as they are; the others change the payment itself."""


@dataclass(frozen=True)
class Keying:
    """What is known about one capture's fields."""

    fields: tuple[FieldProgress, ...]
    brand: str | None = None
    last4: str | None = None

    def open_field(self) -> Field | None:
        """The field that takes keys now."""
        return next((each.field for each in self.fields if each.state is FieldState.OPEN), None)

    def opening(self, field: Field) -> "Keying":
        """The cell is being told to open `field`: empty, without its last problem, and alone."""
        return self._opened(field, None)

    def told(self, fact: Fact) -> "Keying":
        """What is known after one more fact of the cell."""
        match fact:
            case Opened(field):
                return self._opened(field, self._of(field).problem)
            case Keyed(field, digits):
                return self._with(FieldProgress(field, FieldState.OPEN, digits))
            case Cleared(field):
                return self._with(FieldProgress(field, FieldState.OPEN))
            case Complete(Field.PAN, digits, brand, last4):
                complete = FieldProgress(Field.PAN, FieldState.COMPLETE, digits)
                return Keying(_placed(self.fields, complete), brand, last4)
            case Complete(field, digits):
                return self._with(FieldProgress(field, FieldState.COMPLETE, digits))
            case Problem(field, problem):
                state = FieldState.WAITING if field is Field.CONFIRM else FieldState.OPEN
                return self._with(FieldProgress(field, state, 0, problem))
            case NoInput(field):
                return self._with(replace(self._of(field), problem=FieldProblem.NO_INPUT))
            case Ready(brand, last4):
                return replace(self, brand=brand, last4=last4)
            case Confirmed():
                return self._with(FieldProgress(Field.CONFIRM, FieldState.COMPLETE, 1))
        return self

    def _opened(self, field: Field, problem: FieldProblem | None) -> "Keying":
        others = tuple(
            FieldProgress(each.field, FieldState.WAITING) if each.state is FieldState.OPEN else each
            for each in self.fields
        )
        forgets_card = field is Field.PAN
        brand, last4 = (None, None) if forgets_card else (self.brand, self.last4)
        opened = FieldProgress(field, FieldState.OPEN, 0, problem)
        return Keying(_placed(others, opened), brand, last4)

    def _of(self, field: Field) -> FieldProgress:
        found = (each for each in self.fields if each.field is field)
        return next(found, FieldProgress(field, FieldState.WAITING))

    def _with(self, progress: FieldProgress) -> "Keying":
        return replace(self, fields=_placed(self.fields, progress))


def _placed(fields: tuple[FieldProgress, ...], progress: FieldProgress) -> tuple[FieldProgress, ...]:
    """`fields` with one line changed, or added at the end (CONFIRM)."""
    if all(each.field is not progress.field for each in fields):
        return (*fields, progress)
    return tuple(progress if each.field is progress.field else each for each in fields)


NOTHING_KEYED = Keying(tuple(FieldProgress(field, FieldState.WAITING) for field in CARD_FIELDS))


def snapshot(
    row: PaymentRow, keying: Keying | None = None, *, secure: bool = False, talking: bool = False
) -> Payment:
    """The payment of `row`; with `keying` while a cell lives for it."""
    shown = keying if keying is not None and row.state is PaymentState.CAPTURING else row
    return Payment(
        payment_id=row.payment_id,
        tenant=row.tenant,
        call_id=row.call_id,
        leg_id=row.leg_id,
        agent_id=row.agent_id,
        state=row.state,
        amount_minor=row.amount_minor,
        currency=row.currency,
        reference=row.reference,
        purpose=row.purpose,
        version=row.version,
        attempt=row.attempt,
        attempts_left=max(0, ATTEMPTS_MAX - row.attempt),
        capture_live=keying is not None,
        secure=secure,
        talking=talking,
        fields=keying.fields if keying is not None else (),
        brand=shown.brand,
        last4=shown.last4,
        decline=row.decline,
        receipt=row.receipt,
        created_at=row.created_at,
        updated_at=row.updated_at,
        sca_basis=row.sca_basis,
        settle_later=row.settle_later,
        settled_minor=row.settled_minor,
        refunded_minor=row.refunded_minor,
        hold_until=row.hold_until,
        step=row.step,
        step_unknown=row.step_unknown,
        link=row.link,
        link_until=row.link_until,
    )


def attempt_of(row: AttemptRow) -> Attempt:
    """One try as its history shows it: the reason as an agent may know it, never the provider's code."""
    declined = row.state is PaymentState.DECLINED
    reason = decline_of(row.raw_code, row.advice, row.attempt).reason if declined else None
    return Attempt(row.attempt, row.state, reason, row.sca_basis, row.started_at, row.ended_at)


def step_of(row: StepRow) -> Step:
    """One money step as its history shows it."""
    return Step(
        row.name,
        row.number,
        row.amount_minor,
        row.state,
        row.by,
        row.reason,
        row.started_at,
        row.ended_at,
    )
