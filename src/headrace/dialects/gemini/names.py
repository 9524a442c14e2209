"""Gemini's field names. Google accepts each in `camelCase` and `snake_case`; headrace reads both and writes `camelCase`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from headrace.types import Extra, Json

_CAMEL: Final = (
    "systemInstruction", "generationConfig", "safetySettings", "toolConfig", "cachedContent", "modelArmorConfig", "serviceTier",
    "inlineData", "fileData", "functionCall", "functionResponse", "executableCode", "codeExecutionResult", "toolCall", "toolResponse",
    "thoughtSignature", "videoMetadata", "mediaResolution", "partMetadata", "mimeType", "fileUri", "displayName", "willContinue",
    "partialArgs", "jsonPath", "stringValue", "numberValue", "boolValue", "nullValue",
    "functionDeclarations", "parametersJsonSchema", "responseJsonSchema", "functionCallingConfig",
    "allowedFunctionNames", "retrievalConfig", "includeServerSideToolInvocations", "googleSearch", "googleSearchRetrieval",
    "codeExecution", "urlContext", "googleMaps", "enterpriseWebSearch", "fileSearch", "computerUse", "mcpServers", "topP", "topK",
    "candidateCount", "maxOutputTokens", "stopSequences", "presencePenalty", "frequencyPenalty", "responseLogprobs", "responseMimeType",
    "responseSchema", "responseModalities", "speechConfig", "thinkingConfig", "imageConfig", "audioTimestamp", "routingConfig",
    "modelSelectionConfig", "enableEnhancedCivicAnswers", "enableAffectiveDialog", "thinkingBudget", "thinkingLevel", "includeThoughts",
    "finishReason", "finishMessage", "safetyRatings", "citationMetadata", "groundingMetadata", "groundingAttributions", "avgLogprobs",
    "logprobsResult", "urlContextMetadata", "tokenCount", "promptFeedback", "usageMetadata", "modelVersion", "responseId", "createTime",
)  # fmt: skip


def _snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda found: "_" + found[0].lower(), name)


_NAMES: Final[Mapping[str, str]] = {_snake(name): name for name in _CAMEL}


def camel(source: Mapping[str, Json]) -> Mapping[str, Json]:
    """`source` with known names in camelCase. Nested values are unchanged."""
    if "_" not in "".join(source):
        return source
    return {_NAMES.get(name, name): value for name, value in source.items()}


_OTHERS: Final = frozenset({
    "object", "created", "refusal", "annotations", "images", "audio", "provider", "field", "format", "type", "finish", "citations",
    "container", "turn", "logprobs", "function", "custom",
})  # fmt: skip


def ours(extra: Extra) -> dict[str, Json]:
    """The `extra` fields of a response that are Gemini's: those of other dialects are in snake_case or listed in `_OTHERS`."""
    return {name: value for name, value in extra.items() if "_" not in name and name not in _OTHERS}
