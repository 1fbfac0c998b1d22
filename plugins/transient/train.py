#!/usr/bin/env python3
"""Trains the model of the rule `transient` and says how good it is. Python 3, standard library only.

    python3 plugins/transient/train.py GRID5000.csv.gz WEB_SITES.avt.gz

prints the figures of README.md and writes src/model.rs. The recordings are intervals in seconds:
`node,state,start,stop` as CSV, or `.avt` (`name n up_start up_end up_start up_end ...`).

An outage is raised when it has lasted RAISE_S, and is over when its entity was up for RAISE_S. The
question at that moment: will it last LASTS_S in all? Of the entities, sorted by name, every second is
held out; of the time, what comes after the median outage. The model is trained on the other entities
before that time, and tested on the held-out ones after it.
"""

import gzip
import hashlib
import math
import os
import sys

RAISE_S = 600
LASTS_S = 3600
HALF_LIFE_S = 60 * 86400
# Added to the number of outages, so that few of them say little.
PRIOR = 2.0
RIDGE = 1.0


def spells(path):
    """Down intervals of each entity, in order of time."""
    down = {}
    with gzip.open(path, "rt") as lines:
        if ".avt" in os.path.basename(path):
            for line in lines:
                name, _, *edges = line.split()
                ups = [int(edge) for edge in edges]
                down[name] = list(zip(ups[1::2], ups[2::2]))
        else:
            for line in lines:
                name, state, start, stop = line.strip().split(",")
                if state == "down":
                    down.setdefault(name, []).append((int(start), int(stop)))
    return {name: sorted(intervals) for name, intervals in down.items()}


def outages(intervals):
    """Outages as the host tells them with hold_down and hold_open of RAISE_S."""
    found = []
    for start, stop in intervals:
        if found and start - found[-1][1] < RAISE_S:
            found[-1][1] = stop
        elif stop - start >= RAISE_S:
            found.append([start, stop])
    return found


def rows(entity_outages):
    """(since, features, lasts, lasted last time) of each outage: what the memo knows when it is raised."""
    out = []
    lasted, ended, before, last = 0.0, 0.0, None, 0.0
    for start, stop in entity_outages:
        if before is not None:
            decay = 2.0 ** (-(start - before) / HALF_LIFE_S)
            lasted, ended = lasted * decay, ended * decay
        total = lasted + ended + PRIOR
        lasts = stop - start >= LASTS_S
        out.append((start, (1.0, lasted / total, ended / total, last), lasts, last >= 0))
        lasted, ended = (lasted + 1, ended) if lasts else (lasted, ended + 1)
        before, last = start, 1.0 if lasts else -1.0
    return out


