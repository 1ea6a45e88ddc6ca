"""What is normal for each series: level, daily shape and noise of its rate, learned online.

The level is a discounted gamma-Poisson posterior; hours of the day and the weekend are factors,
shrunk towards 1 by how little is known of them; the noise is a moment estimate of the variance of
the true rate relative to its square, at one bucket and over the learning delay, shrunk towards an
assumption. All arrays have one column per series.
"""

from __future__ import annotations

import numpy as np

from detectors.columns import Bools, Column, Columns, Floats
from detectors.model import RateConfig

_DAY = 86_400
_HALF_EVENT = 0.5  # Jeffreys prior of a Poisson rate: "none seen" is not "never"
_SEASON_VARIANCE = 0.09  # a typical hour is within +-30 % of the day's level
_NOISE_RATIO = 5.0  # one bucket is noisier than an hour: users and agents come in bursts
_CLIP = 9.0  # a squared residual beyond 3 sigma teaches as if it were 3 sigma
_WEEKEND_SHARE = 1.5  # days of weekend evidence before the weekend has its own factor

SPEC = {
    "level_k": Column(),
    "level_x": Column(),
    "seen_buckets": Column(),
    "seen_k": Column(),
    "short_s": Column(),
    "short_i": Column(),
    "long_s": Column(),
    "long_i": Column(),
    "hour_k": Column(lead=(24,)),
    "hour_e": Column(lead=(24,)),
    "hour_days": Column(lead=(24,)),
    "week_k": Column(lead=(2,)),
    "week_e": Column(lead=(2,)),
    "week_days": Column(lead=(2,)),
    "warm": Column(dtype="?"),
}


