"""Every kind of field, settings, values, all outcomes, and what must fail."""

import datetime
import random

from stillhouse import Case, bool_, float_, int_, log, mapper, observe, rejected, text


def map(row, limit):
    match row.what:
        case "int":
            return observe("up", "int", value="many" if row.count > 9 else "less than none" if row.count < 0 else "few")
        case "float":
            return observe("down", "float", severity="critical" if row.load > 0.5 else None)
        case "bool":
            return observe("up" if row.up else "gone", "bool")
        case "absent":
            return observe("gone" if row.count is None and row.load is None and row.up is None else "up", "absent")
        case "limit":
            return observe("up", limit)
        case "log":
            log("a line")
            return observe("up", "log")
        case "reasons":
            return rejected("reason " + chr(65 + row.count // 26) + chr(65 + row.count % 26))
        case "boom":
            raise ValueError("boom")
        case "clock":
            return observe("up", str(datetime.datetime.now()))
        case "random":
            return observe("up", str(random.random()))


def configure(settings):
    if settings.keys() - {"limit"}:
        raise ValueError("expected the setting `limit`")
    return settings.get("limit", "no limit")


MapperRule = mapper(
    name="wide",
    version="1.2.3",
    schema=4,
    fields={
        "what": text("data.what"),
        "count": int_("data.count", optional=True),
        "load": float_("data.load", optional=True),
        "up": bool_("data.up", optional=True),
    },
    states={"up": "healthy", "down": "problem", "gone": "gone"},
    configure=configure,
    map=map,
    cases=[
        Case("up", {"data.what": "bool", "data.up": "true"}, observe("up", "bool")),
        Case("down", {"data.what": "float", "data.load": "0.25"}, observe("down", "float")),
        Case("gone", {"data.what": "bool", "data.up": "false"}, observe("gone", "bool")),
    ],
)
