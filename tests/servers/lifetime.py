"""A server that lives as long as a `with` block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, Self


class Lifetime(ABC):
    """Started on the way in, closed on the way out."""

    @abstractmethod
    def start(self, timeout_s: float = 60.0) -> Any:
        """Start it and wait until it is ready."""

    @abstractmethod
    def close(self) -> None:
        """End it and remove its folder."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