def weekend(start_s: int) -> int:
    """1 on Saturday and Sunday (UTC), else 0. 1970-01-01 was a Thursday."""
    return int((start_s // _DAY + 3) % 7 >= 5)


class Baseline:
    """Reads and writes the columns of `SPEC` for all series at once."""

    def __init__(self, config: RateConfig, columns: Columns, bucket_s: int) -> None:
        self._config = config
        self._c = columns
        self._bucket_s = bucket_s
        self._keep = 0.5 ** (bucket_s / config.half_life_s)
        # An hour of the day comes by once a day, so its clock runs 24 times slower.
        self._keep_hour = 0.5 ** (24 * bucket_s / config.season_half_life_s)
        self._keep_week = 0.5 ** (bucket_s / (2 * config.season_half_life_s))
        # The long noise is learned once per delay.
        self._keep_long = 0.5 ** (config.delay_s / config.half_life_s)
        self._info = 1.0 / config.noise**2  # the assumption weighs like an estimate this exact

    def rate(self) -> Floats:
        """Expected k / n at the level of the day, per series; 0 where nothing was learned."""
        x: Floats = self._c["level_x"]
        rate: Floats = np.divide(
            self._c["level_k"] + _HALF_EVENT, x, out=np.zeros_like(x), where=x > 0
        )
        return np.minimum(rate, 1.0)

    def doubt(self, start_s: int) -> Floats:
        """Relative standard errors of level and hour, times the configured numbers of them."""
        level = self._config.doubt**2 / (self._c["level_k"] + _HALF_EVENT)
        if self._config.season_doubt == 0:
            return np.sqrt(level)
        hour = (start_s // 3_600) % 24
        unknown = 1.0 - self._weight(self._c["hour_e"][hour], self._c["hour_days"][hour])
        return np.sqrt(level + self._config.season_doubt**2 * _SEASON_VARIANCE * unknown)

    def season(self, start_s: int) -> Floats:
        """Factor of the rate at a bucket's start: time of day (between hours: both) and weekend."""
        middle = (start_s + self._bucket_s / 2) / 3_600 - 0.5
        low = int(np.floor(middle))
        share = middle - low
        day = (1 - share) * self._hour(low % 24) + share * self._hour((low + 1) % 24)
        if not weekend(start_s):
            return day
        week: Floats = day * self._weekend()
        return week

    def _hour(self, hour: int) -> Floats:
        c = self._c
        return self._factor(
            c["hour_k"][hour], c["hour_e"][hour], c["hour_days"][hour], self._config.season_days
        )

    def _weekend(self) -> Floats:
        c = self._c
        least = _WEEKEND_SHARE * (self._config.season_days / 3.0)
        return self._factor(c["week_k"][1], c["week_e"][1], c["week_days"][1], least)

    def _factor(self, k: Floats, e: Floats, days: Floats, least: float) -> Floats:
        known = (days >= least) & (e > 0)
        if not known.any():
            return np.ones_like(k)
        ratio = np.divide(k, e, out=np.ones_like(k), where=known)
        factor: Floats = 1.0 + np.where(known, self._weight(e, days), 0.0) * (ratio - 1.0)
        return factor

    def _weight(self, e: Floats, days: Floats) -> Floats:
        """How far a factor is known, 0 to 1: its usual variance over that and its error's."""
        noise = 1.0 / np.maximum(e, 1e-9) + self.noise_long() / np.maximum(days, 1e-9)
        weight: Floats = _SEASON_VARIANCE / (_SEASON_VARIANCE + noise)
        return weight

    def noise_short(self) -> Floats:
        """Relative variance of the true rate from bucket to bucket."""
        prior = self._config.noise * _NOISE_RATIO
        info = self._info / _NOISE_RATIO**2
        mean = (prior * info + self._c["short_s"]) / (info + self._c["short_i"])
        return np.maximum(mean, 0.0)

    def noise_long(self) -> Floats:
        """Relative variance of the true rate over the learning delay."""
        prior = self._config.noise
        mean = (prior * self._info + self._c["long_s"]) / (self._info + self._c["long_i"])
        return np.maximum(mean, 0.0)

    def learn(self, start_s: int, k: Floats, n: Floats, x: Floats, live: Bools) -> None:
        """Take in one bucket that is old enough.

        Args:
            start_s: start of the bucket, unix seconds.
            k: flagged interactions, already trimmed where they were suspicious.
            n: interactions.
            x: `n` times the season factor of that bucket.
            live: which series had traffic.
        """
        c = self._c
        e = self.rate() * x
        warm = live & c["warm"]
        self._learn_noise("short", k, e, warm, _NOISE_RATIO * self._config.noise)
        self._learn_season(start_s, k, n, x, warm)
        for name, more in (("level_k", k), ("level_x", x)):
            c[name][:] = np.where(live, c[name] * self._keep + more, c[name])
        c["seen_buckets"][:] += live
        c["seen_k"][:] += np.where(live, k, 0.0)
        rare = c["seen_buckets"] * self._bucket_s >= self._config.warm_rare_s
        enough = (c["seen_k"] >= self._config.warm_expected) | rare
        c["warm"][:] |= enough & (c["seen_buckets"] >= self._config.warm_buckets)

    def learn_long(self, k: Floats, x: Floats) -> None:
        """Take in the sums over one learning delay, none of which is in the level yet."""
        live = self._c["warm"] & (x > 0)
        self._learn_noise("long", k, self.rate() * x, live, self._config.noise)

    def _learn_noise(self, name: str, k: Floats, e: Floats, live: Bools, prior: float) -> None:
        """Weigh `((k - e)^2 - e) / e^2` by its information about the variance of the rate."""
        c = self._c
        own = e + e * e / (self._c["level_k"] + 1.0)  # Poisson, and the level's own error
        spread = own + (self.noise_short() if name == "short" else self.noise_long()) * e * e
        square = np.minimum((k - e) ** 2, _CLIP * np.maximum(spread, 1.0))
        weight = 2.0 * (1.0 + prior * e) ** 2
        keep = self._keep if name == "short" else self._keep_long
        for column, more in ((f"{name}_s", square - own), (f"{name}_i", e * e)):
            c[column][:] = np.where(live, c[column] * keep + more / weight, c[column])

    def _learn_season(self, start_s: int, k: Floats, n: Floats, x: Floats, live: Bools) -> None:
        c = self._c
        hour, day = (start_s // 3_600) % 24, weekend(start_s)
        rate = self.rate()
        flat = rate * n
        week = self._weekend() if day else np.ones_like(n)
        without_week = np.divide(rate * x, week, out=flat.copy(), where=week > 0)
        for name, slot, keep, e, share in (
            ("hour", hour, self._keep_hour, flat * week, self._bucket_s / 3_600),
            ("week", day, self._keep_week, without_week, self._bucket_s / _DAY),
        ):
            for part, more in (("k", k), ("e", e), ("days", share)):
                row = c[f"{name}_{part}"][slot]
                row[:] = np.where(live, row * keep + more, row)
