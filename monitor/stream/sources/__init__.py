"""Where events come from: Kafka, files, standard input, the simulator."""

from __future__ import annotations
