"""What the state keeps, as frozen records: every document that is written there and read again, and the one reader.

A record is strict when it is made (no unknown field, no other type) and is read through `read`, which tolerates fields
that a newer version added and documents of before records had a version, and never a wrong shape. Importing this
package imports pydantic: modules that take part in a quote import it inside a function.
"""

from cloudtrain.records.claims import ExitRecord, Figures, Heartbeat, KeptPiece, KeptRecord, PartsRecord
from cloudtrain.records.door import read, read_claim
from cloudtrain.records.form import Form, Record
from cloudtrain.records.lines import EventRecord, JournalRecord, MeasurementRecord, ProbeRecord
from cloudtrain.records.nights import (
    BillingRecord,
    BillRecord,
    BudgetsRecord,
    NightRecord,
    NoticesRecord,
    PendingNotice,
    ReservationRecord,
    ScheduleRecord,
    TickRecord,
    ToldRecord,
)
from cloudtrain.records.row import Bounds, CostPartRecord, PriceRecord, RecipeRecord, RowRecord, UsdBounds
from cloudtrain.records.run import (
    AttemptRecord,
    BundleRecord,
    CandidatesRecord,
    GoneRecord,
    IntentRecord,
    MachineRecord,
    QuoteRecord,
)
from cloudtrain.records.shared import FullPlacesRecord, LeaseRecord, StateRecord
from cloudtrain.records.ticket import TicketFile, TicketFiles, TicketKept, TicketPiece, TicketRecord

__all__ = [
    "AttemptRecord",
    "BillRecord",
    "BillingRecord",
    "Bounds",
    "BudgetsRecord",
    "BundleRecord",
    "CandidatesRecord",
    "CostPartRecord",
    "EventRecord",
    "ExitRecord",
    "Figures",
    "Form",
    "FullPlacesRecord",
    "GoneRecord",
    "Heartbeat",
    "IntentRecord",
    "JournalRecord",
    "KeptPiece",
    "KeptRecord",
    "LeaseRecord",
    "MachineRecord",
    "MeasurementRecord",
    "NightRecord",
    "NoticesRecord",
    "PartsRecord",
    "PendingNotice",
    "PriceRecord",
    "ProbeRecord",
    "QuoteRecord",
    "RecipeRecord",
    "Record",
    "ReservationRecord",
    "RowRecord",
    "ScheduleRecord",
    "StateRecord",
    "TickRecord",
    "TicketFile",
    "TicketFiles",
    "TicketKept",
    "TicketPiece",
    "TicketRecord",
    "ToldRecord",
    "UsdBounds",
    "read",
    "read_claim",
]
