"""What is normal for each series: level, daily shape and noise of its rate, learned online.

The level is a discounted gamma-Poisson posterior; hours of the day and the weekend are factors,
shrunk towards 1 by how little is known of them; the noise is a moment estimate of the variance of
the true rate relative to its square, at one bucket and over the learning delay, shrunk towards an
assumption. What happened under suspicion waits in an account (`account.py`) before it is learned,
or is never learned; the noise does not wait, or every wild hour would go unheard. All arrays have
one column per series.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detectors import account, hours, recurring
from detectors.account import Account
from detectors.columns import Bools, Column, Columns, Floats, Ints
from detectors.hours import Hours
from detectors.model import RateConfig
from detectors.recurring import Recurring

_DAY = 86_400
_HALF_EVENT = 0.5  # Jeffreys prior of a Poisson rate: "none seen" is not "never"
_NOISE_RATIO = 5.0  # one bucket is noisier than an hour: users and agents come in bursts
_CLIP = {
    "short": 36.0,
    "long": 9.0,
}  # squared residuals, in variances; beyond it teaches as if at it
_MOST_NOISE = 0.12  # an hour more than 35 % off is no noise: a lasting move would come to be some
_SLOW = 10.0  # half-lives of the level in one of the slow level
_OUTRUN = 1.6  # the level may be this many times the slow one and still be the baseline
_WEEKEND_SHARE = 1.5  # days of weekend evidence before the weekend has its own factor

_TAUGHT = {
    "level_k": Column(),
    "level_x": Column(),
    "level_minutes": Column(),
    "slow_k": Column(),
    "slow_x": Column(),
    "seen_buckets": Column(),
    "seen_k": Column(),
    "hour_k": Column(lead=(24,)),
    "hour_e": Column(lead=(24,)),
    "hour_days": Column(lead=(24,)),
    "week_k": Column(lead=(2,)),
    "week_e": Column(lead=(2,)),
    "week_days": Column(lead=(2,)),
}
_NOISE = {name: Column() for name in ("short_s", "short_i", "long_s", "long_i")}
SPEC = {
    **_TAUGHT,
    **_NOISE,
    "warm": Column(dtype="?"),
    "tilt": Column(fill=1),
    "drawn": Column(dtype="i8", fill=-1),
    **account.spec(_TAUGHT),
    **hours.SPEC,
    **recurring.SPEC,
}


@dataclass(frozen=True, slots=True)
class Lesson:
    """One bucket of all series that is old enough to be learned. Arrays have shape (series,)."""

    start_s: int
    k: Floats
    """Flagged interactions as counted."""
    trimmed_k: Floats
    """The same, held near the expectation where the series was suspicious."""
    n: Floats
    x: Floats
    """`n` times the season factor of the bucket."""
    held: Bools
    """Where it goes to the account."""

    @property
    def live(self) -> Bools:
        """Which series had traffic."""
        return self.n > 0


def weekend(start_s: int) -> int:
    """1 on Saturday and Sunday (UTC), else 0. 1970-01-01 was a Thursday."""
    return int((start_s // _DAY + 3) % 7 >= 5)


class Baseline:
    """Reads and writes the columns of `SPEC` for all series at once."""

    def __init__(self, config: RateConfig, columns: Columns, bucket_s: int) -> None:
        self._config = config
        self._c = columns
        self._bucket_s = bucket_s
        self._hours = Hours(columns, config.season_days)
        self._recurring = Recurring(columns, bucket_s)
        self.account = Account(config, columns, _TAUGHT, bucket_s)
        self._keep = 0.5 ** (bucket_s / config.half_life_s)
        self._keep_slow = 0.5 ** (bucket_s / (_SLOW * config.half_life_s))
        # An hour of the day comes by once a day, so its clock runs 24 times slower.
        self._keep_hour = 0.5 ** (24 * bucket_s / config.season_half_life_s)
        self._keep_week = 0.5 ** (bucket_s / (2 * config.season_half_life_s))
        # The long noise is learned once per delay.
        self._keep_noise = {
            "short": 0.5 ** (bucket_s / config.burst_half_life_s),
            "long": 0.5 ** (config.delay_s / config.half_life_s),
        }
        self._info = 1.0 / config.noise**2  # the assumption weighs like an estimate this exact

    def rate(self) -> Floats:
        """Expected k / n at the level of the day, per series; 0 where nothing was learned."""
        x: Floats = self._c["level_x"]
        rate: Floats = np.divide(
            self._c["level_k"] + _HALF_EVENT, x, out=np.zeros_like(x), where=x > 0
        )
        return np.minimum(rate, 1.0)

    def expected(self, up: Bools, down: Bools) -> Floats:
        """`rate()`, or the level of weeks where that was left behind.

        Whatever moves a little each day is soon its own baseline; a second, slow level is not.

        Args:
            up: series that may not rise.
            down: series that may not fall.
        """
        rate, x, tilt = self.rate(), self._c["slow_x"], self._c["tilt"]
        slow = np.divide(self._c["slow_k"] + _HALF_EVENT, x, out=rate.copy(), where=x > 0)
        level = rate * tilt
        gone = (up & (level > _OUTRUN * slow)) | (down & (level * _OUTRUN < slow))
        expected: Floats = np.where(gone, slow / tilt, rate)
        return np.minimum(expected, 1.0)

    def draw_day(self, rows: Ints) -> None:
        """Draw the curves of the day of these rows anew, from what their hours have taught.

        The mean factor of the hours is then the tilt: a level that moves for days is partly learned
        as hours.
        """
        self._hours.draw(rows, self.noise_long())
        self._c["tilt"][rows] = self._hours.mean(rows)

    def per_minute(self) -> Floats:
        """Expected k a minute over the days that are remembered; 0 where nothing was learned."""
        minutes: Floats = self._c["level_minutes"]
        k: Floats = self._c["level_k"] + _HALF_EVENT
        return np.divide(k, minutes, out=np.zeros_like(k), where=minutes > 0)

    def doubt(self, start_s: int) -> Floats:
        """Relative standard errors of level and hour, times the configured numbers of them."""
        level = self._config.doubt**2 / (self._c["level_k"] + _HALF_EVENT)
        return np.sqrt(level + self.unseasoned(start_s) ** 2)

    def unseasoned(self, start_s: int) -> Floats:
        """The hour's part of it, which siblings share: what one does not know, none does."""
        if self._config.season_doubt == 0:
            return np.zeros_like(self._c["level_k"])
        error = self._hours.error((start_s // 3_600) % 24)
        return self._config.season_doubt * np.sqrt(error)

    def season(self, start_s: int) -> Floats:
        """Factor at a start: time of day, weekend, and what comes back each week."""
        factor: Floats = self._usual(start_s) * self._recurring.factor(start_s)
        return factor

    def _usual(self, start_s: int) -> Floats:
        """Of it, time of day (between hours: both) and weekend."""
        middle = (start_s + self._bucket_s / 2) / 3_600 - 0.5
        low = int(np.floor(middle))
        share = middle - low
        before, after = self._hours.factor(low % 24), self._hours.factor((low + 1) % 24)
        day = (1 - share) * before + share * after
        if not weekend(start_s):
            return day
        week: Floats = day * self._weekend()
        return week

    def _weekend(self) -> Floats:
        """Factor of Saturday and Sunday, shrunk towards 1 by how little is known of it."""
        c = self._c
        k, e, days = c["week_k"][1], c["week_e"][1], c["week_days"][1]
        known = (days >= _WEEKEND_SHARE * (self._config.season_days / 3.0)) & (e > 0)
        if not known.any():
            return np.ones_like(k)
        ratio = np.divide(k, e, out=np.ones_like(k), where=known)
        noise = hours.noise_of(e, days, self.noise_long())
        weight = np.where(known, hours.VARIANCE / (hours.VARIANCE + noise), 0.0)
        factor: Floats = 1.0 + weight * (ratio - 1.0)
        return factor

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
        return np.clip(mean, 0.0, _MOST_NOISE)

    def learn(self, lesson: Lesson) -> None:
        """Take in one bucket, or put it into the account where it is held."""
        c, live = self._c, lesson.live
        held = lesson.held & c["warm"]
        warm = live & c["warm"]
        self._learn_noise("short", lesson.trimmed_k, self.rate() * lesson.x, warm)
        k = np.where(held, lesson.k, lesson.trimmed_k)
        expected = self.rate() * lesson.n * self._usual(lesson.start_s)
        self._recurring.learn(lesson.start_s, lesson.k, expected, warm)
        self._learn_season(lesson, k, warm, held)
        one = np.ones_like(k)
        for name, more, keep in (
            ("level_k", k, self._keep),
            ("level_x", lesson.x, self._keep),
            ("level_minutes", one * (self._bucket_s / 60), self._keep),
            ("slow_k", k, self._keep_slow),
            ("slow_x", lesson.x / c["tilt"], self._keep_slow),
            ("seen_buckets", one, 1.0),
            ("seen_k", k, 1.0),
        ):
            self._teach(name, more, keep, live, held)
        self.account.fade(lesson.start_s, c["guilty"] & ~held & live)
        self._draw_new_hours(lesson)
        rare = c["seen_buckets"] * self._bucket_s >= self._config.warm_rare_s
        enough = (c["seen_k"] >= self._config.warm_expected) | rare
        c["warm"][:] |= enough & (c["seen_buckets"] >= self._config.warm_buckets)

    def _draw_new_hours(self, lesson: Lesson) -> None:
        """Draw the day of each series whose first lesson of an hour this is, whenever it comes.

        One that has just begun has no hour to draw before the next.
        """
        drawn = self._c["drawn"]
        hour, into = divmod(lesson.start_s, 3_600)
        due = lesson.live & (drawn != hour)
        if due.any():
            self.draw_day(np.flatnonzero(due if into < self._bucket_s else due & (drawn >= 0)))
            drawn[due] = hour

    def _teach(
        self,
        name: str,
        more: Floats,
        keep: float,
        live: Bools,
        held: Bools,
        slot: int | None = None,
    ) -> None:
        column = self._c[name] if slot is None else self._c[name][slot]
        column[:] = np.where(live & ~held, column * keep + more, column)
        waits = live & held
        if waits.any():
            self.account.take(name, more, waits, slot)

    def learn_long(self, k: Floats, x: Floats) -> None:
        """Take in the sums over one learning delay, none of which is in the level yet."""
        live = self._c["warm"] & (x > 0)
        self._learn_noise("long", k, self.rate() * x, live)

    def _learn_noise(self, name: str, k: Floats, e: Floats, live: Bools) -> None:
        """Weigh `((k - e)^2 - e) / e^2` by its information about the variance of the rate."""
        c, prior = self._c, self._config.noise
        noise = self.noise_long()
        if name == "short":
            prior, noise = _NOISE_RATIO * prior, self.noise_short()
        own = e + e * e / (self._c["level_k"] + 1.0)  # Poisson, and the level's own error
        spread = own + noise * e * e
        square = np.minimum((k - e) ** 2, _CLIP[name] * np.maximum(spread, 1.0))
        weight = 2.0 * (1.0 + prior * e) ** 2
        keep = self._keep_noise[name]
        for column, more in ((f"{name}_s", square - own), (f"{name}_i", e * e)):
            c[column][:] = np.where(live, c[column] * keep + more / weight, c[column])

    def _learn_season(self, lesson: Lesson, k: Floats, live: Bools, held: Bools) -> None:
        hour, day = (lesson.start_s // 3_600) % 24, weekend(lesson.start_s)
        rate = self.rate()
        flat = rate * lesson.n * self._recurring.factor(lesson.start_s)
        week = self._weekend() if day else np.ones_like(k)
        without_week = np.divide(rate * lesson.x, week, out=flat.copy(), where=week > 0)
        for name, slot, keep, e, share in (
            ("hour", hour, self._keep_hour, flat * week, self._bucket_s / 3_600),
            ("week", day, self._keep_week, without_week, self._bucket_s / _DAY),
        ):
            for part, more in (("k", k), ("e", e), ("days", np.full_like(k, share))):
                self._teach(f"{name}_{part}", more, keep, live, held, slot)
