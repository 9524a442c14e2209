"""Patterns of keys and tokens that occur in prompts: those of model providers, and other common ones. Needs no package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

HOUSES: Final[Mapping[str, str]] = {
    "ANTHROPIC_KEY": r"\bsk-ant-[A-Za-z0-9_-]{20,}",
    "OPENAI_KEY": r"\bsk-(?!ant-)(?:[a-z]{2,12}-)?[A-Za-z0-9_-]{32,}",
    "GOOGLE_API_KEY": r"\bAIza[0-9A-Za-z_-]{35}",
    "GROQ_KEY": r"\bgsk_[A-Za-z0-9]{40,}",
    "HUGGINGFACE_TOKEN": r"\bhf_[A-Za-z0-9]{30,}",
    "XAI_KEY": r"\bxai-[A-Za-z0-9]{40,}",
}
"""Keys as these providers issue them, seen 2026-11."""

COMMON: Final[Mapping[str, str]] = {
    "API_KEY": r"\bsk-[A-Za-z0-9_-]{16,}",
    "AWS_ACCESS_KEY": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "GITHUB_TOKEN": r"\b(?:gh[oprsu]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,})",
    "SLACK_TOKEN": r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
    "JSON_WEB_TOKEN": r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*",
    "BEARER_TOKEN": r"(?i)\bbearer\s+[A-Za-z0-9._~+/-]{16,}=*",
    "PASSWORD_IN_ADDRESS": r"(?i)\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@\"']{0,64}:[^\s/@\"']{1,128}@",
    "PRIVATE_KEY": r"-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]{0,32}PRIVATE KEY-----|\Z)",
}
"""Patterns as documented or used by the issuers, seen 2026-11."""
