"""Rate limits as a scheduler: every limit is kept and fully used, and no call that could wait is refused."""

from headrace.limits.admission import LimiterSettings
from headrace.limits.ask import Ask, Availability, Candidate
from headrace.limits.left import Left
from headrace.limits.limit import Charge, Limit, Unit, Used, limits_of
from headrace.limits.limiter import Limiter
from headrace.limits.members import Reservation
from headrace.limits.profile import Profile, override, profile_of
from headrace.limits.queue import Priority
from headrace.limits.roster import Place
from headrace.limits.view import QuotaView

__all__ = [
    "Ask",
    "Availability",
    "Candidate",
    "Charge",
    "Left",
    "Limit",
    "Limiter",
    "LimiterSettings",
    "Place",
    "Priority",
    "Profile",
    "QuotaView",
    "Reservation",
    "Unit",
    "Used",
    "limits_of",
    "override",
    "profile_of",
]
