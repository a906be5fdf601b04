"""Everything that is no plain JSON data: the walk, with every type it knows registered."""

from __future__ import annotations

from . import models, moments, records, values  # noqa: F401 - each registers its types
from .walk import Reader, TooLarge, Writer, decodes, encodes

__all__ = ["Reader", "TooLarge", "Writer", "decodes", "encodes"]
