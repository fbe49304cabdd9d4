"""The arithmetic of paired runs, and the conditions for a result."""

import math
from typing import NamedTuple

PAIRS_FOR_A_CLAIM = 10
BUSY = 0.9  # of a core; below it the server was waiting
BASELINE_SPREAD = 0.15  # quartile distance over median; calm machines stay below a third of it
WAITED = 0.05  # of the time, for a core that another process had
INTERVAL = 0.05  # half the width of a ratio's interval

# Student's t, two-sided 95 %, for 1 to 30 degrees of freedom.
T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
        2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
        2.052, 2.048, 2.045, 2.042)


def t_95(degrees):
    if degrees <= len(T_95):
        return T_95[degrees - 1]
    z = 1.959964  # the expansion of Cornish and Fisher; exact to three digits from 30 on
    return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)


def quantile(values, share):
    """With linear interpolation between neighbours."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def median(values):
    return quantile(values, 0.5)


def quartile_spread(values):
    """The distance between the quartiles as a share of the median."""
    return (quantile(values, 0.75) - quantile(values, 0.25)) / median(values)


def medians(runs):
    """Medians of the runs' timed.figures(), and the spread of their rates."""
    fields = ("rate", "server_cpu_us", "p50_us", "p99_us", "server_share", "client_share",
              "waited_share")
    return {"spread": quartile_spread([run["rate"] for run in runs])} | {
        field: median([run[field] for run in runs]) for field in fields}


class Ratio(NamedTuple):
    """A geometric mean of per-pair ratios with its 95 % interval."""
    mean: float
    low: float
    high: float
    pairs: int

    @property
    def half_width(self):
        return math.sqrt(self.high / self.low) - 1


def paired_ratio(pairs):
    """The ratio of (baseline, subject) pairs. With one pair its interval is from 0 to infinity."""
    logs = [math.log(subject / baseline) for baseline, subject in pairs]
    count = len(logs)
    mean = sum(logs) / count
    if count == 1:
        return Ratio(math.exp(mean), 0.0, math.inf, 1)
    deviation = math.sqrt(sum((log - mean)**2 for log in logs) / (count - 1))
    reach = t_95(count - 1) * deviation / math.sqrt(count)
    return Ratio(math.exp(mean), math.exp(mean - reach), math.exp(mean + reach), count)


class Side(NamedTuple):
    """Medians of one server's runs, apart from the rates."""
    name: str
    server_share: float  # of a core
    client_share: float
    client_was_limit: bool  # as the client itself says
    waited: float = 0.0  # the share of the time that server or client waited for their cores

    def held_back(self):
        """Whether the client held it back: only the server had time to spare."""
        return self.server_share < BUSY and (self.client_was_limit or self.client_share > 0.95)


def refusal(ratio, baseline_values, sides, cores, of_rates=True):
    """Why these pairs allow no verdict; empty if they do. A client that is the limit only makes the
    rates useless."""
    if cores < 2:
        return "server and client shared one core"
    for side in sides:
        if of_rates and side.held_back():
            return f"the client was the limit: {side.name} had time to spare"
        if side.waited > WAITED:
            return f"others used the cores for more than {WAITED:.0%} of the time"
    if ratio.pairs < PAIRS_FOR_A_CLAIM:
        return f"{ratio.pairs} pairs; a claim takes {PAIRS_FOR_A_CLAIM}"
    spread = quartile_spread(baseline_values)
    if spread > BASELINE_SPREAD:
        return f"machine too noisy: the baseline's own quartiles are {spread:.0%} apart"
    if ratio.half_width > INTERVAL:
        return f"the interval is wider than ±{INTERVAL:.0%}"
    return ""


def verdict(ratio, at_least=None, words=("slower", "faster")):
    """The verdict in a word. `at_least` is the claim about the ratio; `words` are those for ratios
    below and above 1."""
    if at_least is not None:
        if ratio.low >= at_least:
            return f">= {at_least}: holds"
        return f">= {at_least}: " + ("fails" if ratio.high < at_least else "open")
    if ratio.low > 1:
        return words[1]
    return words[0] if ratio.high < 1 else "no difference"
