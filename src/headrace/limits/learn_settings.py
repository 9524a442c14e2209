"""Parameters of how an account learns."""

from __future__ import annotations

from msgspec import Struct


class LearnSettings(Struct, frozen=True):
    """Parameters of how an account learns. Reasons: docs/limits.md."""

    hold: float = 1.0
    """Seconds that a refusal without Retry-After holds the quota; doubles with each further one, up to `hold_max`."""
    hold_max: float = 30.0
    margin_step: float = 0.02
    """Share of a limit kept free after a refusal that our accounting does not explain. Steps grow if further refusals
    follow at once."""
    margin_max: float = 0.9
    margin_life: float = 600.0
    """Seconds without refusals in which a margin falls to a third."""
    growth: float = 1.03
    """Factor by which a discovered limit is raised after a quiet minute."""
    first_tolerance: float = 0.1
    """Initial pacing tolerance in seconds for an unknown provider; doubles every ten seconds without a refusal."""
    least_tolerance: float = 0.1
    probe_after: float = 600.0
    """Seconds after which a learned window is dropped to test whether it is real; doubles each time that it was."""
    probe_sure_after: float = 21_600.0
    """The same for a window found with so much of the minute unused that no lower limit could explain the refusal."""
    probe_at_least_daily: float = 86_400.0
    """Seconds after which every learned window is dropped for a test."""
