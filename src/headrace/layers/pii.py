"""Finds personal data in texts by pattern, and by check digits where it has them. Needs the extra `guardrails`.

Names, places and the like have no pattern; finding them needs a model, such as Presidio's
(docs/decisions/0017-guardrails-by-form.md).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import phonenumbers
from stdnum import iban, luhn
from stdnum.us import ssn

from headrace.errors import ConfigurationError
from headrace.layers.guardrails import Finding, Guardrail


def _forms(form: str, holds: Callable[[str], bool] = lambda _: True) -> Callable[[str], Iterator[tuple[int, int]]]:
    """A function that finds matches of a pattern that pass a check."""
    pattern = re.compile(form)

    def find(text: str) -> Iterator[tuple[int, int]]:
        for match in pattern.finditer(text):
            if holds(match.group()):
                yield match.span()

    return find


def _is_card(text: str) -> bool:
    digits = re.sub(r"[ -]", "", text)
    return 13 <= len(digits) <= 19 and digits[0] in "23456" and luhn.is_valid(digits)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


_BY_FORM: Final[Mapping[str, Callable[[str], Iterator[tuple[int, int]]]]] = {
    "EMAIL_ADDRESS": _forms(r"(?<![\w.+-])[\w.+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}(?<!-)\b"),
    "CREDIT_CARD": _forms(r"(?<![\w-])\d(?:[ -]?\d){12,18}(?![\w-])", _is_card),
    "IBAN_CODE": _forms(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b", iban.is_valid),
    "US_SSN": _forms(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])", ssn.is_valid),
    "IP_ADDRESS": _forms(r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7})(?![\w:]|\.\d)", _is_address),
}

KINDS: Final = (*_BY_FORM, "PHONE_NUMBER")
"""Kinds of personal data, under Presidio's names."""


class PII(Guardrail):
    """Masks or refuses personal data: e-mail and IP addresses, phone and card numbers, IBANs, US social security
    numbers.

    kinds: some of KINDS, by default all. region: the country ("US") whose telephone numbers are written without `+`.
    """

    name = "pii"
    window = 80  # an IBAN with spaces; matches without spaces are never cut

    def __init__(self, *, kinds: Sequence[str] = KINDS, region: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        if isinstance(kinds, str) or (unknown := [kind for kind in kinds if kind not in KINDS]):
            raise ConfigurationError(f"kinds must be some of {', '.join(KINDS)}; got {kinds if isinstance(kinds, str) else unknown[0]!r}")
        if region is not None and region not in phonenumbers.SUPPORTED_REGIONS:
            raise ConfigurationError(f"region must be a country's two-letter code, such as 'US'; got {region!r}")
        self._kinds, self._region = tuple(kinds), region

    def find(self, text: str) -> Iterable[Finding]:
        for kind in self._kinds:
            spans = self._telephones(text) if kind == "PHONE_NUMBER" else _BY_FORM[kind](text)
            for start, end in spans:
                yield Finding(start, end, kind)

    def _telephones(self, text: str) -> Iterator[tuple[int, int]]:
        if self._region is None and "+" not in text:  # the search is expensive, and without a country only + begins a number
            return
        for match in phonenumbers.PhoneNumberMatcher(text, self._region):
            yield match.start, match.end
