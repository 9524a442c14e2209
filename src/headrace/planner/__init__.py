"""Capacity planning: runs the limiter in virtual time to show what a configuration can carry, before any call is paid for."""

from headrace.planner.config import Fleet, Place, read_config, read_fleet
from headrace.planner.forecast import Forecast, LimitUse, Series, Waits
from headrace.planner.jobs import Burst, Job, Load, read_jobs
from headrace.planner.simulation import Pace, forecast
from headrace.planner.whatif import WhatIf, what_if

__all__ = [
    "Burst",
    "Fleet",
    "Forecast",
    "Job",
    "LimitUse",
    "Load",
    "Pace",
    "Place",
    "Series",
    "Waits",
    "WhatIf",
    "forecast",
    "read_config",
    "read_fleet",
    "read_jobs",
    "what_if",
]
