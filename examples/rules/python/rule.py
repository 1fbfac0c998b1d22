"""Which pods are ready: a mapper in Python."""

from stillhouse import Case, dropped, mapper, observe, text


def map(signal):
    if signal.status == "ready":
        return observe("ready", signal.pod)
    if signal.status == "":
        return observe("not-ready", signal.pod, severity="error")
    return dropped("not about readiness")


def given(status):
    return {"data.pod": "shop/cart-1", "data.status": status}


MapperRule = mapper(
    name="probe",
    version="0.1.0",
    schema=1,
    fields={
        "pod": text("data.pod"),  # a signal without it is rejected
        "status": text("data.status", optional=True),  # None where it is absent
    },
    states={"ready": "healthy", "not-ready": "problem"},
    map=map,
    cases=[
        Case("ready", given("ready"), observe("ready", "shop/cart-1")),
        Case("not ready", given(""), observe("not-ready", "shop/cart-1", severity="error")),
        Case("another status", given("starting"), dropped("not about readiness")),
    ],
)