def split(path):
    by_entity = {name: rows(outages(intervals)) for name, intervals in spells(path).items()}
    names = sorted(by_entity)
    times = sorted(row[0] for of_entity in by_entity.values() for row in of_entity)
    cut = times[len(times) // 2]
    train = [row for name in names[0::2] for row in by_entity[name] if row[0] < cut]
    test = [row for name in names[1::2] for row in by_entity[name] if row[0] >= cut]
    return train, test, cut


def probability(weights, features):
    return 1.0 / (1.0 + math.exp(-sum(w * x for w, x in zip(weights, features))))


def solve(matrix, right):
    """Gaussian elimination with pivots."""
    n = len(right)
    m = [list(row) + [right[i]] for i, row in enumerate(matrix)]
    for i in range(n):
        pivot = max(range(i, n), key=lambda r: abs(m[r][i]))
        m[i], m[pivot] = m[pivot], m[i]
        for r in range(i + 1, n):
            factor = m[r][i] / m[i][i]
            m[r] = [a - factor * b for a, b in zip(m[r], m[i])]
    x = [0.0] * n
    for i in reversed(range(n)):
        x[i] = (m[i][n] - sum(m[i][j] * x[j] for j in range(i + 1, n))) / m[i][i]
    return x


def fit(weighted):
    """Logistic regression by Newton's method, with a ridge on all but the intercept."""
    n = len(weighted[0][0])
    w = [0.0] * n
    for _ in range(30):
        gradient = [-RIDGE * w[i] if i else 0.0 for i in range(n)]
        hessian = [[(RIDGE if i == j and i else 0.0) for j in range(n)] for i in range(n)]
        for x, y, weight in weighted:
            p = probability(w, x)
            for i in range(n):
                gradient[i] += weight * (y - p) * x[i]
                for j in range(n):
                    hessian[i][j] += weight * p * (1 - p) * x[i] * x[j]
        step = solve(hessian, gradient)
        w = [a + b for a, b in zip(w, step)]
    return w


def auc(scored):
    """Area under the ROC curve by ranks (Mann-Whitney), ties in the middle."""
    ordered = sorted(scored)
    rank_sum, i = 0.0, 0
    while i < len(ordered):
        j = i
        while j < len(ordered) and ordered[j][0] == ordered[i][0]:
            j += 1
        rank_sum += sum((i + j + 1) / 2 for _, y in ordered[i:j] if y)
        i = j
    positive = sum(1 for _, y in ordered if y)
    negative = len(ordered) - positive
    return (rank_sum - positive * (positive + 1) / 2) / (positive * negative)


def report(name, test, weights):
    n = len(test)
    scored = [(probability(weights, x), y) for _, x, y, _ in test]
    base = sum(y for _, y in scored) / n
    print(f"{name}: {n} outages held out, {base:.1%} last {LASTS_S} s")
    methods = {
        "always persistent": [True] * n,
        "always transient": [False] * n,
        "as last time": [last for _, _, _, last in test],
        "this rule": [p >= 0.5 for p, _ in scored],
    }
    for method, said in methods.items():
        right = sum(a == y for a, (_, y) in zip(said, scored)) / n
        hits = sum(a and y for a, (_, y) in zip(said, scored))
        precision = hits / sum(said) if any(said) else float("nan")
        recall = hits / max(1, sum(y for _, y in scored))
        print(f"  {method:18} accuracy {right:.3f}, precision {precision:.3f}, recall {recall:.3f}")
    quiet = sum(p < 0.5 and not y for p, y in scored)
    late = sum(p < 0.5 and y for p, y in scored)
    print(f"  AUC {auc(scored):.3f}; {quiet} of {n - round(base * n)} transient and {late} of {round(base * n)} persistent wait")


RUST = """//! The trained model: made by `train.py`, never edited.
//!
//! ```text
//! python3 plugins/transient/train.py {names}
//! ```
//!
//! Logistic regression on {count} outages (every recording counts as much as the others) of
{sources}

/// An outage that lasts so long in all is persistent.
pub const LASTS_US: i64 = {lasts};
/// How fast the outages of before lose weight.
pub const HALF_LIFE_US: i64 = {half_life};
/// Added to the number of outages before, so that few of them say little.
pub const PRIOR: f64 = {prior!r};
/// The log-odds of lasting, where nothing is known.
pub const INTERCEPT: f64 = {weights[0]:.6f};
/// By the share of outages before that were persistent,
pub const PERSISTENT: f64 = {weights[1]:.6f};
/// by the share that were transient,
pub const TRANSIENT: f64 = {weights[2]:.6f};
/// and by the last one: 1 if it was persistent, -1 if it was transient, 0 if there was none.
pub const LAST: f64 = {weights[3]:.6f};
"""


def main(paths):
    if not paths:
        sys.exit(__doc__)
    weighted, tests, sources = [], [], []
    parts = {path: split(path) for path in paths}
    mean = sum(len(train) for train, _, _ in parts.values()) / len(parts)
    for path, (train, test, cut) in parts.items():
        weighted += [(x, 1.0 if y else 0.0, mean / len(train)) for _, x, y, _ in train]
        tests.append((os.path.basename(path), test, cut))
        with open(path, "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        name = os.path.basename(path)
        sources.append(f"//! - `{name}` ({len(train)} outages before {cut} s),\n//!   SHA-256 `{digest}`")
    weights = fit(weighted)
    for name, test, cut in tests:
        report(f"{name} (from {cut} s)", test, weights)
    report("all", [row for _, test, _ in tests for row in test], weights)
    rust = RUST.format(
        names=" ".join(os.path.basename(path) for path in paths),
        count=len(weighted),
        sources="\n".join(sources),
        lasts=f"{LASTS_S * 1_000_000:_}",
        prior=PRIOR,
        half_life=f"{HALF_LIFE_S * 1_000_000:_}",
        weights=weights,
    )
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "src", "model.rs"), "w") as file:
        file.write(rust)


if __name__ == "__main__":
    main(sys.argv[1:])
