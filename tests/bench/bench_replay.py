"""Real agent runs (AgentDojo) through Apache Kafka and the real daemon, with strict receivers.

    python -m tests.bench.bench_replay          # QUICK=1 for a slice of about two minutes

Twelve tenants, a day's and a week's curve, seeded; `attack_signals` are withheld, so that only
behaviour speaks. Four partitions, CreateTime = event time, nothing expires. Thresholds are the ones
that are shipped: profile `quiet` is a default installation, `page` has the offered rules promoted.

S0  quiet weeks: false pages of one team, both profiles
S1  an attack on one tenant of one feature, its share rising: one incident, its page, delay and harm;
    the same log again with the daemon killed on the way
S2  another model everywhere, nobody attacks: one incident that names it
table  every attack at four mixes, in this process (no Kafka, no daemon): misses are shown

The last line is one JSON object.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from monitor.incidents.model import Origin
from tests.bench.agentdojo import SUITES, Replay, attack, model_swap, quiet
from tests.bench.agentdojo_runs import GPT4O, Corpus, find_data
from tests.bench.replay_daemon import Installation, Log, Receivers, publish, receivers
from tests.bench.replay_pages import PageProblem, check_pages
from tests.bench.replay_store import Findings, Found, read_findings
from tests.bench.replay_table import Harm, Row, harm_until, learn, table
from tests.servers.kafka_jars import KafkaUnavailable
from tests.servers.kafka_server import KafkaServer

FEATURE = "banking"
S1_PER_DAY = 200_000
"""One tenant's one feature is 1/48 of the traffic: this gives it three interactions a minute."""
LEAD_IN_DAYS = 1.5
"""What never happens needs a day of traffic before its absence is a baseline."""
FOUR_WEEKS = 28
PATIENCE_S = 1800.0
