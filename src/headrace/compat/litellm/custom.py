"""Providers of the program's own (`custom_provider_map`)."""

from __future__ import annotations

from typing import Any

from headrace.errors import HeadraceError


class CustomLLMError(HeadraceError):
    def __init__(self, status_code: int, message: str) -> None:
        super().__init__(message)
        self.status_code = status_code


class CustomLLM:
    """To be subclassed: answers calls in a provider's place."""

    def completion(self, *args: Any, **kwargs: Any) -> Any:
        raise CustomLLMError(500, f"{type(self).__name__} has no completion")

    def streaming(self, *args: Any, **kwargs: Any) -> Any:
        raise CustomLLMError(500, f"{type(self).__name__} has no streaming")

    async def acompletion(self, *args: Any, **kwargs: Any) -> Any:
        raise CustomLLMError(500, f"{type(self).__name__} has no acompletion")

    def astreaming(self, *args: Any, **kwargs: Any) -> Any:
        raise CustomLLMError(500, f"{type(self).__name__} has no astreaming")

    def embedding(self, *args: Any, **kwargs: Any) -> Any:
        raise CustomLLMError(500, f"{type(self).__name__} has no embedding")

    async def aembedding(self, *args: Any, **kwargs: Any) -> Any:
        raise CustomLLMError(500, f"{type(self).__name__} has no aembedding")
